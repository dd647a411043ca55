//! Decodes as CUDA graphs: the launches of a shape are recorded once and then run again as one.
//!
//! **No card has run this yet**, and it is off unless [`RunnerOptions`](crate::RunnerOptions) asks
//! for it. What is proven without one: a decode's launches depend on its shape alone (the emulation
//! replays them), and what is here falls back where recording fails or gives other bits. What a
//! card must show: that capture itself works, and what it brings.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

#[cfg(not(feature = "cuda"))]
use candle_core::Device;
use candle_core::{DType, Tensor};
use portcullis_models::{
    Batch, DecodeShape, DecodeTables, Decoder, KvCache, ModelError, decode_rows,
};

/// What can record launches and run them again.
pub(crate) trait Capture {
    /// Recorded launches.
    type Graph;

    /// Runs `work` once and copies its result to the first rows of `out`, which brings all that
    /// only a first run needs, and then records both. Returns the result of the first run.
    ///
    /// # Errors
    /// `work` fails, or does what cannot be recorded.
    fn capture(
        &self,
        work: &mut dyn FnMut() -> Result<Tensor, ModelError>,
        out: &Tensor,
    ) -> Result<(Tensor, Self::Graph), ModelError>;

    /// Runs a recording, after all that was launched before.
    ///
    /// # Errors
    /// The device fails.
    fn launch(&self, graph: &Self::Graph) -> Result<(), ModelError>;
}

/// The graphs of one decoder and cache. Each shape is recorded when its first step comes, which
/// takes that step somewhat longer.
pub(crate) struct DecodeGraphs<C: Capture> {
    capture: C,
    /// Rows of the largest decode that is recorded.
    rows_max: usize,
    /// Where every graph leaves its logits, `[padded rows, vocab]`: one runs at a time.
    logits: Tensor,
    /// `None` for shapes that stay eager.
    graphs: HashMap<DecodeShape, Option<DecodeGraph<C::Graph>>>,
}

/// The launches of a shape, and the tables that they read.
struct DecodeGraph<G> {
    tables: DecodeTables,
    launches: G,
}

impl<C: Capture> DecodeGraphs<C> {
    /// For decodes of up to `rows_max` rows, or of the largest shape there is.
    ///
    /// # Errors
    /// No memory for their logits.
    pub(crate) fn new(capture: C, rows_max: usize, decoder: &Decoder) -> Result<Self, ModelError> {
        let shape = (decode_rows(rows_max), decoder.config().vocab_size);
        Ok(Self {
            capture,
            rows_max,
            logits: Tensor::zeros(shape, decoder.dtype(), decoder.device())?,
            graphs: HashMap::new(),
        })
    }

    /// Computes a step as [`Decoder::forward`] does, by a graph; `None` if it is to be computed
    /// there. `cache` is the same for every step: graphs hold its addresses.
    ///
    /// # Errors
    /// A batch that does not hold together.
    pub(crate) fn decode(
        &mut self,
        decoder: &Decoder,
        batch: &Batch,
        cache: &mut KvCache,
    ) -> Result<Option<Tensor>, ModelError> {
        let has_room = batch.sequences.len() <= self.rows_max;
        let Some(shape) = decoder.decode_shape(batch).filter(|_| has_room) else {
            return Ok(None);
        };
        let computed = match self.graphs.get_mut(&shape) {
            Some(None) => return Ok(None),
            Some(Some(graph)) => {
                decoder.write_decode(&mut graph.tables, batch)?;
                self.capture.launch(&graph.launches)
            }
            None => self.record(shape, decoder, batch, cache),
        };
        match computed.and_then(|()| self.rows(batch.sequences.len())) {
            Ok(logits) => Ok(Some(logits)),
            Err(error) => {
                tracing::warn!(
                    "CUDA graph of {shape:?} given up: {error}; such steps are launched one kernel at \
                     a time"
                );
                self.graphs.insert(shape, None);
                Ok(None)
            }
        }
    }

    /// Shapes that run as graphs.
    pub(crate) fn len(&self) -> usize {
        self.graphs.values().flatten().count()
    }

    /// Records a shape, and runs it once for the step that it came with.
    fn record(
        &mut self,
        shape: DecodeShape,
        decoder: &Decoder,
        batch: &Batch,
        cache: &mut KvCache,
    ) -> Result<(), ModelError> {
        let mut tables = decoder.decode_tables(shape, cache)?;
        decoder.write_decode(&mut tables, batch)?;
        let mut work = || decoder.decode(&tables, cache);
        let (eager, launches) = self.capture.capture(&mut work, &self.logits)?;
        // What is compared must come from the graph.
        self.logits.zero_set()?;
        self.capture.launch(&launches)?;
        let replayed = self.logits.narrow(0, 0, shape.rows)?;
        if bits(&eager)? != bits(&replayed)? {
            Err(candle_core::Error::msg(
                "it gives other bits than its launches gave",
            ))?;
        }
        tracing::info!("decodes of {shape:?} run as a CUDA graph");
        self.graphs
            .insert(shape, Some(DecodeGraph { tables, launches }));
        Ok(())
    }

    /// What the last graph computed for its first rows, as [`Decoder::forward`] gives it, until the
    /// next one runs.
    fn rows(&self, rows: usize) -> Result<Tensor, ModelError> {
        Ok(self.logits.narrow(0, 0, rows)?.to_dtype(DType::F32)?)
    }
}

/// The bits of every number, in the host's memory. A short number's are those of the f32 that it
/// is.
fn bits(logits: &Tensor) -> Result<Vec<u32>, ModelError> {
    let numbers = logits.to_dtype(DType::F32)?.flatten_all()?;
    let numbers = numbers.to_vec1::<f32>()?;
    Ok(numbers.into_iter().map(f32::to_bits).collect())
}

/// What records on the device of a model in this build.
#[cfg(feature = "cuda")]
pub(crate) use cuda::CudaCapture as DeviceCapture;

/// What records on the device of a model in this build: there is nothing.
#[cfg(not(feature = "cuda"))]
pub(crate) enum DeviceCapture {}

#[cfg(not(feature = "cuda"))]
impl DeviceCapture {
    pub(crate) fn of(_: &Device) -> Option<Self> {
        None
    }
}

#[cfg(not(feature = "cuda"))]
impl Capture for DeviceCapture {
    type Graph = std::convert::Infallible;

    fn capture(
        &self,
        _: &mut dyn FnMut() -> Result<Tensor, ModelError>,
        _: &Tensor,
    ) -> Result<(Tensor, Self::Graph), ModelError> {
        match *self {}
    }

    fn launch(&self, graph: &Self::Graph) -> Result<(), ModelError> {
        match *graph {}
    }
}
