//! [`CandleRunner`]: a decoder and its KV cache behind the engine's `ModelRunner`.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use candle_core::Tensor;
use portcullis_engine::{Draw, ModelRunner, RunnerError, Score, StepOutput, Ticket};
use portcullis_models::{Batch, Decoder, KvCache, SequenceSpan};
use portcullis_scheduler::{Row, SchedulerOutput};

use crate::device::is_out_of_memory;
use crate::graphs::{DecodeGraphs, DeviceCapture};
use crate::sampler::sample_all;

// The scheduler's tables are read by the kernels.
const _: () = assert!(portcullis_scheduler::BLOCK_TOKENS == portcullis_models::BLOCK_TOKENS);

/// What a runner does beside what it must.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunnerOptions {
    /// Which decodes run as CUDA graphs; `None`, the default, for none. **No card has run one yet.**
    /// They are recorded when the runner is made, which takes some seconds and memory beside the
    /// cache. A shape that cannot be recorded, and larger ones with it, or that comes out with other
    /// bits than from its launches one by one, is named in a warning and goes on without.
    pub graphs: Option<GraphLimits>,
}

/// The largest decode that runs as a CUDA graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphLimits {
    /// Sequences, such as the scheduler's `max_num_seqs`.
    pub rows_max: usize,
    /// Tokens of the longest of them, such as the scheduler's `max_model_len`.
    pub context_max: usize,
}

/// Runs a decoder on its device.
///
/// The model works on a thread of its own, so that the engine gates and sends one step while the
/// next is computed, as it will with a GPU.
pub struct CandleRunner {
    /// `None` only while the runner is dropped: closing it ends the thread.
    steps: Option<SyncSender<Step>>,
    results: Receiver<Result<StepOutput, RunnerError>>,
    thread: Option<JoinHandle<()>>,
    tickets: u64,
}

/// The work of one step.
struct Step {
    batch: Batch,
    block_copies: Vec<(u32, u32)>,
    draws: Vec<Draw>,
    scores: Vec<Score>,
}

impl Step {
    fn of(plan: &SchedulerOutput, draws: Vec<Draw>, scores: Vec<Score>) -> Self {
        let copies = plan.block_copies.iter();
        Self {
            batch: batch(&plan.rows, &scores),
            block_copies: copies.map(|(from, to)| (from.0, to.0)).collect(),
            draws,
            scores,
        }
    }
}

impl CandleRunner {
    /// Takes the decoder and a cache made for it.
    ///
    /// # Errors
    /// The operating system gives no thread, or the thread ended at once.
    pub fn new(decoder: Decoder, kv: KvCache, options: RunnerOptions) -> std::io::Result<Self> {
        // One step is in flight at a time: the engine collects before it submits again.
        let (steps, inbox) = sync_channel(1);
        let (outbox, results) = sync_channel(1);
        let (made, is_made) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("model".into())
            // Graphs stay on the thread that they are recorded on, so the model is made there.
            .spawn(move || {
                let model = Model::new(decoder, kv, options);
                let _ = made.send(());
                model.serve(&inbox, &outbox);
            })?;
        let died = |_| std::io::Error::other("the model's thread ended while it started");
        is_made.recv().map_err(died)?;
        Ok(Self {
            steps: Some(steps),
            results,
            thread: Some(thread),
            tickets: 0,
        })
    }
}

impl ModelRunner for CandleRunner {
    fn submit(&mut self, plan: &SchedulerOutput, draws: Vec<Draw>, scores: Vec<Score>) -> Ticket {
        self.tickets += 1;
        if let Some(steps) = &self.steps {
            // A dead model thread shows at collect, which can say so.
            drop(steps.send(Step::of(plan, draws, scores)));
        }
        Ticket(self.tickets)
    }

    fn collect(&mut self, ticket: Ticket) -> Result<StepOutput, RunnerError> {
        debug_assert_eq!(ticket.0, self.tickets, "steps are collected in order");
        // A panic on the model's thread is a bug, and nothing can be computed any more: the engine
        // ends with it, so that health says so.
        self.results
            .recv()
            .expect("the model's thread lives as long as the runner; see the panic above")
    }
}

impl Drop for CandleRunner {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by then; there is nothing left to save.
            drop(thread.join());
        }
    }
}

