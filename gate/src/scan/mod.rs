//! Finds matches as text arrives.
//!
//! For every place of the text from which some pattern could still match there is a thread: where
//! it began, and the state of an anchored automaton that has read everything since. A character
//! advances all threads and starts one; threads from which no match can be reached any more go.
//! What remains says what may be released: nothing from the first thread on, for it could yet
//! become a match. No text is read twice, but after a roll-back.

mod automaton;
mod base;
#[cfg(test)]
mod tests;
mod threads;

use std::ops::Range;

pub(crate) use automaton::{BuildError, Lane, Pattern};
pub(crate) use base::Base;
use threads::Threads;

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
    /// Where the view stands, before the piece.
    position: Position,
    /// For each lane.
    threads: Vec<Threads>,
    /// What the threads of lanes with checks have read; `None` where no lane has one.
    recent: Option<Recent>,
    /// Scratch: the last piece that was read.
    piece: Piece,
}

/// A place of a view.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    /// Bytes of the view so far.
    len: usize,
    /// The last of them.
    last: Option<u8>,
    /// Where the character that it came from ends in the completion.
    last_end: usize,
}

/// A piece of a view.
#[derive(Clone, Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// For each byte, the character in the completion that it came from.
    origins: Vec<Range<usize>>,
}

/// The last bytes of a view.
#[derive(Clone, Debug, Default)]
struct Recent {
    bytes: Vec<u8>,
    /// Where they begin in the view.
    start: usize,
}

/// Bytes of [`Recent`] that nobody needs before they are dropped.
const RECENT_BYTES_SLACK: usize = 256;

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
        let known = found.len();
        for (view, matcher) in self.views.iter_mut().zip(&matcher.views) {
            view.advance(matcher, start, text, self.json, found)?;
        }
        // Lanes were read one after the other: as if it had been byte by byte.
        found[known..].sort_unstable_by_key(|found| (found.end, found.rule, found.start));
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
            .for_each(Threads::clear);
    }

    /// `clone_from` that keeps allocations.
    pub(crate) fn copy_from(&mut self, other: &Scan) {
        self.json = other.json;
        for (view, other) in self.views.iter_mut().zip(&other.views) {
            (view.folder, view.position) = (other.folder, other.position);
            for (threads, other) in view.threads.iter_mut().zip(&other.threads) {
                threads.copy_from(other);
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
            position: Position::default(),
            threads: vec![Threads::default(); matcher.lanes.len()],
            recent: has_checks.then(Recent::default),
            piece: Piece::default(),
        }
    }

    fn advance(
        &mut self,
        matcher: &ViewMatcher,
        start: usize,
        text: &str,
        json: Option<JsonReader>,
        found: &mut Vec<Match>,
    ) -> Result<(), GaveUp> {
        self.piece.clear();
        match json {
            None => self.fold(start, text),
            Some(json) => self.fold_json(start, text, json),
        }
        if let Some(recent) = &mut self.recent {
            recent.bytes.extend_from_slice(&self.piece.bytes);
        }
        for (threads, lane) in self.threads.iter_mut().zip(&matcher.lanes) {
            let (piece, recent) = (&self.piece, self.recent.as_ref());
            threads.read(lane, self.position, piece, recent, found)?;
        }
        self.position = self.position.after(&self.piece);
        self.forget_read(matcher);
        Ok(())
    }

    fn fold(&mut self, start: usize, text: &str) {
        for (offset, character) in text.char_indices() {
            let at = start + offset;
            let origin = at..at + character.len_utf8();
            self.piece.push(&mut self.folder, character, &origin);
        }
    }

    fn fold_json(&mut self, start: usize, text: &str, mut json: JsonReader) {
        for (offset, character) in text.char_indices() {
            let meaning = json.push(character, start + offset);
            for (meant, origin) in meaning.into_iter().flatten() {
                self.piece.push(&mut self.folder, meant, &origin);
            }
        }
    }

    /// Drops what no thread of a lane with checks has read.
    fn forget_read(&mut self, matcher: &ViewMatcher) {
        let Some(recent) = &mut self.recent else {
            return;
        };
        let lanes = self.threads.iter().zip(&matcher.lanes);
        let oldest = lanes
            .filter(|(_, lane)| lane.has_checks())
            .filter_map(|(threads, _)| threads.oldest_in_view())
            .min();
        recent.keep_from(oldest.unwrap_or(self.position.len));
    }

    fn settle(&mut self, matcher: &ViewMatcher, found: &mut Vec<Match>) {
        self.match_at_end(matcher, None, found);
        for (threads, lane) in self.threads.iter_mut().zip(&matcher.lanes) {
            threads.drop_spent(lane, self.position);
        }
    }

    fn finish(&mut self, matcher: &ViewMatcher, end: usize, found: &mut Vec<Match>) {
        self.match_at_end(matcher, Some(end), found);
        self.threads.iter_mut().for_each(Threads::clear);
    }

    /// Reports the matches that there are, and with the end of the completion those that there are
    /// if nothing follows.
    fn match_at_end(&self, matcher: &ViewMatcher, end: Option<usize>, found: &mut Vec<Match>) {
        for (threads, lane) in self.threads.iter().zip(&matcher.lanes) {
            threads.match_at_end(lane, self.position, end, self.recent.as_ref(), found);
        }
    }

    fn alive_from(&self, matcher: &ViewMatcher) -> Option<usize> {
        let lanes = self.threads.iter().zip(&matcher.lanes);
        lanes
            .filter(|(_, lane)| lane.holds())
            .filter_map(|(threads, _)| threads.oldest())
            .min()
    }
}

impl Position {
    /// Right before byte `index` of the piece that begins here.
    fn before(self, index: usize, piece: &Piece) -> Self {
        match index.checked_sub(1) {
            None => self,
            Some(last) => Self {
                len: self.len + index,
                last: Some(piece.bytes[last]),
                last_end: piece.origins[last].end,
            },
        }
    }

    /// After the piece that begins here.
    fn after(self, piece: &Piece) -> Self {
        self.before(piece.bytes.len(), piece)
    }
}

impl Piece {
    /// Adds what the character at `origin` folds to.
    fn push(&mut self, folder: &mut Folder, character: char, origin: &Range<usize>) {
        folder.push(character, &mut self.bytes);
        self.origins.resize(self.bytes.len(), origin.clone());
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.origins.clear();
    }
}

impl Recent {
    /// The bytes of the view in `range`, of which none is dropped.
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range.start - self.start..range.end - self.start]
    }

    fn keep_from(&mut self, view_start: usize) {
        let unneeded = view_start - self.start;
        if unneeded == self.bytes.len() || unneeded > RECENT_BYTES_SLACK {
            self.bytes.drain(..unneeded);
            self.start = view_start;
        }
    }
}
