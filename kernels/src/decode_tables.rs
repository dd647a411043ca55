//! The tables of a decode, at one place in the device's memory and written over step after step.
//!
//! A decode is the same launches whatever its sequences are, if all that changes from step to step
//! is read from there: so launches can be recorded once, as a CUDA graph, and run again.

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Tensor, bail};

use crate::batch::{PagedBatch, SequenceSpan, check};
use crate::{BLOCK_TOKENS, NO_SLOT};

/// What the launches of a decode depend on, beside the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DecodeShape {
    /// Rows, one a sequence; those behind the last sequence are padding.
    pub rows: usize,
    /// Tokens that a sequence may have.
    pub context_max: usize,
}

impl DecodeShape {
    /// Blocks that a sequence may have.
    pub(crate) fn max_blocks(self) -> usize {
        self.context_max.div_ceil(BLOCK_TOKENS)
    }
}

/// Tokens, positions, slots, rows and block tables of a decode, each sequence with one query token.
///
/// A row of padding has no context and no slot: it computes numbers that mean nothing, reads
/// nothing of the cache and writes nothing to it.
pub struct DecodeTables {
    shape: DecodeShape,
    /// All tables, one after the other, u32: a step is one upload.
    words: Tensor,
    tokens: Tensor,
    batch: PagedBatch,
}

impl DecodeTables {
    /// Takes the memory for a shape, on a device that runs kernels; all rows are padding.
    /// `num_blocks` is the cache's.
    ///
    /// # Errors
    /// A shape without rows or context, a device that runs plain loops, or one without memory.
    pub fn new(shape: DecodeShape, num_blocks: usize, device: &Device) -> Result<Self> {
        if shape.rows == 0 || shape.context_max == 0 {
            bail!("a decode of {shape:?} has nothing to compute");
        }
        if !has_kernels(device) {
            bail!(
                "{device:?} has no kernels to read the tables of a decode: describe it as a batch"
            );
        }
        let words = Tensor::zeros(words_of(shape, &[], &[], &[]).len(), DType::U32, device)?;
        let rows = shape.rows;
        let column = |index| words.narrow(0, index * rows, rows);
        let row_table = words.narrow(0, 3 * rows, 3 * rows)?.reshape((rows, 3))?;
        let max_blocks = shape.max_blocks();
        let block_tables = words.narrow(0, 6 * rows, max_blocks * rows)?;
        let block_tables = block_tables.reshape((rows, max_blocks))?;
        let (tokens, columns) = (column(0)?, [column(1)?, column(2)?]);
        let batch = PagedBatch::of_decode(shape, num_blocks, columns, [row_table, block_tables]);
        let mut tables = Self {
            shape,
            words,
            tokens,
            batch,
        };
        tables.write(&[], &[])?;
        Ok(tables)
    }

    /// What its launches depend on.
    pub fn shape(&self) -> DecodeShape {
        self.shape
    }

    /// The token of each row, u32 `[rows]`.
    pub fn tokens(&self) -> &Tensor {
        &self.tokens
    }

    /// The rows for the ops. Its spans are empty: kernels read the tables.
    pub fn batch(&self) -> &PagedBatch {
        &self.batch
    }

    /// Describes the next step, in one upload: row `i` is the last token of `spans[i]`,
    /// `tokens[i]`.
    ///
    /// # Errors
    /// [`BatchError`](crate::BatchError) (wrapped), more than the shape has room for, a sequence
    /// with several query tokens, or tokens and sequences that differ in number. The tables are
    /// then as they were.
    pub fn write(&mut self, tokens: &[u32], spans: &[SequenceSpan]) -> Result<()> {
        let slots = check(spans, self.batch.num_blocks()).map_err(candle_core::Error::wrap)?;
        self.check_room(tokens, spans)?;
        let words = words_of(self.shape, tokens, &slots, spans);
        self.words.inplace_op1(&Upload(&words))
    }

    fn check_room(&self, tokens: &[u32], spans: &[SequenceSpan]) -> Result<()> {
        let DecodeShape { rows, context_max } = self.shape;
        if tokens.len() != spans.len() || spans.len() > rows {
            let (tokens, sequences) = (tokens.len(), spans.len());
            bail!("{tokens} tokens of {sequences} sequences for a decode of {rows} rows");
        }
        if let Some(span) = spans.iter().find(|span| span.query_len != 1) {
            bail!(
                "{} query tokens of one sequence are no decode",
                span.query_len
            );
        }
        match spans.iter().find(|span| span.context_len > context_max) {
            Some(span) => bail!(
                "a context of {} tokens for a decode of up to {context_max}",
                span.context_len
            ),
            None => Ok(()),
        }
    }
}

/// The tables in the order of [`DecodeTables::new`]: tokens, positions, slots, rows, block tables.
fn words_of(shape: DecodeShape, tokens: &[u32], slots: &[u32], spans: &[SequenceSpan]) -> Vec<u32> {
    let (rows, max_blocks) = (shape.rows, shape.max_blocks());
    let mut words = Vec::with_capacity(rows * (6 + max_blocks));
    let positions = spans.iter().map(|span| span.first_position() as u32);
    words.extend(padded(tokens.iter().copied(), rows, 0));
    words.extend(padded(positions, rows, 0));
    words.extend(padded(slots.iter().copied(), rows, NO_SLOT));
    for row in 0..rows {
        let context = spans.get(row).map_or(0, |span| span.context_len);
        words.extend([row, row, context].map(|word| word as u32));
    }
    for row in 0..rows {
        let blocks = spans.get(row).map_or(&[][..], |span| &span.block_table);
        words.extend(padded(blocks.iter().copied(), max_blocks, 0));
    }
    words
}

/// Exactly `len` values.
fn padded(
    values: impl Iterator<Item = u32>,
    len: usize,
    padding: u32,
) -> impl Iterator<Item = u32> {
    values.chain(std::iter::repeat(padding)).take(len)
}

fn has_kernels(device: &Device) -> bool {
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if crate::device::backend_on(device).is_some() {
        return true;
    }
    !device.is_cpu()
}

/// Writes over a whole tensor where it lies.
struct Upload<'a>(&'a [u32]);

impl InplaceOp1 for Upload<'_> {
    fn name(&self) -> &'static str {
        "upload"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        let CpuStorage::U32(words) = storage else {
            bail!("the tables of a decode are u32");
        };
        words.copy_from_slice(self.0);
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, _: &Layout) -> Result<()> {
        use candle_core::cuda_backend::CudaStorageSlice;
        let device = storage.device.clone();
        match &mut storage.slice {
            CudaStorageSlice::U32(words) => device.memcpy_htod(self.0, words),
            _ => bail!("the tables of a decode are u32"),
        }
    }
}
