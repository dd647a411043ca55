//! Replaces what was matched, once per stretch of overlapping matches.

use std::{ops::Range, sync::Arc};

/// A match that is to be replaced.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    start: usize,
    end: usize,
    /// Where the rule stands among all rules of all sets: of several replacements at one place,
    /// the first is taken.
    order: (usize, usize),
    with: Arc<str>,
}

/// The redactions of a completion, from the last one released to those still held.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    /// Matches that begin in text that is not released yet.
    spans: Vec<Span>,
    /// The last stretch whose replacement is released. Its end may lie ahead.
    covered: Range<usize>,
    /// Where the replaced text that ends with `covered` without a gap begins.
    covered_from: usize,
}

impl Redactor {
    /// Whether the released text from `start` to `released` was replaced.
    pub(crate) fn covers(&self, start: usize, released: usize) -> bool {
        self.covered_from <= start && released <= self.covered.end
    }

    /// Whether part of `bytes` is to be replaced.
    pub(crate) fn touches(&self, bytes: &Range<usize>) -> bool {
        let overlaps = |from: usize, to: usize| from < bytes.end && bytes.start < to;
        let mut spans = self.spans.iter();
        overlaps(self.covered.start, self.covered.end)
            || spans.any(|span| overlaps(span.start, span.end))
    }

    /// Whether all of `bytes` is to be replaced.
    pub(crate) fn replaces(&self, bytes: &Range<usize>) -> bool {
        let mut at = bytes.start.max(self.covered.end.min(bytes.end));
        while at < bytes.end {
            let over = self.spans.iter().filter(|span| span.start <= at);
            match over.map(|span| span.end).max().filter(|end| *end > at) {
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
        order: (usize, usize),
        with: &Arc<str>,
    ) {
        if span.start < released {
            self.covered.end = self.covered.end.max(span.end);
            return;
        }
        let mut merged = Span {
            start: span.start,
            end: span.end,
            order,
            with: with.clone(),
        };
        // Every further byte of a match is a match again: keep one.
        self.spans.retain(|known| {
            let same = known.order == order && known.start < merged.end && merged.start < known.end;
            if same {
                merged.start = merged.start.min(known.start);
                merged.end = merged.end.max(known.end);
            }
            !same
        });
        self.spans.push(merged);
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
        let end = start + text.len();
        if self.spans.is_empty() && self.covered.end <= start {
            out.push_str(text);
            return Vec::new();
        }
        self.spans.sort_by_key(|span| (span.start, span.order));
        let ready = self.spans.partition_point(|span| span.start < end);
        let mut replaced = vec![self.covered.clone()];
        let mut at = start;
        for span in self.spans.drain(..ready).collect::<Vec<_>>() {
            if span.start < self.covered.end {
                self.covered.end = self.covered.end.max(span.end);
            } else {
                at = at.max(self.covered.end);
                out.push_str(&text[at - start..span.start - start]);
                out.push_str(&span.with);
                at = span.start;
                self.begin_stretch(span.start..span.end);
                replaced.push(self.covered.clone());
            }
            if let Some(last) = replaced.last_mut() {
                last.end = self.covered.end;
            }
        }
        at = at.max(self.covered.end).min(end);
        out.push_str(&text[at - start..]);
        replaced
    }

    fn begin_stretch(&mut self, stretch: Range<usize>) {
        if stretch.start != self.covered.end {
            self.covered_from = stretch.start;
        }
        self.covered = stretch;
    }
}

/// Source: RFC 8259, section 7.
pub(crate) fn escape_json(text: &str, out: &mut String) {
    use std::fmt::Write;
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control.is_control() => {
                write!(out, "\\u{:04x}", u32::from(control)).unwrap_or_default();
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(spans: &[(Range<usize>, usize, &str)]) -> Redactor {
        let mut redactor = Redactor::default();
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
}
