//! Who loses its blocks to whom, and how it comes back.

use portcullis_scheduler::{Advance, SchedulerConfig};
use portcullis_types::{Priority, SequenceId};

use crate::world::{ROOMY, World, order};

/// Two sequences that outgrow four blocks together: (world, winner, loser).
pub(crate) fn one_preempted() -> (World, SequenceId, SequenceId) {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 4,
        ..ROOMY
    });
    let first = world.add_as(Priority::Standard, 50, 100);
    let second = world.add_as(Priority::Standard, 50, 100);
    while world.step().preempted.is_empty() {}
    (world, first, second)
}

#[test]
fn takes_from_the_newest() {
    let (world, first, second) = one_preempted();
    assert!(world.scheduler.sequence(first).unwrap().is_running());
    assert!(!world.scheduler.sequence(second).unwrap().is_running());
    assert_eq!(world.num_computed(second), 0);
    assert_eq!(world.scheduler.stats().preemptions, 1);
}

#[test]
fn takes_from_the_lowest_class() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 4,
        ..ROOMY
    });
    let batch = world.add_as(Priority::Batch, 50, 100);
    let realtime = world.add_as(Priority::Realtime, 50, 100);
    let preempted = loop {
        let output = world.step();
        if !output.preempted.is_empty() {
            break output.preempted;
        }
    };
    assert_eq!(preempted, [batch]);
    assert!(world.scheduler.sequence(realtime).unwrap().is_running());
}

#[test]
fn keeps_the_tokens_and_the_place() {
    let (mut world, first, second) = one_preempted();
    let tokens = world.tokens(second).to_vec();
    assert!(tokens.len() > 50);
    let later = world.add_as(Priority::Standard, 5, 10);
    world.remove(first);
    let output = world.step();
    assert_eq!(order(&output), [second, later]);
    let start = output.rows[0].start;
    assert_eq!(output.rows[0].tokens, tokens[start..]);
    assert!(output.rows[0].samples);
}

#[test]
fn finds_again_what_nobody_needed() {
    let (mut world, first, second) = one_preempted();
    world.remove(first);
    assert_eq!(world.step().rows[0].start, 32);
    // Not a hit in the sense of the bill: it had computed that itself.
    assert_eq!(world.scheduler.sequence(second).unwrap().num_cached(), 0);
}

#[test]
fn lets_in_who_ranks_higher() {
    let (mut world, first, second) = one_preempted();
    let realtime = world.add_as(Priority::Realtime, 5, 10);
    assert_eq!(order(&world.step()), [first, realtime]);
    assert!(!world.scheduler.sequence(second).unwrap().is_running());
}

#[test]
fn makes_rows_in_flight_void() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 2,
        ..ROOMY
    });
    let first = world.add_as(Priority::Standard, 31, 60);
    let second = world.add_as(Priority::Standard, 31, 60);
    world.step();
    // Both are one token short of their block; the first one gets back before the second.
    let flying = world.schedule().rows;
    world.advance(&flying[0]);
    let output = world.schedule();
    assert_eq!(order(&output), [first]);
    assert_eq!(output.preempted, [second]);
    assert_eq!(world.advance(&flying[1]), Advance::Stale);
}

#[test]
fn does_not_happen_to_let_others_in() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 4,
        ..ROOMY
    });
    let batch = world.add_as(Priority::Batch, 100, 120);
    world.step();
    let realtime = world.add_as(Priority::Realtime, 100, 120);
    assert_eq!(order(&world.step()), [batch]);
    world.remove(batch);
    assert_eq!(order(&world.step()), [realtime]);
}

#[test]
fn is_not_provoked_by_admitting_who_has_no_room_for_its_prompt() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 6,
        max_batched_tokens: 33,
        ..ROOMY
    });
    world.add_as(Priority::Standard, 128, 150);
    world.add_as(Priority::Standard, 96, 97);
    world.drain(50);
    assert_eq!(world.scheduler.stats().preemptions, 0);
}
