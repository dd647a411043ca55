//! One sequence under the gate.
//!
//! Each token goes through the same four steps: it joins the tail of unreleased tokens; every set
//! reads its text; the sets that have a checkpoint here act on what was found, in the order in
//! which it became certain; and the tail is released up to the last token before the first byte
//! from which a rule could still match, or that could be part of a stop string.

mod act;
pub(crate) mod history;
mod release;
mod set;
mod statuses;

use std::ops::Range;

use portcullis_types::{TokenId, TokenMask};

use crate::{
    Admitted, BoundSet, Cause, Checkpoint, End, Finding, Gate, GateReport, Kind, Refusal, Side,
    Verdict, model::Grammars, redact::Redactor, retry::RefusedTree, scan::Match, stop::StopSearch,
    tail::Tail,
};
use act::Hit;
use history::{History, TokenEvent};
use set::SetState;

/// The gate's side of one sequence.
#[derive(Debug)]
pub struct GateState {
    gate: Gate,
    greedy: bool,
    /// Whether text may be read again, after a roll-back or before a stop string; else no past
    /// need be kept.
    reads_again: bool,
    sets: Vec<SetState>,
    needs: Needs,
    tail: Tail,
    history: History,
    /// The whole completion as it was written, if a rule asks for it.
    written: String,
    stop: StopSearch,
    grammars: Grammars,
    /// Matches behind a stop string that may yet end the completion before them.
    deferred: Vec<Hit>,
    /// Tokens of the completion that are released.
    released_tokens: usize,
    released_text: bool,
    redactor: Redactor,
    refused: RefusedTree,
    /// Flagged matches whose text is not released.
    flagged: Vec<Finding>,
    report: GateReport,
    /// Whether the last token was judged as the end.
    ended: bool,
    /// Set once the completion is refused: nothing follows.
    closed: Option<Refusal>,
    /// In a test of a rule set: the only rule that acts, and nothing is held too long.
    probe: Option<usize>,
}

/// What the rules of a gate need to know besides text.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    counts: bool,
    written: bool,
    /// Tokens.
    history: usize,
}

/// The completion does not go on as it stands.
#[derive(Debug)]
enum Stop {
    /// Roll back because of this.
    Again(Hit),
    Refuse(Refusal),
}

impl GateState {
    pub(crate) fn new(gate: Gate, greedy: bool) -> Self {
        let needs = Needs::of(&gate);
        let mut first_mass = 0;
        let sets = gate.sets().iter().map(|set| {
            let state = SetState::new(set, first_mass, gate.is_json());
            first_mass += set.set().watched().count();
            state
        });
        Self {
            sets: sets.collect(),
            reads_again: gate.sets().iter().any(BoundSet::can_resample),
            history: History::new(needs.history),
            needs,
            written: String::new(),
            stop: StopSearch::default(),
            grammars: gate.begin_grammars(),
            deferred: Vec::new(),
            greedy,
            tail: Tail::default(),
            released_tokens: 0,
            released_text: false,
            redactor: match gate.is_json() {
                true => Redactor::of_json(),
                false => Redactor::of_text(),
            },
            refused: RefusedTree::default(),
            flagged: Vec::new(),
            report: GateReport::default(),
            ended: false,
            closed: None,
            probe: None,
            gate,
        }
    }

    /// A state in which only `rule` of the only set acts.
    pub(crate) fn probe(gate: &Gate, rule: usize) -> Self {
        let mut state = gate.begin(false);
        state.probe = Some(rule);
        state
    }

    /// Ends the completion before the first of `strings` in its text; the text of the first
    /// `skip_tokens` tokens is not looked at.
    #[must_use]
    pub fn stopping_at(self, strings: &[String], skip_tokens: usize) -> Self {
        let stop = StopSearch::new(strings, skip_tokens);
        Self {
            reads_again: self.reads_again || !stop.is_empty(),
            stop,
            ..self
        }
    }

