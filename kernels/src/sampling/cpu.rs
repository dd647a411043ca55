//! Plain loops: the order of the steps, each a function below.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::philox::DrawNoise;
use super::{DrawFailure, DrawRow, Drawn, fast, seen};

/// A token that may still be drawn, and its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    token: u32,
    logit: f32,
}

/// Draws one token from `logits` `[vocab]` in the host's memory; see [`sample`](super::sample).
///
/// # Errors
/// The logits hold NaN or nothing finite, or bias, bans and what is allowed leave nothing.
///
/// # Panics
/// The row names a token outside the vocabulary.
pub fn sample_row(logits: &[f32], row: &DrawRow<'_>) -> Result<Drawn, DrawFailure> {
    let model = Distribution::of(logits)?;
    let adjusted = adjust(logits, row);
    let drawn = if row.greedy {
        // Where nothing was adjusted, its distribution is the model's.
        let known = matches!(adjusted, Cow::Borrowed(_)).then_some(model);
        greedy(&adjusted, row, known)
    } else {
        random(&adjusted, row)
    };
    let (token, drawn_logprob) = drawn.ok_or(DrawFailure::NothingLeft)?;
    Ok(Drawn {
        token,
        logprob: model.logprob(logits[token as usize]),
        drawn_logprob,
        entropy: model.entropy,
        top: top(logits, &model, row.top_logprobs),
        masses: masses(logits, &model, row.watch),
    })
}

/// The probability under the model of each set of tokens.
fn masses(logits: &[f32], model: &Distribution, sets: &[Box<[u32]>]) -> Vec<f32> {
    let probability = |token: &u32| f64::from(model.logprob(logits[*token as usize])).exp();
    let mass = |set: &[u32]| set.iter().map(probability).sum::<f64>() as f32;
    sets.iter().map(|set| mass(set)).collect()
}

/// What is known of a whole distribution: its normaliser and its entropy.
#[derive(Clone, Copy)]
struct Distribution {
    /// Natural logarithm of the sum of exponentials; see [`log_sum_exp`] for its precision.
    log_sum: f64,
    /// In nats.
    entropy: f32,
}

impl Distribution {
    fn of(logits: &[f32]) -> Result<Self, DrawFailure> {
        if crate::plain::is_asked_for() {
            return Self::plain(logits);
        }
        let max = fast::largest(logits);
        if !max.is_finite() {
            return Err(DrawFailure::NotFinite);
        }
        let sums = fast::sums(logits, max);
        let (at_max, below) = (sums.at_max, sums.below);
        Ok(Self::from_sums(
            max,
            SumOverMax { at_max, below },
            sums.weighted,
        ))
    }

    fn plain(logits: &[f32]) -> Result<Self, DrawFailure> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(DrawFailure::NotFinite);
        }
        let max = largest(logits);
        if !max.is_finite() {
            return Err(DrawFailure::NotFinite);
        }
        // H = ln Z - E[l - max], both sums in one pass and in double precision.
        let (mut sum, mut weighted) = (SumOverMax::default(), 0.0f64);
        for &logit in logits.iter().filter(|logit| logit.is_finite()) {
            let shifted = f64::from(logit - max);
            weighted += sum.add(shifted) * shifted;
        }
        Ok(Self::from_sums(max, sum, weighted))
    }

    fn from_sums(max: f32, sum: SumOverMax, weighted: f64) -> Self {
        let log_sum = sum.ln();
        Self {
            log_sum: f64::from(max) + log_sum,
            entropy: (log_sum - weighted / log_sum.exp()).max(0.0) as f32,
        }
    }

    fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.log_sum) as f32
    }
}

