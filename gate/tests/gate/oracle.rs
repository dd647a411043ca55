//! What a scan of the whole text says, written without the gate: every pair of places is tried,
//! with an engine that the gate does not use, on text folded by a table.

use std::ops::Range;

use portcullis_gate::{Action, Kind, Normalise, Rule};
use regex_automata::{
    Anchored, Input, MatchKind,
    nfa::thompson::pikevm::{Cache, PikeVM},
    util::syntax,
};

/// Characters of test texts, with their basic and their strict fold.
pub(crate) const ALPHABET: [(char, &str, &str); 20] = [
    ('a', "a", "a"),
    ('b', "b", "b"),
    ('c', "c", "c"),
    ('A', "a", "a"),
    ('B', "b", "b"),
    ('ａ', "a", "a"),
    ('á', "a", "a"),
    ('ж', "ж", "ж"),
    // Cyrillic.
    ('а', "а", "a"),
    ('0', "0", "o"),
    ('o', "o", "o"),
    ('m', "m", "rn"),
    ('r', "r", "r"),
    ('n', "n", "n"),
    (' ', " ", " "),
    ('\n', " ", " "),
    ('\u{200B}', "", ""),
    ('\u{0301}', "", ""),
    ('ß', "ss", "ss"),
    ('🙂', "🙂", "🙂"),
];

/// A text as a rule sees it.
struct View {
    text: String,
    /// For each of its bytes, the character of the raw text that it came from.
    origins: Vec<Range<usize>>,
}

impl View {
    fn new(raw: &str, normalise: Normalise) -> Self {
        let mut view = View {
            text: String::new(),
            origins: Vec::new(),
        };
        for (at, character) in raw.char_indices() {
            let folded = match normalise {
                Normalise::None => character.to_string(),
                Normalise::Basic => fold(character).0.to_owned(),
                Normalise::Strict => fold(character).1.to_owned(),
            };
            let folds = normalise != Normalise::None;
            if folds && folded == " " && view.text.ends_with(' ') {
                continue;
            }
            view.text += &folded;
            let origin = at..at + character.len_utf8();
            view.origins.resize(view.text.len(), origin);
        }
        view
    }

    fn raw(&self, span: Range<usize>) -> Range<usize> {
        self.origins[span.start].start..self.origins[span.end - 1].end
    }
}

fn fold(character: char) -> (&'static str, &'static str) {
    let entry = ALPHABET.iter().find(|entry| entry.0 == character);
    let (_, basic, strict) = entry.expect("only characters of the alphabet are folded");
    (basic, strict)
}

/// Finds every match of a rule, overlapping ones too.
pub(crate) enum Scanner {
    Phrases {
        normalise: Normalise,
        phrases: Vec<String>,
        whole_word: bool,
    },
    Regex {
        normalise: Normalise,
        engine: Box<PikeVM>,
        max_span: usize,
    },
}

impl Scanner {
    pub(crate) fn new(rule: &Rule) -> Self {
        let normalise = rule.normalise;
        match &rule.kind {
            Kind::Phrases {
                phrases,
                whole_word,
            } => Self::Phrases {
                normalise,
                phrases: phrases
                    .iter()
                    .map(|p| View::new(p, normalise).text)
                    .collect(),
                whole_word: *whole_word,
            },
            Kind::Regex {
                pattern, max_span, ..
            } => {
                let folded = normalise != Normalise::None;
                let engine = PikeVM::builder()
                    .syntax(syntax::Config::new().case_insensitive(folded))
                    .configure(PikeVM::config().match_kind(MatchKind::All))
                    .build(pattern)
                    .unwrap();
                Self::Regex {
                    normalise,
                    engine: Box::new(engine),
                    max_span: max_span.unwrap_or(usize::MAX),
                }
            }
            other => unreachable!("the law makes no {} rules", other.as_str()),
        }
    }

