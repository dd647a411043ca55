//! From the engine's draws to the sampling op, and back.

use candle_core::Tensor;
use portcullis_engine::{Draw, DrawError};
use portcullis_kernels::{DrawFailure, DrawRow, Drawn, sample_row};
use portcullis_types::{Sample, TokenLogprob};

/// Draws one token from each row of `logits` `[num_draws, vocab]`, wherever they lie.
///
/// # Errors
/// The op refuses a draw, or the device fails.
pub(crate) fn sample_all(
    logits: &Tensor,
    draws: &[Draw],
) -> candle_core::Result<Vec<Result<Sample, DrawError>>> {
    if draws.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<DrawRow<'_>> = draws.iter().map(row_of).collect();
    let drawn = portcullis_kernels::sample(logits, &rows)?;
    Ok(drawn.into_iter().map(sample_of).collect())
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
