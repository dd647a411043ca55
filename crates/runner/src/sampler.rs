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
/// Order: bias, penalties, allowed tokens, bans, temperature, min-p, top-k, top-p, weights of the mask, draw.
///
/// # Errors
/// The logits hold NaN or nothing finite, or bias and mask leave nothing.
pub fn sample(logits: &[f32], draw: &Draw) -> Result<Sample, DrawError> {
    let model = Distribution::of(logits)?;
    let mut adjusted = adjust(logits, draw);
    let (token, drawn_logprob) = if draw.params.is_greedy() {
        greedy(&adjusted, draw)?
    } else {
        ban(&mut adjusted, draw);
        random(&adjusted, draw)?
    };
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
    /// Natural logarithm of the sum of exponentials.
    log_sum: f32,
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
        let (mut sum, mut weighted) = (0.0f64, 0.0f64);
        for &logit in logits.iter().filter(|logit| logit.is_finite()) {
            let shifted = f64::from(logit - max);
            let weight = shifted.exp();
            sum += weight;
            weighted += weight * shifted;
        }
        let entropy = (sum.ln() - weighted / sum).max(0.0) as f32;
        Ok(Self {
            log_sum: max + sum.ln() as f32,
            entropy,
        })
    }

    fn logprob(&self, logit: f32) -> f32 {
        logit - self.log_sum
    }
}

/// Logits after bias and penalties, of the allowed tokens.
fn adjust(logits: &[f32], draw: &Draw) -> Vec<f32> {
    let mut adjusted = logits.to_vec();
    for &(token, bias) in &draw.params.logit_bias {
        adjusted[token as usize] += bias;
    }
    penalise(&mut adjusted, draw);
    if let Some(allowed) = &draw.mask.allowed {
        keep_allowed(&mut adjusted, allowed);
    }
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

/// Takes out what is banned, before truncation, so that truncation leaves something.
fn ban(adjusted: &mut [f32], draw: &Draw) {
    for (token, _) in draw
        .mask
        .exclusions
        .iter()
        .filter(|(_, weight)| *weight == f32::NEG_INFINITY)
    {
        adjusted[*token as usize] = f32::NEG_INFINITY;
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

/// The likeliest token, ties to the lowest id. Its log-probability is that before the mask, bans
/// included, so that a gate can add up what it has refused.
fn greedy(adjusted: &[f32], draw: &Draw) -> Result<(TokenId, f32), DrawError> {
    let distribution = Distribution::of(adjusted).map_err(|_| DrawError::NothingLeft)?;
    let all = adjusted.iter().enumerate();
    let best = all
        .map(|(token, &logit)| Candidate {
            token: token as TokenId,
            logit,
        })
        .map(|c| Candidate {
            logit: c.logit + weight(draw, c.token),
            ..c
        })
        .min_by(likeliest_first)
        .filter(|best| best.logit > f32::NEG_INFINITY)
        .ok_or(DrawError::NothingLeft)?;
    Ok((
        best.token,
        distribution.logprob(adjusted[best.token as usize]),
    ))
}

/// A draw from the truncated distribution.
fn random(adjusted: &[f32], draw: &Draw) -> Result<(TokenId, f32), DrawError> {
    let candidates = truncate(adjusted, &draw.params);
    let log_sum = log_sum_exp(&candidates);
    let noise = DrawNoise::new(draw.params.seed, draw.position, draw.attempt);
    let chosen = candidates
        .into_iter()
        .map(|c| (c, c.logit + weight(draw, c.token) + noise.gumbel(c.token)))
        .filter(|(_, key)| *key > f32::NEG_INFINITY)
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.token.cmp(&a.0.token)))
        .ok_or(DrawError::NothingLeft)?
        .0;
    Ok((chosen.token, chosen.logit - log_sum))
}

/// The mask's weight of a token, as a logarithm; minus infinity for a ban.
fn weight(draw: &Draw, token: TokenId) -> f32 {
    let exclusions = &draw.mask.exclusions;
    match exclusions.binary_search_by_key(&token, |(t, _)| *t) {
        Ok(index) => exclusions[index].1,
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
    let mut candidates: Vec<Candidate> = adjusted
        .iter()
        .enumerate()
        .map(|(token, &logit)| Candidate {
            token: token as TokenId,
            logit: scaled(logit),
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
            mass += f64::from(candidates[index].logit - log_sum).exp();
            if mass >= f64::from(top_p) {
                return candidates.truncate(index + 1);
            }
        }
        sorted = more;
    }
}

fn log_sum_exp(candidates: &[Candidate]) -> f32 {
    let max = candidates
        .iter()
        .map(|c| c.logit)
        .fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = candidates
        .iter()
        .map(|c| f64::from(c.logit - max).exp())
        .sum();
    max + sum.ln() as f32
}

fn top(logits: &[f32], model: &Distribution, k: usize) -> Vec<TokenLogprob> {
    if k == 0 {
        return Vec::new();
    }
    let all = logits.iter().enumerate();
    let mut candidates: Vec<Candidate> = all
        .map(|(token, &logit)| Candidate {
            token: token as TokenId,
            logit,
        })
        .collect();
    keep_likeliest(&mut candidates, k);
    candidates.sort_unstable_by(likeliest_first);
    let logprob = |c: &Candidate| TokenLogprob {
        token: c.token,
        logprob: model.logprob(c.logit),
    };
    candidates.iter().map(logprob).collect()
}

fn likeliest_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

#[cfg(test)]
mod tests;
