//! What a step costs in the scheduler alone: who runs, in which blocks.
//!
//! `cargo bench -p portcullis-benches --bench scheduler`. Criterion prints slowest, likely and
//! fastest time of a hundred steps, in each of which every sequence decodes a token.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis_scheduler::{BLOCK_TOKENS, NewSequence, Scheduler, SchedulerConfig};
use portcullis_types::{Priority, SequenceId, Tenant};

const PROMPT: usize = 64;
const MAX_LEN: usize = 4096;

criterion_main!(benches);
criterion_group!(benches, steps);

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler/100 decoding steps");
    for sequences in [1, 64, 1024] {
        group.bench_function(format!("{sequences} sequences"), |bencher| {
            let scheduler = || decoding(sequences);
            bencher.iter_batched(scheduler, hundred_steps, BatchSize::LargeInput);
        });
    }
}

/// A scheduler whose sequences have their prompts behind them.
fn decoding(sequences: usize) -> Scheduler {
    let mut scheduler = Scheduler::new(SchedulerConfig {
        num_blocks: (sequences * MAX_LEN.div_ceil(BLOCK_TOKENS)) as u32,
        max_batched_tokens: sequences * PROMPT,
        max_num_seqs: sequences,
        max_model_len: MAX_LEN,
        ageing_steps: 256,
    });
    for number in 0..sequences {
        let new = NewSequence {
            id: SequenceId(number as u64),
            tokens: (0..PROMPT)
                .map(|at| (number * PROMPT + at) as u32)
                .collect(),
            priority: Priority::default(),
            tenant: Tenant::default(),
            max_len: MAX_LEN,
        };
        assert!(scheduler.add(new).is_ok(), "there is room for it");
    }
    step(&mut scheduler);
    scheduler
}

/// So that blocks begin and end in it.
fn hundred_steps(mut scheduler: Scheduler) -> Scheduler {
    for _ in 0..100 {
        step(&mut scheduler);
    }
    scheduler
}

fn step(scheduler: &mut Scheduler) {
    let plan = scheduler.schedule();
    for row in &plan.rows {
        black_box(scheduler.advance(row, row.samples.then_some(7)));
    }
}
