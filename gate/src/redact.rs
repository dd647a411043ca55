//! Replaces what was matched, once per stretch of overlapping matches.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use crate::json::{self, JsonReader, Place};

/// Stretches that are remembered. What is forgotten counts as not replaced: closed, not open.
const PAST_MAX: usize = 64;

/// Where the rule stands among all rules of all sets: of several replacements at one place, the
/// first is taken.
type Order = (usize, usize);

/// What is to be replaced, and begins at a known byte.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    end: usize,
    with: Arc<str>,
}

/// The redactions of a completion, from the last one released to those still held.
#[derive(Debug)]
pub(crate) struct Redactor {
    /// Matches that begin in text that is not released yet, by their rule and where they begin.
    /// Those of a rule do not overlap.
    spans: BTreeMap<(Order, usize), Span>,
    /// The last stretch whose replacement is released. Its end may lie ahead.
    covered: Range<usize>,
    /// What it is replaced with.
    covered_with: Arc<str>,
    /// The stretches before it, as many as a match could still reach back into.
    past: VecDeque<Range<usize>>,
    /// Set where the completion is JSON and must stay it.
    json: Option<JsonRedaction>,
}

impl Redactor {
    pub(crate) fn of_text() -> Self {
        Self {
            spans: BTreeMap::new(),
            covered: 0..0,
            covered_with: Arc::from(""),
            past: VecDeque::new(),
            json: None,
        }
    }

    pub(crate) fn of_json() -> Self {
        Self {
            json: Some(JsonRedaction::default()),
            ..Self::of_text()
        }
    }

    /// Whether all released text from `start` to `end` was replaced.
    pub(crate) fn covers(&self, start: usize, end: usize) -> bool {
        let mut at = start;
        while at < end {
            let mut stretches = self.past.iter().chain([&self.covered]);
            match stretches.find(|stretch| stretch.contains(&at)) {
                Some(stretch) => at = stretch.end,
                None => return false,
            }
        }
        true
    }

    /// Whether part of `bytes` is to be replaced.
    pub(crate) fn touches(&self, bytes: &Range<usize>) -> bool {
        let overlaps = |from: usize, to: usize| from < bytes.end && bytes.start < to;
        let mut spans = self.spans.iter();
        overlaps(self.covered.start, self.covered.end)
            || spans.any(|((_, start), span)| overlaps(*start, span.end))
    }

    /// Whether all of `bytes` is to be replaced.
    pub(crate) fn replaces(&self, bytes: &Range<usize>) -> bool {
        let mut at = bytes.start.max(self.covered.end.min(bytes.end));
        while at < bytes.end {
            let over = self.spans.iter().filter(|((_, start), _)| *start <= at);
            let end = over.map(|(_, span)| span.end).max();
            match end.filter(|end| *end > at) {
                Some(end) => at = end,
                None => return false,
            }
        }
        true
    }

    /// A match of the rule at `order` is to be replaced.
    pub(crate) fn add(
        &mut self,
        span: Range<usize>,
        released: usize,
        order: Order,
        with: &Arc<str>,
    ) {
        if span.start < released {
            self.covered.end = self.covered.end.max(span.end);
            return;
        }
        let Range { mut start, mut end } = span;
        // Every further byte of a match is a match again: keep one.
        while let Some((known_start, known_end)) = self.last_before(order, end)
            && known_end > start
        {
            self.spans.remove(&(order, known_start));
            (start, end) = (start.min(known_start), end.max(known_end));
        }
        let with = Arc::clone(with);
        self.spans.insert((order, start), Span { end, with });
    }

    /// The last match of the rule at `order` that begins before byte `end`.
    fn last_before(&self, order: Order, end: usize) -> Option<(usize, usize)> {
        let mut of_rule = self.spans.range((order, 0)..(order, end));
        let ((_, start), span) = of_rule.next_back()?;
        Some((*start, span.end))
    }

    /// Text that is not released is gone.
    pub(crate) fn roll_back(&mut self, released: usize) {
        self.spans.clear();
        self.covered.end = self.covered.end.min(released);
    }

