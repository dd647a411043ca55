//! From logits to a token: the order of the steps, each a function below.
//!
//! A draw is Gumbel-max: the token with the largest log-probability plus Gumbel noise. The noise
//! is a function of seed, position, attempt and token, so a draw is the same in any batch.

use std::cmp::Ordering;

use portcullis_engine::{Draw, DrawError};
use portcullis_types::{Sample, SamplingParams, TokenBitSet, TokenId, TokenLogprob};

use crate::philox::DrawNoise;

/// A token that may still be drawn, and its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    token: TokenId,
    logit: f32,
}

/// Draws one token from `logits` `[vocab]`.
///
/// Order: bias, penalties, allowed tokens, bans, temperature, min-p, top-k, top-p, weights of the
/// mask, draw.
/// Where the weights leave nothing of what truncation kept, tokens of which they leave nothing are
/// banned instead; and where that leaves nothing at all, the weights are passed over: what was
/// refused is drawn again, and the gate comes to an end with it.
///
/// # Errors
/// The logits hold NaN or nothing finite, or bias and bans leave nothing.
pub fn sample(logits: &[f32], draw: &Draw) -> Result<Sample, DrawError> {
    let model = Distribution::of(logits)?;
    let adjusted = adjust(logits, draw);
    let drawn = if draw.params.is_greedy() {
        greedy(&adjusted, draw)
    } else {
        random(&adjusted, draw)
    };
    let (token, drawn_logprob) = drawn.ok_or(DrawError::NothingLeft)?;
    Ok(Sample {
        token,
        logprob: model.logprob(logits[token as usize]),
        drawn_logprob,
        entropy: model.entropy,
        top: top(logits, &model, draw.params.top_logprobs.into()),
        masses: masses(logits, &model, &draw.watch),
    })
}

/// The probability under the model of each set of tokens.
fn masses(logits: &[f32], model: &Distribution, sets: &[Box<[TokenId]>]) -> Vec<f32> {
    let probability = |token: &TokenId| f64::from(model.logprob(logits[*token as usize])).exp();
    let mass = |set: &[TokenId]| set.iter().map(probability).sum::<f64>() as f32;
    sets.iter().map(|set| mass(set)).collect()
}

/// What is known of a whole distribution: its normaliser and its entropy.
struct Distribution {
    /// Natural logarithm of the sum of exponentials; see [`log_sum_exp`] for its precision.
    log_sum: f64,
    /// In nats.
    entropy: f32,
}

impl Distribution {
    fn of(logits: &[f32]) -> Result<Self, DrawError> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(DrawError::NotFinite);
        }
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !max.is_finite() {
            return Err(DrawError::NotFinite);
        }
        // H = ln Z - E[l - max], both sums in one pass and in double precision.
        let (mut sum, mut weighted) = (SumOverMax::default(), 0.0f64);
        for &logit in logits.iter().filter(|logit| logit.is_finite()) {
            let shifted = f64::from(logit - max);
            weighted += sum.add(shifted) * shifted;
        }
        let log_sum = sum.ln();
        Ok(Self {
            log_sum: f64::from(max) + log_sum,
            entropy: (log_sum - weighted / log_sum.exp()).max(0.0) as f32,
        })
    }

    fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.log_sum) as f32
    }
}

/// A sum of exponentials relative to the largest, kept as what the others add to it: so the little
/// that a near-certain token leaves to the others keeps its digits. After a refusal, that little is
/// everything.
#[derive(Default)]
struct SumOverMax {
    /// How many are as large as the largest.
    at_max: f64,
    below: f64,
}

impl SumOverMax {
    /// Adds the exponential of `shifted`, a distance from the largest, and gives it.
    fn add(&mut self, shifted: f64) -> f64 {
        let weight = shifted.exp();
        if shifted == 0.0 {
            self.at_max += weight;
        } else {
            self.below += weight;
        }
        weight
    }

    fn ln(&self) -> f64 {
        (self.at_max - 1.0 + self.below).ln_1p()
    }
}

