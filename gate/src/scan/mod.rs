//! Finds matches as text arrives.
//!
//! For every place of the text from which some pattern could still match there is a thread: where
//! it began, and the state of an anchored automaton that has read everything since. A character
//! advances all threads and starts one; threads from which no match can be reached any more go.
//! What remains says what may be released: nothing from the first thread on, for it could yet
//! become a match. No text is read twice.

mod automaton;

use std::ops::Range;

use regex_automata::util::primitives::StateID;

pub(crate) use automaton::{BuildError, Lane, Pattern};

use crate::{json::JsonReader, judge::Judge, ruleset::Normalise, view::Folder};

/// All rules of a set that look at one side, compiled.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    pub(crate) views: Vec<ViewMatcher>,
    pub(crate) judges: Vec<Judge>,
}

/// The patterns that look at one view of the text.
#[derive(Debug)]
pub(crate) struct ViewMatcher {
    pub(crate) normalise: Normalise,
    pub(crate) lanes: Vec<Lane>,
}

/// A pattern has matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// Index of the rule in its set.
    pub(crate) rule: usize,
    /// First byte in the completion. Whole characters: one that a match touches belongs to it.
    pub(crate) start: usize,
    /// First byte after it.
    pub(crate) end: usize,
    /// The match is certain once so many bytes have arrived, whatever tokens they came in.
    pub(crate) known_at: usize,
}

/// An automaton gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GaveUp;

/// Where the scan of a set stands: everything that the past of the text can still mean.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    views: Vec<ViewScan>,
    /// Set where the text is JSON, which is then read as what it means.
    json: Option<JsonReader>,
}

#[derive(Clone, Debug)]
struct ViewScan {
    folder: Folder,
    /// Bytes of the view so far.
    len: usize,
    /// The last byte of the view.
    last: Option<u8>,
    /// Where the character that it came from ends in the completion.
    last_end: usize,
    /// For each lane, oldest first.
    threads: Vec<Vec<Thread>>,
    /// What the threads of lanes with checks have read; `None` where no lane has one.
    recent: Option<Recent>,
    /// Scratch: what the last character folded to.
    folded: String,
}

/// The last bytes of a view.
#[derive(Clone, Debug, Default)]
struct Recent {
    bytes: Vec<u8>,
    /// Where they begin in the view.
    start: usize,
}

#[derive(Clone, Copy, Debug)]
struct Thread {
    /// First byte in the completion.
    start: usize,
    /// First byte in the view.
    view_start: usize,
    state: StateID,
}

impl Scan {
    pub(crate) fn new(matcher: &Matcher, is_json: bool) -> Self {
        Self {
            views: matcher.views.iter().map(ViewScan::new).collect(),
            json: is_json.then(JsonReader::default),
        }
    }

    /// Reads `text`, which begins at byte `start` of the completion.
    pub(crate) fn advance(
        &mut self,
        matcher: &Matcher,
        start: usize,
        text: &str,
        found: &mut Vec<Match>,
    ) -> Result<(), GaveUp> {
        let json = self.json;
        for (view, matcher) in self.views.iter_mut().zip(&matcher.views) {
            view.advance(matcher, start, text, json, found)?;
        }
        if let Some(json) = &mut self.json {
            let characters = text.char_indices();
            characters.for_each(|(offset, character)| {
                json.push(character, start + offset);
            });
        }
        Ok(())
    }

    /// Reports what is a match already, though the automaton would say so one byte late, and lets
    /// threads go that have nothing else to say.
    pub(crate) fn settle(&mut self, matcher: &Matcher, found: &mut Vec<Match>) {
        for (view, matcher) in self.views.iter_mut().zip(&matcher.views) {
            view.settle(matcher, found);
        }
    }

    /// Nothing follows byte `end` of the completion.
    pub(crate) fn finish(&mut self, matcher: &Matcher, end: usize, found: &mut Vec<Match>) {
        for (view, matcher) in self.views.iter_mut().zip(&matcher.views) {
            view.finish(matcher, end, found);
        }
    }

    /// The first byte from which a pattern of a rule that holds could still match, or of which it
    /// is not known yet what it means.
    pub(crate) fn alive_from(&self, matcher: &Matcher) -> Option<usize> {
        let views = self.views.iter().zip(&matcher.views);
        let alive = views.filter_map(|(view, matcher)| view.alive_from(matcher));
        alive
            .chain(self.json.and_then(|json| json.open_from()))
            .min()
    }

    /// Gives up on every match that has begun.
    pub(crate) fn forget_threads(&mut self) {
        let views = self.views.iter_mut();
        views
            .flat_map(|view| &mut view.threads)
            .for_each(Vec::clear);
    }

    /// `clone_from` that keeps allocations.
    pub(crate) fn copy_from(&mut self, other: &Scan) {
        self.json = other.json;
        for (view, other) in self.views.iter_mut().zip(&other.views) {
            (view.folder, view.len) = (other.folder, other.len);
            (view.last, view.last_end) = (other.last, other.last_end);
            for (threads, other) in view.threads.iter_mut().zip(&other.threads) {
                threads.clone_from(other);
            }
            view.recent.clone_from(&other.recent);
        }
    }
}

impl ViewScan {
    fn new(matcher: &ViewMatcher) -> Self {
        let has_checks = matcher.lanes.iter().any(Lane::has_checks);
        Self {
            folder: Folder::new(matcher.normalise),
            len: 0,
            last: None,
            last_end: 0,
            threads: vec![Vec::new(); matcher.lanes.len()],
            recent: has_checks.then(Recent::default),
            folded: String::new(),
        }
    }

