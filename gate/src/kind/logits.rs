//! `logits`: how sure the model was of what it wrote.

use super::Kind;
use crate::{
    diagnostic::{Diagnostics, Place},
    limits::{PHRASE_BYTES_MAX, WATCHED_TEXTS_MAX, WINDOW_TOKENS_MAX},
    ruleset::fields::{self, Fields},
    ruleset::yaml::Node,
    state::history::TokenFacts,
};

const KEYS: [&str; 4] = [
    "mean_entropy_max",
    "mean_logprob_min",
    "mean_mass",
    "window",
];
const MASS_KEYS: [&str; 3] = ["tokens", "phrases", "max"];
const WINDOW: usize = 16;

/// Bounds on the mean over the last tokens. A completion that is shorter than the window is judged
/// at its end, on what there is.
#[derive(Clone, Debug, PartialEq)]
pub struct LogitLimits {
    /// Tokens that a mean is taken over.
    pub window: usize,
    /// Of the entropy of the model's distribution, in nats.
    pub mean_entropy_max: Option<f64>,
    /// Of the log-probability of the tokens drawn, under the model: temperature 1, no penalty.
    pub mean_logprob_min: Option<f64>,
    /// Of the probability that some tokens have together, under the model.
    pub mean_mass: Option<MassLimit>,
}

/// A bound on the probability of some tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct MassLimit {
    /// Texts of whole tokens.
    pub tokens: Vec<String>,
    /// Phrases of which the first token counts: the longest of the vocabulary that the phrase
    /// begins with, as written and after a space.
    pub phrases: Vec<String>,
    /// In (0, 1).
    pub max: f64,
}

pub(super) fn read(
    _: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let fields = Fields::open(node, "`logits`", &KEYS, mistakes)?;
    let mut bound = |key: &str, range| {
        let node = fields.get(key)?;
        fields::decimal(node, &format!("`{key}`"), range, mistakes)
    };
    let mut limits = LogitLimits {
        window: WINDOW,
        mean_entropy_max: bound("mean_entropy_max", 0.0..=20.0),
        mean_logprob_min: bound("mean_logprob_min", -100.0..=0.0),
        mean_mass: None,
    };
    limits.mean_mass = fields
        .get("mean_mass")
        .and_then(|node| mass(node, mistakes));
    if let Some(node) = fields.get("window") {
        let window = fields::number(node, "`window`", 1..=WINDOW_TOKENS_MAX, mistakes);
        limits.window = window.unwrap_or(WINDOW);
    }
    if KEYS[..3].iter().all(|key| fields.get(key).is_none()) {
        let mend = "write `logits: {mean_entropy_max: 2.5, window: 32}`";
        mistakes.push(node.at, "`logits` has no bound", mend);
    }
    Some((Kind::Logits(limits), Vec::new()))
}

fn mass(node: &Node, mistakes: &mut Diagnostics) -> Option<MassLimit> {
    let fields = Fields::open(node, "`mean_mass`", &MASS_KEYS, mistakes)?;
    let mut texts = |key: &str| {
        let node = fields.get(key)?;
        let items = fields::items(node, &format!("`{key}`"), WATCHED_TEXTS_MAX, mistakes)?;
        let texts = items
            .iter()
            .filter_map(|item| fields::text(item, "an entry", PHRASE_BYTES_MAX, mistakes));
        Some(texts.map(str::to_owned).collect::<Vec<_>>())
    };
    let (tokens, phrases) = (texts("tokens"), texts("phrases"));
    if fields.get("tokens").or(fields.get("phrases")).is_none() {
        let mend = "write `mean_mass: {phrases: [\"…\"], max: 0.5}`";
        mistakes.push(node.at, "`mean_mass` names no tokens", mend);
    }
    let max = fields.require("max", "write `max: 0.5`", mistakes)?;
    Some(MassLimit {
        tokens: tokens.unwrap_or_default(),
        phrases: phrases.unwrap_or_default(),
        max: fields::decimal(max, "`max`", 0.0..=1.0, mistakes)?,
    })
}

impl LogitLimits {
    /// Whether the mean over `window`, which is not empty, is out of bounds. `mass` is the place
    /// of this rule's mass in [`TokenFacts::masses`].
    pub(crate) fn object_to<'a>(
        &self,
        window: impl ExactSizeIterator<Item = &'a TokenFacts> + Clone,
        mass: usize,
    ) -> bool {
        let mean = |value: &dyn Fn(&TokenFacts) -> f32| {
            let sum: f64 = window.clone().map(|facts| f64::from(value(facts))).sum();
            sum / window.len() as f64
        };
        // A mean that is no number lies in no range.
        let entropy = |max: f64| !(..=max).contains(&mean(&|facts| facts.entropy));
        let logprob = |min: f64| !(min..).contains(&mean(&|facts| facts.logprob));
        let masses = |limit: &MassLimit| !(..=limit.max).contains(&mean(&|facts| facts.mass(mass)));
        self.mean_entropy_max.is_some_and(entropy)
            || self.mean_logprob_min.is_some_and(logprob)
            || self.mean_mass.as_ref().is_some_and(masses)
    }
}
