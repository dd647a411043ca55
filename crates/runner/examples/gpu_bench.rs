//! Times steps of a model's shape with random weights: decodes, prefills and sampling.
//!
//! ```text
//! gpu_bench DIR [DEVICE [CONTEXT [CASE...]]]
//! ```
//!
//! DIR holds a config.json. DEVICE is cuda (usual), graphs (cuda, with decodes as CUDA graphs) or
//! cpu. CONTEXT is what each sequence of a decode has before it. A CASE is one of
//! - `decode=BATCH`: a token for each of so many sequences, drawn from the whole distribution;
//! - `prefill=TOKENS`: a prompt of so many, in one step;
//! - `sampling=BATCH`: a decode that draws with top-k and top-p, and such sampling alone: from
//!   logits of that shape on the device to tokens on the host, as the step does it;
//! - `kernels=BATCH`: one decode between a profiler's marks, for `ncu --profile-from-start off`.
//!
//! Prints a JSON line for each figure: median seconds of a step, sampling and the way of the token
//! to the host included, as the server runs it.
#![expect(
    clippy::print_stdout,
    reason = "a program that prints what it measures"
)]
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::error::Error;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use portcullis_engine::{Draw, ModelRunner};
use portcullis_kernels::{DrawRow, sample};
use portcullis_models::{BLOCK_TOKENS, Decoder, LoadFormat, LoadOptions};
use portcullis_runner::{CandleRunner, DeviceChoice, GraphLimits, RunnerOptions};
use portcullis_scheduler::{BlockId, Row, SchedulerOutput};
use portcullis_types::{SamplingParams, SequenceId, TokenMask};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: gpu_bench DIR [cuda|graphs|cpu [CONTEXT [CASE...]]]";
const CONTEXT: usize = 1024;
/// Rows of the largest decode that is computed by a graph, where graphs are asked for.
const GRAPH_ROWS_MAX: usize = 256;
const CASES: [Case; 5] = [
    Case::Decode(1),
    Case::Decode(8),
    Case::Decode(64),
    Case::Prefill(1024),
    Case::Sampling(64),
];

const WARM_UP_STEPS: usize = 5;
const TIMED_STEPS: usize = 30;

/// Tokens of a sequence at the end of what is timed.
const fn positions(context: usize) -> usize {
    context + WARM_UP_STEPS + TIMED_STEPS
}
/// Of a prefill, whose steps are long.
const TIMED_PREFILLS: usize = 10;
/// Tokens of one prefill step while the cache is filled.
const CHUNK: usize = 8192;

const TOP_K: u32 = 50;
const TOP_P: f32 = 0.9;
/// Standard deviation of logits by which sampling alone is timed: that of random weights, whose
/// hidden state of norm one a number meets 4,096 numbers of 0.02.
const LOGITS_STD: f32 = 1.28;

fn main() -> Result<()> {
    // Says which decodes run as graphs, and why one does not.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut arguments = arguments.iter().map(String::as_str);
    let dir = Path::new(arguments.next().ok_or(USAGE)?);
    let device = arguments.next().unwrap_or("cuda");
    let with_graphs = device == "graphs";
    let (device, dtype) = match device {
        "cpu" => (DeviceChoice::Cpu, DType::F32),
        _ => (DeviceChoice::Cuda(0), DType::BF16),
    };
    let context = arguments.next().map_or(Ok(CONTEXT), str::parse)?;
    let options = RunnerOptions {
        graphs: with_graphs.then_some(GraphLimits {
            rows_max: GRAPH_ROWS_MAX,
            context_max: positions(context),
        }),
    };
    let mut cases: Vec<Case> = arguments.map(str::parse).collect::<Result<_>>()?;
    if cases.is_empty() {
        cases.extend(CASES);
    }
    let mut bench = Bench::load(dir, (device, dtype), options, context, &cases)?;
    cases.into_iter().try_for_each(|case| bench.run(case))
}

