//! How tokens are drawn, and what is known of a token once it is drawn.

use std::sync::Arc;

use crate::{TokenBitSet, TokenId};

/// How the next token is drawn from the logits. Validated by whoever builds a request; the
/// sampler trusts it.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy: the most likely token, ties to the lowest id.
    pub temperature: f32,
    /// Keep the k most likely tokens; `None` keeps all.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens whose probability reaches this, in (0, 1].
    pub top_p: f32,
    /// Keep tokens at least this likely relative to the most likely one, in [0, 1].
    pub min_p: f32,
    /// Subtracted from the logit of each token that the completion holds already, [-2, 2].
    pub presence_penalty: f32,
    /// Subtracted once per occurrence in the completion, [-2, 2].
    pub frequency_penalty: f32,
    /// Divides positive and multiplies negative logits of tokens in prompt or completion; 1 is off.
    pub repetition_penalty: f32,
    /// With position and attempt, the only source of randomness of a draw.
    pub seed: u64,
    /// Added to logits before anything else.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// How many of the most likely tokens to report with each sample.
    pub top_logprobs: u8,
}

impl SamplingParams {
    /// Whether draws repeat themselves on the same logits: only the likeliest token is left.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 || self.top_k == Some(1)
    }

    /// Whether the draw depends on tokens that came before.
    pub fn needs_history(&self) -> bool {
        self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
            || self.repetition_penalty != 1.0
    }
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
            logit_bias: Vec::new(),
            top_logprobs: 0,
        }
    }
}

/// When a completion ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StopParams {
    /// At most so many tokens of completion.
    pub max_tokens: usize,
    /// End tokens are not drawn before so many tokens.
    pub min_tokens: usize,
    /// Strings that end the completion; they are not part of it.
    pub strings: Vec<String>,
    /// Tokens that end the completion, the model's own end tokens among them unless ignored.
    pub token_ids: Vec<TokenId>,
}

/// What the model thought of a token of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptScore {
    /// The token that came.
    pub token: TokenId,
    /// Its log-probability after the tokens before it; `None` for the first, which none is before.
    pub logprob: Option<f32>,
    /// The most likely tokens at its place, the most likely first.
    pub top: Vec<TokenLogprob>,
}

/// Tokens that came before a draw, for penalties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Tokens of the prompt.
    pub prompt: Vec<TokenId>,
    /// Tokens of the completion so far.
    pub completion: Vec<TokenId>,
}

/// What may not be drawn at one place, and how much less likely other tokens become.
///
/// Two things, because they mean different distributions. A constraint says what the model may
/// write at all: truncation (temperature, min-p, top-k, top-p) then works on what is left. A weight
/// takes away what was drawn and refused: it acts on the truncated distribution, so that the
/// tokens that stay keep their ratios, and none enters that truncation had cut off while one is
/// left that it had kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenMask {
    /// The only tokens that may be drawn; `None` allows all. Everything else is taken out before
    /// truncation.
    pub allowed: Option<Arc<TokenBitSet>>,
    /// Cannot be drawn here: taken out before truncation. In any order.
    pub banned: Vec<TokenId>,
    /// Added to the log-probability of a token after truncation, before the distribution is
    /// renormalised; `f32::NEG_INFINITY` leaves nothing of it. Sorted by token, each once.
    pub weights: Vec<(TokenId, f32)>,
}

impl TokenMask {
    /// Whether the mask changes nothing.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_none() && self.banned.is_empty() && self.weights.is_empty()
    }
}

/// A token and its log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: TokenId,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// A drawn token and what the gate and the client may want to know of the draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The token drawn.
    pub token: TokenId,
    /// Its log-probability under the model: temperature 1, no penalty, no bias, no truncation.
    pub logprob: f32,
    /// Its log-probability under the distribution that the sampler draws from: only what a
    /// [`TokenMask`] allows, before its weights; for greedy draws, that of temperature 1, without
    /// truncation. Where the weights left nothing of what truncation kept, under the distribution
    /// that took its place.
    pub drawn_logprob: f32,
    /// Entropy of the model's distribution, in nats.
    pub entropy: f32,
    /// The most likely tokens under the model, most likely first.
    pub top: Vec<TokenLogprob>,
    /// The probability under the model of each set of tokens that the draw was to watch.
    pub masses: Vec<f32>,
}

impl Sample {
    /// A token that was drawn with certainty, and of which nothing else is known.
    pub fn certain(token: TokenId) -> Self {
        Self {
            token,
            logprob: 0.0,
            drawn_logprob: 0.0,
            entropy: 0.0,
            top: Vec::new(),
            masses: Vec::new(),
        }
    }
}

/// The seed of choice `index` of a call: choice 0 keeps the seed of the call, so that the same
/// call with `n = 1` repeats it.
pub fn derive_choice_seed(seed: u64, index: u32) -> u64 {
    // SplitMix64's increment: distinct for distinct indices, and choice 0 is unchanged.
    seed.wrapping_add(u64::from(index).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
