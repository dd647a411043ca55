//! What a scan of the whole text says, written without the gate: every pair of places is tried, with
//! an engine that the gate does not use, on text folded by a table.

use std::{cell::RefCell, ops::Range};

use portcullis_gate::{
    Action, Checksum, Kind, LengthLimits, LogitLimits, Normalise, PersonalData, Rule,
};
use regex_automata::{
    Anchored, Input, MatchKind,
    nfa::thompson::pikevm::{Cache, PikeVM},
    util::{primitives::NonMaxUsize, syntax},
};

use super::{open, personal, text::Token, view::View};

/// What a rule objects to: the bytes, and for rules on tokens the first of those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Objection {
    pub(crate) bytes: Range<usize>,
    pub(crate) first_token: usize,
}

/// A text and the tokens that it came in.
pub(crate) struct Text<'a> {
    pub(crate) raw: &'a str,
    pub(crate) tokens: &'a [Token],
}

/// What follows the end of a text and still belongs to a match that begins in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// From this byte on.
    From(Option<usize>),
    /// The oracle does not know.
    Unknown,
}

/// Finds everything a rule objects to, overlapping stretches too.
pub(crate) enum Scanner {
    Phrases {
        normalise: Normalise,
        phrases: Vec<String>,
        whole_word: bool,
    },
    Regex {
        normalise: Normalise,
        engine: Engine,
        max_span: usize,
        looks_ahead: bool,
        checksum: Option<Checksum>,
    },
    Personal(Vec<PersonalData>),
    Require {
        normalise: Normalise,
        texts: Vec<String>,
    },
    Length(LengthLimits),
    Logits(LogitLimits),
}

impl Scanner {
    pub(crate) fn new(rule: &Rule) -> Self {
        let normalise = rule.normalise;
        let folded = |texts: &[String]| {
            let views = texts.iter().map(|text| View::new(text, normalise).text);
            views.collect()
        };
        match &rule.kind {
            Kind::Phrases {
                phrases,
                whole_word,
            } => Self::Phrases {
                normalise,
                phrases: folded(phrases),
                whole_word: *whole_word,
            },
            Kind::Regex {
                pattern,
                max_span,
                checksum,
            } => Self::Regex {
                normalise,
                engine: Engine::new(pattern, normalise != Normalise::None),
                max_span: max_span.unwrap_or(usize::MAX),
                looks_ahead: pattern.contains(['$']) || pattern.contains("\\b"),
                checksum: *checksum,
            },
            Kind::Pii(data) => Self::Personal(data.clone()),
            Kind::Require(texts) => Self::Require {
                normalise,
                texts: folded(texts),
            },
            Kind::Length(limits) => Self::Length(*limits),
            Kind::Logits(limits) => Self::Logits(limits.clone()),
            other => unreachable!("the law makes no {} rules", other.as_str()),
        }
    }

    pub(crate) fn objections(&self, text: &Text<'_>) -> Vec<Objection> {
        let of_bytes = |bytes| Objection {
            bytes,
            first_token: usize::MAX,
        };
        match self {
            Self::Logits(limits) => bad_windows(limits, text.tokens),
            other => {
                let found = other.stretches(text);
                found.into_iter().map(of_bytes).collect()
            }
        }
    }

    fn stretches(&self, text: &Text<'_>) -> Vec<Range<usize>> {
        let (view, spans) = match self {
            Self::Phrases {
                normalise,
                phrases,
                whole_word,
            } => {
                let view = View::new(text.raw, *normalise);
                let found = phrases
                    .iter()
                    .flat_map(|p| occurrences(&view.text, p, *whole_word));
                let spans: Vec<Range<usize>> = found.collect();
                (view, spans)
            }
            Self::Regex {
                normalise,
                engine,
                max_span,
                checksum,
                ..
            } => {
                let view = View::new(text.raw, *normalise);
                let mut spans = engine.full_matches(&view.text);
                spans.retain(|span| span.len() <= *max_span);
                spans.retain(|span| {
                    checksum.is_none_or(|one| adds_up(one, &view.text[span.clone()]))
                });
                (view, spans)
            }
            Self::Personal(data) => {
                let view = View::new(text.raw, Normalise::Basic);
                let found = data
                    .iter()
                    .flat_map(|one| personal::matches(*one, &view.text));
                let spans = found.collect();
                (view, spans)
            }
            Self::Require { normalise, texts } => {
                let view = View::new(text.raw, *normalise);
                let there = texts.iter().any(|required| view.text.contains(required));
                let end = text.raw.len();
                return (!there).then_some(end..end).into_iter().collect();
            }
            Self::Length(limits) => {
                let end = text.raw.len();
                return too_long_from(limits, text)
                    .map(|from| from..end)
                    .into_iter()
                    .collect();
            }
            Self::Logits(_) => unreachable!("windows are of tokens"),
        };
        spans.into_iter().map(|span| view.raw(span)).collect()
    }

