//! The law of the gate: however a text is cut into tokens, what is released equals what a scan of
//! the whole text allows.
//!
//! Cases are read from bytes, so that the same law serves the property tests (`proof`), which
//! shrink bytes, and the fuzzer (`fuzz/`), which mutates them.

mod choices;
mod open;
mod oracle;
mod personal;
mod rollback;
mod rules;
mod run;
mod text;
mod view;

use std::{ops::Range, sync::Arc};

use portcullis_gate::{Action, BoundSet, End, Gate, Mode, Quota, Rule, RuleSet, Scope, Then};

pub(crate) use self::{choices::Choices, run::Weakening, text::Theme};
use self::{
    oracle::{Objection, Open, Redaction, RuleOracle, Scanner, Text, Whole, redact, scan},
    rules::On,
    run::{Ending, Outcome, run},
    text::{Token, cut, text},
};

/// What is broken, in words; with the case in them.
pub(crate) type Broken = String;

/// Sets that hold together, and what the oracle makes of them.
pub(crate) struct Case {
    theme: Theme,
    enforced: Vec<Arc<RuleSet>>,
    /// Sets that must not change anything.
    watching: Vec<BoundSet>,
    rules: Vec<RuleOracle>,
    stops: Vec<String>,
    skip_tokens: usize,
}

impl Case {
    pub(crate) fn new(theme: Theme, choices: &mut Choices<'_>) -> Self {
        let sets = choices.one_of(&[1, 1, 1, 2, 3]);
        let texts: Vec<_> = (0..sets)
            .map(|_| rules::ruleset(theme, On::Completions, choices))
            .collect();
        let watching = match choices.below(3) {
            0 => Vec::new(),
            1 => vec![BoundSet::from(texts[0].load("observe"))],
            _ => vec![BoundSet::observed(
                rules::ruleset(theme, On::Completions, choices).load("enforce"),
            )],
        };
        let enforced: Vec<_> = texts.iter().map(|text| text.load("enforce")).collect();
        let rules = rules_of(&enforced);
        let windows = rules
            .iter()
            .any(|rule| matches!(rule.scanner, Scanner::Logits(_)));
        // A window goes on behind a stop string, as long as the gate has to wait for it.
        let stops = match choices.sometimes(3) && !windows {
            true => choices.many(1, 2, |choices| stop_string(theme, choices)),
            false => Vec::new(),
        };
        Self {
            theme,
            enforced,
            watching,
            rules,
            stops,
            skip_tokens: choices.below(8).saturating_sub(5),
        }
    }

    fn gate(&self, watched: bool) -> Gate {
        let mut sets: Vec<BoundSet> = self.enforced.iter().cloned().map(BoundSet::from).collect();
        if watched {
            // In front, so that the order of the others is not theirs alone.
            sets.splice(0..0, self.watching.iter().cloned());
        }
        Gate::new(sets, Quota::NONE)
    }

    /// Runs a completion and says what is wrong with it.
    pub(crate) fn check(
        &self,
        choices: &mut Choices<'_>,
        weakening: Weakening,
    ) -> Result<(), Broken> {
        let text = text(self.theme, choices);
        let tokens = cut(&text, choices);
        let cut_at = match choices.below(3) {
            0 => Some(1 + choices.below(tokens.len())),
            _ => None,
        };
        self.check_tokens(&tokens, cut_at, weakening)
            .map_err(|broken| {
                let pieces: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
                let files: Vec<_> = self.enforced.iter().map(|set| source(set)).collect();
                format!(
                    "{broken}\ntokens {pieces:?}, cut {cut_at:?}, stops {:?} after {}\n{}",
                    self.stops,
                    self.skip_tokens,
                    files.join("\n")
                )
            })
    }

    fn check_tokens(
        &self,
        tokens: &[Token],
        cut_at: Option<usize>,
        weakening: Weakening,
    ) -> Result<(), Broken> {
        let (end, kept) = match cut_at {
            Some(count) => (End::Cut, &tokens[..count]),
            None => (End::Natural, tokens),
        };
        let ending = Ending {
            end,
            stops: &self.stops,
            skip_tokens: self.skip_tokens,
        };
        let outcome = run(&self.gate(false), kept, &ending, weakening);
        if weakening == Weakening::None && !self.watching.is_empty() {
            let watched = run(&self.gate(true), kept, &ending, weakening);
            let same = watched.pieces == outcome.pieces
                && watched.released_tokens == outcome.released_tokens
                && watched.samples == outcome.samples
                && watched.refusal == outcome.refusal;
            expect(same, || format!("watched {watched:?}\nalone {outcome:?}"))?;
        }
        let stream = Stream::new(self, kept, end, &outcome);
        stream.check()?;
        match cut_at {
            Some(_) => self.check_as_beginning(tokens, &outcome),
            None => Ok(()),
        }
    }

