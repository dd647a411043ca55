//! From logits to tokens: one draw for each row of a batch.
//!
//! A draw is Gumbel-max: the token with the largest log-probability plus Gumbel noise. The noise is
//! a function of seed, position, attempt and token, so a draw is the same in any batch.

mod cpu;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod cuda;
mod fast;
mod philox;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod tables;

use candle_core::{DType, Result, Storage, Tensor, bail};

use crate::element::elements;
use crate::stripes::for_each_chunk;

pub use cpu::sample_row;

const NAME: &str = "sampling";

/// The most of [`DrawRow::top_logprobs`].
pub const TOP_LOGPROBS_MAX: usize = 256;

/// How one token is to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct DrawRow<'a> {
    /// Takes the likeliest token, ties to the lowest id; temperature and truncation are passed over.
    pub greedy: bool,
    /// Divides the logits; above 0 unless greedy.
    pub temperature: f32,
    /// Keeps the k likeliest tokens, at least 1; `None` keeps all.
    pub top_k: Option<u32>,
    /// Keeps the smallest set of tokens whose probability reaches this, in (0, 1].
    pub top_p: f32,
    /// Keeps tokens at least this likely relative to the likeliest, in [0, 1].
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens in prompt or completion; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of each token that the completion holds.
    pub presence_penalty: f32,
    /// Subtracted once for each time that the completion holds a token.
    pub frequency_penalty: f32,
    /// With position and attempt, the only source of randomness.
    pub seed: u64,
    /// Index of the token in the completion.
    pub position: u64,
    /// How often the sequence has been rolled back.
    pub attempt: u32,
    /// Added to logits before anything else.
    pub bias: &'a [(u32, f32)],
    /// The prompt, if a penalty asks for it.
    pub prompt: &'a [u32],
    /// The completion so far, if a penalty asks for it.
    pub completion: &'a [u32],
    /// The only tokens that may be drawn: bit `t % 32` of word `t / 32` is token `t`, and words
    /// that are missing are 0. `None` allows all.
    pub allowed: Option<&'a [u32]>,
    /// Cannot be drawn: taken out before truncation. In any order.
    pub banned: &'a [u32],
    /// Added to the log-probability of a token after truncation; minus infinity leaves nothing of
    /// it. Sorted by token, each once.
    pub weights: &'a [(u32, f32)],
    /// Sets of tokens whose probability under the model is asked for.
    pub watch: &'a [Box<[u32]>],
    /// How many of the likeliest tokens to report, at most [`TOP_LOGPROBS_MAX`].
    pub top_logprobs: usize,
}

impl Default for DrawRow<'_> {
    /// A plain draw from the model's distribution.
    fn default() -> Self {
        Self {
            greedy: false,
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
            position: 0,
            attempt: 0,
            bias: &[],
            prompt: &[],
            completion: &[],
            allowed: None,
            banned: &[],
            weights: &[],
            watch: &[],
            top_logprobs: 0,
        }
    }
}

/// A token and what is known of its draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The token.
    pub token: u32,
    /// Its log-probability under the model: temperature 1, nothing added, nothing cut off.
    pub logprob: f32,
    /// Its log-probability under the distribution drawn from, before the weights: for greedy draws
    /// that of temperature 1 without truncation.
    pub drawn_logprob: f32,
    /// Entropy of the model's distribution, in nats.
    pub entropy: f32,
    /// The likeliest tokens under the model with their log-probabilities, likeliest first, ties by
    /// token.
    pub top: Vec<(u32, f32)>,
    /// The probability under the model of each set of [`DrawRow::watch`].
    pub masses: Vec<f32>,
}

/// Why nothing could be drawn from a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawFailure {
    /// The logits hold NaN or nothing finite.
    NotFinite,
    /// Bias, bans and what is allowed left nothing.
    NothingLeft,
}