/// Logits after bias and penalties, of the tokens that may be drawn.
fn adjust(logits: &[f32], draw: &Draw) -> Vec<f32> {
    let mut adjusted = logits.to_vec();
    for &(token, bias) in &draw.params.logit_bias {
        adjusted[token as usize] += bias;
    }
    penalise(&mut adjusted, draw);
    if let Some(allowed) = &draw.mask.allowed {
        keep_allowed(&mut adjusted, allowed);
    }
    ban(&mut adjusted, draw);
    adjusted
}

/// Takes out what is not in `allowed`, a word of 32 tokens at a time.
fn keep_allowed(adjusted: &mut [f32], allowed: &TokenBitSet) {
    let mut words = allowed.words().iter().copied();
    for logits in adjusted.chunks_mut(u32::BITS as usize) {
        match words.next().unwrap_or(0) {
            u32::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            word => {
                let banned = (0..logits.len()).filter(|bit| word >> bit & 1 == 0);
                banned.for_each(|bit| logits[bit] = f32::NEG_INFINITY);
            }
        }
    }
}

/// Takes out what cannot be drawn here, before truncation, so that truncation leaves something.
fn ban(adjusted: &mut [f32], draw: &Draw) {
    for &token in &draw.mask.banned {
        adjusted[token as usize] = f32::NEG_INFINITY;
    }
}

/// Source: Keskar et al., arXiv:1909.05858 (repetition); the OpenAI API reference (the others).
fn penalise(logits: &mut [f32], draw: &Draw) {
    let Some(history) = &draw.history else { return };
    let SamplingParams {
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
        ..
    } = *draw.params;
    let mut seen: Vec<TokenId> = history
        .prompt
        .iter()
        .chain(&history.completion)
        .copied()
        .collect();
    seen.sort_unstable();
    seen.dedup();
    for token in seen {
        let logit = &mut logits[token as usize];
        *logit = if *logit > 0.0 {
            *logit / repetition_penalty
        } else {
            *logit * repetition_penalty
        };
    }
    let mut completion = history.completion.clone();
    completion.sort_unstable();
    for run in completion.chunk_by(|a, b| a == b) {
        logits[run[0] as usize] -= presence_penalty + frequency_penalty * run.len() as f32;
    }
}

/// The likeliest token under the weights, ties to the lowest id. Its log-probability is that before
/// the weights, so that a gate can add up what it has refused.
fn greedy(adjusted: &[f32], draw: &Draw) -> Option<(TokenId, f32)> {
    let best = likeliest(adjusted, |token| weight(draw, token))
        .or_else(|| likeliest(adjusted, |_| 0.0))?;
    let distribution = Distribution::of(adjusted).ok()?;
    Some((best, distribution.logprob(adjusted[best as usize])))
}

fn likeliest(logits: &[f32], weight: impl Fn(TokenId) -> f32) -> Option<TokenId> {
    candidates(logits)
        .map(|c| Candidate {
            logit: c.logit + weight(c.token),
            ..c
        })
        .filter(|c| c.logit > f32::NEG_INFINITY)
        .min_by(likeliest_first)
        .map(|best| best.token)
}

/// A draw from the truncated distribution.
fn random(adjusted: &[f32], draw: &Draw) -> Option<(TokenId, f32)> {
    let weight = |token| weight(draw, token);
    let kept = truncate(adjusted, &draw.params);
    gumbel_max(&kept, draw, weight)
        .or_else(|| {
            let beyond = truncate(&without_refused(adjusted, draw), &draw.params);
            gumbel_max(&beyond, draw, weight)
        })
        .or_else(|| gumbel_max(&kept, draw, |_| 0.0))
}

/// A draw from `candidates` with `weight` added to each, and its log-probability without.
fn gumbel_max(
    candidates: &[Candidate],
    draw: &Draw,
    weight: impl Fn(TokenId) -> f32,
) -> Option<(TokenId, f32)> {
    let noise = DrawNoise::new(draw.params.seed, draw.position, draw.attempt);
    let (chosen, _) = candidates
        .iter()
        .map(|c| (c, c.logit + weight(c.token) + noise.gumbel(c.token)))
        .filter(|(_, key)| *key > f32::NEG_INFINITY)
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.token.cmp(&a.0.token)))?;
    let logprob = f64::from(chosen.logit) - log_sum_exp(candidates);
    Some((chosen.token, logprob as f32))
}