    /// The text could have gone on, so the place of a cut must show nothing of a match either.
    fn check_as_beginning(&self, tokens: &[Token], outcome: &Outcome) -> Result<(), Broken> {
        if !self.stops.is_empty() || outcome.refusal.is_some() {
            return Ok(());
        }
        let raw: String = tokens.iter().map(|token| token.text.as_str()).collect();
        let whole = scan(&self.rules, &Text { raw: &raw, tokens });
        let released: usize = tokens[..outcome.released_tokens]
            .iter()
            .map(|t| t.text.len())
            .sum();
        let (_, mut covered) = redact(&raw, raw.len(), &whole.redactions);
        let of_bytes = whole
            .refusals
            .iter()
            .filter(|found| found.first_token == usize::MAX);
        of_bytes.for_each(|refused| covered[refused.bytes.clone()].fill(true));
        expect(
            is_redaction_of(&outcome.text, &raw[..released], &covered),
            || format!("the cut shows {:?} of {raw:?}", outcome.text),
        )
    }
}

fn source(set: &RuleSet) -> String {
    String::from_utf8_lossy(set.source()).into_owned()
}

fn stop_string(theme: Theme, choices: &mut Choices<'_>) -> String {
    match theme {
        Theme::Letters => String::from_iter(choices.many(1, 3, text::letter)),
        Theme::Personal => choices
            .one_of(&["1", "4111", "@", "\n", "23", "0."])
            .to_owned(),
    }
}

/// What each rule comes to when no roll-back is allowed.
fn rules_of(sets: &[Arc<RuleSet>]) -> Vec<RuleOracle> {
    let rules = sets.iter().enumerate().flat_map(|(number, set)| {
        let rules = set.rules().enumerate();
        rules.map(move |(index, rule)| RuleOracle {
            scanner: Scanner::new(rule),
            action: match (rule.action, set.resample().then) {
                (Action::Resample, Then::Flag) => Action::Flag,
                (Action::Resample, Then::Redact) => Action::Redact,
                (action, _) => action,
            },
            holds: set.mode() == Mode::Enforce && rule.action.holds(),
            with: rule.with.to_string(),
            order: (number, index),
        })
    });
    rules.collect()
}

fn expect(holds: bool, broken: impl FnOnce() -> Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken()) }
}

/// A completion that was run, and what a scan of it as a whole finds.
struct Stream<'a> {
    case: &'a Case,
    tokens: &'a [Token],
    end: End,
    raw: String,
    whole: Whole,
    outcome: &'a Outcome,
}

impl<'a> Stream<'a> {
    fn new(case: &'a Case, tokens: &'a [Token], end: End, outcome: &'a Outcome) -> Self {
        let raw: String = tokens.iter().map(|token| token.text.as_str()).collect();
        let whole = scan(&case.rules, &Text { raw: &raw, tokens });
        Self {
            case,
            tokens,
            end,
            raw,
            whole,
            outcome,
        }
    }

    fn check(&self) -> Result<(), Broken> {
        let stop = self.stop();
        let reach = stop.as_ref().map_or(usize::MAX, |stop| stop.end);
        let refusals = self.whole.refusals.iter();
        let refusals: Vec<_> = refusals.filter(|found| found.bytes.start < reach).collect();
        if !refusals.is_empty() {
            return self.check_refused(&refusals);
        }
        match (stop, self.open(reach)) {
            // Stopped only once no rule can object to what the stop string ends.
            (Some(stop), Open::From(open)) if open.is_none_or(|open| stop.end <= open) => {
                self.check_stopped(&stop)
            }
            (stop, Open::From(open)) => {
                let limit = open.into_iter().chain(stop.map(|stop| stop.start)).min();
                self.check_released(limit.unwrap_or(self.raw.len()))
            }
            // What may be open is not known: nothing is out that must not be.
            (_, Open::Unknown) => self.check_sound(),
        }
    }

    fn byte_end(&self, tokens: usize) -> usize {
        self.tokens[..tokens]
            .iter()
            .map(|token| token.text.len())
            .sum()
    }