    /// Writes the released form of `text`, which begins at byte `start` of the completion, and
    /// gives the stretches of it that were replaced.
    pub(crate) fn render(
        &mut self,
        start: usize,
        text: &str,
        out: &mut String,
    ) -> Vec<Range<usize>> {
        if self.json.is_none() && self.spans.is_empty() && self.covered.end <= start {
            out.push_str(text);
            return Vec::new();
        }
        let stretches = self.stretches(start, start + text.len());
        match &mut self.json {
            Some(json) => json.render(start, text, &stretches, out),
            None => render_text(start, text, &stretches, out),
        }
    }

    /// The stretches to be replaced that reach into the text from `start` to `end`, in order.
    fn stretches(&mut self, start: usize, end: usize) -> Vec<Stretch> {
        let ready = self.spans.extract_if(.., |(_, from), _| *from < end);
        let mut ready: Vec<_> = ready.collect();
        ready.sort_unstable_by_key(|((order, start), _)| (*start, *order));
        let mut stretches = Vec::new();
        if self.covered.end > start {
            stretches.push(self.stretch());
        }
        for ((_, start), span) in ready {
            if start < self.covered.end {
                self.covered.end = self.covered.end.max(span.end);
            } else {
                self.past.push_back(self.covered.clone());
                if self.past.len() > PAST_MAX {
                    self.past.pop_front();
                }
                self.covered = start..span.end;
                self.covered_with = span.with;
                stretches.push(self.stretch());
            }
            if let Some(last) = stretches.last_mut() {
                last.bytes.end = self.covered.end;
            }
        }
        stretches
    }

    fn stretch(&self) -> Stretch {
        Stretch {
            bytes: self.covered.clone(),
            with: self.covered_with.clone(),
        }
    }
}

/// Overlapping matches, replaced as one.
struct Stretch {
    bytes: Range<usize>,
    with: Arc<str>,
}

/// What is replaced is replaced where it begins.
fn render_text(
    start: usize,
    text: &str,
    stretches: &[Stretch],
    out: &mut String,
) -> Vec<Range<usize>> {
    let end = start + text.len();
    let mut at = start;
    for Stretch { bytes, with } in stretches {
        if bytes.start >= start {
            out.push_str(&text[at - start..bytes.start - start]);
            out.push_str(with);
        }
        at = bytes.end.min(end);
    }
    out.push_str(&text[at - start..]);
    stretches
        .iter()
        .map(|stretch| stretch.bytes.clone())
        .collect()
}

/// Keeps JSON what it is: brackets, commas, colons and quotes stay; in each string that a stretch
/// reaches into, its part is replaced; and of a number or a literal nothing is left but a string.
#[derive(Debug, Default)]
struct JsonRedaction {
    reader: JsonReader,
    /// The stretch whose replacement was last written into the string that is open.
    written: Option<usize>,
    /// Whether the scalar that is open is replaced.
    scalar_is_replaced: bool,
}

impl JsonRedaction {
    fn render(
        &mut self,
        start: usize,
        text: &str,
        stretches: &[Stretch],
        out: &mut String,
    ) -> Vec<Range<usize>> {
        let mut replaced: Vec<Range<usize>> = stretches
            .iter()
            .map(|stretch| stretch.bytes.clone())
            .collect();
        for (offset, character) in text.char_indices() {
            let at = start + offset;
            let before = self.reader.place();
            self.reader.push(character, at);
            match (before, self.reader.place()) {
                (_, Place::Structure) | (Place::Structure | Place::Scalar(_), Place::String) => {
                    self.written = None;
                    out.push(character);
                }
                (Place::Structure, Place::Scalar(_)) => {
                    let scalar = at..at + scalar_len(&text[offset..]);
                    let stretch = touching(stretches, &scalar);
                    self.scalar_is_replaced = stretch.is_some();
                    match stretch {
                        Some(stretch) => {
                            write_string(&stretch.with, out);
                            replaced.push(scalar);
                        }
                        None => out.push(character),
                    }
                }
                (_, Place::Scalar(_)) if self.scalar_is_replaced => {}
                // Where a set gave up on it, its beginning is out, and no string can replace it.
                (_, Place::Scalar(_)) => match touching(stretches, &(at..at + 1)) {
                    Some(_) if character.is_ascii_digit() => out.push('0'),
                    _ => out.push(character),
                },
                (_, Place::String | Place::Escape { .. }) => {
                    self.render_in_string(at..at + character.len_utf8(), character, stretches, out);
                }
            }
        }
        replaced
    }

