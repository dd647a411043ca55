//! Which rows of a batch belong to which sequence, and where their cache lies.

use candle_core::{Device, Result, Tensor};

#[cfg(any(feature = "cuda", feature = "emulation"))]
use crate::device_batch::DeviceBatch;
use crate::{BLOCK_TOKENS, DecodeShape};

/// The part of one sequence that a step computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceSpan {
    /// Row of the sequence's first query token in the batch.
    pub query_start: usize,
    /// Query tokens of this step: 1 for a decode, more for a prefill chunk.
    pub query_len: usize,
    /// Tokens of the sequence up to and including the last query token. The query tokens stand at
    /// positions `context_len - query_len .. context_len`.
    pub context_len: usize,
    /// Blocks of the sequence in order; covers `context_len` tokens, may be longer.
    pub block_table: Vec<u32>,
}

impl SequenceSpan {
    /// Position of the first query token.
    pub fn first_position(&self) -> usize {
        self.context_len - self.query_len
    }

    /// Positions of the query tokens.
    fn positions(&self) -> std::ops::Range<usize> {
        self.first_position()..self.context_len
    }

    /// The cache slot of a position: block * [`BLOCK_TOKENS`] + offset.
    pub fn slot(&self, position: usize) -> u32 {
        self.block_table[position / BLOCK_TOKENS] * BLOCK_TOKENS as u32
            + (position % BLOCK_TOKENS) as u32
    }
}

/// A step's description for every layer: checked once, then trusted by the ops.
///
/// Rows are covered without gap or overlap, every sequence has at least one query token, block
/// tables cover the context and name blocks that exist, and no two rows write the same slot.
#[derive(Clone, Debug)]
pub struct PagedBatch {
    spans: Vec<SequenceSpan>,
    num_tokens: usize,
    num_blocks: usize,
    context_max: usize,
    slots: Tensor,
    positions: Tensor,
    /// Only where kernels read it.
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    on_device: Option<DeviceBatch>,
}

/// Why a batch description cannot be right. Each is a mistake of the caller's bookkeeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Spans must follow one another without gap.
    Gap {
        /// Its index in the batch.
        sequence: usize,
        /// The row where it should start.
        expected: usize,
        /// The row where it starts.
        found: usize,
    },
    /// A sequence without a query token, or with more query tokens than context.
    QueryLen {
        /// Its index in the batch.
        sequence: usize,
        /// Its query tokens.
        query_len: usize,
        /// Its tokens altogether.
        context_len: usize,
    },
    /// The block table does not cover the context.
    ShortBlockTable {
        /// Its index in the batch.
        sequence: usize,
        /// Blocks in its table.
        blocks: usize,
        /// Its tokens altogether.
        context_len: usize,
    },
    /// A block that the cache does not have.
    UnknownBlock {
        /// Its index in the batch.
        sequence: usize,
        /// The block.
        block: u32,
        /// Blocks of the cache.
        num_blocks: usize,
    },
    /// Two rows would write the same slot of the cache.
    SharedSlot {
        /// The slot: block * [`BLOCK_TOKENS`] + offset.
        slot: u32,
    },
}

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gap {
                sequence,
                expected,
                found,
            } => write!(
                f,
                "sequence {sequence} starts at row {found} of the batch, expected row {expected}"
            ),
            Self::QueryLen {
                sequence,
                query_len,
                context_len,
            } => write!(
                f,
                "sequence {sequence} has {query_len} query tokens and a context of {context_len}"
            ),
            Self::ShortBlockTable {
                sequence,
                blocks,
                context_len,
            } => write!(
                f,
                "sequence {sequence} has {blocks} blocks of {BLOCK_TOKENS} for {context_len} tokens"
            ),
            Self::UnknownBlock {
                sequence,
                block,
                num_blocks,
            } => write!(
                f,
                "sequence {sequence} names block {block}, the cache has {num_blocks}"
            ),
            Self::SharedSlot { slot } => write!(f, "two rows write slot {slot} of the cache"),
        }
    }
}

impl std::error::Error for BatchError {}