    /// Sees one more token and says what becomes of the completion.
    pub fn check(&mut self, checkpoint: Checkpoint<'_>) -> Verdict {
        let Checkpoint { sample, text, end } = checkpoint;
        if self.sets.is_empty() && self.stop.is_empty() {
            let admitted = Admitted::new(text.to_owned(), vec![sample], Vec::new(), 1);
            return Verdict::Continue(admitted);
        }
        if let Some(refusal) = &self.closed {
            return Verdict::Reject(refusal.clone());
        }
        let (start, index) = (self.tail.end(), self.tail.num_tokens());
        self.history.push(&sample, start);
        self.grammars.push(sample.token);
        self.tail.push(sample, text, self.needs.counts);
        if self.needs.written {
            self.written.push_str(text);
        }
        self.stop
            .advance(&self.tail, self.released_tokens + index, start);
        match self.evaluate(index, end) {
            Ok(Some(stop)) => self.stop_at(&stop),
            Ok(None) => Verdict::Continue(self.release(end)),
            Err(stop) => self.stop(stop),
        }
    }

    /// What may be drawn as the next token, and what less often, after the tokens `completion`
    /// were drawn: what the masks allow, and after a roll-back
    /// without what was refused and would likely be drawn again. The last of them
    /// need not have been judged.
    pub fn mask_after(&mut self, completion: &[TokenId]) -> TokenMask {
        let judged = self.released_tokens + self.tail.num_tokens();
        let unseen = completion.get(judged..).unwrap_or_default();
        let path = self.tail.token_ids().chain(unseen.iter().copied());
        TokenMask {
            allowed: self.grammars.allowed_after(completion),
            ..self.refused.mask_after(path)
        }
    }

    /// Roll-backs so far. Never repeats, so that no (seed, position, attempt) does.
    pub fn attempt(&self) -> u32 {
        self.report.attempts
    }

    /// What the gate did so far.
    pub fn report(&self) -> &GateReport {
        &self.report
    }

    /// Lets every set read token `index` of the tail, and those that are due act. Gives the stop
    /// string with which the completion ends.
    fn evaluate(&mut self, index: usize, end: Option<End>) -> Result<Option<Range<usize>>, Stop> {
        self.read(index, end)?;
        self.take_found(index, end);
        loop {
            self.act()?;
            for index in 0..self.sets.len() {
                self.clear(index, end)?;
            }
            match self.stop.found() {
                // Whatever else may match: what is replaced is no place to stop at.
                Some(stop) if self.redactor.touches(&stop) => self.stop.pass_over(&self.tail),
                Some(stop) if self.is_certain_to(stop.end) => return Ok(Some(stop)),
                _ => return Ok(None),
            }
        }
    }

    /// A stop string is certain: the text ends before it, and is judged as what it is now.
    fn stop_at(&mut self, stop: &Range<usize>) -> Verdict {
        // A token that is cut is no part of the text.
        let whole = self.tail.num_tokens() - self.tail.num_tokens_beyond(stop.start);
        self.grammars.truncate(self.released_tokens + whole);
        let written = stop.start - self.tail.start()..stop.end - self.tail.start();
        self.report.stopped_by = self.tail.text().get(written).map(Box::from);
        let unread = self.tail.num_tokens();
        let dropped = self.tail.cut(stop);
        self.history.drop_last(dropped);
        self.written.truncate(stop.start);
        self.report.discarded_tokens += dropped as u64;
        self.flagged.retain(|finding| finding.start < stop.start);
        self.deferred.clear();
        self.redactor.roll_back(self.tail.start());
        for (state, set) in self.sets.iter_mut().zip(self.gate.sets()) {
            state.end_before(set, stop.start, self.tail.start(), unread);
        }
        match self.evaluate_tail() {
            Ok(()) => Verdict::Stopped(self.release(Some(End::Natural))),
            Err(stop) => self.stop(stop),
        }
    }

    /// Reads the whole tail again, as the end of the completion. What could have become a match is
    /// known not to: the stop string follows.
    fn evaluate_tail(&mut self) -> Result<(), Stop> {
        let last = self.tail.num_tokens() - 1;
        for index in 0..=last {
            self.read(index, (index == last).then_some(End::Natural))?;
        }
        self.take_found(last, Some(End::Natural));
        self.act()?;
        (0..self.sets.len()).try_for_each(|index| self.clear(index, Some(End::Natural)))
    }

