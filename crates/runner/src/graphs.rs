//! Decodes as CUDA graphs: the launches of each shape are recorded at start and run again as one.
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
use portcullis_models::{Batch, DecodeShape, DecodeTables, Decoder, KvCache, ModelError};

use crate::candle::GraphLimits;

/// What can record launches and run them again.
pub(crate) trait Capture {
    /// Recorded launches.
    type Graph;

    /// Runs `work` once and copies its result to the first rows of `out`, which brings all that
    /// only a first run needs, and then records both.
    ///
    /// # Errors
    /// `work` fails, or does what cannot be recorded.
    fn capture(
        &self,
        work: &mut dyn FnMut() -> Result<Tensor, ModelError>,
        out: &Tensor,
    ) -> Result<Self::Graph, ModelError>;

    /// Runs a recording, after all that was launched before.
    ///
    /// # Errors
    /// The device fails.
    fn launch(&self, graph: &Self::Graph) -> Result<(), ModelError>;
}

/// The graphs of one decoder and cache.
pub(crate) struct DecodeGraphs<C: Capture> {
    capture: C,
    /// Where every graph leaves its logits, `[padded rows, vocab]`: one runs at a time.
    logits: Tensor,
    /// Shapes that are not among them are launched one kernel at a time.
    graphs: HashMap<DecodeShape, DecodeGraph<C::Graph>>,
}

/// The launches of a shape, and the tables that they read.
struct DecodeGraph<G> {
    tables: DecodeTables,
    launches: G,
    /// Whether it has given the bits that its launches gave.
    is_checked: bool,
}

impl<C: Capture> DecodeGraphs<C> {
    /// Records every shape within `limits`. `cache` is the one of all later steps: graphs hold its
    /// addresses. Where one cannot be recorded, that is told, and it and larger ones stay eager.
    ///
    /// # Errors
    /// No memory for their logits.
    pub(crate) fn record(
        capture: C,
        limits: GraphLimits,
        decoder: &Decoder,
        cache: &mut KvCache,
    ) -> Result<Self, ModelError> {
        let shapes = decoder.decode_shapes(limits.rows_max, limits.context_max);
        let rows_max = shapes.iter().map(|shape| shape.rows).max().unwrap_or(0);
        let logits = (rows_max, decoder.config().vocab_size);
        let mut graphs = Self {
            capture,
            logits: Tensor::zeros(logits, decoder.dtype(), decoder.device())?,
            graphs: HashMap::new(),
        };
        let mut failed: Vec<DecodeShape> = Vec::new();
        for shape in shapes {
            if failed.iter().any(|smaller| has_room_for(shape, *smaller)) {
                continue;
            }
            if let Err(error) = graphs.record_one(shape, decoder, cache) {
                tracing::warn!("from {shape:?} on there are no CUDA graphs: {error}");
                failed.push(shape);
            }
        }
        let recorded = graphs.graphs.len();
        tracing::info!("{recorded} shapes of decodes recorded as CUDA graphs");
        Ok(graphs)
    }

    /// Computes a step as [`Decoder::forward`] does, by a graph; `None` if it is to be computed
    /// there.
    ///
    /// # Errors
    /// A batch that does not hold together.
    pub(crate) fn decode(
        &mut self,
        decoder: &Decoder,
        batch: &Batch,
        cache: &mut KvCache,
    ) -> Result<Option<Tensor>, ModelError> {
        let Some(shape) = decoder.decode_shape(batch) else {
            return Ok(None);
        };
        let Some(graph) = self.graphs.get_mut(&shape) else {
            return Ok(None);
        };
        decoder.write_decode(&mut graph.tables, batch)?;
        let ran = match graph.is_checked {
            true => self.capture.launch(&graph.launches),
            false => graph.check(&self.capture, &self.logits, decoder, cache),
        };
        match ran.and_then(|()| self.rows(batch.sequences.len())) {
            Ok(logits) => Ok(Some(logits)),
            Err(error) => {
                tracing::warn!(
                    "the CUDA graph of {shape:?} is given up, such steps are launched one kernel at \
                     a time: {error}"
                );
                self.graphs.remove(&shape);
                Ok(None)
            }
        }
    }

    /// Shapes that have run as graphs, and came to the bits of their launches.
    pub(crate) fn num_checked(&self) -> usize {
        let checked = self.graphs.values().filter(|graph| graph.is_checked);
        checked.count()
    }

    /// With tables of padding alone: what is launched does not depend on them, and nothing of the
    /// cache is written.
    fn record_one(
        &mut self,
        shape: DecodeShape,
        decoder: &Decoder,
        cache: &mut KvCache,
    ) -> Result<(), ModelError> {
        let tables = decoder.decode_tables(shape, cache)?;
        let mut work = || decoder.decode(&tables, cache);
        let launches = self.capture.capture(&mut work, &self.logits)?;
        let graph = DecodeGraph {
            tables,
            launches,
            is_checked: false,
        };
        self.graphs.insert(shape, graph);
        Ok(())
    }

    /// What the last graph computed for its first rows, as [`Decoder::forward`] gives it, until the
    /// next one runs.
    fn rows(&self, rows: usize) -> Result<Tensor, ModelError> {
        Ok(self.logits.narrow(0, 0, rows)?.to_dtype(DType::F32)?)
    }
}

impl<G> DecodeGraph<G> {
    /// Computes the step in its tables by its launches one by one, and then by the graph, which
    /// leaves its logits in `out` and must come to the same bits.
    fn check<C: Capture<Graph = G>>(
        &mut self,
        capture: &C,
        out: &Tensor,
        decoder: &Decoder,
        cache: &mut KvCache,
    ) -> Result<(), ModelError> {
        let eager = decoder.decode(&self.tables, cache)?;
        // What is compared must come from the graph.
        out.zero_set()?;
        capture.launch(&self.launches)?;
        let replayed = out.narrow(0, 0, self.tables.shape().rows)?;
        if bits(&eager)? != bits(&replayed)? {
            Err(candle_core::Error::msg(
                "it gives other bits than its launches gave",
            ))?;
        }
        self.is_checked = true;
        tracing::info!("decodes of {:?} run as a CUDA graph", self.tables.shape());
        Ok(())
    }
}

/// Whether whatever fits the smaller shape fits this one, which so takes no less memory.
fn has_room_for(shape: DecodeShape, smaller: DecodeShape) -> bool {
    shape.rows >= smaller.rows && shape.context_max >= smaller.context_max
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
    ) -> Result<Self::Graph, ModelError> {
        match *self {}
    }

    fn launch(&self, graph: &Self::Graph) -> Result<(), ModelError> {
        match *graph {}
    }
}
