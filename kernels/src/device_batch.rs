//! What kernels read of a batch: uploaded once a step, for every layer.

use candle_core::{Device, Result, Tensor};

use crate::{DecodeShape, SequenceSpan};

/// The tables of a batch with at least one row, on its device.
#[derive(Clone, Debug)]
pub(crate) struct DeviceBatch {
    /// The blocks of each sequence, u32 `[num_sequences, max_blocks]`, padded with 0.
    pub(crate) block_tables: Tensor,
    /// All rows.
    pub(crate) rows: Rows,
    /// The rows of sequences with one query token.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) decodes: Rows,
    /// The other sequences.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) prefills: Vec<PrefillRun>,
}

impl DeviceBatch {
    pub(crate) fn new(spans: &[SequenceSpan], device: &Device) -> Result<Self> {
        Ok(Self {
            block_tables: block_tables(spans, device)?,
            rows: Rows::of(spans, |_| true, device)?,
            #[cfg(any(feature = "cuda", test))]
            decodes: Rows::of(spans, |span| span.query_len == 1, device)?,
            #[cfg(any(feature = "cuda", test))]
            prefills: PrefillRun::all_of(spans, device)?,
        })
    }

    /// Over the tables of a decode, which may be written over at any time: what launches are made
    /// from is the shape alone.
    pub(crate) fn of_decode(shape: DecodeShape, [table, block_tables]: [Tensor; 2]) -> Self {
        let rows = Rows {
            table: Some(table),
            len: shape.rows,
            context_max: shape.context_max,
        };
        Self {
            block_tables,
            #[cfg(any(feature = "cuda", test))]
            decodes: rows.clone(),
            #[cfg(any(feature = "cuda", test))]
            prefills: Vec::new(),
            rows,
        }
    }
}

fn block_tables(spans: &[SequenceSpan], device: &Device) -> Result<Tensor> {
    let blocks = spans.iter().map(|span| span.block_table.len());
    let max_blocks = blocks.max().unwrap_or(0);
    let mut table = vec![0; spans.len() * max_blocks];
    for (row, span) in table.chunks_exact_mut(max_blocks.max(1)).zip(spans) {
        row[..span.block_table.len()].copy_from_slice(&span.block_table);
    }
    Tensor::from_vec(table, (spans.len(), max_blocks), device)
}

/// Rows that one launch computes.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// u32 `[len, 3]`: the row in the batch, its sequence, its context with itself. `None` for no
    /// rows, which no device keeps memory for.
    table: Option<Tensor>,
    pub(crate) len: usize,
    /// The longest context.
    pub(crate) context_max: usize,
}

impl Rows {
    fn of(
        spans: &[SequenceSpan],
        takes: impl Fn(&SequenceSpan) -> bool,
        device: &Device,
    ) -> Result<Self> {
        let mut table = Vec::new();
        let mut context_max = 0;
        for (sequence, span) in spans.iter().enumerate().filter(|(_, span)| takes(span)) {
            context_max = context_max.max(span.context_len);
            for offset in 0..span.query_len {
                let context = span.first_position() + offset + 1;
                let row = [span.query_start + offset, sequence, context];
                table.extend(row.map(|value| value as u32));
            }
        }
        let len = table.len() / 3;
        let table = match len {
            0 => None,
            _ => Some(Tensor::from_vec(table, (len, 3), device)?),
        };
        Ok(Self {
            table,
            len,
            context_max,
        })
    }

    /// The table, if there are rows.
    pub(crate) fn table(&self) -> Option<&Tensor> {
        self.table.as_ref()
    }
}

/// Sequences that follow one another in the batch, each with several query tokens.
#[cfg(any(feature = "cuda", test))]
#[derive(Clone, Debug)]
pub(crate) struct PrefillRun {
    /// Of the batch.
    pub(crate) rows: std::ops::Range<usize>,
    /// Of the block tables.
    pub(crate) sequences: std::ops::Range<usize>,
    /// Where each sequence's query tokens start among `rows`, and where the last ends, u32.
    pub(crate) query_starts: Tensor,
    /// The same for the contexts, one after the other.
    pub(crate) context_starts: Tensor,
    /// The most query tokens of a sequence.
    pub(crate) query_max: usize,
    /// The longest context.
    pub(crate) context_max: usize,
}