    fn render_in_string(
        &mut self,
        bytes: Range<usize>,
        character: char,
        stretches: &[Stretch],
        out: &mut String,
    ) {
        let Some(stretch) = touching(stretches, &bytes) else {
            return out.push(character);
        };
        if self.written.replace(stretch.bytes.start) != Some(stretch.bytes.start) {
            json::escape(&stretch.with, out);
        }
    }
}

fn touching<'a>(stretches: &'a [Stretch], bytes: &Range<usize>) -> Option<&'a Stretch> {
    // They are in order and do not overlap.
    let before = stretches.partition_point(|stretch| stretch.bytes.end <= bytes.start);
    let next = stretches.get(before);
    next.filter(|stretch| stretch.bytes.start < bytes.end)
}

fn scalar_len(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || "{}[],:\"".contains(c))
        .unwrap_or(text.len())
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    json::escape(text, out);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(spans: &[(Range<usize>, usize, &str)]) -> Redactor {
        with_spans(Redactor::of_text(), spans)
    }

    fn with_spans(mut redactor: Redactor, spans: &[(Range<usize>, usize, &str)]) -> Redactor {
        for (span, order, with) in spans {
            redactor.add(span.clone(), 0, (0, *order), &Arc::from(*with));
        }
        redactor
    }

    #[test]
    fn overlapping_matches_are_one_redaction() {
        let mut redactor = redactor(&[(4..6, 0, "A"), (2..5, 1, "B"), (6..7, 0, "C")]);
        let mut out = String::new();
        redactor.render(0, "0123456789", &mut out);
        assert_eq!(out, "01BC789");
    }

    #[test]
    fn a_redaction_cut_anywhere_is_replaced_once() {
        for cut in 0..=10 {
            let mut redactor = redactor(&[(2..5, 0, "A"), (4..8, 1, "B")]);
            let mut out = String::new();
            redactor.render(0, &"0123456789"[..cut], &mut out);
            redactor.render(cut, &"0123456789"[cut..], &mut out);
            assert_eq!(out, "01A89", "{cut}");
        }
    }

    /// Replaces the first `secret` of `text`, cut anywhere between its tokens.
    #[track_caller]
    fn check_json(text: &str, secret: &str, expected: &str) {
        let at = text.find(secret).expect("the secret is there");
        let mut redactor = with_spans(
            Redactor::of_json(),
            &[(at..at + secret.len(), 0, "[\"x\"]")],
        );
        let mut out = String::new();
        redactor.render(0, text, &mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn json_stays_json() {
        check_json(r#"{"a": "is 123 b"}"#, "123", r#"{"a": "is [\"x\"] b"}"#);
        check_json(
            r#"{"a": 91234, "b": 2}"#,
            "123",
            r#"{"a": "[\"x\"]", "b": 2}"#,
        );
        check_json(r#"{"a": true}"#, "true", r#"{"a": "[\"x\"]"}"#);
        check_json(
            r#"{"a": "x1", "b": ["2y", 3]}"#,
            r#"1", "b": ["2y", 3"#,
            r#"{"a": "x[\"x\"]", "[\"x\"]": ["[\"x\"]", "[\"x\"]"]}"#,
        );
        check_json(
            r#"{"a": "\u0031\u0032!"}"#,
            r"\u0031\u0032",
            r#"{"a": "[\"x\"]!"}"#,
        );
    }

    #[test]
    fn a_redaction_of_json_cut_in_a_string_is_written_once() {
        let text = r#"{"a": "is 123 b"}"#;
        for cut in 0..=text.len() {
            let mut redactor = with_spans(Redactor::of_json(), &[(10..13, 0, "x")]);
            let mut out = String::new();
            redactor.render(0, &text[..cut], &mut out);
            redactor.render(cut, &text[cut..], &mut out);
            assert_eq!(out, r#"{"a": "is x b"}"#, "{cut}");
        }
    }
}
