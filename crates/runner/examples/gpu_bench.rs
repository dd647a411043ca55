//! Times a step of a model's shape with random weights: decodes at several batch sizes, and a
//! prefill.
//!
//! ```text
//! gpu_bench DIR [DEVICE [CONTEXT]]     DIR holds a config.json; DEVICE: cuda (usual) or cpu
//! ```
//!
//! Prints a JSON line for each case: median seconds of a step, sampling and the way of the token
//! to the host included, as the server runs it.
#![expect(
    clippy::print_stdout,
    reason = "a program that prints what it measures"
)]
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use candle_core::DType;
use portcullis_engine::{Draw, ModelRunner};
use portcullis_models::{BLOCK_TOKENS, Decoder, LoadFormat, LoadOptions};
use portcullis_runner::{CandleRunner, DeviceChoice};
use portcullis_scheduler::{BlockId, Row, SchedulerOutput};
use portcullis_types::{SamplingParams, SequenceId, TokenMask};

const CONTEXT: usize = 1024;
const DECODE_BATCHES: [usize; 3] = [1, 8, 64];
const WARM_UP_STEPS: usize = 5;
const TIMED_STEPS: usize = 30;
/// Tokens of one prefill step while the cache is filled.
const CHUNK: usize = 8192;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut arguments = arguments.iter().map(String::as_str);
    let dir = arguments
        .next()
        .ok_or("usage: gpu_bench DIR [cuda|cpu [CONTEXT]]")?;
    let (device, dtype) = match arguments.next().unwrap_or("cuda") {
        "cpu" => (DeviceChoice::Cpu, DType::F32),
        _ => (DeviceChoice::Cuda(0), DType::BF16),
    };
    let context = arguments.next().map_or(Ok(CONTEXT), str::parse)?;
    let mut bench = Bench::load(Path::new(dir), device, dtype, context)?;
    bench.prefill()?;
    for batch in DECODE_BATCHES {
        bench.decode(batch)?;
    }
    Ok(())
}

struct Bench {
    runner: CandleRunner,
    context: usize,
    vocab: u32,
    blocks_per_sequence: u32,
}

impl Bench {
    fn load(
        dir: &Path,
        device: DeviceChoice,
        dtype: DType,
        context: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let options = LoadOptions {
            dtype,
            device: portcullis_runner::open(device)?,
            format: LoadFormat::Dummy { seed: 0 },
        };
        let decoder = Decoder::load(dir, &options)?;
        let vocab = decoder.config().vocab_size as u32;
        let steps = WARM_UP_STEPS + TIMED_STEPS;
        let blocks_per_sequence = (context + steps).div_ceil(BLOCK_TOKENS) as u32;
        let sequences = DECODE_BATCHES.into_iter().max().unwrap_or(1);
        let cache = decoder.new_cache(sequences * blocks_per_sequence as usize)?;
        Ok(Self {
            runner: CandleRunner::new(decoder, cache)?,
            context,
            vocab,
            blocks_per_sequence,
        })
    }

    /// A whole context at once, the cache empty before it.
    fn prefill(&mut self) -> Result<(), Box<dyn Error>> {
        let seconds = self.times(|bench, _| vec![bench.row(0, 0, bench.context)])?;
        report("prefill", 1, self.context, seconds);
        Ok(())
    }

    /// One token for each of `batch` sequences, whose contexts grow by one a step.
    fn decode(&mut self, batch: usize) -> Result<(), Box<dyn Error>> {
        for sequence in 0..batch {
            for start in (0..self.context).step_by(CHUNK) {
                let len = CHUNK.min(self.context - start);
                let row = self.row(sequence, start, len);
                self.step(vec![row])?;
            }
        }
        let seconds = self.times(|bench, step| {
            let row = |sequence| bench.row(sequence, bench.context + step, 1);
            (0..batch).map(row).collect()
        })?;
        report("decode", batch, self.context, seconds);
        Ok(())
    }

    /// Seconds of the median step.
    fn times(&mut self, rows: impl Fn(&Self, usize) -> Vec<Row>) -> Result<f64, Box<dyn Error>> {
        let mut seconds = Vec::new();
        for step in 0..WARM_UP_STEPS + TIMED_STEPS {
            let rows = rows(self, step);
            let began = Instant::now();
            self.step(rows)?;
            seconds.push(began.elapsed().as_secs_f64());
        }
        let timed = &mut seconds[WARM_UP_STEPS..];
        timed.sort_by(f64::total_cmp);
        Ok(timed[timed.len() / 2])
    }

    fn step(&mut self, rows: Vec<Row>) -> Result<(), Box<dyn Error>> {
        let draws = rows.iter().map(|row| draw(row.start)).collect();
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
        let first = sequence as u32 * self.blocks_per_sequence;
        let blocks = (start + len).div_ceil(BLOCK_TOKENS) as u32;
        let token = |position: usize| ((sequence * 7919 + position * 31) as u32) % self.vocab;
        Row {
            sequence: SequenceId(sequence as u64),
            epoch: 0,
            start,
            tokens: (start..start + len).map(token).collect(),
            block_table: (first..first + blocks).map(BlockId).collect(),
            samples: true,
        }
    }
}

fn draw(position: usize) -> Draw {
    Draw {
        params: Arc::new(SamplingParams {
            temperature: 1.0,
            ..SamplingParams::default()
        }),
        position: position as u64,
        attempt: 0,
        mask: TokenMask::default(),
        watch: Arc::from([]),
        history: None,
    }
}

fn report(case: &str, batch: usize, context: usize, seconds: f64) {
    println!(
        "{{\"case\": \"{case}\", \"batch\": {batch}, \"context\": {context}, \"seconds\": {seconds}}}"
    );
}
