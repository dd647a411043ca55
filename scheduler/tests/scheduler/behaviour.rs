//! What each operation does, one by one.

use portcullis_scheduler::{
    AddError, Advance, BLOCK_TOKENS, ForkError, NewSequence, Scheduler, SchedulerConfig,
    SchedulerOutput,
};
use portcullis_types::{Priority, SequenceId, Tenant};

use crate::world::{ROOMY, World, common_prompt, distinct_prompt};

/// (start, tokens, samples) of each row.
fn shape(output: &SchedulerOutput) -> Vec<(usize, usize, bool)> {
    let rows = output.rows.iter();
    rows.map(|row| (row.start, row.tokens.len(), row.samples))
        .collect()
}

fn order(output: &SchedulerOutput) -> Vec<SequenceId> {
    output.rows.iter().map(|row| row.sequence).collect()
}

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

mod refusals {
    use super::*;

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
}

mod rollback {
    use super::*;

    /// A sequence of 70 + 10 tokens, of which all but the last are computed.
    fn generated() -> (World, SequenceId) {
        let mut world = World::new(ROOMY);
        let id = world.add(common_prompt(70), 200);
        for _ in 0..10 {
            world.step();
        }
        assert_eq!(world.num_computed(id), 79);
        (world, id)
    }

    #[test]
    fn costs_only_what_was_rolled_back() {
        let (mut world, id) = generated();
        let before = world.scheduler.stats().computed_tokens;
        world.truncate(id, 76);
        for _ in 0..4 {
            world.step();
        }
        assert_eq!(world.tokens(id).len(), 80);
        assert_eq!(world.scheduler.stats().computed_tokens - before, 4);
    }

    #[test]
    fn frees_the_blocks_beyond() {
        let (mut world, id) = generated();
        assert_eq!(world.scheduler.stats().blocks_used, 3);
        world.truncate(id, 64);
        assert_eq!(world.num_computed(id), 63);
        assert_eq!(world.scheduler.stats().blocks_used, 2);
        world.truncate(id, 33);
        assert_eq!(world.num_computed(id), 32);
        assert_eq!(world.scheduler.stats().blocks_used, 1);
        assert_eq!(shape(&world.step()), [(32, 1, true)]);
    }

    #[test]
    fn to_all_tokens_draws_again() {
        let (mut world, id) = generated();
        world.truncate(id, 1000);
        assert_eq!(world.tokens(id).len(), 80);
        assert_eq!(shape(&world.step()), [(79, 1, true)]);
    }

    #[test]
    fn in_flight_makes_the_late_row_void() {
        let (mut world, id) = generated();
        let late = world.schedule().rows.remove(0);
        world.truncate(id, 78);
        assert_eq!(world.advance(&late), Advance::Stale);
        assert_eq!(world.tokens(id).len(), 78);
        assert_eq!(shape(&world.step()), [(77, 1, true)]);
    }

    #[test]
    fn in_flight_can_run_again_before_the_late_row_is_back() {
        let (mut world, id) = generated();
        let late = world.schedule().rows.remove(0);
        world.truncate(id, 80);
        let next = world.schedule().rows.remove(0);
        assert_eq!((late.start, next.start), (79, 79));
        assert_eq!(world.advance(&late), Advance::Stale);
        assert_eq!(world.advance(&next), Advance::Applied);
    }

    #[test]
    fn into_a_block_that_others_found_copies_it() {
        let (mut world, first) = generated();
        let second = world.add(common_prompt(70), 200);
        world.step();
        assert_eq!(world.scheduler.sequence(second).unwrap().num_cached(), 64);
        world.truncate(first, 40);
        let output = world.step();
        assert_eq!(output.block_copies.len(), 1);
        assert_eq!(output.block_copies[0].0, output.rows[1].block_table[1]);
        world.drain(200);
    }

    #[test]
    fn into_a_block_of_its_own_copies_nothing_and_is_found_no_more() {
        let (mut world, first) = generated();
        world.truncate(first, 40);
        assert!(world.step().block_copies.is_empty());
        let second = world.add(common_prompt(70), 200);
        world.step();
        assert_eq!(world.scheduler.sequence(second).unwrap().num_cached(), 32);
        world.drain(200);
    }

    #[test]
    fn to_a_block_boundary_recomputes_one_token() {
        let (mut world, id) = generated();
        world.truncate(id, 64);
        assert_eq!(shape(&world.step()), [(63, 1, true)]);
        // The block is full again, and offered again.
        let other = world.add(common_prompt(70), 200);
        world.step();
        assert_eq!(world.scheduler.sequence(other).unwrap().num_cached(), 64);
    }

    #[test]
    fn of_a_prompt_in_chunks_keeps_what_is_computed() {
        let mut world = World::new(SchedulerConfig {
            max_batched_tokens: 40,
            ..ROOMY
        });
        let id = world.add(common_prompt(100), 110);
        world.step();
        world.schedule();
        world.truncate(id, 60);
        world.collect();
        assert_eq!(shape(&world.step()), [(40, 20, true)]);
    }
}

mod holding {
    use super::*;

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
}

mod prefix_cache {
    use super::*;

