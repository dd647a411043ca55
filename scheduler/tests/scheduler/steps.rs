//! What a step holds, and whose results count.

use portcullis_scheduler::{Advance, NewSequence, Scheduler, SchedulerConfig};
use portcullis_types::{Priority, SequenceId, Tenant};

use crate::world::{ROOMY, World, common_prompt, order, shape};

#[test]
fn a_prompt_is_computed_in_chunks_and_only_the_last_samples() {
    let mut world = World::new(SchedulerConfig {
        max_batched_tokens: 40,
        ..ROOMY
    });
    let id = world.add(common_prompt(100), 110);
    assert_eq!(shape(&world.step()), [(0, 40, false)]);
    assert_eq!(shape(&world.step()), [(40, 40, false)]);
    assert_eq!(shape(&world.step()), [(80, 20, true)]);
    assert_eq!(shape(&world.step()), [(100, 1, true)]);
    assert_eq!(world.tokens(id).len(), 102);
}

#[test]
fn a_long_prompt_stalls_nobody() {
    let mut world = World::new(SchedulerConfig {
        max_batched_tokens: 16,
        ..ROOMY
    });
    world.add_as(Priority::Batch, 10, 100);
    world.add_as(Priority::Batch, 5, 100);
    world.step();
    world.add_as(Priority::Realtime, 400, 410);
    world.step();
    assert_eq!(
        shape(&world.step()),
        [(14, 14, false), (11, 1, true), (6, 1, true)]
    );
}

#[test]
fn a_batch_has_room_for_no_more_than_its_limits() {
    let mut world = World::new(SchedulerConfig {
        max_num_seqs: 2,
        ..ROOMY
    });
    let first = world.add_as(Priority::Standard, 4, 20);
    let second = world.add_as(Priority::Standard, 4, 20);
    let third = world.add_as(Priority::Standard, 4, 20);
    assert_eq!(order(&world.step()), [first, second]);
    world.remove(first);
    assert_eq!(order(&world.step()), [second, third]);
}

#[test]
fn more_rows_than_tokens_cannot_be() {
    let mut world = World::new(SchedulerConfig {
        max_batched_tokens: 3,
        max_num_seqs: 8,
        ..ROOMY
    });
    for _ in 0..5 {
        world.add_as(Priority::Standard, 2, 20);
    }
    for _ in 0..4 {
        world.step();
    }
    assert_eq!(shape(&world.step()).len(), 3);
}

#[test]
fn a_row_in_flight_is_not_scheduled_again() {
    let mut world = World::new(ROOMY);
    world.add(common_prompt(10), 20);
    assert_eq!(shape(&world.schedule()), [(0, 10, true)]);
    assert!(world.schedule().rows.is_empty());
    assert!(!world.scheduler.is_idle());
    world.collect();
    assert_eq!(shape(&world.schedule()), [(10, 1, true)]);
}

#[test]
fn a_result_counts_once() {
    let mut world = World::new(ROOMY);
    world.add(common_prompt(10), 20);
    let row = world.schedule().rows.remove(0);
    assert_eq!(world.advance(&row), Advance::Applied);
    assert_eq!(world.advance(&row), Advance::Stale);
}

#[test]
fn a_reused_id_does_not_inherit_results_in_flight() {
    let mut scheduler = Scheduler::new(ROOMY);
    let new = NewSequence {
        id: SequenceId(1),
        tokens: common_prompt(10),
        priority: Priority::Standard,
        tenant: Tenant::default(),
        max_len: 20,
    };
    scheduler.add(new.clone()).unwrap();
    let late = scheduler.schedule().rows.remove(0);
    scheduler.remove(new.id);
    scheduler.add(new).unwrap();
    scheduler.schedule();
    assert_eq!(scheduler.advance(&late, Some(7)), Advance::Stale);
}

#[test]
#[should_panic(expected = "a token is drawn exactly for the rows that sample")]
fn a_missing_sample_is_a_bug_of_the_caller() {
    let mut scheduler = Scheduler::new(ROOMY);
    let new = NewSequence {
        id: SequenceId(1),
        tokens: common_prompt(10),
        priority: Priority::Standard,
        tenant: Tenant::default(),
        max_len: 20,
    };
    scheduler.add(new).unwrap();
    let row = scheduler.schedule().rows.remove(0);
    scheduler.advance(&row, None);
}

#[test]
fn it_is_held_at_its_length() {
    let mut world = World::new(ROOMY);
    let id = world.add(common_prompt(10), 12);
    world.step();
    assert!(!world.scheduler.is_idle());
    world.step();
    assert_eq!(world.tokens(id).len(), 12);
    assert!(world.scheduler.is_idle());
    assert!(world.step().rows.is_empty());
    world.truncate(id, 11);
    assert_eq!(shape(&world.step()), [(10, 1, true)]);
}

#[test]
fn cancelling_frees_everything_in_every_phase() {
    let phases: [fn(&mut World, SequenceId); 6] = [
        |_, _| (),
        |world, _| drop(world.schedule()),
        |world, _| drop(world.step()),
        |world, id| {
            world.step();
            world.schedule();
            world.truncate(id, 60);
        },
        |world, id| {
            world.step();
            world.hold(id);
        },
        |world, id| {
            world.step();
            let child = world.fork(id, 90, 120).unwrap();
            world.remove(child);
        },
    ];
    for reach in phases {
        let mut world = World::new(ROOMY);
        let id = world.add(common_prompt(100), 120);
        reach(&mut world, id);
        world.remove(id);
        assert_eq!(world.scheduler.stats().blocks_used, 0);
        assert!(world.scheduler.is_idle());
        world.collect();
    }
}
