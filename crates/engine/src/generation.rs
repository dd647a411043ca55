//! One choice of a call, from its first token to its end: text, gate and outbox in step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use portcullis_gate::{Admitted, Checkpoint, End as GateEnd, GateState, Verdict};
use portcullis_scheduler::Row;
use portcullis_text::{Detokenizer, Tokenizer};
use portcullis_types::{
    FinishReason, History, PromptScore, Sample, SamplingParams, TokenId, Usage, derive_choice_seed,
};

use crate::clock::Clock;
use crate::handle::{QueuePlace, Submission};
use crate::outbox::{End, Outbox, Timings};
use crate::request::GenerateRequest;
use crate::runner::{Draw, Score};
use crate::status::EngineStatus;

/// The state of one choice. Its tokens live in the scheduler; here is what was made of them.
pub(crate) struct Generation {
    request: Arc<GenerateRequest>,
    params: Arc<SamplingParams>,
    text: Detokenizer,
    gate: GateState,
    outbox: Outbox,
    /// Completion tokens that the gate has seen and not refused.
    kept: usize,
    /// Of these, how many have left.
    released: usize,
    /// When the others came to the gate.
    waiting_since: VecDeque<Duration>,
    usage: Usage,
    submitted: Duration,
    timings: Timings,
    counted: Counted,
    /// Held until the first step.
    place: Option<QueuePlace>,
    /// Choices that fork from this one when its prompt is computed.
    siblings: std::ops::Range<u32>,
    /// How likely the tokens of the prompt were, as far as that is asked for and known.
    scores: Option<Vec<PromptScore>>,
}

/// What the engine's counters have of a choice already.
#[derive(Clone, Copy, Default)]
struct Counted {
    released: u64,
    discarded: u64,
    evaluations: u64,
    gate_us: u64,
}

/// A drawn token whose verdict is still out.
pub(crate) struct Drawn {
    pub(crate) sample: Sample,
    /// Set when the token itself ends the completion: an end token, or the last one allowed.
    pub(crate) end: Option<FinishReason>,
}

/// What a verdict means for the sequence.
pub(crate) enum Outcome {
    Continues,
    /// So many completion tokens stay.
    RolledBack {
        keep_tokens: usize,
    },
    Ended(End),
}

impl Generation {
    pub(crate) fn new(submission: Submission, tokenizer: &Tokenizer, now: Duration) -> Self {
        let request = Arc::new(submission.request);
        let choices = request.choices;
        let outbox = Outbox::new(0, submission.events, submission.cancelled);
        let mut first = Self::begin(request, outbox, tokenizer, now);
        first.place = Some(submission.place);
        first.siblings = 1..choices;
        first
    }

    fn begin(
        request: Arc<GenerateRequest>,
        outbox: Outbox,
        tokenizer: &Tokenizer,
        submitted: Duration,
    ) -> Self {
        let seed = derive_choice_seed(request.sampling.seed, outbox.choice());
        let params = Arc::new(SamplingParams {
            seed,
            ..request.sampling.clone()
        });
        let gate = request.gate.begin(params.is_greedy());
        Self {
            text: detokenizer(tokenizer, &request),
            scores: first_scores(&request),
            gate: gate.stopping_at(&request.stop.strings, request.stop.min_tokens),
            usage: Usage {
                prompt_tokens: request.prompt.len() as u64,
                ..Usage::default()
            },
            request,
            params,
            outbox,
            kept: 0,
            released: 0,
            waiting_since: VecDeque::new(),
            submitted,
            timings: Timings::default(),
            counted: Counted::default(),
            place: None,
            siblings: 0..0,
        }
    }

    /// The other choices of the call, each once.
    pub(crate) fn take_siblings(&mut self, tokenizer: &Tokenizer) -> Vec<Self> {
        let choices = std::mem::replace(&mut self.siblings, 0..0);
        choices
            .map(|choice| {
                let outbox = self.outbox.sibling(choice);
                let mut sibling =
                    Self::begin(Arc::clone(&self.request), outbox, tokenizer, self.submitted);
                sibling.usage.cached_tokens = self.usage.cached_tokens;
                sibling.timings.queued = self.timings.queued;
                sibling.scores.clone_from(&self.scores);
                sibling
            })
            .collect()
    }

