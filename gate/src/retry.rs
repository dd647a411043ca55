//! Refused continuations of a place, for draws that repeat themselves.
//!
//! Greedy decoding would draw the same tokens again, so a retry must take away what was refused,
//! and no more: banning the first token of a refused phrase would kill innocent continuations.
//! A tree of the refused continuations knows, for each of its places, how much probability the
//! refused ones below a token hold; the token keeps the rest. Source: CARS, arXiv:2510.01902.

use portcullis_types::{Sample, TokenId, TokenMask};

/// From here on a token is as good as refused, and `ln(1 - mass)` means nothing any more.
const CERTAIN: f64 = 1.0 - 1e-6;

const ROOT: usize = 0;

/// The tree of refused continuations; its root is the end of what is released.
#[derive(Debug, Default)]
pub(crate) struct RefusedTree {
    /// Empty while nothing is refused.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    children: Vec<Edge>,
    /// How much of the probability of what follows is refused, in [0, 1].
    mass: f64,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    token: TokenId,
    /// Probability of the token at this place, before any mask.
    probability: f64,
    to: usize,
}

impl RefusedTree {
    /// Refuses the continuation `path` and everything that begins with it.
    pub(crate) fn refuse<'a>(&mut self, path: impl Iterator<Item = &'a Sample>) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut passed = vec![ROOT];
        for sample in path {
            let at = *passed.last().expect("the root is always there");
            passed.push(self.child_or_new(at, sample));
        }
        let leaf = passed.pop().expect("the root is always there");
        self.nodes[leaf].mass = 1.0;
        for at in passed.into_iter().rev() {
            self.nodes[at].mass = self.mass_below(at);
        }
    }

    /// What may not be drawn, or less often, after the tokens `path` from the root.
    pub(crate) fn mask_after(&self, path: impl Iterator<Item = TokenId>) -> TokenMask {
        let Some(at) = self.walk(path) else {
            return TokenMask::default();
        };
        let edges = self.nodes[at].children.iter();
        let mut exclusions: Vec<(TokenId, f32)> = edges
            .map(|edge| (edge.token, log_remaining(self.nodes[edge.to].mass)))
            .collect();
        exclusions.sort_unstable_by_key(|(token, _)| *token);
        TokenMask {
            exclusions,
            ..TokenMask::default()
        }
    }

    /// The tokens `path` are released: their end is the root from now on.
    pub(crate) fn advance_root(&mut self, path: impl Iterator<Item = TokenId>) {
        match self.walk(path) {
            Some(ROOT) => {}
            Some(at) if !self.nodes[at].children.is_empty() => self.nodes.swap(ROOT, at),
            _ => self.nodes.clear(),
        }
    }

    fn walk(&self, mut path: impl Iterator<Item = TokenId>) -> Option<usize> {
        self.nodes.first()?;
        path.try_fold(ROOT, |at, token| self.child(at, token))
    }

    fn child(&self, at: usize, token: TokenId) -> Option<usize> {
        let mut edges = self.nodes[at].children.iter();
        edges.find(|edge| edge.token == token).map(|edge| edge.to)
    }

    fn child_or_new(&mut self, at: usize, sample: &Sample) -> usize {
        if let Some(known) = self.child(at, sample.token) {
            return known;
        }
        let to = self.nodes.len();
        self.nodes.push(Node::default());
        self.nodes[at].children.push(Edge {
            token: sample.token,
            probability: probability(sample.drawn_logprob),
            to,
        });
        to
    }

    fn mass_below(&self, at: usize) -> f64 {
        let edges = self.nodes[at].children.iter();
        let masses = edges.map(|edge| edge.probability * self.nodes[edge.to].mass);
        masses.sum::<f64>().min(1.0)
    }
}

/// A log-probability that is none (NaN) counts as certain: the token is banned, not let pass.
fn probability(logprob: f32) -> f64 {
    if logprob.is_nan() {
        return 1.0;
    }
    f64::from(logprob).exp().min(1.0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "log-probabilities are f32 in the sampler"
)]
fn log_remaining(mass: f64) -> f32 {
    if mass >= CERTAIN {
        return f32::NEG_INFINITY;
    }
    (-mass).ln_1p() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(token: TokenId, probability: f32) -> Sample {
        Sample {
            token,
            logprob: 0.0,
            drawn_logprob: probability.ln(),
            entropy: 0.0,
            top: Vec::new(),
            masses: Vec::new(),
        }
    }

    fn refuse(tree: &mut RefusedTree, path: &[(TokenId, f32)]) {
        let samples: Vec<Sample> = path.iter().map(|(token, p)| sample(*token, *p)).collect();
        tree.refuse(samples.iter());
    }

    fn mask(tree: &RefusedTree, path: &[TokenId]) -> Vec<(TokenId, f32)> {
        tree.mask_after(path.iter().copied()).exclusions
    }

    fn check_close(found: &[(TokenId, f32)], expected: &[(TokenId, f32)]) {
        let tokens = |list: &[(TokenId, f32)]| list.iter().map(|e| e.0).collect::<Vec<_>>();
        assert_eq!(tokens(found), tokens(expected));
        for ((_, found), (_, expected)) in found.iter().zip(expected) {
            assert!(
                found == expected || (found - expected).abs() < 1e-5,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn takes_exactly_the_refused_mass() {
        let mut tree = RefusedTree::default();
        refuse(&mut tree, &[(1, 0.5), (2, 0.4)]);
        refuse(&mut tree, &[(1, 0.5), (3, 0.1)]);
        refuse(&mut tree, &[(4, 0.2)]);
        // Below token 1, half of what follows is refused; token 4 as such is.
        check_close(
            &mask(&tree, &[]),
            &[(1, 0.5_f32.ln()), (4, f32::NEG_INFINITY)],
        );
        check_close(
            &mask(&tree, &[1]),
            &[(2, f32::NEG_INFINITY), (3, f32::NEG_INFINITY)],
        );
        assert!(mask(&tree, &[9]).is_empty());
        // What remains: 0.5 * 0.5 of token 1, and 0.3 of the others.
        assert!((1.0 - tree.nodes[ROOT].mass - (0.25 + 0.3)).abs() < 1e-6);
    }

    #[test]
    fn a_certain_refusal_becomes_a_ban_all_the_way_up() {
        let mut tree = RefusedTree::default();
        refuse(&mut tree, &[(1, 0.7), (2, 1.0)]);
        check_close(&mask(&tree, &[]), &[(1, f32::NEG_INFINITY)]);
        let mut nan = RefusedTree::default();
        refuse(&mut nan, &[(1, 0.7), (2, f32::NAN)]);
        check_close(&mask(&nan, &[]), &[(1, f32::NEG_INFINITY)]);
    }

    #[test]
    fn the_root_moves_along_and_dies_off_the_tree() {
        let mut tree = RefusedTree::default();
        refuse(&mut tree, &[(1, 0.5), (2, 0.4), (3, 0.1)]);
        tree.advance_root([1].into_iter());
        check_close(&mask(&tree, &[]), &[(2, 0.9_f32.ln())]);
        tree.advance_root([7].into_iter());
        assert!(mask(&tree, &[]).is_empty());
    }
}
