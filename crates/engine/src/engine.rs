//! The loop. [`Engine::step`] is the design; everything below it is a detail of one of its lines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use portcullis_scheduler::{
    Advance, NewSequence, Row, Scheduler, SchedulerConfig, SchedulerOutput,
};
use portcullis_text::Tokenizer;
use portcullis_types::{FinishReason, PromptScore, Sample, SequenceId, Tenant};

use crate::clock::Clock;
use crate::generation::{Drawn, Generation, Outcome};
use crate::handle::{EngineHandle, Shared, Submission, doors};
use crate::outbox::{End, Failure, Flushed, Outbox};
use crate::request::GenerateRequest;
use crate::runner::{Draw, DrawError, ModelRunner, RunnerError, Score, StepOutput};
use crate::status::EngineStatus;

/// How long an engine without work waits before it looks after slow readers again.
const IDLE_WAIT: Duration = Duration::from_millis(10);

/// What the engine needs to know at start.
#[derive(Clone)]
pub struct EngineConfig {
    /// Blocks, budgets and bounds of a step.
    pub scheduler: SchedulerConfig,
    /// Calls that may wait for their first step.
    pub max_waiting: usize,
    /// Events that a stream buffers before the outbox begins to merge them.
    pub stream_buffer: usize,
    /// Turns tokens into text.
    pub tokenizer: Tokenizer,
    /// Time for measurements; no decision depends on it.
    pub clock: Arc<dyn Clock>,
}

/// Owns scheduler, gate states and model runner; lives on one thread.
pub struct Engine<R> {
    scheduler: Scheduler,
    runner: R,
    generations: BTreeMap<SequenceId, Generation>,
    /// Tokens drawn in the last step, whose verdicts are still out.
    undelivered: Vec<(SequenceId, Drawn)>,
    /// Choices that ended before their reader had read everything.
    lingering: Vec<Outbox>,
    submissions: Receiver<Submission>,
    next_id: u64,
    tokenizer: Tokenizer,
    clock: Arc<dyn Clock>,
    status: EngineStatus,
    shared: Arc<Shared>,
}

impl<R: ModelRunner> Engine<R> {
    /// One turn of the loop. Compute runs one step ahead of the gate; release never does.
    pub fn step(&mut self) {
        self.take_submissions();
        self.end_cancelled();
        let plan = self.scheduler.schedule();
        let draws = self.draws(&plan);
        let scores = self.scores(&plan);
        let ticket = (!plan.rows.is_empty()).then(|| self.runner.submit(&plan, draws, scores));
        // Gate, text and sends for the step before, while the model computes this one.
        self.deliver();
        if let Some(ticket) = ticket {
            match self.runner.collect(ticket) {
                Ok(output) => self.advance(&plan, output),
                Err(error) => self.recover(&plan, &error),
            }
        }
        self.publish();
    }

    /// An engine that is stepped by hand, and the handle to it: for tests and the simulation.
    pub fn by_hand(config: EngineConfig, runner: R) -> (Self, EngineHandle) {
        let (handle, submissions) = doors(&config);
        let shared = handle.shared();
        (Self::new(config, runner, submissions, shared), handle)
    }

