//! Requests as bars: those that overlap in time lie in lanes of their own.

use crate::outcome::Outcome;
use crate::page::element::{Element, circle, label, line, rectangle};
use crate::page::number;
use crate::page::scale::Scale;

use super::{TOP, shortened};

/// All bars together are no higher than that, and none thicker, pixels.
const HEIGHT_MAX: f64 = 420.0;
const LANE_HEIGHT_MAX: f64 = 12.0;

/// Requests, each in its lane.
pub(super) struct Bars<'a> {
    requests: Vec<(&'a Outcome, usize)>,
    /// Pixels.
    lane_height: f64,
    height: f64,
}

impl<'a> Bars<'a> {
    /// Of requests in the order they were sent.
    pub(super) fn of(requests: &[&'a Outcome]) -> Self {
        let lanes = lanes(requests);
        let count = lanes.iter().max().map_or(1, |&last| last + 1) as f64;
        let lane_height = (HEIGHT_MAX / count).min(LANE_HEIGHT_MAX);
        Self {
            requests: requests.iter().copied().zip(lanes).collect(),
            lane_height,
            height: count * lane_height,
        }
    }

    /// Pixels.
    pub(super) fn height(&self) -> f64 {
        self.height
    }

    /// Those that failed come last, so that nothing covers them.
    pub(super) fn draw(&self, time: &Scale) -> impl Iterator<Item = Element> {
        let of = |failed: bool| {
            let requests = self.requests.iter();
            requests.filter(move |(outcome, _)| outcome.error.is_some() == failed)
        };
        of(false).chain(of(true)).map(|&(outcome, lane)| {
            let top = TOP + lane as f64 * self.lane_height;
            bar(outcome, time, top, self.lane_height)
        })
    }
}

/// The first lane that is free again when a request is sent, for each in order of sending.
fn lanes(requests: &[&Outcome]) -> Vec<usize> {
    let mut free_from: Vec<f64> = Vec::new();
    let lanes = requests.iter().map(|outcome| {
        let free = free_from.iter().position(|&free| free <= outcome.sent);
        let lane = free.unwrap_or(free_from.len());
        free_from.resize(free_from.len().max(lane + 1), 0.0);
        free_from[lane] = outcome.ended;
        lane
    });
    lanes.collect()
}

fn bar(outcome: &Outcome, time: &Scale, top: f64, lane_height: f64) -> Element {
    let height = (lane_height * 0.8).max(0.3);
    let (sent, ended) = (time.place(outcome.sent), time.place(outcome.ended));
    let stretch =
        |class: &str, from: f64, to: f64| rectangle(class, (from, top), to - from, height);
    let group = Element::new("g").hint(hint(outcome));
    let first = outcome.chunks.first().map(|chunk| time.place(chunk.at));
    let group = match first {
        Some(first) => group
            .child(stretch("wait", sent, first))
            .child(stretch("stream", first, ended))
            .child(line("first", (first, top), (first, top + height))),
        None => group.child(stretch("wait", sent, ended)),
    };
    if outcome.error.is_none() {
        return group;
    }
    group
        .with("class", "broken")
        .child(stretch("failed", sent, ended))
        .child(circle(
            "failed",
            (ended, top + height / 2.0),
            height.clamp(2.5, 5.0),
        ))
}

fn hint(outcome: &Outcome) -> String {
    let ms = |seconds: f64| number::duration(seconds * 1000.0);
    let ttft = outcome
        .ttft()
        .map(|ttft| format!("; first token after {}", ms(ttft)));
    let error = outcome
        .error
        .as_deref()
        .map(|e| format!("; failed: {}", shortened(e)));
    format!(
        "Request {}: sent at {}, took {}{}; {} tokens in, {} out{}",
        outcome.index,
        ms(outcome.sent),
        ms(outcome.latency()),
        ttft.unwrap_or_default(),
        outcome.input_tokens,
        outcome.output_tokens,
        error.unwrap_or_default(),
    )
}

/// What the parts of a bar mean.
pub(super) fn key() -> Element {
    let swatch = |class: &str, x: f64, text: &str| {
        Element::new("g")
            .child(rectangle(class, (x, 9.0), 14.0, 9.0))
            .child(label("name", "start", (x + 20.0, 18.0), text))
    };
    Element::group("neutral key")
        .child(swatch("wait", 64.0, "waits for its first token"))
        .child(line("first", (252.0, 9.0), (252.0, 18.0)))
        .child(label("name", "start", (260.0, 18.0), "first token"))
        .child(swatch("stream", 350.0, "streams"))
        .child(swatch("failed", 442.0, "failed"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    #[test]
    fn requests_share_a_lane_one_after_the_other() {
        let requests = [
            request(0.0, 4.0),
            request(1.0, 2.0),
            request(2.0, 3.0),
            request(2.5, 9.0),
        ];
        let requests: Vec<&Outcome> = requests.iter().collect();
        assert_eq!(lanes(&requests), [0, 1, 1, 2]);
    }
}
