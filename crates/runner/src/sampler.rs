//! From the engine's draws to the sampling op, and back.

use candle_core::Tensor;
use portcullis_engine::{Draw, DrawError, PromptScore, Score};
use portcullis_kernels::{DrawFailure, DrawRow, Drawn, sample_row};
use portcullis_types::{Sample, TokenId, TokenLogprob};

/// A bias that leaves nothing else to draw, and is still finite with any logit added.
const FORCED: f32 = 1e30;

/// What was drawn, and what was asked about prompts, with the rows.
type Answers = (
    Vec<Result<Sample, DrawError>>,
    Vec<(usize, Result<PromptScore, DrawError>)>,
);

/// Draws one token from each of the first rows of `logits` `[num_draws + num_scores, vocab]`, wherever
/// they lie, and tells of the others how likely a token was.
///
/// # Errors
/// The op refuses a draw, or the device fails.
pub(crate) fn sample_all(
    logits: &Tensor,
    draws: &[Draw],
    scores: &[Score],
) -> candle_core::Result<Answers> {
    if draws.is_empty() && scores.is_empty() {
        return Ok(Answers::default());
    }
    let targets: Vec<_> = scores.iter().map(|s| [(s.target, FORCED)]).collect();
    let scored = scores.iter().zip(&targets).map(score_row);
    let rows: Vec<DrawRow<'_>> = draws.iter().map(row_of).chain(scored).collect();
    let mut drawn = portcullis_kernels::sample(logits, &rows)?.into_iter();
    let samples = drawn.by_ref().take(draws.len()).map(sample_of).collect();
    let scored = scores.iter().zip(drawn);
    let scores = scored.map(|(score, drawn)| (score.row, sample_of(drawn).map(prompt_score)));
    Ok((samples, scores.collect()))
}

/// How likely a token was is what a draw tells that can only come to it: the model's
/// log-probabilities are those before any bias.
fn score_row<'a>((score, target): (&Score, &'a [(TokenId, f32); 1])) -> DrawRow<'a> {
    DrawRow {
        greedy: true,
        bias: target,
        top_logprobs: score.top.into(),
        ..DrawRow::default()
    }
}

fn prompt_score(sample: Sample) -> PromptScore {
    PromptScore {
        token: sample.token,
        logprob: Some(sample.logprob),
        top: sample.top,
    }
}

/// Draws one token from `logits` `[vocab]` in the host's memory.
///
/// # Errors
/// The logits hold NaN or nothing finite, or bias and bans leave nothing.
///
/// # Panics
/// The draw names a token outside the vocabulary.
pub fn sample(logits: &[f32], draw: &Draw) -> Result<Sample, DrawError> {
    sample_of(sample_row(logits, &row_of(draw)))
}

fn row_of(draw: &Draw) -> DrawRow<'_> {
    let Draw { params, mask, .. } = draw;
    let (prompt, completion) = match &draw.history {
        Some(history) => (&history.prompt[..], &history.completion[..]),
        None => (&[][..], &[][..]),
    };
    DrawRow {
        greedy: params.is_greedy(),
        temperature: params.temperature,
        top_k: params.top_k,
        top_p: params.top_p,
        min_p: params.min_p,
        repetition_penalty: params.repetition_penalty,
        presence_penalty: params.presence_penalty,
        frequency_penalty: params.frequency_penalty,
        seed: params.seed,
        position: draw.position,
        attempt: draw.attempt,
        bias: &params.logit_bias,
        prompt,
        completion,
        allowed: mask.allowed.as_ref().map(|allowed| allowed.words()),
        banned: &mask.banned,
        weights: &mask.weights,
        watch: &draw.watch,
        top_logprobs: params.top_logprobs.into(),
    }
}

fn sample_of(drawn: Result<Drawn, DrawFailure>) -> Result<Sample, DrawError> {
    let drawn = drawn.map_err(|failure| match failure {
        DrawFailure::NotFinite => DrawError::NotFinite,
        DrawFailure::NothingLeft => DrawError::NothingLeft,
    })?;
    let top = drawn.top.into_iter();
    Ok(Sample {
        token: drawn.token,
        logprob: drawn.logprob,
        drawn_logprob: drawn.drawn_logprob,
        entropy: drawn.entropy,
        top: top
            .map(|(token, logprob)| TokenLogprob { token, logprob })
            .collect(),
        masses: drawn.masses,
    })
}

#[cfg(test)]
mod tests;
