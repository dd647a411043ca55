//! Stop strings: text that ends a completion and is no part of it.

use std::sync::Arc;

/// Finds the first stop string in text that arrives in pieces.
///
/// Text is held back as long as it could be the beginning of a stop string. The result does not
/// depend on where the pieces are cut: the completion ends with the first stop string that is
/// *complete*, and of several that are complete at the same character, the longest counts.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Arc<[String]>,
    held: String,
    stopped: bool,
}

/// What one piece of text led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopStep {
    /// Text that no stop string can reach any more.
    pub text: String,
    /// Whether a stop string was met: `text` is the last, and whatever follows is dropped.
    pub stopped: bool,
}

impl StopMatcher {
    /// A matcher for these strings; empty ones are ignored, since they would stop everything.
    pub fn new(stops: Vec<String>) -> Self {
        Self {
            stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
            held: String::new(),
            stopped: false,
        }
    }

    /// Takes the next piece of text.
    pub fn push(&mut self, text: &str) -> StopStep {
        if self.stopped {
            return StopStep {
                text: String::new(),
                stopped: true,
            };
        }
        self.held.push_str(text);
        match self.first_stop() {
            Some(start) => self.stop_at(start),
            None => StopStep {
                text: self.release(),
                stopped: false,
            },
        }
    }

    /// Nothing follows: what was held back is text after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the stop string begins that is complete first.
    fn first_stop(&self) -> Option<usize> {
        let ends = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        ends.min().map(|(_, start)| start)
    }

    fn stop_at(&mut self, start: usize) -> StopStep {
        self.stopped = true;
        let mut text = std::mem::take(&mut self.held);
        text.truncate(start);
        StopStep {
            text,
            stopped: true,
        }
    }

    /// Takes out what cannot be the beginning of a stop string.
    fn release(&mut self) -> String {
        let kept = self
            .stops
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max();
        let tail = self.held.split_off(self.held.len() - kept.unwrap_or(0));
        std::mem::replace(&mut self.held, tail)
    }
}

/// The length of the longest proper beginning of `stop` that `text` ends with.
fn overlap(text: &str, stop: &str) -> usize {
    let mut lengths = stop.char_indices().map(|(index, _)| index).rev();
    lengths
        .find(|&length| text.ends_with(&stop[..length]))
        .unwrap_or(0)
}
