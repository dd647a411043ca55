//! What the kernel is told of a step's draws, as words in one upload: a `Row` each, and the lists
//! that the rows refer to.

use super::{DrawRow, seen};

/// `NONE` of the kernel.
const NONE: u32 = u32::MAX;

/// `Edit` of the kernel.
const ADD: u32 = 0;
const REPETITION: u32 = 1;

/// A part of the lists: where it begins, in words, and how many entries it has.
#[derive(Clone, Copy)]
struct Range {
    first: u32,
    count: u32,
}

const EMPTY: Range = Range { first: 0, count: 0 };

/// The draws of a step for the kernel.
pub(super) struct Tables {
    /// A `Row` each, [`ROW_WORDS`] long.
    pub(super) rows: Vec<u32>,
    /// What the rows refer to.
    pub(super) lists: Vec<u32>,
    /// Rows whose logits are to be adjusted.
    pub(super) num_adjusted: usize,
}

/// Words of the kernel's `Row`.
pub(super) const ROW_WORDS: usize = 19;

impl Tables {
    pub(super) fn of(rows: &[DrawRow<'_>]) -> Self {
        let mut tables = Self {
            rows: Vec::with_capacity(rows.len() * ROW_WORDS),
            lists: Vec::new(),
            num_adjusted: 0,
        };
        rows.iter().for_each(|row| tables.push(row));
        tables
    }

    /// Appends the row, its fields in the kernel's order.
    fn push(&mut self, row: &DrawRow<'_>) {
        let edits = self.edits(row);
        let allowed = self.allowed(row);
        let weights = self.weights(row);
        let sets = self.sets(row);
        let (temperature, top_p, top_k, min_p) = match row.greedy {
            true => (1.0, 1.0, None, 0.0),
            false => (row.temperature, row.top_p, row.top_k, row.min_p),
        };
        let adjusted = self.adjusted_row(edits, allowed);
        self.rows.extend([
            row.greedy.into(),
            top_k.unwrap_or(NONE),
            row.top_logprobs as u32,
            adjusted,
            row.seed as u32,
            (row.seed >> 32) as u32,
            row.position as u32,
            row.attempt,
            temperature.to_bits(),
            top_p.to_bits(),
            min_p.ln().max(f32::MIN).to_bits(),
        ]);
        for range in [edits, allowed, weights, sets] {
            self.rows.extend([range.first, range.count]);
        }
    }

    /// What is added to single logits, by what they are multiplied, and what is banned.
    fn edits(&mut self, row: &DrawRow<'_>) -> Range {
        let bias = row.bias.iter().map(|&(token, bias)| (token, ADD, bias));
        let mut edits: Vec<(u32, u32, f32)> = bias.collect();
        for (token, count) in seen(row.prompt, row.completion) {
            edits.push((token, REPETITION, row.repetition_penalty));
            if count > 0 {
                let penalty = row.presence_penalty + row.frequency_penalty * count as f32;
                edits.push((token, ADD, -penalty));
            }
        }
        let banned = row.banned.iter();
        edits.extend(banned.map(|&token| (token, ADD, f32::NEG_INFINITY)));
        // Stable: the edits of one token stay in the order of the steps.
        edits.sort_by_key(|(token, ..)| *token);
        let words = edits
            .iter()
            .flat_map(|(token, edit, operand)| [*token, *edit, operand.to_bits()]);
        self.list(words, edits.len())
    }

    fn allowed(&mut self, row: &DrawRow<'_>) -> Range {
        match row.allowed {
            Some(words) => self.list(words.iter().copied(), words.len()),
            None => Range {
                first: NONE,
                count: 0,
            },
        }
    }

    fn weights(&mut self, row: &DrawRow<'_>) -> Range {
        let weights = row.weights.iter();
        let words = weights.flat_map(|(token, weight)| [*token, weight.to_bits()]);
        self.list(words, row.weights.len())
    }

    /// The tokens of the sets one after another, then where each begins and the last ends.
    fn sets(&mut self, row: &DrawRow<'_>) -> Range {
        if row.watch.is_empty() {
            return EMPTY;
        }
        let mut bounds = vec![self.lists.len() as u32];
        for set in row.watch {
            self.lists.extend_from_slice(set);
            bounds.push(self.lists.len() as u32);
        }
        self.list(bounds, row.watch.len())
    }

    fn list(&mut self, words: impl IntoIterator<Item = u32>, count: usize) -> Range {
        let first = self.lists.len() as u32;
        self.lists.extend(words);
        Range {
            first,
            count: count as u32,
        }
    }

    /// Where the adjusted logits go, if there is anything to adjust.
    fn adjusted_row(&mut self, edits: Range, allowed: Range) -> u32 {
        if edits.count == 0 && allowed.first == NONE {
            return NONE;
        }
        self.num_adjusted += 1;
        self.num_adjusted as u32 - 1
    }
}
