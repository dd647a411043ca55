//! What the gate costs, as time per step and sequence: each sequence gets one token a step.
//!
//! `cargo bench -p portcullis-benches --bench gate`, with a part of a name behind it for some of
//! them: `-- 'mix/hostile'`. Criterion prints slowest, likely and fastest time of one sequence in
//! one step.

mod gate {
    pub(crate) mod rules;
    pub(crate) mod texts;
}

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use gate::{
    rules::{self, Rules},
    texts,
};
use portcullis_gate::{Checkpoint, Gate, GateState, Quota, Verdict};
use portcullis_types::Sample;

const PATTERNS: [usize; 3] = [1, 50, 1_000];
const SEQUENCES: [usize; 2] = [64, 256];

criterion_main!(benches);
criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = open, phrases, mix, spans
}

/// No rule set: what everything else is to be compared with.
fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open/prose");
    for sequences in SEQUENCES {
        measure(&mut group, 0, sequences, &Gate::open(), &texts::prose());
    }
}

/// Phrases, in their strict fold.
fn phrases(criterion: &mut Criterion) {
    compare(criterion, "phrases/prose", rules::phrases, &texts::prose());
    compare(
        criterion,
        "phrases/cyrillic",
        rules::phrases,
        &texts::cyrillic(),
    );
    compare(
        criterion,
        "phrases/hostile",
        rules::phrases,
        &texts::near_misses(),
    );
}

/// What a real set is made of: phrases, expressions and personal data, in three folds.
fn mix(criterion: &mut Criterion) {
    compare(criterion, "mix/prose", rules::mix, &texts::prose());
    compare(criterion, "mix/cyrillic", rules::mix, &texts::cyrillic());
    compare(
        criterion,
        "mix/hostile",
        rules::mix,
        &texts::near_misses_and_numbers(),
    );
}

/// Expressions that could match from each of the last 500 bytes.
fn spans(criterion: &mut Criterion) {
    compare(
        criterion,
        "spans/hostile",
        rules::spans,
        &texts::one_letter(),
    );
}

fn compare(criterion: &mut Criterion, name: &str, rules: Rules, tokens: &[String]) {
    let mut group = criterion.benchmark_group(name);
    for patterns in PATTERNS {
        let set = rules::load(&rules(patterns));
        let gate = Gate::new([Arc::new(set)], Quota::default());
        for sequences in SEQUENCES {
            measure(&mut group, patterns, sequences, &gate, tokens);
        }
    }
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    patterns: usize,
    sequences: usize,
    gate: &Gate,
    tokens: &[String],
) {
    let mut batch = Batch::new(gate, sequences, tokens);
    let name = format!("{patterns} patterns, {sequences} sequences");
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| batch.time_per_sequence(times));
    });
}

/// Sequences that advance together.
struct Batch<'a> {
    states: Vec<GateState>,
    tokens: &'a [String],
    steps: usize,
}

impl<'a> Batch<'a> {
    fn new(gate: &Gate, sequences: usize, tokens: &'a [String]) -> Self {
        let states = (0..sequences).map(|_| gate.begin(false));
        Self {
            states: states.collect(),
            tokens,
            steps: 0,
        }
    }

    /// Times whole steps, at least `times` tokens, and gives the time that `times` of them take.
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    fn time_per_sequence(&mut self, times: u64) -> Duration {
        let sequences = self.states.len() as u64;
        let steps = times.div_ceil(sequences);
        let began = Instant::now();
        (0..steps).for_each(|_| self.step());
        began
            .elapsed()
            .mul_f64(times as f64 / (steps * sequences) as f64)
    }

    /// Each sequence is at another place of the text.
    fn step(&mut self) {
        for (index, state) in self.states.iter_mut().enumerate() {
            let text = &self.tokens[(self.steps + 7 * index) % self.tokens.len()];
            let verdict = state.check(Checkpoint {
                sample: Sample::certain(1),
                text,
                end: None,
            });
            assert!(matches!(verdict, Verdict::Continue(_)), "{verdict:?}");
        }
        self.steps += 1;
    }
}