    /// The stop string that is complete first, and no part of what is replaced.
    fn stop(&self) -> Option<Range<usize>> {
        let from = self
            .tokens
            .get(self.case.skip_tokens)
            .map(|_| self.case.skip_tokens)?;
        let from = self.byte_end(from);
        let replaced = |met: &Range<usize>| {
            let mut spans = self.whole.redactions.iter();
            spans.any(|span| span.start < met.end && met.start < span.end)
        };
        let ends = (from..=self.raw.len()).filter(|end| self.raw.is_char_boundary(*end));
        ends.into_iter().find_map(|end| {
            let stops = self.case.stops.iter();
            let met = stops.filter(|stop| self.raw[from..end].ends_with(stop.as_str()));
            let met = met.map(|stop| end - stop.len()..end);
            met.filter(|met| !replaced(met)).min_by_key(|met| met.start)
        })
    }

    /// What a cut leaves open; what is replaced to the end is not.
    fn open(&self, reach: usize) -> Open {
        if self.end == End::Natural {
            return Open::From(None);
        }
        let acting = self
            .whole
            .redactions
            .iter()
            .filter(|redaction| redaction.start < reach);
        let acting: Vec<Redaction> = acting.cloned().collect();
        let (_, covered) = redact(&self.raw, self.raw.len(), &acting);
        let mut first = None;
        for number in 0..self.case.enforced.len() {
            let rules = self.case.rules.iter();
            let holding = rules.filter(|rule| rule.order.0 == number && rule.holds);
            let mut of_set = None;
            for rule in holding {
                match rule.scanner.open(&self.raw) {
                    Open::Unknown => return Open::Unknown,
                    Open::From(open) => of_set = of_set.into_iter().chain(open).min(),
                }
            }
            let of_set = of_set.filter(|from| covered[*from..].contains(&false));
            first = first.into_iter().chain(of_set).min();
        }
        Open::From(first)
    }

    fn check_refused(&self, refusals: &[&Objection]) -> Result<(), Broken> {
        let outcome = self.outcome;
        expect(outcome.refusal.is_some(), || {
            format!("let through {refusals:?}: {outcome:?}")
        })?;
        let released = self.byte_end(outcome.released_tokens);
        for refused in refusals {
            let in_time =
                released <= refused.bytes.start && outcome.released_tokens <= refused.first_token;
            expect(in_time, || {
                format!("{released} bytes out, refused {refused:?}")
            })?;
        }
        self.check_text(released)
    }

    /// Without a refusal, whatever could become a match is the only thing held back.
    fn check_released(&self, limit: usize) -> Result<(), Broken> {
        let outcome = self.outcome;
        expect(outcome.refusal.is_none() && !outcome.stopped, || {
            format!("refused or stopped without a reason: {outcome:?}")
        })?;
        let tokens = match limit == self.raw.len() {
            true => self.tokens.len(),
            false => self.tokens_before(limit),
        };
        expect(outcome.released_tokens == tokens, || {
            format!("expected {tokens} tokens up to byte {limit}: {outcome:?}")
        })?;
        let flags = outcome.flagged > 0;
        let cut_or_stopped = self.end == End::Cut || !self.case.stops.is_empty();
        expect(cut_or_stopped || flags == self.whole.flagged, || {
            format!("flagged {flags}, the whole text {}", self.whole.flagged)
        })?;
        self.check_text(self.byte_end(tokens))
    }

    /// Tokens that end before `limit`; of those without text that follow, none.
    fn tokens_before(&self, limit: usize) -> usize {
        let ends: Vec<usize> = (1..=self.tokens.len())
            .map(|count| self.byte_end(count))
            .collect();
        let last = ends
            .iter()
            .copied()
            .filter(|end| *end <= limit)
            .max()
            .unwrap_or(0);
        match last {
            0 => 0,
            end => ends.iter().take_while(|other| **other < end).count() + 1,
        }
    }

    fn check_stopped(&self, stop: &Range<usize>) -> Result<(), Broken> {
        let raw = &self.raw[..stop.start];
        let mut left = stop.start;
        let tokens: Vec<Token> = self
            .tokens
            .iter()
            .map(|token| {
                let mut token = token.clone();
                token.text.truncate(left);
                left -= token.text.len();
                token
            })
            .collect();
        let tokens = &tokens;
        let whole = scan(&self.case.rules, &Text { raw, tokens });
        let before = |all: &Whole| {
            let found = all
                .redactions
                .iter()
                .filter(|found| found.start < stop.start);
            found.cloned().collect::<Vec<_>>()
        };
        if before(&whole) != before(&self.whole) {
            // What is a match depends on whether the stop string follows: replaced or refused.
            return self.check_sound();
        }
        let refused = !whole.refusals.is_empty();
        let outcome = self.outcome;
        let (expected, _) = redact(raw, raw.len(), &whole.redactions);
        let right = match refused {
            true => outcome.refusal.is_some(),
            false => outcome.refusal.is_none() && outcome.stopped && outcome.text == expected,
        };
        expect(right, || {
            format!("stop at {stop:?}, refused {refused}: {outcome:?}")
        })
    }