#[cfg(any(feature = "cuda", test))]
impl PrefillRun {
    fn all_of(spans: &[SequenceSpan], device: &Device) -> Result<Vec<Self>> {
        let mut runs = Vec::new();
        let mut first_sequence = 0;
        for run in spans.chunk_by(|a, b| (a.query_len > 1) == (b.query_len > 1)) {
            if run[0].query_len > 1 {
                runs.push(Self::of(run, first_sequence, device)?);
            }
            first_sequence += run.len();
        }
        Ok(runs)
    }

    fn of(run: &[SequenceSpan], first_sequence: usize, device: &Device) -> Result<Self> {
        let first_row = run[0].query_start;
        let num_rows: usize = run.iter().map(|span| span.query_len).sum();
        Ok(Self {
            rows: first_row..first_row + num_rows,
            sequences: first_sequence..first_sequence + run.len(),
            query_starts: starts(run.iter().map(|span| span.query_len), device)?,
            context_starts: starts(run.iter().map(|span| span.context_len), device)?,
            query_max: run.iter().map(|span| span.query_len).max().unwrap_or(0),
            context_max: run.iter().map(|span| span.context_len).max().unwrap_or(0),
        })
    }
}

/// 0, then the sums of the lengths up to each.
#[cfg(any(feature = "cuda", test))]
fn starts(lengths: impl Iterator<Item = usize>, device: &Device) -> Result<Tensor> {
    let mut starts = vec![0];
    starts.extend(lengths.scan(0, |sum, len| {
        *sum += len as u32;
        Some(*sum)
    }));
    Tensor::new(starts, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (query tokens, context, blocks) of each sequence.
    fn batch(sequences: &[(usize, usize, &[u32])]) -> DeviceBatch {
        let mut query_start = 0;
        let spans = sequences.iter().map(|&(query_len, context_len, blocks)| {
            let span = SequenceSpan {
                query_start,
                query_len,
                context_len,
                block_table: blocks.to_vec(),
            };
            query_start += query_len;
            span
        });
        let spans: Vec<_> = spans.collect();
        DeviceBatch::new(&spans, &Device::Cpu).expect("tables")
    }

    #[test]
    fn rows_know_their_sequence_and_context() {
        let batch = batch(&[(1, 40, &[5, 2, 7]), (2, 3, &[1])]);
        let tables = batch.block_tables.to_vec2::<u32>().expect("a table");
        assert_eq!(tables, [[5, 2, 7], [1, 0, 0]]);
        let rows = |rows: &Rows| {
            rows.table()
                .map(|table| table.to_vec2::<u32>().expect("u32"))
        };
        let expected = vec![vec![0, 0, 40], vec![1, 1, 2], vec![2, 1, 3]];
        assert_eq!(rows(&batch.rows), Some(expected));
        assert_eq!((batch.rows.len, batch.rows.context_max), (3, 40));
        assert_eq!(rows(&batch.decodes), Some(vec![vec![0, 0, 40]]));
    }

    #[test]
    fn prefills_that_stand_together_are_one_run() {
        let blocks: &[u32] = &[0, 1];
        let lengths = [(3, 3), (2, 40), (1, 9), (1, 1), (5, 5), (1, 4), (2, 2)];
        let found = batch(&lengths.map(|(query_len, context)| (query_len, context, blocks)));
        let seen = found.prefills.iter().map(|run| {
            let starts = |x: &Tensor| x.to_vec1::<u32>().expect("u32");
            (
                (run.rows.clone(), run.sequences.clone()),
                (starts(&run.query_starts), starts(&run.context_starts)),
                (run.query_max, run.context_max),
            )
        });
        let expected = [
            ((0..5, 0..2), (vec![0, 3, 5], vec![0, 3, 43]), (3, 40)),
            ((7..12, 4..5), (vec![0, 5], vec![0, 5]), (5, 5)),
            ((13..15, 6..7), (vec![0, 2], vec![0, 2]), (2, 2)),
        ];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
        assert_eq!(found.decodes.len, 3);
    }
}
