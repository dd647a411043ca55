//! What is refused, and what is just short of it.

use portcullis_scheduler::{
    AddError, BLOCK_TOKENS, ForkError, NewSequence, Scheduler, SchedulerConfig,
};
use portcullis_types::{Priority, SequenceId, Tenant};

use crate::world::{ROOMY, World, common_prompt};

fn check(tokens: usize, max_len: usize, expected: AddError) {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 4,
        max_model_len: 200,
        ..ROOMY
    });
    let result = world.try_add(common_prompt(tokens), Priority::Standard, 0, max_len);
    assert_eq!(result, Err(expected));
    assert!(world.scheduler.is_idle());
}

#[test]
fn nothing_to_compute() {
    check(0, 10, AddError::Empty);
}

#[test]
fn nothing_to_generate() {
    check(
        10,
        10,
        AddError::NothingToGenerate {
            len: 10,
            max_len: 10,
        },
    );
}

#[test]
fn longer_than_the_model_takes() {
    check(10, 201, AddError::TooLong { len: 201, max: 200 });
}

#[test]
fn longer_than_the_cache() {
    check(
        10,
        4 * BLOCK_TOKENS + 2,
        AddError::NeedsMoreBlocks {
            needed: 5,
            total: 4,
        },
    );
}

#[test]
fn the_longest_that_can_run_alone_does() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 4,
        ..ROOMY
    });
    // The last token is never computed.
    world.add(common_prompt(10), 4 * BLOCK_TOKENS + 1);
    world.drain(200);
}

#[test]
fn an_id_in_use() {
    let mut scheduler = Scheduler::new(ROOMY);
    let new = NewSequence {
        id: SequenceId(7),
        tokens: vec![1],
        priority: Priority::Standard,
        tenant: Tenant::default(),
        max_len: 2,
    };
    scheduler.add(new.clone()).unwrap();
    assert_eq!(scheduler.add(new), Err(AddError::Duplicate(SequenceId(7))));
    let fork = scheduler.fork(SequenceId(7), SequenceId(7), 1, 2);
    assert_eq!(fork, Err(AddError::Duplicate(SequenceId(7)).into()));
}

#[test]
fn forks_of_nobody_and_beyond_the_parent() {
    let mut world = World::new(ROOMY);
    let nobody = SequenceId(99);
    assert_eq!(
        world.fork(nobody, 1, 9),
        Err(ForkError::UnknownParent(nobody))
    );
    let parent = world.add(common_prompt(5), 9);
    let beyond = ForkError::BeyondParent {
        num_tokens: 6,
        parent_len: 5,
    };
    assert_eq!(world.fork(parent, 6, 9), Err(beyond));
    assert_eq!(world.fork(parent, 0, 9), Err(AddError::Empty.into()));
    world.drain(10);
}

#[test]
fn the_unknown_is_ignored() {
    let mut scheduler = Scheduler::new(ROOMY);
    assert!(!scheduler.remove(SequenceId(1)));
    assert!(!scheduler.hold(SequenceId(1)));
    assert!(!scheduler.truncate(SequenceId(1), 1));
}
