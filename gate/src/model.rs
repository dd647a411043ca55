//! What a gate prepares for the model that it judges: grammars as masks, and watched tokens.

use std::sync::Arc;

use portcullis_types::{TokenBitSet, TokenId};

use crate::{Action, BoundSet, CompiledGrammar, GrammarError, GrammarState, MassLimit, Vocabulary};

/// What a caller asks its answer to be, as a mask on what is drawn. It is no rule: nothing is found
/// or refused by it, and an answer that is cut off need not be whole.
#[derive(Clone, Debug)]
pub struct AnswerForm {
    grammar: Arc<CompiledGrammar>,
    begins_after: Option<TokenId>,
    is_json: bool,
}

impl AnswerForm {
    /// The whole answer is a text of `grammar`.
    pub fn new(grammar: Arc<CompiledGrammar>) -> Self {
        Self {
            grammar,
            begins_after: None,
            is_json: false,
        }
    }

    /// The whole answer is one JSON text: what a rule replaces in it must leave it one.
    #[must_use]
    pub fn of_json(self) -> Self {
        Self {
            is_json: true,
            ..self
        }
    }

    /// Only what follows the first `token` is of the grammar, if that is drawn at all: what stands
    /// before it is free.
    #[must_use]
    pub fn after(self, token: TokenId) -> Self {
        Self {
            begins_after: Some(token),
            ..self
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    fn begin(&self) -> FormState {
        FormState {
            begins_after: self.begins_after,
            state: self.grammar.begin(),
        }
    }
}

/// The form of one answer.
#[derive(Debug)]
struct FormState {
    begins_after: Option<TokenId>,
    state: GrammarState,
}

impl FormState {
    /// `None` where everything is allowed.
    fn allowed_after(&mut self, completion: &[TokenId]) -> Option<TokenBitSet> {
        let begin = match self.begins_after {
            None => 0,
            Some(token) => completion.iter().position(|&t| t == token)? + 1,
        };
        Some(self.state.allowed_after(&completion[begin..]))
    }
}

/// The rules of a gate that are about tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelRules {
    grammars: Arc<[BoundGrammar]>,
    /// The tokens whose probability the rules of all sets watch, in their order.
    watched: Arc<[Box<[TokenId]>]>,
    /// Whether every completion is JSON.
    is_json: bool,
}

#[derive(Debug)]
struct BoundGrammar {
    /// Index of the set.
    set: usize,
    /// Index of the rule in it.
    rule: usize,
    grammar: Arc<CompiledGrammar>,
    /// Whether it says what may be drawn, or only whether the end is one.
    masks: bool,
}

impl ModelRules {
    pub(crate) fn new(
        sets: &[BoundSet],
        vocabulary: &Arc<Vocabulary>,
    ) -> Result<Self, GrammarError> {
        let mut grammars = Vec::new();
        let mut is_json = false;
        for (number, set) in sets.iter().enumerate() {
            for rule in set.set().grammars() {
                let masks = set.action(rule.rule) > Action::Redact;
                is_json |= masks && rule.is_json;
                grammars.push(BoundGrammar {
                    set: number,
                    rule: rule.rule,
                    grammar: rule.grammar.compile(vocabulary)?,
                    masks,
                });
            }
        }
        let masses = sets.iter().flat_map(|set| set.set().watched());
        Ok(Self {
            grammars: grammars.into(),
            watched: masses
                .map(|mass| watched_tokens(mass, vocabulary))
                .collect(),
            is_json,
        })
    }

    pub(crate) fn watched(&self) -> &Arc<[Box<[TokenId]>]> {
        &self.watched
    }

    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    pub(crate) fn begin(&self) -> Grammars {
        let states = self.grammars.iter().map(|bound| bound.grammar.begin());
        Grammars {
            states: states.collect(),
            bound: Arc::clone(&self.grammars),
            form: None,
            unprepared: Vec::new(),
            judged: Vec::new(),
        }
    }
}

/// The grammars of one sequence.
#[derive(Debug)]
pub(crate) struct Grammars {
    bound: Arc<[BoundGrammar]>,
    states: Vec<GrammarState>,
    /// What the caller asked for.
    form: Option<FormState>,
    /// Rules, by set and index, whose grammars were not prepared: nothing satisfies them.
    unprepared: Vec<(usize, usize)>,
    /// The tokens that were judged; empty where there are no grammars.
    judged: Vec<TokenId>,
}

impl Grammars {
    /// Where nothing was prepared for a model.
    pub(crate) fn unprepared(sets: &[BoundSet]) -> Self {
        let rules = sets.iter().enumerate().flat_map(|(number, set)| {
            let grammars = set.set().grammars().iter();
            grammars.map(move |grammar| (number, grammar.rule))
        });
        Self {
            bound: Arc::default(),
            states: Vec::new(),
            form: None,
            unprepared: rules.collect(),
            judged: Vec::new(),
        }
    }

    pub(crate) fn with_form(self, form: Option<&AnswerForm>) -> Self {
        Self {
            form: form.map(AnswerForm::begin),
            ..self
        }
    }

    /// The tokens that every mask allows after `completion`; `None` where there is no mask.
    ///
    /// Two masks that each go on may have no token in common: the set is then empty.
    pub(crate) fn allowed_after(&mut self, completion: &[TokenId]) -> Option<Arc<TokenBitSet>> {
        let pairs = self.states.iter_mut().zip(self.bound.iter());
        let masks = pairs.filter(|(_, bound)| bound.masks);
        let sets = masks.map(|(state, _)| state.allowed_after(completion));
        let asked = self
            .form
            .as_mut()
            .and_then(|form| form.allowed_after(completion));
        let sets = sets.chain(asked);
        let all = sets.reduce(|mut all, set| {
            all.intersect(&set);
            all
        });
        all.map(Arc::new)
    }

    pub(crate) fn push(&mut self, token: TokenId) {
        if !self.states.is_empty() {
            self.judged.push(token);
        }
    }

    /// Only the first `count` tokens stay.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.judged.truncate(count);
    }

    /// The rules, by set and index, of which what was judged is no whole text.
    pub(crate) fn unfinished(&mut self) -> Vec<(usize, usize)> {
        let pairs = self.states.iter_mut().zip(self.bound.iter());
        let unfinished = pairs.filter_map(|(state, bound)| {
            let accepts = state.is_accepting_after(&self.judged);
            (!accepts).then_some((bound.set, bound.rule))
        });
        unfinished.chain(self.unprepared.iter().copied()).collect()
    }
}

fn watched_tokens(mass: &MassLimit, vocabulary: &Vocabulary) -> Box<[TokenId]> {
    let whole = mass
        .tokens
        .iter()
        .flat_map(|text| vocabulary.tokens_of(text));
    let first = mass.phrases.iter().flat_map(|phrase| {
        let spaced = format!(" {phrase}");
        [phrase.as_str(), &spaced].map(|phrase| vocabulary.first_tokens_of(phrase))
    });
    let mut tokens: Vec<TokenId> = whole.chain(first.flatten()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens.into()
}