/// What is measured; see the top of the file.
#[derive(Clone, Copy)]
enum Case {
    Decode(usize),
    Prefill(usize),
    Sampling(usize),
    Kernels(usize),
}

impl FromStr for Case {
    type Err = Box<dyn Error>;

    fn from_str(text: &str) -> Result<Self> {
        let (name, count) = text.split_once('=').ok_or(USAGE)?;
        let count = count.parse()?;
        match name {
            "decode" => Ok(Self::Decode(count)),
            "prefill" => Ok(Self::Prefill(count)),
            "sampling" => Ok(Self::Sampling(count)),
            "kernels" => Ok(Self::Kernels(count)),
            _ => Err(format!("{text}: no such case; {USAGE}").into()),
        }
    }
}

impl Case {
    /// Blocks of the cache that it takes, where a decoded sequence takes so many.
    fn blocks(self, per_sequence: usize) -> usize {
        match self {
            Self::Prefill(tokens) => tokens.div_ceil(BLOCK_TOKENS),
            Self::Decode(batch) | Self::Sampling(batch) | Self::Kernels(batch) => {
                batch * per_sequence
            }
        }
    }
}

struct Bench {
    runner: CandleRunner,
    device: Device,
    context: usize,
    vocab: usize,
    blocks_per_sequence: usize,
    /// How tokens are drawn.
    sampling: Arc<SamplingParams>,
}

impl Bench {
    fn load(
        dir: &Path,
        (device, dtype): (DeviceChoice, DType),
        runner_options: RunnerOptions,
        context: usize,
        cases: &[Case],
    ) -> Result<Self> {
        let device = portcullis_runner::open(device)?;
        let options = LoadOptions {
            dtype,
            device: device.clone(),
            format: LoadFormat::Dummy { seed: 0 },
        };
        let decoder = Decoder::load(dir, &options)?;
        let blocks_per_sequence = positions(context).div_ceil(BLOCK_TOKENS);
        let blocks = cases.iter().map(|case| case.blocks(blocks_per_sequence));
        let cache = decoder.new_cache(blocks.max().unwrap_or(1))?;
        Ok(Self {
            vocab: decoder.config().vocab_size,
            runner: CandleRunner::new(decoder, cache, runner_options)?,
            device,
            context,
            blocks_per_sequence,
            sampling: Arc::new(whole_distribution()),
        })
    }

    fn run(&mut self, case: Case) -> Result<()> {
        match case {
            Case::Decode(batch) => {
                let seconds = self.decode(batch)?;
                report("decode", batch, self.context, seconds);
            }
            Case::Prefill(tokens) => report("prefill", 1, tokens, self.prefill(tokens)?),
            Case::Sampling(batch) => self.sampling(batch)?,
            Case::Kernels(batch) => self.kernels(batch)?,
        }
        Ok(())
    }

    /// Seconds of a whole prompt at once, the cache empty before it.
    fn prefill(&mut self, tokens: usize) -> Result<f64> {
        median_s(TIMED_PREFILLS, |_| {
            let row = self.row(0, 0, tokens);
            self.step(vec![row])
        })
    }

    /// Seconds of one token for each of `batch` sequences, whose contexts grow by one a step.
    fn decode(&mut self, batch: usize) -> Result<f64> {
        self.fill(batch)?;
        median_s(TIMED_STEPS, |step| self.decode_step(batch, step))
    }

    fn sampling(&mut self, batch: usize) -> Result<()> {
        self.sampling = Arc::new(SamplingParams {
            top_k: Some(TOP_K),
            top_p: TOP_P,
            ..whole_distribution()
        });
        let step = self.decode(batch)?;
        report("truncated decode", batch, self.context, step);
        self.sampling = Arc::new(whole_distribution());
        report("sampling", batch, self.context, self.sample_alone(batch)?);
        Ok(())
    }