/// The largest, 0 above -0 as in [`likeliest_first`].
fn largest(logits: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b.total_cmp(&a).is_gt() { b } else { a };
    logits.iter().copied().fold(f32::NEG_INFINITY, larger)
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
fn adjust<'a>(logits: &'a [f32], row: &DrawRow<'_>) -> Cow<'a, [f32]> {
    let lists = [row.prompt, row.completion, row.banned];
    if row.bias.is_empty() && row.allowed.is_none() && lists.iter().all(|list| list.is_empty()) {
        return Cow::Borrowed(logits);
    }
    let mut adjusted = logits.to_vec();
    for &(token, bias) in row.bias {
        adjusted[token as usize] += bias;
    }
    penalise(&mut adjusted, row);
    if let Some(allowed) = row.allowed {
        keep_allowed(&mut adjusted, allowed);
    }
    ban(&mut adjusted, row);
    Cow::Owned(adjusted)
}

/// Takes out what is not in `allowed`, a word of 32 tokens at a time.
fn keep_allowed(adjusted: &mut [f32], allowed: &[u32]) {
    let mut words = allowed.iter().copied();
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
fn ban(adjusted: &mut [f32], row: &DrawRow<'_>) {
    for &token in row.banned {
        adjusted[token as usize] = f32::NEG_INFINITY;
    }
}

/// Source: Keskar et al., arXiv:1909.05858 (repetition); the OpenAI API reference (the others).
fn penalise(logits: &mut [f32], row: &DrawRow<'_>) {
    for (token, count) in seen(row.prompt, row.completion) {
        let logit = &mut logits[token as usize];
        *logit = if *logit > 0.0 {
            *logit / row.repetition_penalty
        } else {
            *logit * row.repetition_penalty
        };
        if count > 0 {
            *logit -= row.presence_penalty + row.frequency_penalty * count as f32;
        }
    }
}

/// The likeliest token under the weights, ties to the lowest id. Its log-probability is that before
/// the weights, so that a gate can add up what it has refused.
fn greedy(adjusted: &[f32], row: &DrawRow<'_>, known: Option<Distribution>) -> Option<(u32, f32)> {
    let best = match row.weights {
        [] => likeliest_by_model(adjusted),
        _ => likeliest(adjusted, |token| weight(row, token)),
    };
    let best = best.or_else(|| likeliest(adjusted, |_| 0.0))?;
    let distribution = match known {
        Some(known) => known,
        None => Distribution::of(adjusted).ok()?,
    };
    Some((best, distribution.logprob(adjusted[best as usize])))
}

/// The first of the largest; none where it is not to be told at a glance.
fn likeliest_by_model(logits: &[f32]) -> Option<u32> {
    let max = fast::largest(logits);
    // Zeros have two signs, and minus infinity is not to be drawn.
    if max == 0.0 || !max.is_finite() {
        return None;
    }
    let first = logits.iter().position(|&logit| logit == max)?;
    Some(first as u32)
}

fn likeliest(logits: &[f32], weight: impl Fn(u32) -> f32) -> Option<u32> {
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
fn random(adjusted: &[f32], row: &DrawRow<'_>) -> Option<(u32, f32)> {
    let weight = |token| weight(row, token);
    let kept = truncate(adjusted, row);
    gumbel_max(&kept, row, weight)
        .or_else(|| {
            let beyond = truncate(&without_refused(adjusted, row), row);
            gumbel_max(&beyond, row, weight)
        })
        .or_else(|| gumbel_max(&kept, row, |_| 0.0))
}

/// A draw from `candidates` with `weight` added to each, and its log-probability without.
fn gumbel_max(
    candidates: &[Candidate],
    row: &DrawRow<'_>,
    weight: impl Fn(u32) -> f32,
) -> Option<(u32, f32)> {
    let noise = DrawNoise::new(row.seed, row.position, row.attempt);
    let mut best: Option<(&Candidate, f32)> = None;
    for candidate in candidates {
        let logit = candidate.logit + weight(candidate.token);
        let to_beat = best.map_or(f32::NEG_INFINITY, |(_, key)| key);
        // Most are so unlikely that no noise makes them the largest.
        if logit == f32::NEG_INFINITY || logit + DrawNoise::LARGEST < to_beat {
            continue;
        }
        let key = logit + noise.gumbel(candidate.token);
        let is_better = match key.total_cmp(&to_beat) {
            Ordering::Equal => best.is_none_or(|(best, _)| candidate.token < best.token),
            order => order.is_gt(),
        };
        if is_better {
            best = Some((candidate, key));
        }
    }
    let (chosen, _) = best?;
    let logprob = f64::from(chosen.logit) - log_sum_exp(candidates);
    Some((chosen.token, logprob as f32))
}

/// The logits without the tokens of which the mask leaves nothing.
fn without_refused(adjusted: &[f32], row: &DrawRow<'_>) -> Vec<f32> {
    let mut left = adjusted.to_vec();
    for &(token, weight) in row.weights {
        if weight == f32::NEG_INFINITY {
            left[token as usize] = f32::NEG_INFINITY;
        }
    }
    left
}

/// The mask's weight of a token, as a logarithm; minus infinity leaves nothing of it.
fn weight(row: &DrawRow<'_>, token: u32) -> f32 {
    let weights = row.weights;
    match weights.binary_search_by_key(&token, |(t, _)| *t) {
        Ok(index) => weights[index].1,
        Err(_) => 0.0,
    }
}

/// Temperature, then min-p, top-k and top-p: what is left of the distribution.
fn truncate(adjusted: &[f32], row: &DrawRow<'_>) -> Vec<Candidate> {
    let max = largest(adjusted);
    // Relative to the largest, so that a tiny temperature does not overflow.
    let scaled = |logit: f32| (logit - max) / row.temperature;
    let floor = if row.min_p > 0.0 {
        row.min_p.ln()
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
    if let Some(k) = row.top_k {
        keep_likeliest(&mut candidates, k as usize);
    }
    if row.top_p < 1.0 {
        keep_nucleus(&mut candidates, row.top_p);
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
    if !crate::plain::is_asked_for() {
        let logits: Vec<f32> = candidates.iter().map(|c| c.logit).collect();
        let max = fast::largest(&logits);
        let fast::Sums { at_max, below, .. } = fast::sums(&logits, max);
        return f64::from(max) + SumOverMax { at_max, below }.ln();
    }
    let logits = || candidates.iter().map(|c| f64::from(c.logit));
    let max = logits().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = SumOverMax::default();
    for logit in logits() {
        sum.add(logit - max);
    }
    max + sum.ln()
}

fn top(logits: &[f32], model: &Distribution, k: usize) -> Vec<(u32, f32)> {
    if k == 0 {
        return Vec::new();
    }
    let mut candidates: Vec<Candidate> = candidates(logits).collect();
    keep_likeliest(&mut candidates, k);
    candidates.sort_unstable_by(likeliest_first);
    let logprob = |c: &Candidate| (c.token, model.logprob(c.logit));
    candidates.iter().map(logprob).collect()
}

fn candidates(logits: &[f32]) -> impl Iterator<Item = Candidate> {
    let all = logits.iter().enumerate();
    all.map(|(token, &logit)| Candidate {
        token: token as u32,
        logit,
    })
}

fn likeliest_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

#[cfg(test)]
mod tests;
