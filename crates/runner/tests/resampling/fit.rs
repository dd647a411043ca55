//! Pearson's chi-square: whether counts may come from given shares.

use std::collections::BTreeMap;

use crate::law::Shares;
use crate::toy::Outcome;

/// A right resampler is called wrong at most this often (seeds are fixed, so: never or always).
pub(crate) const LEVEL: f64 = 1e-4;

/// Cells that expect fewer are merged.
const EXPECTED_MIN: f64 = 5.0;

/// How far counts are from what they should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit {
    pub(crate) chi_square: f64,
    /// Beyond this, the counts are rejected at [`LEVEL`].
    pub(crate) critical: f64,
    pub(crate) cells: usize,
}

impl Fit {
    pub(crate) fn of(counts: &BTreeMap<Outcome, u64>, shares: &Shares) -> Self {
        let sum: f64 = shares.values().sum();
        assert!((sum - 1.0).abs() < 1e-9, "shares add up to {sum}");
        let total = counts.values().sum::<u64>() as f64;
        let cells = merged(shares.iter().map(|(outcome, share)| {
            let count = counts.get(outcome).copied().unwrap_or(0);
            (count as f64, share * total)
        }));
        let impossible = counts.keys().any(|outcome| !shares.contains_key(outcome));
        let chi_square = match impossible {
            true => f64::INFINITY,
            false => cells
                .iter()
                .map(|(n, mean)| (n - mean).powi(2) / mean)
                .sum(),
        };
        Self {
            chi_square,
            critical: critical(cells.len() - 1),
            cells: cells.len(),
        }
    }

    pub(crate) fn rejects(&self) -> bool {
        self.chi_square > self.critical
    }
}

/// Counts and expectations, small ones in one cell.
fn merged(cells: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut cells: Vec<(f64, f64)> = cells.collect();
    cells.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut merged: Vec<(f64, f64)> = Vec::new();
    let mut rest = (0.0, 0.0);
    for cell in cells {
        if cell.1 >= EXPECTED_MIN {
            merged.push(cell);
        } else {
            rest = (rest.0 + cell.0, rest.1 + cell.1);
        }
    }
    match merged.last_mut() {
        Some(last) if rest.1 < EXPECTED_MIN => *last = (last.0 + rest.0, last.1 + rest.1),
        _ => merged.push(rest),
    }
    merged
}

/// What a chi-square variable exceeds with a probability of at most [`LEVEL`]: a bound, so that
/// the level is kept without a table. Source: Laurent and Massart, Annals of Statistics 28 (2000),
/// lemma 1.
fn critical(degrees: usize) -> f64 {
    let (degrees, x) = (degrees as f64, -LEVEL.ln());
    degrees + 2.0 * (degrees * x).sqrt() + 2.0 * x
}
