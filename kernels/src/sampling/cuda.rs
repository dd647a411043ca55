//! The launches of sampling.cu, and what they bring back.

use candle_core::{DType, Result, Shape, Tensor};

use super::tables::{ROW_WORDS, Tables};
use super::{DrawFailure, DrawRow, Drawn, NAME, TOP_LOGPROBS_MAX};
use crate::device::{Backend, Launch, Params, Span, WARP};

/// `SAMPLING_THREADS` of the kernel.
const THREADS_MAX: u32 = 1024;

/// `WARPS_MAX` of the kernel.
const WARPS_MAX: usize = (THREADS_MAX / WARP) as usize;

/// `GATHERED_MAX` of the kernel.
const GATHERED_MAX: usize = 4096;

/// `PART` of the kernel.
const PART: usize = 4096;

/// `SURVEY_THREADS` of the kernel.
const SURVEY_THREADS: u32 = 256;

/// Numbers of 64 bits in a `Found` of the kernel: three keys, two times four sums.
const FOUND_NUMBERS: usize = 3 + 2 * 4;

/// Shared memory of a survey: six sums and a largest value a warp, six totals.
const SURVEY_SHARED_BYTES: usize = (6 * (WARPS_MAX + 1) + WARPS_MAX) * 8;

/// Shared memory of what follows: besides, the keys of the likeliest tokens, those of the gathered,
/// and the number of the likeliest.
const SHARED_BYTES: usize = SURVEY_SHARED_BYTES + (TOP_LOGPROBS_MAX + GATHERED_MAX) * 8 + 4;

/// Words of a result before its pairs of likeliest tokens.
const HEAD_WORDS: usize = 5;

/// `Status` of the kernel.
const DRAWN: u32 = 0;
const NOT_FINITE: u32 = 1;
const NOTHING_LEFT: u32 = 2;

/// `Sampling` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sampling {
    logits: Span,
    adjusted: Span,
    rows: Span,
    lists: Span,
    results: Span,
    found: Span,
    vocab: u32,
    result_words: u32,
    masses: u32,
    parts: u32,
}

// SAFETY: the struct of the kernel, field by field; a `Row` is `ROW_WORDS` words.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for Sampling {}

pub(super) fn sample(
    backend: &dyn Backend,
    logits: &Tensor,
    rows: &[DrawRow<'_>],
) -> Result<Vec<std::result::Result<Drawn, DrawFailure>>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let layout = ResultLayout::of(rows, logits.dim(1)?);
    let results = launch(backend, logits, &Tables::of(rows), &layout)?;
    let results = results.to_vec2::<u32>()?;
    let read = rows.iter().zip(&results);
    read.map(|(row, words)| layout.read(row, words)).collect()
}