    /// Lets every set read token `index` of the tail.
    fn read(&mut self, index: usize, end: Option<End>) -> Result<(), Stop> {
        let event = TokenEvent {
            start: self.tail.bytes_of(index).start,
            text: self.tail.text_of(index),
            end,
            counts_before: self.tail.counts_before(index),
            history: &self.history,
            later_tokens: self.tail.num_tokens() - index - 1,
            written: &self.written,
            first_mass: 0,
        };
        let sets = self.sets.iter_mut().zip(self.gate.sets()).enumerate();
        let mut failed = Vec::new();
        for (number, (state, set)) in sets {
            if state.read(set, &event).is_err() {
                failed.push(number);
            }
        }
        failed
            .into_iter()
            .try_for_each(|number| self.fail(number, Cause::Automaton))
    }

    /// Collects what was found by the sets that have a checkpoint after token `index`.
    fn take_found(&mut self, index: usize, end: Option<End>) {
        let text = self.tail.text_of(index);
        for (number, state) in self.sets.iter_mut().enumerate() {
            if state.is_due(&self.gate.sets()[number], text, end) {
                self.report.evaluations += 1;
                let found = state.take_found();
                self.deferred
                    .extend(found.map(|found| Hit { set: number, found }));
            }
        }
        self.ended = end.is_some();
        if self.ended {
            self.find_unfinished();
        }
        if let Some(rule) = self.probe {
            self.deferred.retain(|hit| hit.found.rule == rule);
        }
        // Where it became certain, and not where it was found: however the text was cut into
        // tokens, the same match comes first; of several at one place, the first in the file.
        self.deferred.sort_unstable_by_key(|hit| {
            (hit.found.known_at, hit.set, hit.found.rule, hit.found.start)
        });
    }

    /// A completion that is over and no whole text of its grammar: nothing of it is wrong, but
    /// something is missing at its end.
    fn find_unfinished(&mut self) {
        let end = self.tail.end();
        for (set, rule) in self.grammars.unfinished() {
            let found = Match {
                rule,
                start: end,
                end,
                known_at: end,
            };
            self.deferred.push(Hit { set, found });
        }
    }

    /// Whether no pattern of a set that holds could come to match before `byte`.
    fn is_certain_to(&self, byte: usize) -> bool {
        let sets = self.sets.iter().zip(self.gate.sets());
        let mut holding = sets.filter(|(_, set)| set.holds());
        holding.all(|(state, _)| state.is_certain_to(byte))
    }

    /// Moves the mark up to which set `index` has nothing against the text.
    fn clear(&mut self, index: usize, end: Option<End>) -> Result<(), Stop> {
        let set = &self.gate.sets()[index];
        let state = &mut self.sets[index];
        if !state.was_due() || !set.holds() {
            return Ok(());
        }
        let all = self.tail.end();
        let alive_from = state.alive_from().unwrap_or(all);
        // What is replaced to its end may be cut anywhere.
        let is_replaced = end.is_some() && self.redactor.replaces(&(alive_from..all));
        match is_replaced {
            true => state.set_clear_to(all, all),
            false => state.set_clear_to(alive_from, state.open_from().unwrap_or(all)),
        }
        let held = self.tail.num_tokens_beyond(alive_from);
        let max = set.set().checkpoint().max_hold_tokens;
        let streams = set.set().resample().scope == crate::Scope::Segment;
        if streams && end.is_none() && held > max && self.probe.is_none() {
            return self.fail(index, Cause::HeldTooLong { held, max });
        }
        Ok(())
    }
}

impl Needs {
    fn of(gate: &Gate) -> Self {
        let rules = gate.sets().iter().flat_map(|set| set.set().rules());
        let mut needs = Needs::default();
        for rule in rules.filter(|rule| rule.on == Side::Output) {
            match &rule.kind {
                Kind::Length(_) => needs.counts = true,
                Kind::Language(_) => needs.written = true,
                Kind::Logits(limits) => needs.history = needs.history.max(limits.window),
                _ => {}
            }
        }
        needs
    }
}