impl PagedBatch {
    /// Checks the description against a cache of `num_blocks` and puts the slot mapping on `device`.
    ///
    /// # Errors
    /// [`BatchError`] (wrapped) when an invariant above does not hold.
    pub fn new(spans: Vec<SequenceSpan>, num_blocks: usize, device: &Device) -> Result<Self> {
        let slots = check(&spans, num_blocks).map_err(candle_core::Error::wrap)?;
        let num_tokens = slots.len();
        let slots = Tensor::from_vec(slots, num_tokens, device)?;
        let positions = spans.iter().flat_map(SequenceSpan::positions);
        let positions: Vec<u32> = positions.map(|position| position as u32).collect();
        let positions = Tensor::from_vec(positions, num_tokens, device)?;
        #[cfg(any(feature = "cuda", feature = "emulation"))]
        let on_device = match crate::device::backend_on(device) {
            Some(_) if num_tokens > 0 => Some(DeviceBatch::new(&spans, device)?),
            _ => None,
        };
        Ok(Self {
            context_max: spans.iter().map(|span| span.context_len).max().unwrap_or(0),
            spans,
            num_tokens,
            num_blocks,
            slots,
            positions,
            #[cfg(any(feature = "cuda", feature = "emulation"))]
            on_device,
        })
    }

    /// The batch that the tables of a decode describe: positions and slots of its rows, then its
    /// rows and block tables as [`DeviceBatch`] has them. Who writes the tables has checked what is
    /// in them.
    pub(crate) fn of_decode(
        shape: DecodeShape,
        num_blocks: usize,
        [positions, slots]: [Tensor; 2],
        tables: [Tensor; 2],
    ) -> Self {
        // Where no kernels are compiled, nobody reads them.
        #[cfg(not(any(feature = "cuda", feature = "emulation")))]
        drop(tables);
        Self {
            spans: Vec::new(),
            num_tokens: shape.rows,
            num_blocks,
            context_max: shape.context_max,
            slots,
            positions,
            #[cfg(any(feature = "cuda", feature = "emulation"))]
            on_device: Some(DeviceBatch::of_decode(shape, tables)),
        }
    }

    /// The sequences, in row order; none of [`DecodeTables`](crate::DecodeTables).
    pub fn spans(&self) -> &[SequenceSpan] {
        &self.spans
    }

    /// Rows of the batch.
    pub fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// Blocks of the cache that the description was checked against.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// A bound on the tokens of each sequence.
    pub(crate) fn context_max(&self) -> usize {
        self.context_max
    }

    /// Where each row's K and V go, u32 `[num_tokens]`.
    pub fn slots(&self) -> &Tensor {
        &self.slots
    }

    /// Where each row stands in its sequence, u32 `[num_tokens]`.
    pub fn positions(&self) -> &Tensor {
        &self.positions
    }

    /// What kernels read of a batch that has rows.
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    pub(crate) fn on_device(&self) -> Result<&DeviceBatch> {
        match &self.on_device {
            Some(tables) => Ok(tables),
            None => candle_core::bail!(
                "the batch was described for another device than the one it is used on: give \
                 PagedBatch::new the device of q and the cache"
            ),
        }
    }
}

/// Returns the slot of each row.
pub(crate) fn check(
    spans: &[SequenceSpan],
    num_blocks: usize,
) -> std::result::Result<Vec<u32>, BatchError> {
    let mut slots = Vec::new();
    for (sequence, span) in spans.iter().enumerate() {
        check_span(sequence, span, slots.len(), num_blocks)?;
        slots.extend(span.positions().map(|p| span.slot(p)));
    }
    match first_duplicate(&slots) {
        Some(slot) => Err(BatchError::SharedSlot { slot }),
        None => Ok(slots),
    }
}

fn check_span(
    sequence: usize,
    span: &SequenceSpan,
    expected: usize,
    num_blocks: usize,
) -> std::result::Result<(), BatchError> {
    let &SequenceSpan {
        query_start: found,
        query_len,
        context_len,
        ref block_table,
    } = span;
    let blocks = block_table.len();
    if found != expected {
        return Err(BatchError::Gap {
            sequence,
            expected,
            found,
        });
    }
    if query_len == 0 || query_len > context_len {
        return Err(BatchError::QueryLen {
            sequence,
            query_len,
            context_len,
        });
    }
    if blocks * BLOCK_TOKENS < context_len {
        return Err(BatchError::ShortBlockTable {
            sequence,
            blocks,
            context_len,
        });
    }
    match block_table
        .iter()
        .find(|&&block| block as usize >= num_blocks)
    {
        Some(&block) => Err(BatchError::UnknownBlock {
            sequence,
            block,
            num_blocks,
        }),
        None => Ok(()),
    }
}

fn first_duplicate(slots: &[u32]) -> Option<u32> {
    let mut sorted = slots.to_vec();
    sorted.sort_unstable();
    sorted
        .windows(2)
        .find(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
}
