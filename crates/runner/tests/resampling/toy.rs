//! A language model in a few lines, and one completion of it through sampler and gate.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_engine::Draw;
use portcullis_gate::{
    Checkpoint, End, Gate, GateReport, GateState, Quota, Refusal, RuleSet, Verdict,
};
use portcullis_runner::sample;
use portcullis_types::{Sample, SamplingParams, TokenId, TokenMask};

/// What may follow a context, with the probability of each token.
type Next = Box<dyn Fn(&[TokenId]) -> Vec<f64> + Sync>;

/// A language model. Its last token ends the completion and has no text.
pub(crate) struct Toy {
    texts: Vec<String>,
    next: Next,
}

/// What came of a completion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Outcome {
    /// The tokens that were released, the end token included.
    pub(crate) released: Vec<TokenId>,
    /// It came to its end, and was not refused on the way.
    pub(crate) finished: bool,
}

/// An outcome, and how it came about.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) outcome: Outcome,
    pub(crate) text: String,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) report: GateReport,
}

/// One draw: the completion so far, and the gate's mask.
pub(crate) type Observer<'a> = &'a mut dyn FnMut(&[TokenId], &TokenMask);

/// What a resampler can get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every attempt draws with the noise of the first.
    SameNoise,
    /// Instead of the mask of the gate, the first token of what was refused is banned.
    BansTheFirstToken,
    /// The model keeps one of the tokens that the gate refused.
    RollsBackTooLittle,
    /// The model forgets one of the tokens that are released.
    RollsBackTooFar,
    /// What was refused is taken out before truncation, which lets others in.
    MasksBeforeTruncation,
}

impl Toy {
    pub(crate) fn new(
        texts: &[&str],
        next: impl Fn(&[TokenId]) -> Vec<f64> + Sync + 'static,
    ) -> Self {
        let texts = texts.iter().copied().chain([""]).map(str::to_owned);
        Self {
            texts: texts.collect(),
            next: Box::new(next),
        }
    }

    /// Probabilities that depend on the whole context; after `len` tokens the completion ends. The
    /// larger `skew`, the further they are apart; a share of `impossible` is 0.
    pub(crate) fn random(
        texts: &[&str],
        len: usize,
        seed: u64,
        skew: i32,
        impossible: f64,
    ) -> Self {
        let end = texts.len();
        Self::new(texts, move |context| {
            let mut weights: Vec<f64> = (0..=end as u64)
                .map(|token| {
                    let path = context.iter().map(|t| u64::from(*t) + 1);
                    let hash = path.chain([token + 1]).fold(seed, |hash, word| {
                        mix(hash ^ word.wrapping_mul(0x9E37_79B9_7F4A_7C15))
                    });
                    let uniform = (hash >> 11) as f64 / (1u64 << 53) as f64;
                    if uniform < impossible {
                        0.0
                    } else {
                        uniform.powi(skew)
                    }
                })
                .collect();
            if context.len() >= len {
                weights.fill(0.0);
            }
            if weights.iter().all(|weight| *weight == 0.0) {
                weights[end] = 1.0;
            }
            let total: f64 = weights.iter().sum();
            weights.into_iter().map(|weight| weight / total).collect()
        })
    }

    /// The probability of each token after `context`.
    pub(crate) fn next(&self, context: &[TokenId]) -> Vec<f64> {
        (self.next)(context)
    }

    pub(crate) fn text(&self, token: TokenId) -> &str {
        &self.texts[token as usize]
    }

    pub(crate) fn end(&self) -> TokenId {
        TokenId::try_from(self.texts.len() - 1).unwrap()
    }

    fn logits(&self, context: &[TokenId]) -> Vec<f32> {
        let next = self.next(context);
        next.into_iter().map(|p| p.ln() as f32).collect()
    }

    /// How often each outcome came in `count` completions, with seeds from 0.
    pub(crate) fn sample_outcomes(
        &self,
        gate: &Gate,
        params: &SamplingParams,
        fault: Fault,
        count: u64,
    ) -> BTreeMap<Outcome, u64> {
        let mut counts = BTreeMap::new();
        for seed in 0..count {
            let params = SamplingParams {
                seed,
                ..params.clone()
            };
            let completion = self.complete(gate, params, fault, &mut |_, _| {});
            *counts.entry(completion.outcome).or_default() += 1;
        }
        counts
    }

    /// One completion, step by step as the engine takes it: while the gate sees a token, the next
    /// one is drawn already, and thrown away if the gate refuses.
    pub(crate) fn complete(
        &self,
        gate: &Gate,
        params: SamplingParams,
        fault: Fault,
        observe: Observer<'_>,
    ) -> Completion {
        let mut run = Run::new(self, gate, params, fault);
        let mut unseen: Option<Sample> = None;
        loop {
            let ended = unseen.as_ref().is_some_and(|s| s.token == self.end());
            let ahead = (!ended).then(|| run.draw(observe));
            let verdict = unseen.take().map(|sample| run.check(sample));
            match verdict {
                Some(Step::Ended(refusal)) => return run.complete(refusal),
                Some(Step::RolledBack) => continue,
                Some(Step::Continues) | None => {}
            }
            let sample = ahead.unwrap();
            run.push(sample.token);
            unseen = Some(sample);
        }
    }
}