    fn num_cached(world: &World, id: SequenceId) -> usize {
        world.scheduler.sequence(id).expect("it lives").num_cached()
    }

    #[test]
    fn spares_full_blocks_and_outlives_their_sequence() {
        let mut world = World::new(ROOMY);
        let first = world.add(common_prompt(100), 110);
        world.step();
        world.remove(first);
        assert_eq!(world.scheduler.stats().blocks_cached, 3);
        let second = world.add(common_prompt(100), 110);
        assert_eq!(shape(&world.step()), [(96, 4, true)]);
        assert_eq!(num_cached(&world, second), 96);
        let stats = world.scheduler.stats();
        assert_eq!(
            (stats.cache_queried_tokens, stats.cache_hit_tokens),
            (200, 96)
        );
    }

    #[test]
    fn leaves_the_last_token_to_compute() {
        let mut world = World::new(ROOMY);
        world.add(common_prompt(64), 110);
        world.step();
        world.add(common_prompt(64), 110);
        assert_eq!(shape(&world.step())[1], (32, 32, true));
    }

    #[test]
    fn ends_where_the_tokens_differ() {
        let mut world = World::new(ROOMY);
        world.add(common_prompt(100), 110);
        world.step();
        let mut tokens = common_prompt(100);
        tokens[40] += 1;
        let second = world.add(tokens, 110);
        world.step();
        assert_eq!(num_cached(&world, second), 32);
    }

    #[test]
    fn is_not_offered_before_it_is_computed() {
        let mut world = World::new(ROOMY);
        world.add(common_prompt(100), 110);
        world.schedule();
        let second = world.add(common_prompt(100), 110);
        assert_eq!(shape(&world.schedule()), [(0, 100, true)]);
        world.collect();
        assert_eq!(num_cached(&world, second), 0);
    }

    #[test]
    fn offers_what_two_computed_at_once_only_once() {
        let mut world = World::new(ROOMY);
        world.add(common_prompt(100), 110);
        let second = world.add(common_prompt(100), 110);
        world.step();
        assert_eq!(world.scheduler.stats().blocks_used, 8);
        world.remove(second);
        assert_eq!(world.scheduler.stats().blocks_cached, 0);
    }

    #[test]
    fn is_one_for_each_tenant() {
        let mut world = World::new(ROOMY);
        world
            .try_add(common_prompt(100), Priority::Standard, 1, 110)
            .unwrap();
        world.step();
        let other = world
            .try_add(common_prompt(100), Priority::Standard, 2, 110)
            .unwrap();
        let same = world
            .try_add(common_prompt(100), Priority::Standard, 1, 110)
            .unwrap();
        world.step();
        assert_eq!(
            (num_cached(&world, other), num_cached(&world, same)),
            (0, 96)
        );
    }

    #[test]
    fn holds_what_was_generated_as_well() {
        let mut world = World::new(ROOMY);
        let first = world.add(common_prompt(60), 110);
        for _ in 0..10 {
            world.step();
        }
        let turn = world.tokens(first).to_vec();
        world.remove(first);
        let second = world.add(turn, 110);
        world.step();
        assert_eq!(num_cached(&world, second), 64);
    }

    #[test]
    fn gives_way_ends_of_chains_first_and_the_oldest_before() {
        let mut world = World::new(SchedulerConfig {
            num_blocks: 8,
            ..ROOMY
        });
        let old = world.add(distinct_prompt(1, 97), 110);
        world.step();
        world.remove(old);
        let recent = world.add(distinct_prompt(2, 97), 110);
        world.step();
        world.remove(recent);
        // Two free, six cached: five blocks take the two and the three of the old one.
        let big = world.add(distinct_prompt(3, 130), 140);
        world.step();
        world.remove(big);
        let probe = |world: &mut World, seed| {
            let id = world.add(distinct_prompt(seed, 97), 110);
            world.step();
            let cached = num_cached(world, id);
            world.remove(id);
            cached
        };
        assert_eq!(probe(&mut world, 2), 96);
        assert_eq!(probe(&mut world, 1), 0);
    }

    #[test]
    fn evicts_the_end_of_a_chain_first() {
        let mut world = World::new(SchedulerConfig {
            num_blocks: 4,
            ..ROOMY
        });
        let old = world.add(distinct_prompt(1, 97), 110);
        world.step();
        world.remove(old);
        let other = world.add(distinct_prompt(2, 40), 50);
        world.step();
        world.remove(other);
        let again = world.add(distinct_prompt(1, 97), 110);
        world.step();
        assert_eq!(num_cached(&world, again), 64);
    }
}

mod forks {
    use super::*;

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
        let (mut world, _, victim) = preemption::one_preempted();
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
}

mod preemption {
    use super::*;

    /// Two sequences that outgrow four blocks together: (world, winner, loser).
    pub(super) fn one_preempted() -> (World, SequenceId, SequenceId) {
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
        world.add_as(Priority::Standard, 128, 129);
        world.add_as(Priority::Standard, 96, 97);
        world.drain(50);
        assert_eq!(world.scheduler.stats().preemptions, 0);
    }
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