    /// Where the first match begins that the text leaves open.
    pub(crate) fn open(&self, raw: &str) -> Open {
        match self {
            Self::Phrases {
                normalise,
                phrases,
                whole_word,
            } => {
                let view = View::new(raw, *normalise);
                Open::From(first_open(&view, |text, start| {
                    let rest = &text[start..];
                    let begins_word = !*whole_word || !is_word(start.checked_sub(1), text);
                    let mut phrases = phrases.iter();
                    begins_word
                        && phrases.any(|phrase| {
                            let longer = phrase.len() > rest.len() || *whole_word;
                            longer && phrase.starts_with(rest)
                        })
                }))
            }
            Self::Regex {
                normalise,
                engine,
                max_span,
                looks_ahead,
                ..
            } => {
                let view = View::new(raw, *normalise);
                Open::From(first_open(&view, |text, start| {
                    let len = text.len() - start;
                    let outlook =
                        || open::outlook(engine.machine.get_nfa(), text.as_bytes(), start);
                    match len.cmp(max_span) {
                        std::cmp::Ordering::Greater => false,
                        // What ends here is all that can come.
                        std::cmp::Ordering::Equal => outlook().complete && *looks_ahead,
                        std::cmp::Ordering::Less => {
                            let outlook = outlook();
                            outlook.grows || (outlook.complete && *looks_ahead)
                        }
                    }
                }))
            }
            Self::Personal(_) => Open::Unknown,
            Self::Require { .. } | Self::Length(_) | Self::Logits(_) => Open::From(None),
        }
    }
}

/// The first place of the raw text from which `is_open` says a match is open at the end.
fn first_open(view: &View, is_open: impl Fn(&str, usize) -> bool) -> Option<usize> {
    let mut starts = view.text.char_indices().map(|(at, _)| at);
    let start = starts.find(|start| is_open(&view.text, *start))?;
    Some(view.raw(start..start + 1).start)
}

fn is_word(at: Option<usize>, text: &str) -> bool {
    let byte = at.and_then(|at| text.as_bytes().get(at));
    byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

fn occurrences<'a>(
    text: &'a str,
    phrase: &'a str,
    whole_word: bool,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let starts =
        (0..text.len()).filter(move |&at| text.as_bytes()[at..].starts_with(phrase.as_bytes()));
    starts
        .map(move |at| at..at + phrase.len())
        .filter(move |span| {
            let before = is_word(span.start.checked_sub(1), text);
            !whole_word || !(before || is_word(Some(span.end), text))
        })
}

/// An expression and scratch memory to run it.
pub(crate) struct Engine {
    machine: PikeVM,
    cache: RefCell<Cache>,
}

impl Engine {
    pub(super) fn new(pattern: &str, case_insensitive: bool) -> Self {
        let machine = PikeVM::builder()
            .syntax(syntax::Config::new().case_insensitive(case_insensitive))
            .configure(PikeVM::config().match_kind(MatchKind::All))
            .build(pattern)
            .unwrap();
        let cache = RefCell::new(machine.create_cache());
        Self { machine, cache }
    }

