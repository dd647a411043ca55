//! Mixed requests through the kernels beside the same on the plain loops: the scheduler must decide
//! the same, and the answers be the same but for rounding. A hundred in the emulation; a thousand
//! on a card, where the tests are compiled with CUDA.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use portcullis_engine::Draw;
use portcullis_kernels::{Order, emulate};
use portcullis_models::{Decoder, LoadOptions};
use portcullis_runner::{DeviceChoice, Model, RunnerOptions, open};
use portcullis_scheduler::{Advance, NewSequence, Row, Scheduler, SchedulerConfig};
use portcullis_types::{Priority, SamplingParams, SequenceId, Tenant, TokenId, TokenMask};

/// So few that sequences are preempted.
const NUM_BLOCKS: u32 = 40;
const MAX_MODEL_LEN: usize = 120;
const MAX_NUM_SEQS: usize = 24;
const NO_GRAPHS: RunnerOptions = RunnerOptions { graphs: None };
/// Answers of a hundred that rounding may turn into others: near-ties of a tiny random model.
const OTHERS_MAX_PERCENT: usize = 5;

#[test]
fn a_hundred_requests_in_the_emulation() {
    let served = || serve(&mut model(DeviceChoice::Cpu, NO_GRAPHS), 100);
    let kernels = emulate(Order::Mixed, served);
    check(&kernels, &served());
}

#[cfg(feature = "cuda")]
#[test]
fn a_thousand_requests_on_a_card() {
    let card = serve(&mut model(DeviceChoice::Cuda(0), NO_GRAPHS), 1000);
    check(
        &card,
        &serve(&mut model(DeviceChoice::Cpu, NO_GRAPHS), 1000),
    );
}

#[cfg(feature = "cuda")]
#[test]
fn a_thousand_requests_on_a_card_by_graphs() {
    let graphs = RunnerOptions {
        graphs: Some(portcullis_runner::GraphLimits {
            rows_max: MAX_NUM_SEQS,
            context_max: MAX_MODEL_LEN,
        }),
    };
    let mut model_by_graphs = model(DeviceChoice::Cuda(0), graphs);
    let card = serve(&mut model_by_graphs, 1000);
    assert!(
        model_by_graphs.num_graphs() > 0,
        "none ran; see the warnings"
    );
    check(
        &card,
        &serve(&mut model(DeviceChoice::Cpu, NO_GRAPHS), 1000),
    );
}

fn check(kernels: &Served, plain: &Served) {
    assert!(
        plain.preemptions > 0,
        "the cache is too large to test anything"
    );
    assert_eq!(kernels.decisions.len(), plain.decisions.len());
    let steps = kernels.decisions.iter().zip(&plain.decisions);
    for (step, (kernels, plain)) in steps.enumerate() {
        assert_eq!(kernels, plain, "step {step}");
    }
    let answers = kernels.answers.iter().zip(&plain.answers);
    let others = answers.filter(|(kernels, plain)| kernels != plain).count();
    let allowed = plain.answers.len() * OTHERS_MAX_PERCENT / 100;
    assert!(
        others <= allowed,
        "{others} of {} answers are others",
        plain.answers.len()
    );
}

/// Sequence, first position, number of tokens, blocks.
type Decision = (SequenceId, usize, usize, Vec<u32>);

struct Served {
    /// The rows of each step.
    decisions: Vec<Vec<Decision>>,
    answers: BTreeMap<SequenceId, Vec<TokenId>>,
    preemptions: u64,
}

fn serve(model: &mut Model, requests: u64) -> Served {
    let mut scheduler = Scheduler::new(SchedulerConfig {
        num_blocks: NUM_BLOCKS,
        max_batched_tokens: 96,
        max_num_seqs: MAX_NUM_SEQS,
        max_model_len: MAX_MODEL_LEN,
        ageing_steps: 50,
    });
    let mut served = Served {
        decisions: Vec::new(),
        answers: BTreeMap::new(),
        preemptions: 0,
    };
    let mut next = 0;
    while next < requests || !scheduler.is_idle() {
        // They come in bursts.
        for _ in 0..if served.decisions.len().is_multiple_of(7) {
            9
        } else {
            0
        } {
            if next < requests {
                scheduler.add(request(next)).unwrap();
                next += 1;
            }
        }
        step(&mut scheduler, model, &mut served);
    }
    served.preemptions = scheduler.stats().preemptions;
    served
}

fn step(scheduler: &mut Scheduler, model: &mut Model, served: &mut Served) {
    let plan = scheduler.schedule();
    served
        .decisions
        .push(plan.rows.iter().map(decision).collect());
    if plan.rows.is_empty() {
        return;
    }
    let draws = plan
        .rows
        .iter()
        .filter(|row| row.samples)
        .map(draw)
        .collect();
    let mut samples = model.step(&plan, draws).unwrap().samples.into_iter();
    for row in &plan.rows {
        let token = row.samples.then(|| samples.next().unwrap().unwrap().token);
        let advanced = scheduler.advance(row, token);
        if advanced != Advance::Applied {
            continue;
        }
        served
            .answers
            .entry(row.sequence)
            .or_default()
            .extend(token);
        if scheduler.sequence(row.sequence).unwrap().tokens().len() >= max_len(row.sequence.0) {
            scheduler.remove(row.sequence);
        }
    }
}

fn decision(row: &Row) -> Decision {
    let blocks = row.block_table.iter().map(|block| block.0).collect();
    (row.sequence, row.start, row.tokens.len(), blocks)
}

/// Greedy and random ones in turns.
fn draw(row: &Row) -> Draw {
    let SequenceId(id) = row.sequence;
    Draw {
        params: Arc::new(SamplingParams {
            temperature: (id % 3) as f32 * 0.5,
            top_k: (id % 4 == 1).then_some(20),
            top_p: if id % 5 == 2 { 0.9 } else { 1.0 },
            seed: id,
            ..SamplingParams::default()
        }),
        position: (row.start + row.tokens.len()) as u64,
        attempt: 0,
        mask: TokenMask::default(),
        watch: Arc::from([]),
        history: None,
    }
}

fn request(id: u64) -> NewSequence {
    let len = prompt_len(id);
    // A third of them begin alike.
    let start = if id.is_multiple_of(3) {
        0
    } else {
        id as u32 * 7
    };
    NewSequence {
        id: SequenceId(id),
        tokens: (0..len as u32).map(|i| (start + i * 13) % 64).collect(),
        priority: Priority::Standard,
        tenant: Tenant([0; 32]),
        max_len: max_len(id),
    }
}

fn prompt_len(id: u64) -> usize {
    1 + (id * 37 % 80) as usize
}

fn max_len(id: u64) -> usize {
    (prompt_len(id) + 1 + (id * 11 % 30) as usize).min(MAX_MODEL_LEN)
}

fn model(choice: DeviceChoice, runner_options: RunnerOptions) -> Model {
    let dir = Path::new("../../models/tests/golden/llama2");
    let options = LoadOptions {
        device: open(choice).unwrap(),
        ..LoadOptions::default()
    };
    let decoder = Decoder::load(dir, &options).unwrap();
    let cache = decoder.new_cache(NUM_BLOCKS as usize).unwrap();
    Model::new(decoder, cache, runner_options)
}