    pub(crate) fn matches(&self, raw: &str) -> Vec<Range<usize>> {
        match self {
            Self::Phrases {
                normalise,
                phrases,
                whole_word,
            } => {
                let view = View::new(raw, *normalise);
                let found = phrases
                    .iter()
                    .flat_map(|p| occurrences(&view.text, p, *whole_word));
                found.map(|span| view.raw(span)).collect()
            }
            Self::Regex {
                normalise,
                engine,
                max_span,
            } => {
                let view = View::new(raw, *normalise);
                let mut cache = engine.create_cache();
                let spans = full_matches(engine, &mut cache, &view.text);
                let spans = spans.into_iter().filter(|span| span.len() <= *max_span);
                spans.map(|span| view.raw(span)).collect()
            }
        }
    }
}

fn occurrences<'a>(
    text: &'a str,
    phrase: &'a str,
    whole_word: bool,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let starts =
        (0..text.len()).filter(move |&at| text.as_bytes()[at..].starts_with(phrase.as_bytes()));
    starts
        .map(move |at| at..at + phrase.len())
        .filter(move |span| {
            let before = span
                .start
                .checked_sub(1)
                .and_then(|at| text.as_bytes().get(at));
            !whole_word || !(word(before) || word(text.as_bytes().get(span.end)))
        })
}

/// Every `start..end` such that the pattern matches exactly there, seen in its surroundings.
fn full_matches(engine: &PikeVM, cache: &mut Cache, text: &str) -> Vec<Range<usize>> {
    // With all matches wanted, an anchored search gives the longest one within the span.
    let mut longest = |start: usize, end: usize| {
        let input = Input::new(text).span(start..end).anchored(Anchored::Yes);
        engine.find(cache, input).map(|found| found.end())
    };
    let mut found = Vec::new();
    for start in 0..text.len() {
        let mut end = longest(start, text.len());
        while let Some(at) = end {
            if at == start {
                break;
            }
            found.push(start..at);
            end = longest(start, at - 1);
        }
    }
    found
}

/// A stretch to be replaced, by the first rule that begins it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Redaction {
    pub(crate) start: usize,
    pub(crate) order: usize,
    pub(crate) end: usize,
    pub(crate) with: String,
}

/// The first `len` bytes of `raw` with its redactions, and which bytes they cover.
pub(crate) fn redact(raw: &str, len: usize, redactions: &[Redaction]) -> (String, Vec<bool>) {
    let mut redactions = redactions.to_vec();
    redactions.sort();
    let mut out = Vec::new();
    let mut covered_to = 0;
    let mut covered = vec![false; raw.len()];
    for (at, byte) in raw.bytes().enumerate().take(len) {
        for redaction in redactions.iter().filter(|redaction| redaction.start == at) {
            if at >= covered_to {
                out.extend_from_slice(redaction.with.as_bytes());
            }
            covered_to = covered_to.max(redaction.end);
        }
        covered[at] = at < covered_to;
        if !covered[at] {
            out.push(byte);
        }
    }
    (String::from_utf8(out).unwrap(), covered)
}

/// The matches of all rules of a set.
pub(crate) struct Whole {
    pub(crate) redactions: Vec<Redaction>,
    /// First bytes of matches that end the completion.
    pub(crate) refused_from: Option<usize>,
    /// Whether some rule that only notes matches.
    pub(crate) flagged: bool,
}

/// What a whole-text scan finds, where `action` says what each rule does in the end.
pub(crate) fn scan(rules: &[(Scanner, Action, String)], raw: &str) -> Whole {
    let mut whole = Whole {
        redactions: Vec::new(),
        refused_from: None,
        flagged: false,
    };
    for (order, (scanner, action, with)) in rules.iter().enumerate() {
        for Range { start, end } in scanner.matches(raw) {
            let with = with.clone();
            match action {
                Action::Observe => {}
                Action::Flag => whole.flagged = true,
                Action::Redact => whole.redactions.push(Redaction {
                    start,
                    order,
                    end,
                    with,
                }),
                Action::Resample | Action::Reject => {
                    let earliest = whole.refused_from.map_or(start, |known| known.min(start));
                    whole.refused_from = Some(earliest);
                }
            }
        }
    }
    whole
}