/// Draws one token from each row of `logits`, f32 `[num_rows, vocab]`, contiguous.
///
/// Order: bias, penalties, allowed tokens, bans, temperature, min-p, top-k, top-p, weights, draw.
/// Where the weights leave nothing of what truncation kept, tokens of which they leave nothing are
/// taken out before it; and where that leaves nothing at all, the weights are passed over.
///
/// A row that cannot be drawn from does not touch the others. On a card, what comes to the host is
/// the result alone.
///
/// # Errors
/// Logits of another shape or dtype; a row that names a token outside the vocabulary, has a `top_k`
/// of 0, more than [`TOP_LOGPROBS_MAX`] likeliest tokens to report, or weights that are not sorted.
///
/// Source: Gumbel-max, arXiv:1411.0030; truncation by pivots instead of a sort, arXiv:2602.01518.
pub fn sample(
    logits: &Tensor,
    rows: &[DrawRow<'_>],
) -> Result<Vec<std::result::Result<Drawn, DrawFailure>>> {
    check(logits, rows)?;
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(logits) {
        return cuda::sample(&*backend, logits, rows);
    }
    let (storage, layout) = logits.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!(
            "{NAME}: no kernels are compiled in for {:?}",
            logits.device()
        );
    };
    let vocab = logits.dim(1)?;
    let logits = elements::<f32>(NAME, storage, layout)?;
    let mut drawn = vec![Err(DrawFailure::NotFinite); rows.len()];
    let draw = |index: usize, drawn: &mut [_]| {
        drawn[0] = sample_row(&logits[index * vocab..][..vocab], &rows[index]);
    };
    match crate::plain::is_asked_for() {
        // On this thread, which alone has been asked.
        true => (0..)
            .zip(drawn.chunks_mut(1))
            .for_each(|(row, drawn)| draw(row, drawn)),
        false => for_each_chunk(&mut drawn, 1, draw),
    }
    Ok(drawn)
}

fn check(logits: &Tensor, rows: &[DrawRow<'_>]) -> Result<()> {
    let (num_rows, vocab) = logits.dims2()?;
    if logits.dtype() != DType::F32 || num_rows != rows.len() || vocab == 0 {
        bail!(
            "{NAME}: {} draws from logits {:?} of {:?}; expected f32, a row for each draw",
            rows.len(),
            logits.dims(),
            logits.dtype()
        );
    }
    let mut numbered = rows.iter().enumerate();
    numbered.try_for_each(|(index, row)| check_row(index, row, vocab))
}

fn check_row(index: usize, row: &DrawRow<'_>, vocab: usize) -> Result<()> {
    if let Some(token) = named(row).find(|&token| token as usize >= vocab) {
        bail!("{NAME}: draw {index} names token {token} of a vocabulary of {vocab}");
    }
    if row.top_k == Some(0) {
        bail!("{NAME}: draw {index} keeps no token: its top_k is 0");
    }
    if row.top_logprobs > TOP_LOGPROBS_MAX {
        bail!(
            "{NAME}: draw {index} asks for {} of the likeliest tokens; at most {TOP_LOGPROBS_MAX}",
            row.top_logprobs
        );
    }
    if !row.weights.is_sorted_by(|a, b| a.0 < b.0) {
        bail!("{NAME}: the weights of draw {index} must be sorted by token, each token once");
    }
    if row.weights.iter().any(|(_, weight)| weight.is_nan()) {
        bail!("{NAME}: a weight of draw {index} is no number");
    }
    Ok(())
}

/// Every token that a row names.
fn named<'a>(row: &'a DrawRow<'_>) -> impl Iterator<Item = u32> + 'a {
    let weighted = row.bias.iter().chain(row.weights).map(|(token, _)| *token);
    let seen = row.prompt.iter().chain(row.completion).chain(row.banned);
    let watched = row.watch.iter().flat_map(|set| set.iter());
    weighted.chain(seen.chain(watched).copied())
}

/// The tokens of prompt and completion, each once and sorted, with how often the completion holds
/// it.
fn seen(prompt: &[u32], completion: &[u32]) -> Vec<(u32, u32)> {
    let prompt = prompt.iter().map(|&token| (token, 0));
    let mut occurrences: Vec<(u32, u32)> = prompt
        .chain(completion.iter().map(|&token| (token, 1)))
        .collect();
    occurrences.sort_unstable();
    let of_one_token = occurrences.chunk_by(|a, b| a.0 == b.0);
    let counted = of_one_token.map(|run| (run[0].0, run.iter().map(|(_, count)| count).sum()));
    counted.collect()
}
