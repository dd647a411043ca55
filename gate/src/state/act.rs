//! What is done about what was found: by the strength of the actions, and by what is left to do.

use std::sync::Arc;

use super::{GateState, Stop};
use crate::{
    Action, Cause, Finding, Mode, OnGateError, Refusal, Then, limits::FINDINGS_MAX, scan::Match,
};

/// A match at the place where the gate acts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// Index of the set.
    pub(super) set: usize,
    pub(super) found: Match,
}

/// What a hit comes to, by strength.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    Note(Action),
    Redact,
    Again,
    Refuse(Cause),
}

impl GateState {
    /// Acts on what was found, earliest first. What lies behind a stop string waits: the
    /// completion may end before it.
    pub(super) fn act(&mut self) -> Result<(), Stop> {
        if self.deferred.is_empty() {
            return Ok(());
        }
        let stop = self.stop.found();
        let waits = |hit: &Hit| {
            stop.as_ref()
                .is_some_and(|stop| hit.found.start >= stop.end)
        };
        let (deferred, hits) = std::mem::take(&mut self.deferred)
            .into_iter()
            .partition::<Vec<Hit>, _>(waits);
        self.deferred = deferred;
        let mut acted = 0;
        for place in hits.chunk_by(|a, b| a.found.known_at == b.found.known_at) {
            acted += place.len();
            self.act_at(place).inspect_err(|_| {
                self.deferred.extend_from_slice(&hits[acted..]);
            })?;
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
        match self.gate.sets()[hit.set].action(hit.found.rule) {
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
        match self.gate.sets()[hit.set].set().resample().then {
            Then::Flag => Effect::Note(Action::Flag),
            Then::Redact if self.reaches_back(hit) => Effect::Refuse(Cause::ReachesBack),
            Then::Redact => Effect::Redact,
            Then::Reject => Effect::Refuse(cause),
        }
    }

    /// Whether part of the match is released as it was written.
    fn reaches_back(&self, hit: Hit) -> bool {
        let (start, released) = (hit.found.start, self.tail.start());
        start < released && !self.redactor.covers(start, released.min(hit.found.end))
    }

    /// Why set `index` may not roll back here any more; `None` while it may.
    fn attempts_used_up(&self, index: usize) -> Option<Cause> {
        let attempts = self.sets[index].attempts_here();
        if attempts >= self.gate.sets()[index].set().resample().max_attempts {
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
        let with = &self.gate.sets()[hit.set].set().definition().rules[rule].with;
        let span = hit.found.start..hit.found.end;
        let released = self.tail.start();
        self.redactor.add(span, released, (hit.set, rule), with);
    }

    /// Records a match, once for each stretch of overlapping matches of a rule.
    fn record(&mut self, hit: Hit, effect: &Effect) {
        if !self.sets[hit.set].note(hit.found, effect.action()) {
            return;
        }
        let definition = self.gate.sets()[hit.set].set().definition();
        let finding = Finding {
            ruleset: definition.name.clone(),
            version: definition.version,
            rule: definition.rules[hit.found.rule].id.clone(),
            action: effect.action(),
            input: None,
            start: hit.found.start,
            end: hit.found.end,
            attempt: self.report.attempts,
        };
        if finding.action == Action::Flag && self.flagged.len() < FINDINGS_MAX {
            self.flagged.push(finding.clone());
        }
        self.report.record(finding);
    }

    /// Set `index` could not come to a verdict: closed, unless it says otherwise or only watches.
    pub(super) fn fail(&mut self, index: usize, cause: Cause) -> Result<(), Stop> {
        let set = &self.gate.sets()[index];
        self.sets[index].note_failure();
        if set.mode() == Mode::Enforce && set.set().on_gate_error() == OnGateError::Reject {
            return Err(Stop::Refuse(self.refusal(index, None, cause)));
        }
        self.report.errors += 1;
        self.sets[index].give_up(self.tail.end(), cause == Cause::Automaton);
        Ok(())
    }

    fn refusal(&self, index: usize, rule: Option<usize>, cause: Cause) -> Refusal {
        let definition = self.gate.sets()[index].set().definition();
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
