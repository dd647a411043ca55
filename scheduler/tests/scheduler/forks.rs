//! Children that share the blocks of their parent.

use portcullis_scheduler::SchedulerConfig;
use portcullis_types::Priority;

use crate::preemption::one_preempted;
use crate::world::{ROOMY, World, common_prompt, order, shape};

#[test]
fn share_full_blocks_and_copy_the_tail() {
    let mut world = World::new(ROOMY);
    let parent = world.add(common_prompt(70), 100);
    world.step();
    let child = world.fork(parent, 70, 100).unwrap();
    assert_eq!(world.scheduler.stats().blocks_used, 3);
    let output = world.step();
    assert_eq!(order(&output), [parent, child]);
    assert_eq!(shape(&output), [(70, 1, true), (69, 1, true)]);
    assert_eq!(output.block_copies.len(), 1);
    let [of_parent, of_child] = [&output.rows[0].block_table, &output.rows[1].block_table];
    assert_eq!(of_parent[..2], of_child[..2]);
    assert_ne!(of_parent[2], of_child[2]);
    world.drain(100);
}

#[test]
fn many_copy_the_tail_once_each_but_the_last() {
    let mut world = World::new(ROOMY);
    let parent = world.add(common_prompt(70), 100);
    world.step();
    for _ in 0..3 {
        world.fork(parent, 70, 100).unwrap();
    }
    assert_eq!(world.step().block_copies.len(), 3);
    assert_eq!(world.scheduler.stats().blocks_used, 2 + 4);
}

#[test]
fn outlive_their_parent() {
    let mut world = World::new(ROOMY);
    let parent = world.add(common_prompt(70), 100);
    world.step();
    let child = world.fork(parent, 70, 100).unwrap();
    world.remove(parent);
    assert_eq!(world.num_computed(child), 69);
    let output = world.step();
    assert_eq!(shape(&output), [(69, 1, true)]);
    assert!(output.block_copies.is_empty());
}

#[test]
fn come_before_those_who_came_after_their_parent() {
    let mut world = World::new(SchedulerConfig {
        max_num_seqs: 2,
        ..ROOMY
    });
    let parent = world.add_as(Priority::Standard, 10, 100);
    world.step();
    let later = world.add_as(Priority::Standard, 10, 100);
    let child = world.fork(parent, 10, 100).unwrap();
    assert_eq!(order(&world.step()), [parent, child]);
    world.remove(parent);
    assert_eq!(order(&world.step()), [child, later]);
}

#[test]
fn can_be_of_one_that_waits_runs_in_flight_or_is_held() {
    let mut world = World::new(ROOMY);
    let parent = world.add(common_prompt(40), 100);
    let of_waiting = world.fork(parent, 40, 100).unwrap();
    world.schedule();
    let of_flying = world.fork(parent, 20, 100).unwrap();
    world.collect();
    world.hold(parent);
    let of_held = world.fork(parent, 41, 100).unwrap();
    assert_eq!(world.num_computed(of_held), 40);
    assert_eq!(order(&world.step()), [of_waiting, of_flying, of_held]);
    world.drain(200);
}

#[test]
fn of_one_that_was_preempted_start_from_nothing() {
    let (mut world, _, victim) = one_preempted();
    let child = world.fork(victim, 50, 100).unwrap();
    assert_eq!(world.num_computed(child), 0);
    world.drain(500);
}

#[test]
fn that_wait_give_their_blocks_before_anyone_is_preempted() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 4,
        max_num_seqs: 1,
        ..ROOMY
    });
    let parent = world.add(common_prompt(40), 100);
    world.step();
    world.fork(parent, 40, 100).unwrap();
    world.remove(parent);
    world.drain(200);

    // Here the parent stays, and grows until it needs what its fork holds.
    let parent = world.add(common_prompt(40), 129);
    world.step();
    world.fork(parent, 40, 100).unwrap();
    world.drain(300);
    assert_eq!(world.scheduler.stats().preemptions, 0);
}
