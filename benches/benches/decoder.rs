//! Prefill and decoding of a whole model on the CPU, sampling included, without a server.
//!
//! `cargo bench -p portcullis-benches --bench decoder -- DIR [f32|bf16] [STREAMS] [CONTEXT] [STEPS]`
//! prefills a prompt of CONTEXT random tokens for each stream, each in a step of its own, then
//! decodes STEPS tokens of all streams together, greedily. It prints a line of JSON for each number
//! of streams: tokens per second of the prefills, by their median, and of the decoding.
#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::DType;
use portcullis_engine::Draw;
use portcullis_models::{BLOCK_TOKENS, Decoder, LoadOptions};
use portcullis_runner::{Model, RunnerOptions};
use portcullis_scheduler::{BlockId, Row, SchedulerOutput};
use portcullis_types::{SamplingParams, SequenceId, TokenId, TokenMask};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    for &streams in &options.streams {
        let speed = measure(&options, streams)?;
        println!(
            r#"{{"streams": {streams}, "prefill": {:.2}, "decode": {:.2}}}"#,
            speed.prefill, speed.decode
        );
    }
    Ok(())
}

struct Options {
    dir: PathBuf,
    dtype: DType,
    streams: Vec<usize>,
    context: usize,
    steps: usize,
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        // Cargo adds a flag of its own.
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        let dir = words.next().ok_or("name the model's folder")?;
        let mut next = |default: &str| words.next().unwrap_or_else(|| default.into());
        Ok(Self {
            dir: dir.into(),
            dtype: match next("f32").as_str() {
                "bf16" => DType::BF16,
                _ => DType::F32,
            },
            streams: next("1,4,16")
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()?,
            context: next("512").parse()?,
            steps: next("32").parse()?,
        })
    }
}

/// Tokens per second.
struct Speed {
    prefill: f64,
    decode: f64,
}

fn measure(options: &Options, streams: usize) -> Result<Speed, Box<dyn Error>> {
    let mut run = Run::new(&options.dir, options, streams)?;
    let mut times: Vec<Duration> = (0..streams)
        .map(|stream| run.prefill(stream))
        .collect::<Result<_, _>>()?;
    times.sort_unstable();
    // The first steps warm caches and threads.
    run.decode(2)?;
    let decoding = run.decode(options.steps)?;
    Ok(Speed {
        prefill: options.context as f64 / times[streams / 2].as_secs_f64(),
        decode: (streams * options.steps) as f64 / decoding.as_secs_f64(),
    })
}

/// A model and the sequences that it continues.
struct Run {
    model: Model,
    sequences: Vec<Vec<TokenId>>,
    blocks_per_sequence: usize,
}

impl Run {
    fn new(dir: &Path, options: &Options, streams: usize) -> Result<Self, Box<dyn Error>> {
        let load = LoadOptions {
            dtype: options.dtype,
            ..LoadOptions::default()
        };
        let decoder = Decoder::load(dir, &load)?;
        let vocab = decoder.config().vocab_size as u64;
        let blocks_per_sequence = (options.context + options.steps + 4).div_ceil(BLOCK_TOKENS);
        let kv = decoder.new_cache(streams * blocks_per_sequence)?;
        let prompt = |stream| (0..options.context).map(move |at| token(stream, at, vocab));
        Ok(Self {
            model: Model::new(decoder, kv, RunnerOptions::default()),
            sequences: (0..streams)
                .map(|stream| prompt(stream).collect())
                .collect(),
            blocks_per_sequence,
        })
    }

    fn prefill(&mut self, stream: usize) -> Result<Duration, Box<dyn Error>> {
        let row = self.row(stream, 0);
        self.step(vec![row])
    }

    fn decode(&mut self, steps: usize) -> Result<Duration, Box<dyn Error>> {
        let mut total = Duration::ZERO;
        for _ in 0..steps {
            let last = |stream: usize| self.sequences[stream].len() - 1;
            let rows = (0..self.sequences.len()).map(|stream| self.row(stream, last(stream)));
            let rows = rows.collect();
            total += self.step(rows)?;
        }
        Ok(total)
    }

    /// Everything of a sequence from `start` on.
    fn row(&self, stream: usize, start: usize) -> Row {
        let sequence = &self.sequences[stream];
        let first = stream * self.blocks_per_sequence;
        let blocks = first..first + sequence.len().div_ceil(BLOCK_TOKENS);
        Row {
            sequence: SequenceId(stream as u64),
            epoch: 0,
            tokens: sequence[start..].to_vec(),
            start,
            block_table: blocks.map(|block| BlockId(block as u32)).collect(),
            samples: true,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "measuring is what this crate is for"
    )]
    fn step(&mut self, rows: Vec<Row>) -> Result<Duration, Box<dyn Error>> {
        let streams: Vec<usize> = rows.iter().map(|row| row.sequence.0 as usize).collect();
        let draws = streams.iter().map(|&stream| self.draw(stream)).collect();
        let plan = SchedulerOutput {
            rows,
            ..SchedulerOutput::default()
        };
        let began = Instant::now();
        let output = self.model.step(&plan, draws)?;
        let time = began.elapsed();
        for (stream, sample) in streams.into_iter().zip(output.samples) {
            self.sequences[stream].push(sample?.token);
        }
        Ok(time)
    }

    fn draw(&self, stream: usize) -> Draw {
        Draw {
            params: Arc::new(SamplingParams {
                temperature: 0.0,
                ..SamplingParams::default()
            }),
            position: self.sequences[stream].len() as u64,
            attempt: 0,
            mask: TokenMask::default(),
            watch: Arc::new([]),
            history: None,
        }
    }
}

/// A token of a prompt, as good as random.
fn token(stream: usize, at: usize, vocab: u64) -> TokenId {
    let mixed = (stream as u64 * 1_000_003 + at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 33) % vocab) as TokenId
}
