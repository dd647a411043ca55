//! Runs completions through a gate, as it is or as a weaker one would be.

use portcullis_gate::{Checkpoint, End, Gate, Refusal, Verdict};
use portcullis_types::Sample;

use super::text::Token;

/// A gate that the law must not hold for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weakening {
    /// The gate as it is.
    None,
    /// What could become a match is released one token too early.
    OneTokenMore,
    /// Every token is looked at on its own.
    TokenByToken,
    /// What is cut off counts as ended.
    CutIsEnd,
    /// The text goes ahead of the verdict.
    VerdictAfterwards,
}

/// How a completion ends, and what ends it before.
pub(crate) struct Ending<'a> {
    pub(crate) end: End,
    pub(crate) stops: &'a [String],
    pub(crate) skip_tokens: usize,
}

/// What came of a completion.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) text: String,
    /// Text that came with each token.
    pub(crate) pieces: Vec<String>,
    pub(crate) released_tokens: usize,
    /// Tokens whose samples came out, by their place.
    pub(crate) samples: Vec<u32>,
    pub(crate) flagged: usize,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) stopped: bool,
}

pub(crate) fn sample(token: usize, facts: &Token) -> Sample {
    Sample {
        logprob: facts.logprob,
        entropy: facts.entropy,
        masses: vec![facts.mass; 16],
        ..Sample::certain(u32::try_from(token).unwrap())
    }
}

/// Runs `tokens`, of which the last one ends the completion. No roll-back is answered.
pub(crate) fn run(
    gate: &Gate,
    tokens: &[Token],
    ending: &Ending<'_>,
    weakening: Weakening,
) -> Outcome {
    match weakening {
        Weakening::None => run_as_is(gate, tokens, ending),
        Weakening::CutIsEnd => {
            let end = End::Natural;
            run_as_is(gate, tokens, &Ending { end, ..*ending })
        }
        Weakening::OneTokenMore => {
            let mut outcome = run_as_is(gate, tokens, ending);
            if let Some(next) = tokens
                .get(outcome.released_tokens)
                .filter(|_| !outcome.stopped)
            {
                outcome.text += &next.text;
                outcome.released_tokens += 1;
            }
            outcome
        }
        Weakening::TokenByToken => {
            let mut all = Outcome::default();
            for token in tokens {
                let one = run_as_is(gate, std::slice::from_ref(token), ending);
                all.text += &one.text;
                all.released_tokens += one.released_tokens;
                all.flagged += one.flagged;
                all.refusal = all.refusal.or(one.refusal);
                if all.refusal.is_some() {
                    break;
                }
            }
            all
        }
        Weakening::VerdictAfterwards => {
            let mut outcome = run_as_is(gate, tokens, ending);
            let seen = outcome.pieces.len() + usize::from(outcome.refusal.is_some());
            outcome.text = tokens[..seen]
                .iter()
                .map(|token| token.text.as_str())
                .collect();
            outcome.released_tokens = seen;
            outcome
        }
    }
}

fn run_as_is(gate: &Gate, tokens: &[Token], ending: &Ending<'_>) -> Outcome {
    let mut state = gate
        .begin(false)
        .stopping_at(ending.stops, ending.skip_tokens);
    let mut outcome = Outcome::default();
    for (at, token) in tokens.iter().enumerate() {
        let verdict = state.check(Checkpoint {
            sample: sample(at, token),
            text: &token.text,
            end: (at + 1 == tokens.len()).then_some(ending.end),
        });
        outcome.stopped = matches!(verdict, Verdict::Stopped(_));
        match verdict {
            Verdict::Continue(admitted) | Verdict::Stopped(admitted) => {
                outcome.text += admitted.text();
                outcome.pieces.push(admitted.text().to_owned());
                outcome.released_tokens += admitted.num_tokens();
                outcome.flagged += admitted.flagged().len();
                let ids = admitted.samples().iter().map(|sample| sample.token);
                outcome.samples.extend(ids);
            }
            Verdict::Resample { .. } => panic!("a roll-back without any quota"),
            Verdict::Reject(refusal) => outcome.refusal = Some(refusal),
        }
        if outcome.stopped || outcome.refusal.is_some() {
            break;
        }
    }
    outcome
}
