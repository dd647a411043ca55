//! Refused continuations of a place, for draws that repeat themselves.
//!
//! Greedy decoding would draw the same tokens again, and so would a low temperature or a tiny
//! nucleus; a retry must take away what was refused, and no more: banning the first token of a
//! refused phrase would kill innocent continuations. A tree of the refused continuations knows, for
//! each of its places, how much probability is left there; a token keeps that share of its own. So
//! a retry is drawn from the sampler's distribution without the refused continuations, and all
//! others keep their ratios, whatever was remembered. Source: CARS, arXiv:2510.01902.

use portcullis_types::{Sample, TokenId, TokenMask};

/// A continuation that the next attempt would draw again with at least this probability is
/// remembered. Below, drawing anew is enough: at most one in 64 of such attempts is lost to it.
const RECURRENCE_MIN: f64 = 1.0 / 64.0;

/// Of what the likeliest token leaves to the others, this share is rounding: log-probabilities are
/// `f32`.
const ROUNDING: f64 = 1e-6;

const ROOT: usize = 0;

/// The tree of refused continuations; its root is the end of what is released.
#[derive(Debug, Default)]
pub(crate) struct RefusedTree {
    /// Empty while nothing is refused.
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    children: Vec<Edge>,
    /// How much of the probability of what follows is not refused, in [0, 1].
    left: f64,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    token: TokenId,
    /// Log-probability of the token at this place, before the weights of any mask; at most 0.
    logprob: f64,
    to: usize,
}

impl RefusedTree {
    /// Whether the next attempt would likely draw the continuation `path` again.
    pub(crate) fn would_recur<'a>(&self, path: impl Iterator<Item = &'a Sample>) -> bool {
        let left = self.nodes.first().map_or(1.0, |root| root.left);
        // Where nothing seems left but rounding, whatever is drawn will be drawn again.
        path.map(logprob).sum::<f64>().exp() >= RECURRENCE_MIN * left
    }

    /// Refuses the continuation `path` and everything that begins with it.
    pub(crate) fn refuse<'a>(&mut self, path: impl Iterator<Item = &'a Sample>) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::untouched());
        }
        let mut passed = vec![ROOT];
        for sample in path {
            let at = *passed.last().expect("the root is always there");
            passed.push(self.child_or_new(at, sample));
        }
        let leaf = passed.pop().expect("the root is always there");
        self.nodes[leaf].left = 0.0;
        for at in passed.into_iter().rev() {
            // Never more than before: a place that was refused as such stays so.
            self.nodes[at].left = self.left_below(at).min(self.nodes[at].left);
        }
    }

    /// How much less likely tokens are to be drawn after the tokens `path` from the root.
    pub(crate) fn mask_after(&self, path: impl Iterator<Item = TokenId>) -> TokenMask {
        let Some(at) = self.walk(path) else {
            return TokenMask::default();
        };
        let edges = self.nodes[at].children.iter();
        let mut weights: Vec<(TokenId, f32)> = edges
            .map(|edge| (edge.token, log_weight(self.nodes[edge.to].left)))
            .collect();
        weights.sort_unstable_by_key(|(token, _)| *token);
        TokenMask {
            weights,
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
        self.nodes.push(Node::untouched());
        self.nodes[at].children.push(Edge {
            token: sample.token,
            logprob: logprob(sample),
            to,
        });
        to
    }

    /// What the children of `at` leave: the tokens without a refusal all of theirs, the others what
    /// is left of them.
    ///
    /// Counted from what the likeliest child leaves to the others, which keeps its digits however
    /// near to certain that child is: at low temperatures that little is all there is to draw.
    fn left_below(&self, at: usize) -> f64 {
        let mut edges = self.nodes[at].children.clone();
        edges.sort_unstable_by(|a, b| b.logprob.total_cmp(&a.logprob));
        let Some((likeliest, others)) = edges.split_first() else {
            return 1.0;
        };
        let beside = -likeliest.logprob.exp_m1();
        let refused_beside: f64 = others.iter().map(|edge| edge.logprob.exp()).sum();
        let untouched = beside - refused_beside;
        let left = edges
            .iter()
            .map(|e| e.logprob.exp() * self.nodes[e.to].left);
        let rounded = if untouched > ROUNDING * beside {
            untouched
        } else {
            0.0
        };
        rounded + left.sum::<f64>()
    }
}

impl Node {
    fn untouched() -> Self {
        Self {
            children: Vec::new(),
            left: 1.0,
        }
    }
}

/// A log-probability that is none (NaN) counts as certain: nothing of the token is left, rather
/// than all of it.
fn logprob(sample: &Sample) -> f64 {
    // `min` gives the number where the other is NaN.
    f64::from(sample.drawn_logprob.min(0.0))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "log-probabilities are f32 in the sampler"
)]
fn log_weight(left: f64) -> f32 {
    left.ln() as f32
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
        tree.mask_after(path.iter().copied()).weights
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
        assert!((tree.nodes[ROOT].left - (0.25 + 0.3)).abs() < 1e-6);
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

    /// At a low temperature, what is refused leaves next to nothing, and that is what is drawn next:
    /// a ban would kill the innocent continuations of token 1, or of the whole place.
    #[test]
    fn what_is_left_keeps_its_digits() {
        let sample = |token, logprob| Sample {
            drawn_logprob: logprob,
            ..sample(token, 1.0)
        };
        let mut tree = RefusedTree::default();
        let path = [sample(1, -1e-12), sample(2, -3e-12)];
        tree.refuse(path.iter());
        let weight = mask(&tree, &[])[0].1;
        assert!((weight - 3e-12_f32.ln()).abs() < 1e-4, "{weight}");
        assert!((tree.nodes[ROOT].left / 4e-12 - 1.0).abs() < 1e-4);
        // Half of what token 1 leaves to the others.
        tree.refuse([sample(3, 0.5e-12_f32.ln())].iter());
        assert!((tree.nodes[ROOT].left / 3.5e-12 - 1.0).abs() < 1e-4);
        assert!(tree.would_recur([sample(4, 0.5e-12_f32.ln())].iter()));
        assert!(!tree.would_recur([sample(4, 0.05e-12_f32.ln())].iter()));
    }

    #[test]
    fn what_is_refused_as_such_stays_refused() {
        let mut tree = RefusedTree::default();
        refuse(&mut tree, &[(1, 0.5)]);
        refuse(&mut tree, &[(1, 0.5), (2, 0.4)]);
        check_close(&mask(&tree, &[]), &[(1, f32::NEG_INFINITY)]);
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