struct Run<'a> {
    toy: &'a Toy,
    params: Arc<SamplingParams>,
    state: GateState,
    fault: Fault,
    /// The completion, the token included that the gate has not seen.
    tokens: Vec<TokenId>,
    /// What the model sees: the same, unless a fault says otherwise.
    context: Vec<TokenId>,
    released: Vec<TokenId>,
    text: String,
    /// First tokens of what was refused where the release stands.
    first_tokens: Vec<TokenId>,
}

enum Step {
    Continues,
    RolledBack,
    Ended(Option<Refusal>),
}

impl<'a> Run<'a> {
    fn new(toy: &'a Toy, gate: &Gate, params: SamplingParams, fault: Fault) -> Self {
        Self {
            toy,
            state: gate.begin(params.is_greedy()),
            params: Arc::new(params),
            fault,
            tokens: Vec::new(),
            context: Vec::new(),
            released: Vec::new(),
            text: String::new(),
            first_tokens: Vec::new(),
        }
    }

    fn draw(&mut self, observe: Observer<'_>) -> Sample {
        let mask = self.mask();
        observe(&self.tokens, &mask);
        let attempt = match self.fault {
            Fault::SameNoise => 0,
            _ => self.state.attempt(),
        };
        let draw = Draw {
            params: Arc::clone(&self.params),
            position: self.tokens.len() as u64,
            attempt,
            mask,
            watch: Arc::default(),
            history: None,
        };
        sample(&self.toy.logits(&self.context), &draw).unwrap()
    }

    fn mask(&mut self) -> TokenMask {
        let mut mask = self.state.mask_after(&self.tokens);
        match self.fault {
            Fault::BansTheFirstToken => {
                mask = TokenMask::default();
                if self.tokens.len() == self.released.len() {
                    mask.banned.clone_from(&self.first_tokens);
                }
            }
            Fault::MasksBeforeTruncation => {
                let refused = mask.weights.iter().filter(|(_, w)| *w == f32::NEG_INFINITY);
                mask.banned = refused.map(|(token, _)| *token).collect();
            }
            _ => {}
        }
        mask
    }

    fn push(&mut self, token: TokenId) {
        self.tokens.push(token);
        self.context.push(token);
    }

    fn check(&mut self, sample: Sample) -> Step {
        let token = sample.token;
        let end = token == self.toy.end();
        match self.state.check(Checkpoint {
            sample,
            text: self.toy.text(token),
            end: end.then_some(End::Natural),
        }) {
            Verdict::Continue(admitted) | Verdict::Stopped(admitted) => {
                if admitted.num_tokens() > 0 {
                    self.first_tokens.clear();
                }
                let more = self.released.len()..self.released.len() + admitted.num_tokens();
                self.released.extend_from_slice(&self.tokens[more]);
                self.text.push_str(admitted.text());
                if end {
                    Step::Ended(None)
                } else {
                    Step::Continues
                }
            }
            Verdict::Resample { keep_tokens } => {
                self.roll_back(keep_tokens);
                Step::RolledBack
            }
            Verdict::Reject(refusal) => Step::Ended(Some(refusal)),
        }
    }

    fn roll_back(&mut self, keep: usize) {
        assert_eq!(keep, self.released.len());
        self.first_tokens.push(self.tokens[keep]);
        self.tokens.truncate(keep);
        self.context.truncate(match self.fault {
            Fault::RollsBackTooLittle => keep + 1,
            Fault::RollsBackTooFar => keep.saturating_sub(1),
            _ => keep,
        });
    }

    fn complete(self, refusal: Option<Refusal>) -> Completion {
        Completion {
            outcome: Outcome {
                released: self.released,
                finished: refusal.is_none(),
            },
            text: self.text,
            refusal,
            report: self.state.report().clone(),
        }
    }
}

/// A gate with one rule, `phrases` with `action: resample`; `resample` is the line of the format.
/// Without retries, the quota of the call forbids them.
pub(crate) fn gate(phrases: &[&str], scope: &str, retries: u32, then: &str) -> Gate {
    let yaml = format!(
        "ruleset: toy\nversion: 1\nmode: enforce\n\
         resample: {{max_attempts: {}, scope: {scope}, then: {then}}}\n\
         rules:\n- {{id: r, why: toy, phrases: {phrases:?}, normalise: none, action: resample}}\n\
         tests:\n- {{rule: r, should_pass: \"~\"}}\n",
        retries.max(1),
    );
    let set = RuleSet::load(yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{yaml}"));
    let quota = Quota {
        attempts_max: if retries == 0 { 0 } else { 10_000 },
        discarded_tokens_max: 100_000,
    };
    Gate::new(vec![Arc::new(set)], quota)
}

/// SplitMix64's finaliser.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