    /// Every `start..end` such that the pattern matches exactly there, seen in its surroundings.
    pub(super) fn full_matches(&self, text: &str) -> Vec<Range<usize>> {
        let mut cache = self.cache.borrow_mut();
        // With all matches wanted, an anchored search gives the longest one within the span.
        let mut longest = |start: usize, end: usize| {
            let input = Input::new(text).span(start..end).anchored(Anchored::Yes);
            let mut slots = [None; 2];
            self.machine.search_slots(&mut cache, &input, &mut slots)?;
            slots[1].map(NonMaxUsize::get)
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
}

/// Check digits as the schemes define them: by weights, and by the remainder of one number.
fn adds_up(checksum: Checksum, text: &str) -> bool {
    let digits: Vec<u64> = text
        .chars()
        .filter_map(|c| c.to_digit(10).map(u64::from))
        .collect();
    match checksum {
        Checksum::Luhn => {
            let weighted = digits.iter().rev().zip([1, 2].iter().cycle());
            let sums = weighted.map(|(digit, weight)| digit * weight / 10 + digit * weight % 10);
            sums.sum::<u64>() % 10 == 0
        }
        Checksum::Mod97 => {
            let symbols = text.chars().filter_map(|symbol| symbol.to_digit(36));
            let number: String = symbols.map(|value| value.to_string()).collect();
            number.parse::<u128>().is_ok_and(|number| number % 97 == 1)
        }
        other => unreachable!("the law makes no {}", other.as_str()),
    }
}

/// The first byte that is too much, whichever limit it exceeds.
fn too_long_from(limits: &LengthLimits, text: &Text<'_>) -> Option<usize> {
    let nth_character = |n: usize| text.raw.char_indices().nth(n).map(|(at, _)| at);
    let mut starts = Vec::new();
    let mut at = 0;
    for token in text.tokens {
        starts.extend((!token.text.is_empty()).then_some(at));
        at += token.text.len();
    }
    let token = limits.max_tokens.and_then(|max| starts.get(max).copied());
    let character = limits.max_characters.and_then(nth_character);
    let sentence = limits
        .max_sentences
        .and_then(|max| sentences(text.raw).nth(max));
    token.into_iter().chain(character).chain(sentence).min()
}

/// Where sentences begin: at the first character that is no space, mark or closing bracket, and after
/// it where a line, or a mark and white space, have ended the one before.
fn sentences(text: &str) -> impl Iterator<Item = usize> {
    let (mut begun, mut marked) = (false, false);
    text.char_indices().filter_map(move |(at, character)| {
        let ends = character == '\n' || (marked && character.is_whitespace());
        if ends {
            (begun, marked) = (false, false);
        }
        match character {
            '.' => marked = begun,
            ')' | '\'' => {}
            space if space.is_whitespace() => {}
            _ => {
                marked = false;
                return (!std::mem::replace(&mut begun, true)).then_some(at);
            }
        }
        None
    })
}

/// Windows whose mean is out of bounds; fewer tokens than a window are one.
fn bad_windows(limits: &LogitLimits, tokens: &[Token]) -> Vec<Objection> {
    let size = limits.window.min(tokens.len());
    let mean = |window: &[Token], value: fn(&Token) -> f32| {
        window
            .iter()
            .map(|token| f64::from(value(token)))
            .sum::<f64>()
            / size as f64
    };
    let is_bad = |window: &[Token]| {
        limits
            .mean_entropy_max
            .is_some_and(|max| mean(window, |t| t.entropy) > max)
            || limits
                .mean_logprob_min
                .is_some_and(|min| mean(window, |t| t.logprob) < min)
            || limits
                .mean_mass
                .as_ref()
                .is_some_and(|m| mean(window, |t| t.mass) > m.max)
    };
    let byte = |token: usize| tokens[..token].iter().map(|t| t.text.len()).sum::<usize>();
    let starts = (0..=tokens.len() - size).filter(|start| is_bad(&tokens[*start..*start + size]));
    let bad = starts.map(|start| Objection {
        bytes: byte(start)..byte(start + size),
        first_token: start,
    });
    bad.collect()
}

/// A rule of a set that holds, as the whole-text scan knows it.
pub(crate) struct RuleOracle {
    pub(crate) scanner: Scanner,
    /// What it comes to when no roll-back is allowed.
    pub(crate) action: Action,
    /// Whether text waits for it.
    pub(crate) holds: bool,
    pub(crate) with: String,
    /// Its set, and its place there.
    pub(crate) order: (usize, usize),
}

/// A stretch to be replaced, by the first rule that begins it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Redaction {
    pub(crate) start: usize,
    pub(crate) order: (usize, usize),
    pub(crate) end: usize,
    pub(crate) with: String,
}

/// What the rules find in a whole text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whole {
    pub(crate) redactions: Vec<Redaction>,
    /// What ends the completion.
    pub(crate) refusals: Vec<Objection>,
    /// Whether some rule that only notes has found something.
    pub(crate) flagged: bool,
}

pub(crate) fn scan(rules: &[RuleOracle], text: &Text<'_>) -> Whole {
    let mut whole = Whole::default();
    for rule in rules {
        for objection in rule.scanner.objections(text) {
            match rule.action {
                Action::Observe => {}
                Action::Flag => whole.flagged = true,
                Action::Redact => whole.redactions.push(Redaction {
                    start: objection.bytes.start,
                    order: rule.order,
                    end: objection.bytes.end,
                    with: rule.with.clone(),
                }),
                Action::Resample | Action::Reject => whole.refusals.push(objection),
            }
        }
    }
    whole.redactions.sort();
    whole
}

/// The first `len` bytes of `raw` with its redactions, and which bytes they cover.
pub(crate) fn redact(raw: &str, len: usize, redactions: &[Redaction]) -> (String, Vec<bool>) {
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