    pub(crate) fn new(
        config: EngineConfig,
        runner: R,
        submissions: Receiver<Submission>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            scheduler: Scheduler::new(config.scheduler),
            runner,
            generations: BTreeMap::new(),
            undelivered: Vec::new(),
            lingering: Vec::new(),
            submissions,
            next_id: 0,
            tokenizer: config.tokenizer,
            clock: config.clock,
            status: EngineStatus::default(),
            shared,
        }
    }

    /// Steps until every handle is dropped and the last call is done.
    pub(crate) fn run(mut self) {
        loop {
            if !self.has_work() {
                match self.submissions.recv_timeout(IDLE_WAIT) {
                    Ok(submission) => self.take(submission),
                    Err(RecvTimeoutError::Timeout) if self.lingering.is_empty() => continue,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) if self.lingering.is_empty() => return,
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(IDLE_WAIT),
                }
            }
            self.step();
        }
    }

    /// Whether a step would get anywhere: a sequence is alive or a token awaits its verdict.
    pub fn has_work(&self) -> bool {
        !self.generations.is_empty() || !self.undelivered.is_empty()
    }

    /// The scheduler, for tests that check its invariants.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    fn take_submissions(&mut self) {
        while let Ok(submission) = self.submissions.try_recv() {
            self.take(submission);
        }
    }

    fn take(&mut self, submission: Submission) {
        let id = self.new_id();
        let generation = Generation::new(submission, &self.tokenizer, self.clock.now());
        let request = generation.request();
        let added = self.scheduler.add(NewSequence {
            id,
            tokens: request.prompt.clone(),
            priority: request.priority,
            tenant: tenant(id, request),
            max_len: request.max_len(),
        });
        self.generations.insert(id, generation);
        if let Err(error) = added {
            self.end(id, failed(error.to_string()));
        }
    }

    fn new_id(&mut self) -> SequenceId {
        self.next_id += 1;
        SequenceId(self.next_id)
    }

    /// A reader who asks for it or is gone cancels, in whatever phase; the blocks are free in this
    /// same step.
    fn end_cancelled(&mut self) {
        let cancelled = |generation: &mut Generation| {
            let outbox = generation.outbox_mut();
            outbox.is_cancelled() || outbox.flush() == Flushed::Closed
        };
        let generations = self.generations.iter_mut();
        let ids = generations.filter_map(|(id, generation)| cancelled(generation).then_some(*id));
        for id in ids.collect::<Vec<_>>() {
            self.end(id, End::Cancelled);
        }
        self.lingering
            .retain_mut(|outbox| outbox.flush() == Flushed::Full);
    }

    fn draws(&mut self, plan: &SchedulerOutput) -> Vec<Draw> {
        let now = self.clock.now();
        let mut draws = Vec::with_capacity(plan.rows.len());
        for row in &plan.rows {
            let generation = known(self.generations.get_mut(&row.sequence));
            let sequence = known(self.scheduler.sequence(row.sequence));
            if generation.start(sequence.num_cached(), now) {
                self.status.prompt_tokens_total += generation.usage().prompt_tokens;
            }
            if row.samples {
                draws.push(generation.draw(sequence.tokens()));
            }
        }
        draws
    }

    /// What is asked about prompts.
    fn scores(&self, plan: &SchedulerOutput) -> Vec<Score> {
        let rows = plan.rows.iter().enumerate();
        rows.flat_map(|(index, row)| {
            known(self.generations.get(&row.sequence)).scores_in(index, row)
        })
        .collect()
    }

    /// Takes the tokens of the step before through text and gate.
    fn deliver(&mut self) {
        for (id, drawn) in std::mem::take(&mut self.undelivered) {
            let generation = known(self.generations.get_mut(&id));
            let outcome = generation.accept(drawn, self.clock.as_ref());
            generation.count_into(&mut self.status);
            match outcome {
                Outcome::Continues => {}
                Outcome::RolledBack { keep_tokens } => self.roll_back(id, keep_tokens),
                Outcome::Ended(end) => self.end(id, end),
            }
        }
    }

    fn roll_back(&mut self, id: SequenceId, keep_tokens: usize) {
        let generation = known(self.generations.get_mut(&id));
        let tokens = known(self.scheduler.sequence(id)).tokens();
        let prompt_len = generation.request().prompt_len();
        let keep = prompt_len + keep_tokens;
        generation.rewind(&tokens[prompt_len..keep], &self.tokenizer);
        self.scheduler.truncate(id, keep);
        self.status.gate_attempts_total += 1;
    }

    /// Books what the step computed, and takes its tokens up for their verdicts.
    fn advance(&mut self, plan: &SchedulerOutput, output: StepOutput) {
        self.note_scores(plan, output.scores);
        let mut samples = output.samples.into_iter();
        for row in &plan.rows {
            self.status.computed_tokens_total += row.tokens.len() as u64;
            if row.samples {
                let sample = samples.next();
                self.advance_sampled(
                    row,
                    sample.expect("a runner returns one sample for each draw"),
                );
            } else {
                // A stale chunk of a prompt costs nothing more: it is simply not counted.
                self.scheduler.advance(row, None);
            }
        }
    }

    /// Books what the step says about prompts. A row that has ended since was asked for nothing.
    fn note_scores(
        &mut self,
        plan: &SchedulerOutput,
        scores: Vec<(usize, Result<PromptScore, DrawError>)>,
    ) {
        for (row, score) in scores {
            let row = &plan.rows[row];
            match (self.generations.get_mut(&row.sequence), score) {
                (None, _) => {}
                (Some(generation), Ok(score)) => generation.note_score(score),
                (Some(_), Err(error)) => self.fail_row(row, error.into()),
            }
        }
    }

    fn advance_sampled(&mut self, row: &Row, sample: Result<Sample, DrawError>) {
        let id = row.sequence;
        let sample = match sample {
            Ok(sample) => sample,
            Err(error) => return self.fail_row(row, error.into()),
        };
        let advanced = self.scheduler.advance(row, Some(sample.token));
        // It ended with the token before, while this one was computed.
        let Some(generation) = self.generations.get_mut(&id) else {
            return;
        };
        if advanced == Advance::Stale {
            return generation.note_stale();
        }
        generation.note_token(self.clock.now());
        let tokens = known(self.scheduler.sequence(id)).tokens();
        let completion_len = tokens.len() - generation.request().prompt_len();
        let end = generation.natural_end(sample.token, completion_len);
        if end.is_some() {
            self.scheduler.hold(id);
        }
        self.undelivered.push((id, Drawn { sample, end }));
        self.fork_siblings(id);
    }

    /// The prompt of the first choice is computed: the others share it.
    fn fork_siblings(&mut self, parent: SequenceId) {
        let generation = known(self.generations.get_mut(&parent));
        let (prompt_len, max_len) = (
            generation.request().prompt_len(),
            generation.request().max_len(),
        );
        let siblings = generation.take_siblings(&self.tokenizer);
        generation.tell_prompt();
        for mut sibling in siblings {
            sibling.tell_prompt();
            let id = self.new_id();
            self.generations.insert(id, sibling);
            if let Err(error) = self.scheduler.fork(parent, id, prompt_len, max_len) {
                self.end(id, failed(error.to_string()));
            }
        }
    }

    /// Ends the sequence of a row, unless it was rolled back or ended since.
    fn fail_row(&mut self, row: &Row, failure: Failure) {
        if self
            .scheduler
            .sequence(row.sequence)
            .is_some_and(|s| s.epoch() == row.epoch)
        {
            self.end(row.sequence, End::Failed(failure));
        }
    }

    /// Goes on in smaller steps where memory ran out; what failed otherwise ends its calls.
    fn recover(&mut self, plan: &SchedulerOutput, error: &RunnerError) {
        if matches!(error, RunnerError::OutOfMemory { .. })
            && let Some(max_batched_tokens) = self.scheduler.give_way(plan)
        {
            tracing::warn!(
                %error,
                "sequences are computed anew, in steps of at most {max_batched_tokens} tokens; \
                 a smaller --max-batched-tokens or --kv-cache-memory avoids this"
            );
            return;
        }
        self.fail_rows(plan, &error.to_string());
    }

    fn fail_rows(&mut self, plan: &SchedulerOutput, message: &str) {
        let generations = plan
            .rows
            .iter()
            .map(|row| self.generations.get(&row.sequence));
        let calls: Vec<_> = generations
            .flatten()
            .map(|generation| generation.request().request_id())
            .collect();
        tracing::error!(
            message,
            ?calls,
            "a step failed; its calls end with an error"
        );
        for row in &plan.rows {
            self.fail_row(row, message.to_owned().into());
        }
    }

    /// The one way in which a choice ends.
    fn end(&mut self, id: SequenceId, end: End) {
        self.scheduler.remove(id);
        let mut generation = known(self.generations.remove(&id));
        // Drawn for nothing: nobody waits for the verdict.
        let unjudged = self.undelivered.extract_if(.., |(of, _)| *of == id);
        unjudged.for_each(|_| generation.note_stale());
        // Choices that never began share the fate of the one they wait for.
        let unborn = generation.take_siblings(&self.tokenizer);
        for mut generation in std::iter::once(generation).chain(unborn) {
            generation.discard_unreleased();
            generation.count_into(&mut self.status);
            self.count_end(&end);
            let mut outbox = generation.finish(end.clone(), self.clock.now());
            if outbox.flush() == Flushed::Full {
                self.lingering.push(outbox);
            }
        }
    }

    fn count_end(&mut self, end: &End) {
        let status = &mut self.status;
        match end {
            End::Finished(FinishReason::Stop) => status.finished_stop_total += 1,
            End::Finished(FinishReason::Length) => status.finished_length_total += 1,
            End::Finished(FinishReason::ContentFilter) => {
                status.finished_content_filter_total += 1;
            }
            End::Refused(_) => {
                status.gate_refusals_total += 1;
                status.finished_content_filter_total += 1;
            }
            End::Cancelled => status.cancelled_total += 1,
            End::Failed(_) => status.failed_total += 1,
        }
    }

    fn publish(&mut self) {
        let stats = self.scheduler.stats();
        let status = &mut self.status;
        status.steps_total += 1;
        status.running = stats.running as u64;
        status.blocks_total = stats.blocks_total as u64;
        status.blocks_used = stats.blocks_used as u64;
        status.cache_queries_total = stats.cache_queried_tokens;
        status.cache_hits_total = stats.cache_hit_tokens;
        status.preemptions_total = stats.preemptions;
        self.shared.status.publish(status);
    }
}

/// Whose prefix cache a call uses. One that asks about its prompt shares nothing: what is found in
/// the cache is not computed, and so not known.
fn tenant(id: SequenceId, request: &GenerateRequest) -> Tenant {
    let mut tenant = request.tenant;
    if request.prompt_logprobs.is_some() {
        let number = tenant.0.iter_mut().zip(id.0.to_le_bytes());
        number.for_each(|(byte, of_id)| *byte ^= of_id);
        tenant.0[31] ^= 0xFF;
    }
    tenant
}

fn failed(message: String) -> End {
    End::Failed(message.into())
}

/// Scheduler and engine know the same sequences: both are told of every beginning and end here.
fn known<T>(entry: Option<T>) -> T {
    entry.expect("scheduler and engine know the same sequences")
}