    fn advance(
        &mut self,
        matcher: &ViewMatcher,
        start: usize,
        text: &str,
        mut json: Option<JsonReader>,
        found: &mut Vec<Match>,
    ) -> Result<(), GaveUp> {
        for (offset, character) in text.char_indices() {
            let at = start + offset;
            match &mut json {
                None => self.push(matcher, character, at..at + character.len_utf8(), found)?,
                Some(json) => {
                    for (meant, origin) in json.push(character, at).into_iter().flatten() {
                        self.push(matcher, meant, origin, found)?;
                    }
                }
            }
        }
        self.forget_read(matcher);
        Ok(())
    }

    /// Reads one character, which `origin` stands for in the completion.
    fn push(
        &mut self,
        matcher: &ViewMatcher,
        character: char,
        origin: Range<usize>,
        found: &mut Vec<Match>,
    ) -> Result<(), GaveUp> {
        let mut folded = std::mem::take(&mut self.folded);
        folded.clear();
        self.folder.push(character, &mut folded);
        for byte in folded.bytes() {
            self.step(matcher, byte, origin.clone(), found)?;
        }
        self.folded = folded;
        Ok(())
    }

    /// Drops what no thread of a lane with checks has read.
    fn forget_read(&mut self, matcher: &ViewMatcher) {
        let Some(recent) = &mut self.recent else {
            return;
        };
        let lanes = self.threads.iter().zip(&matcher.lanes);
        let oldest = lanes
            .filter(|(_, lane)| lane.has_checks())
            .filter_map(|(threads, _)| threads.first())
            .map(|thread| thread.view_start)
            .min();
        recent.keep_from(oldest.unwrap_or(self.len));
    }

    /// Reads one byte of the view, which came from the character at `origin`.
    fn step(
        &mut self,
        matcher: &ViewMatcher,
        byte: u8,
        origin: Range<usize>,
        found: &mut Vec<Match>,
    ) -> Result<(), GaveUp> {
        let recent = self.recent.as_ref();
        for (threads, lane) in self.threads.iter_mut().zip(&matcher.lanes) {
            let matched = |thread: &Thread, pattern: &Pattern| Match {
                rule: pattern.rule,
                start: thread.start,
                end: self.last_end,
                known_at: if pattern.looks_ahead {
                    origin.end
                } else {
                    self.last_end
                },
            };
            let mut gave_up = false;
            threads.retain_mut(|thread| {
                thread.state = lane.next(thread.state, byte);
                let patterns = lane.matches(thread.state);
                let counting = patterns.filter(|pattern| counts(pattern, thread, recent));
                found.extend(counting.map(|pattern| matched(thread, pattern)));
                gave_up |= lane.gave_up(thread.state);
                lane.is_alive(thread.state, self.len + 1 - thread.view_start)
            });
            // Matches are whole characters, so none begins inside one.
            if !is_continuation(byte) {
                let state = lane.next(lane.start(self.last), byte);
                gave_up |= lane.gave_up(state);
                if lane.is_alive(state, 1) {
                    threads.push(Thread {
                        start: origin.start,
                        view_start: self.len,
                        state,
                    });
                }
            }
            if gave_up {
                return Err(GaveUp);
            }
        }
        self.len += 1;
        if let Some(recent) = &mut self.recent {
            recent.bytes.push(byte);
        }
        self.last = Some(byte);
        self.last_end = origin.end;
        Ok(())
    }

    fn settle(&mut self, matcher: &ViewMatcher, found: &mut Vec<Match>) {
        self.match_at_end(matcher, found, |pattern| {
            (!pattern.looks_ahead).then_some(self.last_end)
        });
        for (threads, lane) in self.threads.iter_mut().zip(&matcher.lanes) {
            threads.retain(|thread| !lane.is_spent(thread.state));
        }
    }

    fn finish(&mut self, matcher: &ViewMatcher, end: usize, found: &mut Vec<Match>) {
        self.match_at_end(matcher, found, |pattern| {
            Some(if pattern.looks_ahead {
                end + 1
            } else {
                self.last_end
            })
        });
        self.threads.iter_mut().for_each(Vec::clear);
    }

    /// Reports the matches that there would be if the text ended here, known when `known_at` says.
    fn match_at_end(
        &self,
        matcher: &ViewMatcher,
        found: &mut Vec<Match>,
        known_at: impl Fn(&Pattern) -> Option<usize>,
    ) {
        for (threads, lane) in self.threads.iter().zip(&matcher.lanes) {
            for thread in threads {
                let patterns = lane.matches(lane.next_at_end(thread.state));
                let counting =
                    patterns.filter(|pattern| counts(pattern, thread, self.recent.as_ref()));
                found.extend(counting.filter_map(|pattern| {
                    Some(Match {
                        rule: pattern.rule,
                        start: thread.start,
                        end: self.last_end,
                        known_at: known_at(pattern)?,
                    })
                }));
            }
        }
    }

    fn alive_from(&self, matcher: &ViewMatcher) -> Option<usize> {
        let lanes = self.threads.iter().zip(&matcher.lanes);
        lanes
            .filter(|(_, lane)| lane.holds())
            .filter_map(|(threads, _)| threads.first().map(|oldest| oldest.start))
            .min()
    }
}

impl Recent {
    fn keep_from(&mut self, view_start: usize) {
        self.bytes.drain(..view_start - self.start);
        self.start = view_start;
    }
}

/// Whether what `thread` has read satisfies the pattern's check.
fn counts(pattern: &Pattern, thread: &Thread, recent: Option<&Recent>) -> bool {
    match (pattern.check, recent) {
        (Some(check), Some(recent)) => {
            check.holds(&recent.bytes[thread.view_start - recent.start..])
        }
        _ => true,
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}
