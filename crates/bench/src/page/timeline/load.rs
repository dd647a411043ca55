//! What the server gave and carried, over time.

use crate::outcome::Outcome;
use crate::page::axes;
use crate::page::element::{Element, label, line, path, rectangle};
use crate::page::figure::Table;
use crate::page::number;
use crate::page::scale::{Scale, round_step};

use super::ACROSS;

/// What a chart takes, with what stands above it, pixels.
pub(super) const HEIGHT: f64 = CHART_HEIGHT + 50.0;
const CHART_HEIGHT: f64 = 90.0;

/// A run cut into equal stretches of time.
pub(super) struct Load {
    /// When the last request ended, s.
    end: f64,
    /// Length of a stretch, s.
    width: f64,
    /// Tokens/s of each.
    tokens: Vec<f64>,
    /// Requests under way in each, on average.
    running: Vec<f64>,
}

impl Load {
    pub(super) fn of(requests: &[Outcome]) -> Self {
        let end = requests
            .iter()
            .map(|outcome| outcome.ended)
            .fold(0.0, f64::max);
        let end = end.clamp(1e-6, 1e12);
        let width = round_step(end / 20.0);
        let count = ((end / width) as usize).max(1);
        let mut load = Self {
            end,
            width,
            tokens: vec![0.0; count],
            running: vec![0.0; count],
        };
        requests.iter().for_each(|outcome| load.count(outcome));
        load
    }

    /// When the last request ended, s.
    pub(super) fn end(&self) -> f64 {
        self.end
    }

    /// Tokens/s and requests under way, on baselines at those heights.
    pub(super) fn charts(&self, time: &Scale, bottoms: (f64, f64)) -> (Vec<Element>, Vec<Element>) {
        let tokens = (&*self.tokens, "output tokens/s");
        let running = (&*self.running, "requests under way");
        (
            self.chart(tokens, time, bottoms.0),
            self.chart(running, time, bottoms.1),
        )
    }

    fn chart(&self, (values, title): (&[f64], &str), time: &Scale, bottom: f64) -> Vec<Element> {
        let top = bottom - CHART_HEIGHT;
        let most = values.iter().copied().fold(0.0, f64::max);
        let y = Scale::from_zero(most, (bottom, top));
        let area = path("area", self.outline(values, time, &y));
        let frame = axes::rows(&y, ACROSS.0, ACROSS.1).chain([
            area,
            line("base", (ACROSS.0, bottom), (ACROSS.1, bottom)),
            label("name", "start", (4.0, top - 12.0), title),
        ]);
        let hints = values.iter().enumerate().map(|(bin, &value)| {
            let (from, to) = self.stretch(bin);
            let (left, right) = (time.place(from), time.place(to));
            let (from, to, value) = (number::short(from), number::short(to), number::short(value));
            let hint = format!("{from} to {to} s: {value} {title}");
            rectangle("bin", (left, top), right - left, CHART_HEIGHT).hint(hint)
        });
        frame.chain(hints).collect()
    }

    /// One step a bin, from the baseline and back to it.
    fn outline(&self, values: &[f64], time: &Scale, y: &Scale) -> Vec<(f64, f64)> {
        let steps = values.iter().enumerate().flat_map(|(bin, &value)| {
            let (from, to) = self.stretch(bin);
            [from, to].map(|at| (time.place(at), y.place(value)))
        });
        let (bottom, _) = y.ends();
        let start = (ACROSS.0, bottom);
        let end = (ACROSS.1, bottom);
        [start].into_iter().chain(steps).chain([end]).collect()
    }

    pub(super) fn table(&self) -> Table {
        let head = ["From, s", "To, s", "Output tokens/s", "Requests under way"];
        let mut table = Table::new("Load over time", head);
        let rows = (0..self.tokens.len()).map(|bin| {
            let (from, to) = self.stretch(bin);
            let values = [from, to, self.tokens[bin], self.running[bin]];
            values.map(number::short).to_vec()
        });
        table.rows = rows.collect();
        table
    }

    fn count(&mut self, outcome: &Outcome) {
        for chunk in &outcome.chunks {
            let bin = self.bin(chunk.at);
            self.tokens[bin] += chunk.tokens / self.length(bin);
        }
        for bin in self.bin(outcome.sent)..=self.bin(outcome.ended) {
            let (from, to) = self.stretch(bin);
            let shared = outcome.ended.min(to) - outcome.sent.max(from);
            self.running[bin] += shared.max(0.0) / self.length(bin);
        }
    }

    fn bin(&self, at: f64) -> usize {
        ((at / self.width) as usize).min(self.tokens.len() - 1)
    }

    /// From when to when, s; the last stretch is longer, as it ends with the run.
    fn stretch(&self, bin: usize) -> (f64, f64) {
        let from = bin as f64 * self.width;
        let is_last = bin + 1 == self.tokens.len();
        (from, if is_last { self.end } else { from + self.width })
    }

    fn length(&self, bin: usize) -> f64 {
        let (from, to) = self.stretch(bin);
        to - from
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;
    use crate::outcome::Chunk;

    #[test]
    fn bins_hold_every_token_and_every_second() {
        let mut slow = request(0.2, 3.3);
        slow.chunks = [1.0, 2.0, 3.3].map(|at| Chunk { at, tokens: 2.0 }).into();
        let load = Load::of(&[slow, request(1.0, 2.0)]);
        let lengths = (0..load.tokens.len()).map(|bin| load.length(bin));
        let sum = |values: &[f64]| -> f64 {
            values
                .iter()
                .zip(lengths.clone())
                .map(|(value, length)| value * length)
                .sum()
        };
        assert!((sum(&load.tokens) - 6.0).abs() < 1e-9);
        assert!((sum(&load.running) - 4.1).abs() < 1e-9);
    }
}