    pub(crate) fn request(&self) -> &GenerateRequest {
        &self.request
    }

    /// The first step of the call takes it out of the queue.
    pub(crate) fn start(&mut self, cached_tokens: usize, now: Duration) -> bool {
        let first = self.place.take().is_some();
        if first {
            self.usage.cached_tokens = cached_tokens as u64;
            self.timings.queued = now.saturating_sub(self.submitted);
        }
        first
    }

    /// How the next token is to be drawn, when the sequence holds `tokens`.
    ///
    /// The gate has seen `kept` completion tokens; one more may be on its way to it.
    pub(crate) fn draw(&mut self, tokens: &[TokenId]) -> Draw {
        let (prompt, completion) = tokens.split_at(self.request.prompt.len());
        let position = completion.len();
        let mut mask = self.gate.mask_after(completion);
        if position < self.request.stop.min_tokens {
            mask.banned.extend(&self.request.stop.token_ids);
        }
        let history = self.params.needs_history().then(|| History {
            prompt: prompt.to_vec(),
            completion: completion.to_vec(),
        });
        let attempt = self.gate.attempt();
        Draw {
            params: Arc::clone(&self.params),
            position: position as u64,
            attempt,
            mask,
            watch: self.request.gate.watched_tokens(),
            history,
        }
    }

    /// What is to be asked about the prompt in row `index` of a plan.
    pub(crate) fn scores_in(&self, index: usize, row: &Row) -> Vec<Score> {
        let (Some(top), Some(scores)) = (self.request.prompt_logprobs, &self.scores) else {
            return Vec::new();
        };
        let (prompt, known) = (&self.request.prompt, scores.len());
        let targets = (row.start + 1..=row.start + row.tokens.len()).filter(|&at| at >= known);
        let targets = targets.filter_map(|at| Some((at, *prompt.get(at)?)));
        targets
            .map(|(at, target)| Score {
                row: index,
                offset: at - 1 - row.start,
                target,
                top,
            })
            .collect()
    }

    /// Takes the answer about the next token of the prompt.
    pub(crate) fn note_score(&mut self, score: PromptScore) {
        self.scores.get_or_insert_default().push(score);
    }

    /// Tells what is known of the prompt, once, when that is all of it.
    pub(crate) fn tell_prompt(&mut self) {
        if let Some(scores) = self.scores.take() {
            self.outbox.tell_prompt(scores.into());
        }
    }

    /// Whether `token`, drawn as number `completion_len` of the completion, ends it by itself.
    pub(crate) fn natural_end(
        &self,
        token: TokenId,
        completion_len: usize,
    ) -> Option<FinishReason> {
        let stop = &self.request.stop;
        if stop.token_ids.contains(&token) {
            Some(FinishReason::Stop)
        } else {
            (completion_len >= stop.max_tokens).then_some(FinishReason::Length)
        }
    }