/// The results, u32 `[num_rows, words]`, on the device.
fn launch(
    backend: &dyn Backend,
    logits: &Tensor,
    tables: &Tables,
    layout: &ResultLayout,
) -> Result<Tensor> {
    let (num_rows, vocab) = logits.dims2()?;
    // Never empty: the kernel has a span of it.
    let uploaded = [&tables.rows[..], &tables.lists, &[0]].concat();
    let words = Tensor::from_vec(
        uploaded,
        tables.rows.len() + tables.lists.len() + 1,
        logits.device(),
    )?;
    let rows = backend.span(&words.narrow(0, 0, tables.rows.len())?)?;
    let lists = words.narrow(0, tables.rows.len(), tables.lists.len() + 1)?;
    let adjusted = match tables.num_adjusted {
        0 => None,
        rows => Some(backend.empty(Shape::from((rows, vocab)), DType::F32)?),
    };
    let results = backend.empty(Shape::from((num_rows, layout.words)), DType::U32)?;
    let parts = vocab.div_ceil(PART);
    let found = backend.empty((num_rows, parts, FOUND_NUMBERS).into(), DType::F64)?;
    let found_at = backend.span_mut(&found)?;
    let params = Sampling {
        logits: backend.span(logits)?,
        adjusted: match &adjusted {
            Some(adjusted) => backend.span_mut(adjusted)?,
            None => Span::NONE,
        },
        rows: Span {
            len: rows.len / ROW_WORDS as u64,
            ..rows
        },
        lists: backend.span(&lists)?,
        results: backend.span_mut(&results)?,
        found: Span {
            len: found_at.len / FOUND_NUMBERS as u64,
            ..found_at
        },
        vocab: vocab as u32,
        result_words: layout.words as u32,
        masses: layout.masses as u32,
        parts: parts as u32,
    };
    let (rows, parts) = (num_rows as u32, parts as u32);
    let survey = |kernel: &str| {
        let threads = threads(vocab.min(PART)).min(SURVEY_THREADS);
        Launch::new(NAME, kernel.into(), [rows, parts, 1], threads, &params)
            .with_shared_bytes(SURVEY_SHARED_BYTES)
    };
    let whole = Launch::new(NAME, "sample".into(), [rows, 1, 1], threads(vocab), &params)
        .with_shared_bytes(SHARED_BYTES);
    for launch in [survey("sample_largest"), survey("sample_sums"), whole] {
        // SAFETY: rows and parts of `vocab`; `check_row` has found the tokens of the tables to be
        // of the vocabulary, and the tables refer to themselves. The tensors live on.
        #[expect(unsafe_code, reason = "runs a kernel")]
        unsafe {
            backend.launch(&launch)?;
        }
    }
    Ok(results)
}

/// Threads of a block: four tokens each, as the noise has them, where that is a block. So the order
/// of a row's sums depends on the vocabulary alone.
fn threads(vocab: usize) -> u32 {
    let fours = vocab.div_ceil(4).min(THREADS_MAX as usize) as u32;
    fours.next_multiple_of(WARP)
}

/// How the words of a result lie: status, token, log-probability, that of the draw and entropy;
/// pairs of likeliest tokens; masses. As much for each row as the most that one asks for.
struct ResultLayout {
    vocab: usize,
    /// Where the masses begin.
    masses: usize,
    words: usize,
}

impl ResultLayout {
    fn of(rows: &[DrawRow<'_>], vocab: usize) -> Self {
        let most = |count: fn(&DrawRow<'_>) -> usize| rows.iter().map(count).max().unwrap_or(0);
        let masses = HEAD_WORDS + 2 * most(|row| row.top_logprobs);
        Self {
            vocab,
            masses,
            words: masses + most(|row| row.watch.len()),
        }
    }

    fn read(
        &self,
        row: &DrawRow<'_>,
        words: &[u32],
    ) -> Result<std::result::Result<Drawn, DrawFailure>> {
        match words[0] {
            DRAWN => Ok(Ok(self.drawn(row, words))),
            NOT_FINITE => Ok(Err(DrawFailure::NotFinite)),
            NOTHING_LEFT => Ok(Err(DrawFailure::NothingLeft)),
            other => candle_core::bail!("{NAME}: the kernel left status {other}"),
        }
    }

    fn drawn(&self, row: &DrawRow<'_>, words: &[u32]) -> Drawn {
        let [_, token, logprob, drawn_logprob, entropy] = [0, 1, 2, 3, 4].map(|i| words[i]);
        let (pairs, _) = words[HEAD_WORDS..self.masses].as_chunks::<2>();
        let top = pairs.iter().take(row.top_logprobs.min(self.vocab));
        let masses = words[self.masses..].iter().take(row.watch.len());
        Drawn {
            token,
            logprob: f32::from_bits(logprob),
            drawn_logprob: f32::from_bits(drawn_logprob),
            entropy: f32::from_bits(entropy),
            top: top
                .map(|&[token, logprob]| (token, f32::from_bits(logprob)))
                .collect(),
            masses: masses.map(|&mass| f32::from_bits(mass)).collect(),
        }
    }
}