    fn check_text(&self, released: usize) -> Result<(), Broken> {
        let (expected, covered) = redact(&self.raw, released, &self.whole.redactions);
        let outcome = self.outcome;
        expect(outcome.text == expected, || {
            format!("expected {expected:?}: {outcome:?}")
        })?;
        for &token in &outcome.samples {
            let bytes = self.byte_end(token as usize)..self.byte_end(token as usize + 1);
            expect(!covered[bytes].contains(&true), || {
                format!("the sample of replaced token {token} is out: {outcome:?}")
            })?;
        }
        Ok(())
    }

    fn check_sound(&self) -> Result<(), Broken> {
        let released = self
            .byte_end(self.outcome.released_tokens)
            .min(self.raw.len());
        let both = |found: &&Redaction| found.end <= released || self.end == End::Cut;
        let acting = self.whole.redactions.iter().filter(both).cloned();
        let (_, covered) = redact(&self.raw, self.raw.len(), &acting.collect::<Vec<_>>());
        let known = self.case.stops.is_empty();
        let sound = is_redaction_of(&self.outcome.text, &self.raw[..released], &covered);
        expect(!known || sound, || {
            format!("{:?} of {:?}", self.outcome, self.raw)
        })
    }
}

/// Whether `text` is `written` with at least the covered bytes replaced by `#`.
fn is_redaction_of(text: &str, written: &str, covered: &[bool]) -> bool {
    let characters: Vec<(usize, char)> = written.char_indices().collect();
    // Places in `written` that the text so far can have come to.
    let mut places = vec![false; characters.len() + 1];
    places[0] = true;
    for next in text.chars() {
        let mut after = vec![false; characters.len() + 1];
        for at in (0..characters.len()).filter(|&at| places[at]) {
            if next == '#' {
                after[at + 1..].fill(true);
            } else if characters[at].1 == next && !covered[characters[at].0] {
                after[at + 1] = true;
            }
        }
        places = after;
    }
    places[characters.len()]
}

/// The same for prompts, which are looked at whole.
pub(crate) fn check_input(theme: Theme, choices: &mut Choices<'_>) -> Result<(), Broken> {
    let sets = choices.many(1, 2, |choices| {
        rules::ruleset(theme, On::Prompts, choices).load("enforce")
    });
    let rules = rules_of(&sets);
    let gate = Gate::new(sets, Quota::NONE);
    while !choices.is_empty() {
        let texts = choices.many(1, 3, |choices| text(theme, choices));
        let whole: Vec<Whole> = texts
            .iter()
            .map(|raw| scan(&rules, &Text { raw, tokens: &[] }))
            .collect();
        let redacted = texts.iter().zip(&whole);
        let redacted = redacted.map(|(raw, whole)| redact(raw, raw.len(), &whole.redactions).0);
        let refused = whole.iter().any(|whole| !whole.refusals.is_empty());
        let expected = (!refused).then(|| redacted.collect::<Vec<_>>());
        let found = gate
            .check_input(texts.clone())
            .ok()
            .map(|input| input.texts);
        expect(found == expected, || {
            let sets = gate.sets().iter().map(|set| source(set.set()));
            let files = sets.collect::<Vec<_>>().join("\n");
            format!("{texts:?} became {found:?}, expected {expected:?}\n{files}")
        })?;
    }
    Ok(())
}

/// Completions that are drawn again: see [`rollback`].
pub(crate) fn check_roll_backs(theme: Theme, choices: &mut Choices<'_>) -> Result<(), Broken> {
    rollback::check(&Case::new(theme, choices), choices)
}

impl Case {
    /// The scope of some set is the whole completion.
    fn holds_everything(&self) -> bool {
        let mut sets = self.enforced.iter();
        sets.any(|set| set.resample().scope == Scope::Completion)
    }
}

/// A set in observe whose rules all find stretches of text, and texts in their tokens.
pub(crate) fn watched_stretches(choices: &mut Choices<'_>) -> (Arc<RuleSet>, Vec<Vec<String>>) {
    let set = rules::ruleset(Theme::Letters, On::Stretches, choices).load("observe");
    let texts = choices.many(10, 10, |choices| {
        let text = text(Theme::Letters, choices);
        let tokens = cut(&text, choices).into_iter();
        tokens.map(|token| token.text).collect()
    });
    (set, texts)
}

/// The stretches that a rule finds in `raw`.
pub(crate) fn stretches(rule: &Rule, raw: &str) -> Vec<Range<usize>> {
    let found = Scanner::new(rule).objections(&Text { raw, tokens: &[] });
    found.into_iter().map(|found| found.bytes).collect()
}
