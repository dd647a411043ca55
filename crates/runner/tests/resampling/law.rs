//! What the semantics say, computed exactly and without gate, automaton, tree or sampler.
//!
//! - A token joins the tail. If the text then holds a phrase, the tail is refused.
//! - Else, with segment scope, the tokens before the first byte from which the end of the text is
//!   a beginning of a phrase are released; with completion scope, nothing before the end.
//! - A refusal throws the tail away and draws anew, `retries` times for a place; the place is
//!   passed once more is released than the furthest byte at which a refused phrase began.
//! - A draw is from the sampler's distribution without the continuations that are remembered. One
//!   is remembered if the next attempt would draw it again with at least 1 in 64.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use portcullis_types::{SamplingParams, TokenId};

use crate::toy::{Outcome, Toy};

const REMEMBERED_FROM: f64 = 1.0 / 64.0;

/// How often each outcome must come.
pub(crate) type Shares = BTreeMap<Outcome, f64>;

/// The semantics on one toy.
pub(crate) struct Law<'a> {
    pub(crate) toy: &'a Toy,
    pub(crate) phrases: &'a [&'a str],
    pub(crate) whole_completion: bool,
    pub(crate) retries: u32,
    pub(crate) sampling: &'a SamplingParams,
}

/// Everything that what follows depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    pub(crate) released: Vec<TokenId>,
    pub(crate) tail: Vec<TokenId>,
    /// Retries at this place.
    pub(crate) retries: u32,
    /// The furthest byte at which a refused phrase began.
    refused_at: usize,
    /// Refused continuations of `released` that are remembered.
    pub(crate) remembered: BTreeSet<Vec<TokenId>>,
}

/// What becomes of a state when a token is drawn.
pub(crate) enum Next {
    /// The completion is over.
    Over(Outcome),
    /// It is rolled back.
    Again(State),
    /// It goes on, and some of it is released.
    Released(State),
    /// It goes on.
    Held(State),
}

