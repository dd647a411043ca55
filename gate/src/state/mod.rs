//! One sequence under the gate.
//!
//! Each token goes through the same four steps: it joins the tail of unreleased tokens; every set
//! reads its text; the sets that have a checkpoint here act on what was found, in the order in
//! which it became certain; and the tail is released up to the last token before the first byte
//! from which a rule could still match.

mod release;
mod set;

use std::sync::Arc;

use portcullis_types::{TokenId, TokenMask};

use crate::{
    Action, Admitted, Cause, Checkpoint, Finding, Gate, GateReport, Mode, OnGateError, Refusal,
    Scope, Then, Verdict, limits::FINDINGS_MAX, redact::Redactor, retry::RefusedTree, scan::Match,
    tail::Tail,
};
use set::SetState;

/// The gate's side of one sequence.
#[derive(Debug)]
pub struct GateState {
    gate: Gate,
    greedy: bool,
    /// Whether any set may ask for a roll-back; else no past need be kept.
    can_roll_back: bool,
    sets: Vec<SetState>,
    tail: Tail,
    /// Tokens of the completion that are released.
    released_tokens: usize,
    released_text: bool,
    redactor: Redactor,
    refused: RefusedTree,
    /// Flagged matches whose text is not released.
    flagged: Vec<Finding>,
    report: GateReport,
    /// Set once the completion is refused: nothing follows.
    closed: Option<Refusal>,
    /// In a test of a rule set: the only rule that acts, and nothing is held too long.
    probe: Option<usize>,
}

/// A match at the place where the gate acts.
#[derive(Clone, Copy, Debug)]
struct Hit {
    /// Index of the set.
    set: usize,
    found: Match,
}

