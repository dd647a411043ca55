//! Nothing starves, and the urgent go first.

use portcullis_scheduler::SchedulerConfig;
use portcullis_types::{Priority, SequenceId};
use proptest::prelude::*;

use crate::world::{ROOMY, World};

#[test]
fn classes_go_first_then_arrival() {
    let mut world = World::new(SchedulerConfig {
        max_num_seqs: 1,
        ..ROOMY
    });
    let batch = world.add_as(Priority::Batch, 4, 5);
    let standard = world.add_as(Priority::Standard, 4, 5);
    let realtime = world.add_as(Priority::Realtime, 4, 5);
    let later = world.add_as(Priority::Realtime, 4, 5);
    assert_eq!(run_order(&mut world), [realtime, later, standard, batch]);
}

#[test]
fn waiting_raises_the_class() {
    let mut world = World::new(SchedulerConfig {
        max_num_seqs: 1,
        ageing_steps: 10,
        ..ROOMY
    });
    let running = world.add_as(Priority::Realtime, 4, 100);
    world.step();
    let batch = world.add_as(Priority::Batch, 4, 5);
    for _ in 0..11 {
        world.step();
    }
    // By now the batch one is standard, and came before these.
    let standard = world.add_as(Priority::Standard, 4, 5);
    let realtime = world.add_as(Priority::Realtime, 4, 5);
    world.remove(running);
    assert_eq!(run_order(&mut world), [realtime, batch, standard]);
}

#[test]
fn what_it_waited_counts_after_a_preemption_too() {
    // Alone in its class, the batch sequence is everyone's victim until it has waited enough.
    let config = SchedulerConfig {
        num_blocks: 4,
        ageing_steps: 20,
        ..ROOMY
    };
    let steps = steps_under_load(config, 2, 60, 100);
    assert!(steps.is_some_and(|steps| steps < 400), "{steps:?}");
}

#[test]
fn a_class_reached_by_waiting_is_kept_through_a_hold_and_passed_to_forks() {
    let mut world = World::new(SchedulerConfig {
        max_num_seqs: 1,
        ageing_steps: 10,
        ..ROOMY
    });
    let running = world.add_as(Priority::Realtime, 4, 100);
    world.step();
    let batch = world.add_as(Priority::Batch, 4, 5);
    for _ in 0..11 {
        world.step();
    }
    let fork = world.fork(batch, 4, 5).expect("it can run");
    world.hold(batch);
    world.truncate(batch, 4);
    let standard = world.add_as(Priority::Standard, 4, 5);
    world.remove(running);
    assert_eq!(run_order(&mut world), [batch, fork, standard]);
}

#[test]
fn what_it_waited_before_a_preemption_counts_after_it() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 4,
        max_num_seqs: 2,
        ageing_steps: 10,
        ..ROOMY
    });
    let growing = world.add_as(Priority::Realtime, 55, 120);
    let filler = world.add_as(Priority::Realtime, 4, 100);
    world.step();
    let batch = world.add_as(Priority::Batch, 50, 100);
    for _ in 0..8 {
        world.step();
    }
    world.remove(filler);
    while world.step().preempted.is_empty() {}
    for _ in 0..3 {
        world.step();
    }
    // It is standard by now, and nobody overtakes it, though there is a block for this one.
    let standard = world.add_as(Priority::Standard, 4, 5);
    assert_eq!(world.step().rows.len(), 1);
    world.remove(growing);
    let order: Vec<_> = world.step().rows.iter().map(|row| row.sequence).collect();
    assert_eq!(order, [batch, standard]);
}

#[test]
fn a_class_reached_by_waiting_protects_from_preemption() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 4,
        max_num_seqs: 2,
        ageing_steps: 5,
        ..ROOMY
    });
    let fillers = [0; 2].map(|_| world.add_as(Priority::Realtime, 4, 100));
    world.step();
    let batch = world.add_as(Priority::Batch, 50, 100);
    for _ in 0..11 {
        world.step();
    }
    for filler in fillers {
        world.remove(filler);
    }
    let realtime = world.add_as(Priority::Realtime, 50, 100);
    let preempted = loop {
        let output = world.step();
        if !output.preempted.is_empty() {
            break output.preempted;
        }
    };
    assert_eq!(preempted, [realtime]);
    assert!(
        world
            .scheduler
            .sequence(batch)
            .is_some_and(|batch| batch.is_running())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_starves(
        num_blocks in 4u32..12,
        max_num_seqs in 1usize..5,
        ageing_steps in 1u64..30,
        load in 1usize..4,
        num_tokens in 1usize..80,
    ) {
        let config = SchedulerConfig {
            num_blocks,
            max_num_seqs,
            ageing_steps,
            max_batched_tokens: 64,
            max_model_len: 200,
        };
        // It rises twice, then waits for those before it: at most what came in the meantime.
        let steps = steps_under_load(config, load, num_tokens, 100);
        prop_assert!(steps.is_some(), "{:?}", config);
    }
}

/// Steps until a batch sequence ends while `load` realtime ones wait at any time; `None` when it
/// does not within reason.
fn steps_under_load(
    config: SchedulerConfig,
    load: usize,
    num_tokens: usize,
    max_len: usize,
) -> Option<usize> {
    let mut world = World::new(config);
    let batch = world.add_as(Priority::Batch, num_tokens, max_len);
    (0..5000).find(|_| {
        while world.scheduler.stats().waiting < load + 1 {
            world.add_as(Priority::Realtime, 40, 70);
        }
        world.step();
        world.remove_held();
        !world.is_live(batch)
    })
}

/// Runs until all have ended; the order in which they did.
fn run_order(world: &mut World) -> Vec<SequenceId> {
    let mut ended = Vec::new();
    while !world.live().is_empty() {
        world.step();
        let before = world.live();
        world.remove_held();
        ended.extend(before.into_iter().filter(|&id| !world.is_live(id)));
    }
    ended
}
