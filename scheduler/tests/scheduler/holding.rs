//! Held sequences: stopped, but not gone.

use portcullis_scheduler::{Advance, SchedulerConfig};
use portcullis_types::Priority;

use crate::world::{ROOMY, World, common_prompt, order, shape};

#[test]
fn stops_it_until_it_is_truncated() {
    let mut world = World::new(ROOMY);
    let id = world.add(common_prompt(10), 50);
    world.step();
    world.hold(id);
    assert!(world.scheduler.is_idle());
    assert!(world.step().rows.is_empty());
    world.truncate(id, 10);
    assert!(!world.scheduler.is_idle());
    assert_eq!(shape(&world.step()), [(9, 1, true)]);
}

#[test]
fn in_flight_makes_the_row_void() {
    let mut world = World::new(ROOMY);
    let id = world.add(common_prompt(40), 50);
    let row = world.schedule().rows.remove(0);
    world.hold(id);
    assert_eq!(world.scheduler.stats().blocks_used, 0);
    assert_eq!(world.advance(&row), Advance::Stale);
}

#[test]
fn works_on_those_that_wait() {
    let mut world = World::new(ROOMY);
    let id = world.add(common_prompt(10), 50);
    world.hold(id);
    assert!(world.scheduler.is_idle());
    assert!(world.step().rows.is_empty());
    world.truncate(id, 10);
    assert_eq!(order(&world.step()), [id]);
}

#[test]
fn does_not_protect_from_preemption() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 4,
        ..ROOMY
    });
    let first = world.add_as(Priority::Standard, 60, 120);
    let second = world.add_as(Priority::Standard, 60, 120);
    world.step();
    world.hold(second);
    for _ in 0..6 {
        world.step();
    }
    assert!(!world.scheduler.sequence(second).unwrap().is_running());
    world.remove(first);
    assert!(world.step().rows.is_empty());
    world.truncate(second, 60);
    assert_eq!(order(&world.step()), [second]);
}