/// What a hit comes to, by strength.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    Note(Action),
    Redact,
    Again,
    Refuse(Cause),
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
        Self {
            sets: gate.sets().iter().map(|set| SetState::new(set)).collect(),
            can_roll_back: gate.sets().iter().any(|set| release::can_roll_back(set)),
            gate,
            greedy,
            tail: Tail::default(),
            released_tokens: 0,
            released_text: false,
            redactor: Redactor::default(),
            refused: RefusedTree::default(),
            flagged: Vec::new(),
            report: GateReport::default(),
            closed: None,
            probe: None,
        }
    }

    /// A state in which only `rule` of the only set acts.
    pub(crate) fn probe(gate: &Gate, rule: usize) -> Self {
        let mut state = gate.begin(false);
        state.probe = Some(rule);
        state
    }

    /// Sees one more token and says what becomes of the completion.
    pub fn check(&mut self, checkpoint: Checkpoint<'_>) -> Verdict {
        let Checkpoint { sample, text, end } = checkpoint;
        if self.sets.is_empty() {
            let admitted = Admitted::new(text.to_owned(), vec![sample], Vec::new(), 1);
            return Verdict::Continue(admitted);
        }
        if let Some(refusal) = &self.closed {
            return Verdict::Reject(refusal.clone());
        }
        let start = self.tail.end();
        self.tail.push(sample, text);
        match self.evaluate(start, text, end) {
            Ok(()) => Verdict::Continue(self.release(end)),
            Err(stop) => self.stop(stop),
        }
    }

    /// What may not be drawn, or less often, as the next token: on a retry of a greedy draw, the
    /// refused continuations; else empty, for a fresh draw is enough.
    pub fn mask(&self) -> TokenMask {
        self.mask_after(&[])
    }

    /// [`GateState::mask`] where tokens have been drawn that the gate has not seen yet.
    pub fn mask_after(&self, unseen: &[TokenId]) -> TokenMask {
        let path = self.tail.token_ids().chain(unseen.iter().copied());
        self.refused.mask_after(path)
    }

    /// Roll-backs so far. Never repeats, so that no (seed, position, attempt) does.
    pub fn attempt(&self) -> u32 {
        self.report.attempts
    }

    /// What the gate did so far.
    pub fn report(&self) -> &GateReport {
        &self.report
    }

    /// Lets every set read `text`, and those that are due act.
    fn evaluate(&mut self, start: usize, text: &str, end: bool) -> Result<(), Stop> {
        for index in 0..self.sets.len() {
            let set = &self.gate.sets()[index];
            if self.sets[index].read(set, start, text, end).is_err() {
                self.fail(index, Cause::Automaton)?;
            }
        }
        self.act(text, end)?;
        for index in 0..self.sets.len() {
            self.clear(index, end)?;
        }
        Ok(())
    }

    /// Acts on the matches of the sets that have a checkpoint here, earliest first.
    fn act(&mut self, text: &str, end: bool) -> Result<(), Stop> {
        let mut hits = Vec::new();
        for (index, state) in self.sets.iter_mut().enumerate() {
            if state.is_due(&self.gate.sets()[index], text, end) {
                self.report.evaluations += 1;
                hits.extend(state.take_found().map(|found| Hit { set: index, found }));
            }
        }
        if let Some(rule) = self.probe {
            hits.retain(|hit| hit.found.rule == rule);
        }
        // Where it became certain, and not where it was found: however the text was cut into
        // tokens, the same match comes first.
        hits.sort_by_key(|hit| hit.found.known_at);
        for place in hits.chunk_by(|a, b| a.found.known_at == b.found.known_at) {
            self.act_at(place)?;
        }
        Ok(())
    }

    /// Acts on matches that became certain at the same byte: the strongest acts, all are recorded.
    fn act_at(&mut self, place: &[Hit]) -> Result<(), Stop> {
        let mut strongest: Option<(Effect, Hit)> = None;
        for &hit in place {
            let effect = self.effect(hit);
            self.record(hit, &effect);
            match &effect {
                Effect::Note(_) => self.sets[hit.set].settle(hit.found),
                Effect::Redact => self.redact(hit),
                Effect::Again | Effect::Refuse(_) => {}
            }
            let weaker = |(known, _): &(Effect, Hit)| known.action() < effect.action();
            if strongest.as_ref().is_none_or(weaker) {
                strongest = Some((effect, hit));
            }
        }
        match strongest {
            Some((Effect::Again, hit)) => Err(Stop::Again(hit)),
            Some((Effect::Refuse(cause), hit)) => {
                let rule = Some(hit.found.rule);
                Err(Stop::Refuse(self.refusal(hit.set, rule, cause)))
            }
            _ => Ok(()),
        }
    }

    /// What `hit` comes to now.
    fn effect(&self, hit: Hit) -> Effect {
        let definition = self.gate.sets()[hit.set].definition();
        match definition.action(hit.found.rule) {
            action @ (Action::Observe | Action::Flag) => Effect::Note(action),
            Action::Redact if !self.reaches_back(hit) => Effect::Redact,
            // Part of it is out already, harmless where it stood before a roll-back: only another
            // continuation keeps it so.
            Action::Redact => match self.attempts_used_up(hit.set) {
                None => Effect::Again,
                Some(_) => Effect::Refuse(Cause::ReachesBack),
            },
            Action::Resample if self.sets[hit.set].is_settled(hit.found) => {
                self.then(hit, Cause::ReachesBack)
            }
            Action::Resample => match self.attempts_used_up(hit.set) {
                None => Effect::Again,
                Some(cause) => self.then(hit, cause),
            },
            Action::Reject => Effect::Refuse(Cause::Matched),
        }
    }

    /// What a `resample` rule comes to when no attempt is left, because of `cause`.
    fn then(&self, hit: Hit, cause: Cause) -> Effect {
        match self.gate.sets()[hit.set].resample().then {
            Then::Flag => Effect::Note(Action::Flag),
            Then::Redact if self.reaches_back(hit) => Effect::Refuse(Cause::ReachesBack),
            Then::Redact => Effect::Redact,
            Then::Reject => Effect::Refuse(cause),
        }
    }

    /// Whether part of the match is released as it was written.
    fn reaches_back(&self, hit: Hit) -> bool {
        let (start, released) = (hit.found.start, self.tail.start());
        start < released && !self.redactor.covers(start, released)
    }

    /// Why set `index` may not roll back here any more; `None` while it may.
    fn attempts_used_up(&self, index: usize) -> Option<Cause> {
        let attempts = self.sets[index].attempts_here();
        if attempts >= self.gate.sets()[index].resample().max_attempts {
            return Some(Cause::AttemptsUsedUp { attempts });
        }
        let quota = self.gate.quota();
        let discarded = self.report.discarded_tokens + self.tail.num_tokens() as u64;
        let used_up = self.report.attempts >= quota.attempts_max
            || discarded > u64::from(quota.discarded_tokens_max);
        used_up.then_some(Cause::QuotaUsedUp)
    }

    fn redact(&mut self, hit: Hit) {
        self.sets[hit.set].settle(hit.found);
        let rule = hit.found.rule;
        let with = &self.gate.sets()[hit.set].definition().rules[rule].with;
        let span = hit.found.start..hit.found.end;
        let released = self.tail.start();
        self.redactor.add(span, released, (hit.set, rule), with);
    }

    /// Records a match, once for each stretch of overlapping matches of a rule.
    fn record(&mut self, hit: Hit, effect: &Effect) {
        if !self.sets[hit.set].note(hit.found) {
            return;
        }
        let set = &self.gate.sets()[hit.set];
        let definition = set.definition();
        let finding = Finding {
            ruleset: definition.name.clone(),
            version: definition.version,
            rule: definition.rules[hit.found.rule].id.clone(),
            action: effect.action(),
            start: hit.found.start,
            end: hit.found.end,
            attempt: self.report.attempts,
        };
        if finding.action == Action::Flag && self.flagged.len() < FINDINGS_MAX {
            self.flagged.push(finding.clone());
        }
        self.report.record(finding);
    }

    /// Moves the mark up to which set `index` has nothing against the text.
    fn clear(&mut self, index: usize, end: bool) -> Result<(), Stop> {
        let set = &self.gate.sets()[index];
        let state = &mut self.sets[index];
        if !state.was_due() || !set.holds() {
            return Ok(());
        }
        let alive_from = state.alive_from(set).unwrap_or(self.tail.end());
        if set.resample().scope == Scope::Completion && !end {
            return Ok(());
        }
        state.clear_to(alive_from);
        let held = self.tail.num_tokens_beyond(alive_from);
        let max = set.checkpoint().max_hold_tokens;
        if held > max && self.probe.is_none() {
            return self.fail(index, Cause::HeldTooLong { held, max });
        }
        Ok(())
    }

    /// Set `index` could not come to a verdict: closed, unless it says otherwise or only watches.
    fn fail(&mut self, index: usize, cause: Cause) -> Result<(), Stop> {
        let set = &self.gate.sets()[index];
        if set.mode() == Mode::Enforce && set.on_gate_error() == OnGateError::Reject {
            return Err(Stop::Refuse(self.refusal(index, None, cause)));
        }
        self.report.errors += 1;
        self.sets[index].give_up(self.tail.end(), cause == Cause::Automaton);
        Ok(())
    }

    fn refusal(&self, index: usize, rule: Option<usize>, cause: Cause) -> Refusal {
        let definition = self.gate.sets()[index].definition();
        let rule = rule.map(|rule| &definition.rules[rule]);
        Refusal {
            ruleset: definition.name.clone(),
            version: definition.version,
            rule: rule.map(|rule| rule.id.clone()),
            why: rule.map_or_else(|| Arc::from(""), |rule| rule.why.clone()),
            after_release: self.released_text,
            cause,
        }
    }
}

impl Effect {
    fn action(&self) -> Action {
        match self {
            Self::Note(action) => *action,
            Self::Redact => Action::Redact,
            Self::Again => Action::Resample,
            Self::Refuse(_) => Action::Reject,
        }
    }
}