    /// Seconds of the draws of one step.
    fn sample_alone(&self, batch: usize) -> Result<f64> {
        let logits = Tensor::randn(0f32, LOGITS_STD, (batch, self.vocab), &self.device)?;
        median_s(TIMED_STEPS, |step| {
            let row = |sequence| DrawRow {
                top_k: Some(TOP_K),
                top_p: TOP_P,
                seed: sequence,
                position: step as u64,
                ..DrawRow::default()
            };
            let rows: Vec<_> = (0..batch as u64).map(row).collect();
            for drawn in sample(&logits, &rows)? {
                drawn.map_err(|failure| format!("{failure:?}"))?;
            }
            Ok(())
        })
    }

    fn kernels(&mut self, batch: usize) -> Result<()> {
        self.fill(batch)?;
        (0..WARM_UP_STEPS).try_for_each(|step| self.decode_step(batch, step))?;
        profiled(|| self.decode_step(batch, WARM_UP_STEPS))
    }

    /// Reads the contexts of `batch` sequences into the cache.
    fn fill(&mut self, batch: usize) -> Result<()> {
        for sequence in 0..batch {
            for start in (0..self.context).step_by(CHUNK) {
                let len = CHUNK.min(self.context - start);
                let row = self.row(sequence, start, len);
                self.step(vec![row])?;
            }
        }
        Ok(())
    }

    fn decode_step(&mut self, batch: usize, step: usize) -> Result<()> {
        let row = |sequence| self.row(sequence, self.context + step, 1);
        let rows = (0..batch).map(row).collect();
        self.step(rows)
    }

    fn step(&mut self, rows: Vec<Row>) -> Result<()> {
        let draws = rows.iter().map(|row| self.draw(row.start)).collect();
        let plan = SchedulerOutput {
            rows,
            ..SchedulerOutput::default()
        };
        let ticket = self.runner.submit(&plan, draws, Vec::new());
        let output = self.runner.collect(ticket)?;
        for sample in output.samples {
            sample?;
        }
        Ok(())
    }

    /// `len` tokens of a sequence from `start`; the last is sampled after.
    fn row(&self, sequence: usize, start: usize, len: usize) -> Row {
        let first = (sequence * self.blocks_per_sequence) as u32;
        let blocks = (start + len).div_ceil(BLOCK_TOKENS) as u32;
        let token = |position: usize| ((sequence * 7919 + position * 31) % self.vocab) as u32;
        Row {
            sequence: SequenceId(sequence as u64),
            epoch: 0,
            start,
            tokens: (start..start + len).map(token).collect(),
            block_table: (first..first + blocks).map(BlockId).collect(),
            samples: true,
        }
    }

    fn draw(&self, position: usize) -> Draw {
        Draw {
            params: Arc::clone(&self.sampling),
            position: position as u64,
            attempt: 0,
            mask: TokenMask::default(),
            watch: Arc::from([]),
            history: None,
        }
    }
}

fn whole_distribution() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        ..SamplingParams::default()
    }
}

/// Seconds of the median step, after some that are not timed.
fn median_s(steps: usize, mut work: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let mut seconds = Vec::new();
    for step in 0..WARM_UP_STEPS + steps {
        let began = Instant::now();
        work(step)?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    let timed = &mut seconds[WARM_UP_STEPS..];
    timed.sort_by(f64::total_cmp);
    Ok(timed[timed.len() / 2])
}

/// Runs `work` where a profiler of the card looks on.
#[cfg(feature = "cuda")]
fn profiled(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let _profiler = candle_core::cuda_backend::cudarc::driver::Profiler::new()?;
    work()
}

#[cfg(not(feature = "cuda"))]
fn profiled(work: impl FnOnce() -> Result<()>) -> Result<()> {
    work()
}

fn report(case: &str, batch: usize, context: usize, seconds: f64) {
    println!(
        "{{\"case\": \"{case}\", \"batch\": {batch}, \"context\": {context}, \"seconds\": {seconds}}}"
    );
}
