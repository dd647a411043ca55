//! Greedy draws: the path is the one that the law takes, step by step, on many random toys.

use portcullis_types::{SamplingParams, TokenId, TokenMask};

use crate::law::{Law, Next, State};
use crate::toy::{Fault, Outcome, Toy, gate};

const TOYS: u64 = 400;
const TEXTS: [&str; 3] = ["a", "b", "ca"];
const PHRASES: [&[&str]; 4] = [&["aba", "bb"], &["ab", "caca"], &["b", "aaa"], &["a", "b"]];
/// As many as the format allows, and so few that it matters where a place ends.
const RETRIES: [u32; 3] = [64, 2, 1];

/// How often something worth proving came up.
#[derive(Default, Debug)]
struct Seen {
    retries: usize,
    /// A refused continuation's first token was drawn again, and what followed was admissible.
    innocent: usize,
    /// Nothing admissible was left.
    dead_ends: usize,
}

fn greedy() -> SamplingParams {
    SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    }
}

#[test]
fn a_greedy_retry_takes_the_likeliest_of_what_is_left() {
    let mut seen = Seen::default();
    for seed in 0..TOYS {
        let impossible = if seed % 2 == 0 { 0.0 } else { 0.4 };
        let toy = Toy::random(&TEXTS, 5, seed, 3, impossible);
        let phrases = PHRASES[(seed / 2) as usize % PHRASES.len()];
        for retries in RETRIES {
            for scope in ["segment", "completion"] {
                check_path(&toy, phrases, scope, retries, &mut seen);
            }
        }
    }
    assert!(
        seen.retries > 1_000 && seen.innocent > 100 && seen.dead_ends > 10,
        "{seen:?}"
    );
}

/// Walks the law and the real thing side by side.
fn check_path(toy: &Toy, phrases: &[&str], scope: &str, retries: u32, seen: &mut Seen) {
    let sampling = greedy();
    let law = Law {
        toy,
        phrases,
        whole_completion: scope == "completion",
        retries,
        sampling: &sampling,
    };
    let mut walk = Walk::new(&law);
    let gate = gate(phrases, scope, retries, "reject");
    let completion = toy.complete(&gate, sampling.clone(), Fault::None, &mut |tokens, mask| {
        walk.observe(tokens, mask, seen);
    });
    assert_eq!(completion.outcome, walk.outcome());
    if !completion.outcome.finished && retries == RETRIES[0] {
        // Each refused continuation is drawn once: so many attempts find what is admissible.
        let (share, refused) = law.admissible(&completion.outcome.released);
        assert!(
            share < 1e-6 || refused > retries as usize,
            "{share} was left"
        );
        seen.dead_ends += usize::from(share < 1e-6);
    }
}

/// Where the law stands.
struct Walk<'a> {
    law: &'a Law<'a>,
    state: State,
    /// A token was drawn ahead, for a continuation that the gate has refused by now.
    over: Option<Outcome>,
}

impl<'a> Walk<'a> {
    fn new(law: &'a Law<'a>) -> Self {
        Self {
            law,
            state: State::default(),
            over: None,
        }
    }

    /// The real thing draws after `tokens`, under `mask`: so does the law.
    fn observe(&mut self, tokens: &[TokenId], mask: &TokenMask, seen: &mut Seen) {
        if tokens != self.state.context() {
            // Drawn ahead of a verdict, and thrown away.
            return;
        }
        let left = self.law.left_of_each(&self.state);
        check_mask(mask, &left);
        let token = likeliest(&self.law.distribution(tokens), &left);
        let refused_before = self.state.remembered.iter().any(|path| path[0] == token);
        let at_root = self.state.tail.is_empty();
        match self.law.step(&self.state, token) {
            Next::Over(outcome) => self.over = Some(outcome),
            Next::Again(next) => {
                seen.retries += 1;
                self.state = next;
            }
            Next::Held(next) | Next::Released(next) => {
                seen.innocent +=
                    usize::from(at_root && refused_before && left[token as usize] > 0.0);
                self.state = next;
            }
        }
    }

    fn outcome(self) -> Outcome {
        self.over.expect("the law ends where the real thing does")
    }
}

/// The likeliest under what is left, ties to the lowest.
fn likeliest(next: &[f64], left: &[f64]) -> TokenId {
    let best = |weights: Vec<f64>| {
        let better = |best: usize, at: usize| {
            if weights[at] > weights[best] {
                at
            } else {
                best
            }
        };
        let best = (0..weights.len()).fold(0, better);
        (weights[best] > 0.0).then_some(best as TokenId)
    };
    let weighed = next.iter().zip(left).map(|(p, left)| p * left);
    best(weighed.collect())
        .or_else(|| best(next.to_vec()))
        .expect("something follows")
}

/// The mask leaves of each token exactly what is not refused.
fn check_mask(mask: &TokenMask, left: &[f64]) {
    for (token, left) in (0..).zip(left) {
        let weight = mask.weights.iter().find(|(t, _)| *t == token);
        let found = weight.map_or(1.0, |(_, weight)| f64::from(*weight).exp());
        assert!((found - left).abs() < 1e-5, "token {token}: {found} {left}");
    }
}