/// A decoder and its cache, which compute steps on the caller's thread: what [`CandleRunner`] has
/// on a thread of its own.
pub struct Model {
    decoder: Decoder,
    kv: KvCache,
    graphs: Option<DecodeGraphs<DeviceCapture>>,
}

impl Model {
    /// Takes the decoder and a cache made for it.
    pub fn new(decoder: Decoder, mut kv: KvCache, options: RunnerOptions) -> Self {
        let limits = options.graphs;
        Self {
            graphs: limits.and_then(|limits| graphs_of(&decoder, &mut kv, limits)),
            decoder,
            kv,
        }
    }

    /// Shapes of decodes that have run as CUDA graphs, and came to the bits of their launches.
    pub fn num_graphs(&self) -> usize {
        self.graphs.as_ref().map_or(0, DecodeGraphs::num_checked)
    }

    /// Computes one step. `draws` has one entry for each row with `samples`, in row order.
    ///
    /// # Errors
    /// The whole step failed; none of its rows counts as computed.
    pub fn step(
        &mut self,
        plan: &SchedulerOutput,
        draws: Vec<Draw>,
    ) -> Result<StepOutput, RunnerError> {
        self.run(&Step::of(plan, draws, Vec::new()))
            .map_err(|error| failure(&error))
    }

    fn serve(
        mut self,
        steps: &Receiver<Step>,
        results: &SyncSender<Result<StepOutput, RunnerError>>,
    ) {
        while let Ok(step) = steps.recv() {
            let result = self.run(&step).map_err(|error| failure(&error));
            if results.send(result).is_err() {
                return;
            }
        }
    }

    fn run(&mut self, step: &Step) -> Result<StepOutput, portcullis_models::ModelError> {
        self.kv.copy_blocks(&step.block_copies)?;
        let logits = self.logits(&step.batch)?;
        let (samples, scores) = sample_all(&logits, &step.draws, &step.scores)?;
        Ok(StepOutput { samples, scores })
    }

    fn logits(&mut self, batch: &Batch) -> Result<Tensor, portcullis_models::ModelError> {
        let by_graph = match &mut self.graphs {
            Some(graphs) => graphs.decode(&self.decoder, batch, &mut self.kv)?,
            None => None,
        };
        match by_graph {
            Some(logits) => Ok(logits),
            None => self.decoder.forward(batch, &mut self.kv),
        }
    }
}

/// `None` where they cannot be had, which is told.
fn graphs_of(
    decoder: &Decoder,
    kv: &mut KvCache,
    limits: GraphLimits,
) -> Option<DecodeGraphs<DeviceCapture>> {
    let Some(capture) = DeviceCapture::of(decoder.device()) else {
        tracing::warn!("CUDA graphs were asked for, and the model runs on no card: there are none");
        return None;
    };
    match DecodeGraphs::record(capture, limits, decoder, kv) {
        Ok(graphs) => Some(graphs),
        Err(error) => {
            tracing::warn!("there is no memory for CUDA graphs, steps run without: {error}");
            None
        }
    }
}

fn failure(error: &portcullis_models::ModelError) -> RunnerError {
    let message = error.to_string();
    match is_out_of_memory(&message) {
        true => RunnerError::OutOfMemory { message },
        false => RunnerError::Failed { message },
    }
}

/// Lays the rows of a plan out as one batch of tokens: the sampled rows first, then the scored ones.
fn batch(rows: &[Row], scores: &[Score]) -> Batch {
    let mut batch = Batch::default();
    for row in rows {
        let query_start = batch.tokens.len();
        batch.tokens.extend(&row.tokens);
        batch
            .positions
            .extend((row.start..row.start + row.tokens.len()).map(|p| p as u32));
        batch.sequences.push(SequenceSpan {
            query_start,
            query_len: row.tokens.len(),
            context_len: row.start + row.tokens.len(),
            block_table: row.block_table.iter().map(|block| block.0).collect(),
        });
        if row.samples {
            batch.sample_rows.push(batch.tokens.len() as u32 - 1);
        }
    }
    let scored = scores.iter().map(|score| {
        let row = &batch.sequences[score.row];
        (row.query_start + score.offset) as u32
    });
    batch.sample_rows.extend(scored.collect::<Vec<_>>());
    batch
}
