//! Decodes as launches that depend on a shape alone: what CUDA graphs are made of.
//!
//! [`Decoder::forward`] takes any step and uploads what describes it on the way. Here a step is
//! written into tables that stay where they are, and then computed from them.

use candle_core::Tensor;
use portcullis_kernels::{DecodeShape, DecodeTables, SPLIT_TOKENS};

use super::{Batch, Decoder};
use crate::{KvCache, ModelError};

/// Numbers of rows that decodes are padded to. Up to eight each has its own: there padding would be
/// a large part of the work.
const ROWS: [usize; 18] = [
    1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256,
];

/// Rows of the smallest shape with room for `rows`, or of the largest that there is.
pub fn decode_rows(rows: usize) -> usize {
    let found = ROWS.into_iter().find(|&padded| padded >= rows);
    found.unwrap_or(ROWS[ROWS.len() - 1])
}

impl Batch {
    /// Whether every sequence has one query token and is sampled, in row order, and nothing else is
    /// asked for.
    pub fn is_decode(&self) -> bool {
        let rows = self.sequences.len();
        let sampled = self.sample_rows.iter().map(|&row| row as usize);
        rows > 0 && self.sequences.iter().all(|s| s.query_len == 1) && sampled.eq(0..rows)
    }
}

impl Decoder {
    /// The smallest shape that has room for a decode; `None` where it is none, or has more rows or
    /// tokens than any shape.
    pub fn decode_shape(&self, batch: &Batch) -> Option<DecodeShape> {
        if !batch.is_decode() {
            return None;
        }
        let context = batch.sequences.iter().map(|s| s.context_len).max()?;
        let rows = decode_rows(batch.sequences.len());
        let has_room = rows >= batch.sequences.len() && context <= self.config.max_position;
        has_room.then_some(DecodeShape {
            rows,
            context_max: self.context_bound(context),
        })
    }

    /// Every shape that [`decode_shape`](Self::decode_shape) gives decodes of up to `rows` rows, none
    /// of which has more than `context` tokens: those of the shortest contexts first.
    pub fn decode_shapes(&self, rows: usize, context: usize) -> Vec<DecodeShape> {
        let longest = self.context_bound(context.clamp(1, self.config.max_position));
        let bounds = (0..).map(|power| self.context_bound(SPLIT_TOKENS << power));
        let mut bounds: Vec<usize> = bounds.take_while(|&bound| bound < longest).collect();
        bounds.push(longest);
        let rows_max = decode_rows(rows);
        let shapes = bounds.into_iter().flat_map(|context_max| {
            let padded = ROWS.into_iter().filter(move |&rows| rows <= rows_max);
            padded.map(move |rows| DecodeShape { rows, context_max })
        });
        shapes.collect()
    }

    /// The bound of a shape for contexts of up to `tokens`: what a block of attention looks at, times
    /// a power of two. A smaller one would save nothing.
    fn context_bound(&self, tokens: usize) -> usize {
        let steps = tokens.div_ceil(SPLIT_TOKENS).next_power_of_two();
        self.config.max_position.min(steps * SPLIT_TOKENS)
    }

    /// Tables for decodes of a shape over a cache made for this decoder; all their rows are
    /// padding.
    ///
    /// # Errors
    /// A device that runs plain loops, or one that has no memory for them.
    pub fn decode_tables(
        &self,
        shape: DecodeShape,
        cache: &KvCache,
    ) -> Result<DecodeTables, ModelError> {
        Ok(DecodeTables::new(shape, cache.num_blocks(), &self.device)?)
    }

    /// Writes a step into tables whose shape has room for it.
    ///
    /// # Errors
    /// A batch that does not hold together, is no decode, or does not fit; the tables are then as
    /// they were.
    pub fn write_decode(&self, tables: &mut DecodeTables, batch: &Batch) -> Result<(), ModelError> {
        self.check(batch, batch.sequences.len())?;
        Ok(tables.write(&batch.tokens, &batch.sequences)?)
    }

    /// Computes the step that the tables describe: writes K and V of its rows into `cache`, and
    /// returns the logits of all rows, padding included, `[rows, vocab]` in the model's dtype.
    ///
    /// What it launches depends on the tables' shape and addresses and on nothing that is in them.
    /// So the launches may be recorded and run again once other steps are written; only products of
    /// more than eight rows are other libraries' launches. Up to eight rows, each has the bits that
    /// [`forward`](Self::forward) gives it; beyond, a card's products depend on the number of rows,
    /// and padding counts.
    ///
    /// # Errors
    /// Tables with a longer context than the model has, or memory that ran out.
    pub fn decode(&self, tables: &DecodeTables, cache: &mut KvCache) -> Result<Tensor, ModelError> {
        let mut stream = self.through_layers(tables.tokens(), tables.batch(), cache)?;
        Ok(self.output.forward(&stream.norm(&self.norm)?)?)
    }
}