    pub(crate) fn note_token(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.submitted);
        self.timings.first_token.get_or_insert(elapsed);
    }

    /// A token that was computed for a continuation that was refused or has ended since.
    pub(crate) fn note_stale(&mut self) {
        self.usage.discarded_tokens += 1;
    }

    /// Takes a token through text and gate, and releases what may leave.
    pub(crate) fn accept(&mut self, drawn: Drawn, clock: &dyn Clock) -> Outcome {
        let text = self.text_of(drawn.sample.token, drawn.end);
        let began = clock.now();
        let verdict = self.gate.check(Checkpoint {
            sample: drawn.sample,
            text: &text,
            end: drawn.end.map(|reason| match reason {
                FinishReason::Length => GateEnd::Cut,
                FinishReason::Stop | FinishReason::ContentFilter => GateEnd::Natural,
            }),
        });
        let now = clock.now();
        self.timings.gate += now.saturating_sub(began);
        self.kept += 1;
        self.waiting_since.push_back(began);
        match verdict {
            Verdict::Continue(admitted) => {
                self.release(admitted, now);
                drawn.end.map_or(Outcome::Continues, |reason| {
                    Outcome::Ended(End::Finished(reason))
                })
            }
            Verdict::Stopped(admitted) => {
                self.release(admitted, now);
                Outcome::Ended(End::Finished(FinishReason::Stop))
            }
            Verdict::Resample { keep_tokens } => Outcome::RolledBack { keep_tokens },
            Verdict::Reject(refusal) => Outcome::Ended(End::Refused(refusal)),
        }
    }

    /// The text that `token` adds. An end token says that the answer is over; it is not part of it.
    fn text_of(&mut self, token: TokenId, end: Option<FinishReason>) -> String {
        let mut text = match end {
            Some(FinishReason::Stop) => String::new(),
            _ => self.text.push(token),
        };
        if end.is_some() {
            text.push_str(&self.text.finish());
        }
        text
    }

    fn release(&mut self, admitted: Admitted, now: Duration) {
        if !admitted.is_empty() {
            self.released += admitted.num_tokens();
            let tokens = admitted.num_tokens().min(self.waiting_since.len());
            let left = self.waiting_since.drain(..tokens);
            let held = left.map(|since| now.saturating_sub(since)).max();
            self.timings.held = self.timings.held.max(held.unwrap_or_default());
            let elapsed = now.saturating_sub(self.submitted);
            self.timings.first_release.get_or_insert(elapsed);
            self.outbox.release(admitted);
        }
    }

    /// At the end: what was not released by now never will be.
    pub(crate) fn discard_unreleased(&mut self) {
        self.discard_from(self.released);
    }

    /// Goes back to `completion`, the tokens that stay: the text is made anew from them, so that
    /// text and tokens cannot get out of step.
    pub(crate) fn rewind(&mut self, completion: &[TokenId], tokenizer: &Tokenizer) {
        self.text = detokenizer(tokenizer, &self.request);
        for &token in completion {
            self.text.push(token);
        }
        self.discard_from(completion.len());
    }

    fn discard_from(&mut self, keep: usize) {
        self.usage.discarded_tokens += self.kept.saturating_sub(keep) as u64;
        self.kept = self.kept.min(keep);
        self.waiting_since
            .truncate(self.kept.saturating_sub(self.released));
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            completion_tokens: self.kept as u64,
            ..self.usage
        }
    }

    /// Adds what came since it was last counted.
    pub(crate) fn count_into(&mut self, status: &mut EngineStatus) {
        let now = Counted {
            released: self.released as u64,
            discarded: self.usage.discarded_tokens,
            evaluations: self.gate.report().evaluations,
            gate_us: self.timings.gate.as_micros() as u64,
        };
        let before = std::mem::replace(&mut self.counted, now);
        status.generation_tokens_total += now.released - before.released;
        status.discarded_tokens_total += now.discarded - before.discarded;
        status.gate_evaluations_total += now.evaluations - before.evaluations;
        status.gate_us_total += now.gate_us - before.gate_us;
    }

    pub(crate) fn outbox_mut(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// The last event; the outbox may still have to wait for its reader.
    pub(crate) fn finish(mut self, end: End, now: Duration) -> Outbox {
        self.timings.total = now.saturating_sub(self.submitted);
        let usage = self.usage();
        self.outbox
            .finish(end, usage, self.gate.into_report(), self.timings);
        self.outbox
    }
}

fn detokenizer(tokenizer: &Tokenizer, request: &GenerateRequest) -> Detokenizer {
    tokenizer.detokenizer().showing(Arc::clone(&request.shown))
}

/// Nothing comes before the first token, so nothing is known of it.
fn first_scores(request: &GenerateRequest) -> Option<Vec<PromptScore>> {
    request.prompt_logprobs?;
    let first = request.prompt.iter().take(1);
    let unknown = first.map(|&token| PromptScore {
        token,
        logprob: None,
        top: Vec::new(),
    });
    Some(unknown.collect())
}