impl Law<'_> {
    /// How often each outcome must come.
    pub(crate) fn shares(&self) -> Shares {
        let mut known = BTreeMap::new();
        self.shares_from(State::default(), &mut known, Next::Released)
            .as_ref()
            .clone()
    }

    /// How often each path must come that runs from `released` to the first release or the end; as
    /// outcomes that released it, or were refused.
    pub(crate) fn segment_shares(&self, released: Vec<TokenId>) -> Shares {
        let state = State {
            released,
            ..State::default()
        };
        let first_release = |next: State| {
            Next::Over(Outcome {
                released: next.context(),
                finished: true,
            })
        };
        self.shares_from(state, &mut BTreeMap::new(), first_release)
            .as_ref()
            .clone()
    }

    fn shares_from(
        &self,
        state: State,
        known: &mut BTreeMap<State, Rc<Shares>>,
        on_release: fn(State) -> Next,
    ) -> Rc<Shares> {
        if let Some(shares) = known.get(&state) {
            return Rc::clone(shares);
        }
        let mut shares = Shares::new();
        for (token, share) in self.draws(&state) {
            let next = match self.step(&state, token) {
                Next::Released(next) => on_release(next),
                next => next,
            };
            match next {
                Next::Over(outcome) => *shares.entry(outcome).or_default() += share,
                Next::Again(next) | Next::Released(next) | Next::Held(next) => {
                    for (outcome, of_next) in self.shares_from(next, known, on_release).iter() {
                        *shares.entry(outcome.clone()).or_default() += share * of_next;
                    }
                }
            }
        }
        let shares = Rc::new(shares);
        known.insert(state, Rc::clone(&shares));
        shares
    }

    /// The tokens that may be drawn in `state`, and how likely each is.
    fn draws(&self, state: &State) -> Vec<(TokenId, f64)> {
        let context = state.context();
        let left: Vec<f64> = self.left_of_each(state);
        let weigh = |shares: Vec<f64>| -> Vec<f64> {
            shares
                .iter()
                .zip(&left)
                .map(|(share, left)| share * left)
                .collect()
        };
        let kept = self.distribution(&context);
        let mut weights = weigh(kept.clone());
        if !some_left(&weights) {
            // All that truncation keeps is refused.
            let mut next = self.toy.next(&context);
            for (p, left) in next.iter_mut().zip(&left) {
                *p *= f64::from(*left > 0.0);
            }
            weights = weigh(truncate(next, self.sampling));
        }
        if !some_left(&weights) {
            weights = kept;
        }
        let total: f64 = weights.iter().sum();
        let shares = weights.into_iter().map(|weight| weight / total);
        (0..)
            .zip(shares)
            .filter(|(_, share)| *share > 0.0)
            .collect()
    }

    /// What is left of each token after `state`, between 0 and 1.
    pub(crate) fn left_of_each(&self, state: &State) -> Vec<f64> {
        (0..=self.toy.end())
            .map(|token| self.left(state, &with(&state.tail, token)))
            .collect()
    }

    /// How much of the probability of what follows `path`, a continuation of what is released, is
    /// not remembered as refused.
    fn left(&self, state: &State, path: &[TokenId]) -> f64 {
        if state.remembered.contains(path) {
            return 0.0;
        }
        if !state
            .remembered
            .iter()
            .any(|refused| refused.starts_with(path))
        {
            return 1.0;
        }
        let next = self.distribution(&[&state.released, path].concat());
        let left = (0..).zip(next).filter(|(_, p)| *p > 0.0);
        let left: f64 = left
            .map(|(token, p)| p * self.left(state, &with(path, token)))
            .sum();
        // Of a sum of shares, so much may be rounding.
        if left < 1e-12 { 0.0 } else { left }
    }

    /// What follows the draw of `token`.
    pub(crate) fn step(&self, state: &State, token: TokenId) -> Next {
        let mut next = state.clone();
        next.tail.push(token);
        if let Some(start) = self.match_start(&next.context()) {
            return self.refuse(next, start);
        }
        if token == self.toy.end() {
            return Next::Over(Outcome {
                released: next.context(),
                finished: true,
            });
        }
        match self.releasable(&next) {
            0 => Next::Held(next),
            count => Next::Released(self.release(next, count)),
        }
    }

    fn refuse(&self, state: State, start: usize) -> Next {
        if state.retries == self.retries {
            return Next::Over(Outcome {
                released: state.released,
                finished: false,
            });
        }
        let start = start.max(self.text(&state.released).len());
        let mut next = State {
            tail: Vec::new(),
            retries: state.retries + 1,
            refused_at: state.refused_at.max(start),
            ..state
        };
        if self.would_recur(&next, &state.tail) {
            next.remembered.insert(state.tail);
        }
        Next::Again(next)
    }

    fn would_recur(&self, state: &State, path: &[TokenId]) -> bool {
        if self.sampling.temperature == 0.0 {
            return true;
        }
        let mut context = state.released.clone();
        let mut share = 1.0;
        for &token in path {
            share *= self.distribution(&context)[token as usize];
            context.push(token);
        }
        share >= REMEMBERED_FROM * self.left(state, &[])
    }

    fn release(&self, mut state: State, count: usize) -> State {
        let more: Vec<TokenId> = state.tail.drain(..count).collect();
        let below = |path: &Vec<TokenId>| Some(path.strip_prefix(&more[..])?.to_vec());
        state.remembered = state.remembered.iter().filter_map(below).collect();
        state.released.extend(more);
        if self.text(&state.released).len() > state.refused_at {
            (state.retries, state.refused_at) = (0, 0);
        }
        state
    }

    /// How many tokens of the tail may leave.
    fn releasable(&self, state: &State) -> usize {
        if self.whole_completion {
            return 0;
        }
        let text = self.text(&state.context());
        let could_match = |at: &usize| self.phrases.iter().any(|p| p.starts_with(&text[*at..]));
        let limit = (0..text.len()).find(could_match).unwrap_or(text.len());
        let end_of = |count: usize| {
            self.text(&[&state.released[..], &state.tail[..count]].concat())
                .len()
        };
        (0..=state.tail.len())
            .rfind(|count| end_of(*count) <= limit)
            .unwrap_or(0)
    }

    /// Where the phrase begins that ends first in the text.
    fn match_start(&self, tokens: &[TokenId]) -> Option<usize> {
        let text = self.text(tokens);
        let found = self.phrases.iter().filter_map(|phrase| {
            let start = text.find(phrase)?;
            Some((start + phrase.len(), start))
        });
        found.min().map(|(_, start)| start)
    }

    /// The probability that a run from `released` comes to a release or to the end, and how many
    /// continuations would be refused before that.
    pub(crate) fn admissible(&self, released: &[TokenId]) -> (f64, usize) {
        let mut open = vec![(
            State {
                released: released.to_vec(),
                ..State::default()
            },
            1.0,
        )];
        let (mut share, mut refused) = (0.0, 0);
        while let Some((state, so_far)) = open.pop() {
            for (token, p) in self.draws(&state) {
                match self.step(&state, token) {
                    Next::Held(next) => open.push((next, so_far * p)),
                    Next::Released(_) | Next::Over(Outcome { finished: true, .. }) => {
                        share += so_far * p;
                    }
                    Next::Again(_) | Next::Over(_) => refused += 1,
                }
            }
        }
        (share, refused)
    }

    /// The sampler's distribution after `context`.
    pub(crate) fn distribution(&self, context: &[TokenId]) -> Vec<f64> {
        truncate(self.toy.next(context), self.sampling)
    }

    fn text(&self, tokens: &[TokenId]) -> String {
        tokens.iter().map(|token| self.toy.text(*token)).collect()
    }
}

impl State {
    pub(crate) fn context(&self) -> Vec<TokenId> {
        [&self.released[..], &self.tail[..]].concat()
    }
}

/// Temperature (0 counts as 1: a greedy draw is weighed so) and top-k.
fn truncate(next: Vec<f64>, sampling: &SamplingParams) -> Vec<f64> {
    let greedy = sampling.temperature == 0.0;
    let temperature = if greedy {
        1.0
    } else {
        f64::from(sampling.temperature)
    };
    let mut shares: Vec<f64> = next.iter().map(|p| p.powf(1.0 / temperature)).collect();
    if let Some(k) = sampling.top_k {
        let mut sorted = shares.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let least = sorted[(k as usize).min(sorted.len()) - 1];
        shares
            .iter_mut()
            .for_each(|share| *share *= f64::from(*share >= least));
    }
    let total: f64 = shares.iter().sum();
    if total > 0.0 {
        shares.iter_mut().for_each(|share| *share /= total);
    }
    shares
}

fn some_left(weights: &[f64]) -> bool {
    weights.iter().any(|weight| *weight > 0.0)
}

fn with(path: &[TokenId], token: TokenId) -> Vec<TokenId> {
    [path, &[token]].concat()
}