/// The logits without the tokens of which the mask leaves nothing.
fn without_refused(adjusted: &[f32], draw: &Draw) -> Vec<f32> {
    let mut left = adjusted.to_vec();
    for &(token, weight) in &draw.mask.weights {
        if weight == f32::NEG_INFINITY {
            left[token as usize] = f32::NEG_INFINITY;
        }
    }
    left
}

/// The mask's weight of a token, as a logarithm; minus infinity leaves nothing of it.
fn weight(draw: &Draw, token: TokenId) -> f32 {
    let weights = &draw.mask.weights;
    match weights.binary_search_by_key(&token, |(t, _)| *t) {
        Ok(index) => weights[index].1,
        Err(_) => 0.0,
    }
}

/// Temperature, then min-p, top-k and top-p: what is left of the distribution.
fn truncate(adjusted: &[f32], params: &SamplingParams) -> Vec<Candidate> {
    let max = adjusted.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Relative to the largest, so that a tiny temperature does not overflow.
    let scaled = |logit: f32| (logit - max) / params.temperature;
    let floor = if params.min_p > 0.0 {
        params.min_p.ln()
    } else {
        f32::NEG_INFINITY
    };
    let mut candidates: Vec<Candidate> = candidates(adjusted)
        .map(|c| Candidate {
            logit: scaled(c.logit),
            ..c
        })
        .filter(|c| c.logit > f32::NEG_INFINITY && c.logit >= floor)
        .collect();
    if let Some(k) = params.top_k {
        keep_likeliest(&mut candidates, k as usize);
    }
    if params.top_p < 1.0 {
        keep_nucleus(&mut candidates, params.top_p);
    }
    candidates
}

fn keep_likeliest(candidates: &mut Vec<Candidate>, k: usize) {
    if k < candidates.len() {
        candidates.select_nth_unstable_by(k, likeliest_first);
        candidates.truncate(k);
    }
}

/// Keeps the smallest set that reaches `top_p`. Source: Holtzman et al., arXiv:1904.09751.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f32) {
    let log_sum = log_sum_exp(candidates);
    // Nuclei are small as a rule: sort only as many as it takes.
    let mut sorted = 0;
    let mut mass = 0.0f64;
    while sorted < candidates.len() {
        let more = (sorted + 64.max(sorted * 3)).min(candidates.len());
        if more < candidates.len() {
            candidates[sorted..].select_nth_unstable_by(more - sorted, likeliest_first);
        }
        candidates[sorted..more].sort_unstable_by(likeliest_first);
        for index in sorted..more {
            mass += (f64::from(candidates[index].logit) - log_sum).exp();
            if mass >= f64::from(top_p) {
                return candidates.truncate(index + 1);
            }
        }
        sorted = more;
    }
}

/// In double precision, and by way of [`SumOverMax`].
fn log_sum_exp(candidates: &[Candidate]) -> f64 {
    let logits = || candidates.iter().map(|c| f64::from(c.logit));
    let max = logits().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = SumOverMax::default();
    for logit in logits() {
        sum.add(logit - max);
    }
    max + sum.ln()
}

fn top(logits: &[f32], model: &Distribution, k: usize) -> Vec<TokenLogprob> {
    if k == 0 {
        return Vec::new();
    }
    let mut candidates: Vec<Candidate> = candidates(logits).collect();
    keep_likeliest(&mut candidates, k);
    candidates.sort_unstable_by(likeliest_first);
    let logprob = |c: &Candidate| TokenLogprob {
        token: c.token,
        logprob: model.logprob(c.logit),
    };
    candidates.iter().map(logprob).collect()
}

fn candidates(logits: &[f32]) -> impl Iterator<Item = Candidate> {
    let all = logits.iter().enumerate();
    all.map(|(token, &logit)| Candidate {
        token: token as TokenId,
        logit,
    })
}

fn likeliest_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

#[cfg(test)]
mod tests;
