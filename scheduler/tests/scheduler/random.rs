//! Random lives of many sequences in small pools: whatever happens, every row reads its own
//! prefix, blocks are conserved, limits are kept, and in the end every sequence ends.

use portcullis_scheduler::{SchedulerConfig, SchedulerOutput};
use portcullis_types::{Priority, SequenceId, TokenId};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::world::{World, common_prompt};

/// One operation. Sequences are picked by index modulo those that live.
#[derive(Clone, Debug)]
enum Op {
    Add {
        prompt: Prompt,
        priority: Priority,
        tenant: u8,
        max_new: usize,
    },
    Schedule,
    /// Results of everything in flight.
    Collect,
    Truncate {
        pick: usize,
        keep: usize,
    },
    Hold {
        pick: usize,
    },
    Fork {
        pick: usize,
        keep: usize,
        max_new: usize,
    },
    Remove {
        pick: usize,
    },
}

/// The common prompt up to `common`, then `other` tokens of its own stream.
#[derive(Clone, Debug)]
struct Prompt {
    common: usize,
    other: usize,
    stream: TokenId,
}

impl Prompt {
    fn tokens(&self) -> Vec<TokenId> {
        let mut tokens = common_prompt(self.common);
        tokens.extend((0..self.other).map(|_| self.stream));
        tokens
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_row_reads_its_own_prefix(config in configs(), ops in prop::collection::vec(ops(), 1..80)) {
        run(config, &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_operations_give_the_same_plans(
        config in configs(),
        ops in prop::collection::vec(ops(), 1..80),
    ) {
        prop_assert_eq!(run(config, &ops).0, run(config, &ops).0);
    }
}

/// The laws above say nothing of what their cases never do.
#[test]
fn random_lives_visit_every_corner() {
    let mut runner = TestRunner::deterministic();
    let lives = (configs(), prop::collection::vec(ops(), 1..80));
    let mut totals = [0; 6];
    for _ in 0..300 {
        let (config, ops) = lives.new_tree(&mut runner).unwrap().current();
        let (_, world) = run(config, &ops);
        let (seen, stats) = (world.seen, world.scheduler.stats());
        let case = [
            seen.copies,
            seen.preemptions,
            seen.stale_rows,
            seen.ended_by_length,
            stats.cache_hit_tokens as usize,
            stats.computed_tokens as usize,
        ];
        totals
            .iter_mut()
            .zip(case)
            .for_each(|(total, count)| *total += count);
    }
    println!("copies, preemptions, stale, ended, hits, computed: {totals:?}");
    assert!(totals.iter().all(|&total| total > 100), "{totals:?}");
}

fn run(config: SchedulerConfig, ops: &[Op]) -> (Vec<SchedulerOutput>, World) {
    let mut world = World::new(config);
    let outputs = ops.iter().filter_map(|op| apply(&mut world, op)).collect();
    // Each sequence alone needs at most its length in steps; ten times that is for sharing.
    let steps_max = 10 * config.max_model_len * (world.live().len() + 1);
    world.drain(steps_max);
    (outputs, world)
}

fn apply(world: &mut World, op: &Op) -> Option<SchedulerOutput> {
    match *op {
        Op::Add {
            ref prompt,
            priority,
            tenant,
            max_new,
        } => {
            let tokens = prompt.tokens();
            let max_len = tokens.len() + max_new;
            // What cannot run alone is refused: that is part of what is tested.
            let _refused = world.try_add(tokens, priority, tenant, max_len);
        }
        Op::Schedule => return Some(world.schedule()),
        Op::Collect => world.collect(),
        Op::Truncate { pick, keep } => {
            if let Some(id) = nth(world, pick) {
                let keep = within(keep, world.tokens(id).len());
                world.truncate(id, keep);
            }
        }
        Op::Hold { pick } => {
            if let Some(id) = nth(world, pick) {
                world.hold(id);
            }
        }
        Op::Fork {
            pick,
            keep,
            max_new,
        } => {
            if let Some(id) = nth(world, pick) {
                let keep = within(keep, world.tokens(id).len());
                let _refused = world.fork(id, keep, keep + max_new);
            }
        }
        Op::Remove { pick } => {
            if let Some(id) = nth(world, pick) {
                world.remove(id);
            }
        }
    }
    None
}

fn nth(world: &World, pick: usize) -> Option<SequenceId> {
    let live = world.live();
    (!live.is_empty()).then(|| live[pick % live.len()])
}

/// Something in 1..=len, near the end more often than not, as rollbacks are.
fn within(keep: usize, len: usize) -> usize {
    let back = if keep.is_multiple_of(3) {
        keep
    } else {
        keep % 8
    };
    len - back % len
}

/// From pools where one sequence hardly fits to those where none is ever preempted.
fn configs() -> impl Strategy<Value = SchedulerConfig> {
    (1u32..24, 1usize..100, 1usize..7, 1u64..20).prop_map(
        |(num_blocks, max_batched_tokens, max_num_seqs, ageing_steps)| SchedulerConfig {
            num_blocks,
            max_batched_tokens,
            max_num_seqs,
            max_model_len: 200,
            ageing_steps,
        },
    )
}

fn ops() -> impl Strategy<Value = Op> {
    let priority = prop::sample::select(vec![
        Priority::Batch,
        Priority::Standard,
        Priority::Realtime,
    ]);
    let keep = 0usize..200;
    prop_oneof![
        4 => (prompts(), priority, 0u8..2, 1usize..60)
            .prop_map(|(prompt, priority, tenant, max_new)| Op::Add { prompt, priority, tenant, max_new }),
        8 => Just(Op::Schedule),
        8 => Just(Op::Collect),
        3 => (any::<usize>(), keep.clone()).prop_map(|(pick, keep)| Op::Truncate { pick, keep }),
        1 => any::<usize>().prop_map(|pick| Op::Hold { pick }),
        2 => (any::<usize>(), keep, 1usize..60)
            .prop_map(|(pick, keep, max_new)| Op::Fork { pick, keep, max_new }),
        1 => any::<usize>().prop_map(|pick| Op::Remove { pick }),
    ]
}

fn prompts() -> impl Strategy<Value = Prompt> {
    (0usize..130, 1usize..12, 0..3 as TokenId).prop_map(|(common, other, stream)| Prompt {
        common,
        other,
        stream,
    })
}
