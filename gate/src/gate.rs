//! What holds for one call.

use std::sync::Arc;

use portcullis_types::TokenId;

use crate::{
    Action, GateState, GrammarError, Mode, Quota, RuleSet, Side, Vocabulary,
    model::{AnswerForm, Grammars, ModelRules},
};

/// The rule sets that hold for one call, all together.
#[derive(Clone, Debug)]
pub struct Gate {
    sets: Arc<[BoundSet]>,
    /// Set by [`Gate::for_model`].
    model: Option<ModelRules>,
    form: Option<AnswerForm>,
    quota: Quota,
}

/// A rule set as it holds for a call.
#[derive(Clone, Debug)]
pub struct BoundSet {
    set: Arc<RuleSet>,
    observed: bool,
}

impl Gate {
    /// No rules: the plain server. Text passes straight through.
    pub fn open() -> Gate {
        Gate::new(Vec::<BoundSet>::new(), Quota::NONE)
    }

    /// All of `sets` hold; where several act at one place, the strongest action does.
    pub fn new(sets: impl IntoIterator<Item = impl Into<BoundSet>>, quota: Quota) -> Gate {
        Gate {
            sets: sets.into_iter().map(Into::into).collect(),
            model: None,
            form: None,
            quota,
        }
    }

    /// Whether rules are about the tokens of the model, so that [`Gate::for_model`] is needed.
    pub fn needs_model(&self) -> bool {
        let mut sets = self.sets.iter();
        sets.any(|set| !set.set().grammars().is_empty() || set.set().watched().next().is_some())
    }

    /// Prepares the rules that are about the tokens of a model. Without it masks allow nothing to
    /// come to its end, and watched probabilities are out of bounds: closed, not open.
    ///
    /// # Errors
    /// A grammar is beyond the limits with this vocabulary.
    pub fn for_model(self, vocabulary: &Arc<Vocabulary>) -> Result<Gate, GrammarError> {
        let model = Some(ModelRules::new(&self.sets, vocabulary)?);
        Ok(Gate { model, ..self })
    }

    /// Sets of tokens whose probability under the model each sample is to tell.
    pub fn watched_tokens(&self) -> Arc<[Box<[TokenId]>]> {
        let watched = self.model.as_ref().map(ModelRules::watched);
        watched.cloned().unwrap_or_default()
    }

    /// Whether masks make every completion JSON, by a rule or as the caller asked.
    pub(crate) fn is_json(&self) -> bool {
        self.model.as_ref().is_some_and(ModelRules::is_json)
            || self.form.as_ref().is_some_and(AnswerForm::is_json)
    }

    pub(crate) fn begin_grammars(&self) -> Grammars {
        let grammars = match &self.model {
            Some(model) => model.begin(),
            None => Grammars::unprepared(&self.sets),
        };
        grammars.with_form(self.form.as_ref())
    }

    /// The rule sets.
    pub fn sets(&self) -> &[BoundSet] {
        &self.sets
    }

    /// Whether some set acts and does not only watch.
    pub fn is_enforced(&self) -> bool {
        self.sets.iter().any(|set| set.mode() == Mode::Enforce)
    }

    /// What one sequence may cost in resampling.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The same sets with another quota.
    #[must_use]
    pub fn with_quota(self, quota: Quota) -> Gate {
        Gate { quota, ..self }
    }

    /// The same sets over answers of `form`.
    #[must_use]
    pub fn with_form(self, form: AnswerForm) -> Gate {
        Gate {
            form: Some(form),
            ..self
        }
    }

    /// Begins a sequence. `greedy`: draws repeat themselves, so that a retry must exclude all that
    /// was refused (see [`GateState::mask_after`]), and not only what is likely to come back.
    pub fn begin(&self, greedy: bool) -> GateState {
        GateState::new(self.clone(), greedy)
    }
}

impl BoundSet {
    /// `set` only watches, whatever its file says: a candidate beside what is in force.
    pub fn observed(set: Arc<RuleSet>) -> Self {
        Self {
            set,
            observed: true,
        }
    }

    /// The set itself.
    pub fn set(&self) -> &Arc<RuleSet> {
        &self.set
    }

    /// Whether it acts for this call or only watches.
    pub fn mode(&self) -> Mode {
        match self.observed {
            true => Mode::Observe,
            false => self.set.mode(),
        }
    }

    /// What rule `index` does for this call.
    pub(crate) fn action(&self, index: usize) -> Action {
        match self.observed {
            true => Action::Observe,
            false => self.set.definition().action(index),
        }
    }

    /// Whether it may ask for what was written to be drawn again.
    pub fn can_resample(&self) -> bool {
        let mut rules = self.set.rules().enumerate();
        let resamples = |index| self.action(index) == Action::Resample;
        rules.any(|(index, rule)| rule.on == Side::Output && resamples(index))
    }

    /// Whether text may wait for it.
    pub(crate) fn holds(&self) -> bool {
        !self.observed && self.set.holds()
    }
}

impl From<Arc<RuleSet>> for BoundSet {
    fn from(set: Arc<RuleSet>) -> Self {
        Self {
            set,
            observed: false,
        }
    }
}
