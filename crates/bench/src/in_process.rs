//! An engine in this process as a target: scheduling, model, sampling and gate, without HTTP.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use portcullis_engine::{
    End, EngineHandle, GenerateParts, GenerateRequest, Limits, StreamEvent, SubmitError, Timings,
    TokenStream,
};
use portcullis_gate::{Gate, GateReport};
use portcullis_text::Tokenizer;
use portcullis_types::{FinishReason, Priority, SamplingParams, StopParams, Tenant, TokenId};

use crate::args::{LoadArgs, MeasureArgs, OutputArgs, WorkloadArgs};
use crate::bench::{self, Measured, Stop};
use crate::clock::RunClock;
use crate::error::BenchError;
use crate::export::Files;
use crate::outcome::{Chunk, GateCost};
use crate::plan::Plan;
use crate::report::{Environment, Report};
use crate::show;
use crate::target::{Ask, Prompt, Reply, Target};
use crate::workload::Ruler;

/// What a report calls this way to ask.
pub const BACKEND: &str = "in-process";

/// How long a request waits before it asks again for a place in the queue.
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// An engine, and what every request to it has in common.
#[derive(Clone)]
pub struct EngineTarget {
    /// The engine.
    pub engine: EngineHandle,
    /// Of its model.
    pub tokenizer: Tokenizer,
    /// What a request may ask for.
    pub limits: Limits,
    /// The rule sets that hold.
    pub gate: Gate,
    /// Tokens that end an answer; none lets every answer have its full length.
    pub end_tokens: Vec<TokenId>,
    /// Of sampling; 0 is greedy.
    pub temperature: f32,
}

impl Target for EngineTarget {
    async fn answer(&self, ask: &Ask, clock: RunClock) -> Reply {
        let mut reply = Reply {
            sent: clock.now(),
            ..Reply::default()
        };
        match self.submit(ask).await {
            Ok(stream) => follow(stream, clock, &mut reply).await,
            Err(why) => reply.error = Some(why),
        }
        reply.ended = clock.now();
        reply
    }
}

impl EngineTarget {
    /// Hands a request to the engine, once there is a place for it.
    ///
    /// # Errors
    /// The engine does not take it, and why.
    pub async fn submit(&self, ask: &Ask) -> Result<TokenStream, String> {
        let request = self.request(ask)?;
        loop {
            match self.engine.submit(request.clone()) {
                Ok(stream) => return Ok(stream),
                Err(SubmitError::QueueFull { .. }) => tokio::time::sleep(QUEUE_PAUSE).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn request(&self, ask: &Ask) -> Result<GenerateRequest, String> {
        let prompt = self.tokens(&ask.prompt)?;
        let sampling = SamplingParams {
            temperature: self.temperature,
            seed: seed_of(&prompt),
            ..SamplingParams::default()
        };
        let parts = GenerateParts {
            request_id: BACKEND.into(),
            prompt,
            choices: 1,
            sampling,
            stop: StopParams {
                max_tokens: ask.output_tokens,
                min_tokens: 0,
                strings: Vec::new(),
                token_ids: self.end_tokens.clone(),
            },
            max_tokens: Some(ask.output_tokens),
            priority: Priority::default(),
            tenant: Tenant::default(),
            gate: self.gate.clone(),
            prompt_logprobs: None,
            shown: Arc::default(),
        };
        GenerateRequest::new(parts, &self.limits).map_err(|error| error.to_string())
    }

    fn tokens(&self, prompt: &Prompt) -> Result<Vec<TokenId>, String> {
        match prompt {
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
            Prompt::Text(text) => {
                let tokens = self.tokenizer.encode(text, true);
                tokens.map_err(|error| error.to_string())
            }
        }
    }
}

/// The same prompt draws the same, in whatever order requests come.
fn seed_of(prompt: &[TokenId]) -> u64 {
    let mut hasher = DefaultHasher::new();
    prompt.hash(&mut hasher);
    hasher.finish()
}

async fn follow(mut stream: TokenStream, clock: RunClock, reply: &mut Reply) {
    while let Some(event) = stream.next().await {
        match event {
            StreamEvent::Prompt { .. } => {}
            StreamEvent::Admitted { admitted, .. } => reply.chunks.push(Chunk {
                at: clock.now(),
                tokens: admitted.num_tokens() as f64,
            }),
            StreamEvent::Ended {
                end,
                usage,
                report,
                timings,
                ..
            } => {
                let counts = (usage.prompt_tokens, usage.completion_tokens);
                reply.usage = Some((counts.0 as usize, counts.1 as usize));
                reply.gate = Some(cost(&report, &timings, usage.discarded_tokens));
                note_end(end, reply);
                return;
            }
        }
    }
    reply.error = Some("the engine has stopped; its log says why".into());
}

fn note_end(end: End, reply: &mut Reply) {
    match end {
        End::Finished(reason) => reply.finish_reason = Some(word(reason).into()),
        // As a server tells it: an answer that a rule cut off is an answer.
        End::Refused(_) => reply.finish_reason = Some("content_filter".into()),
        End::Cancelled => reply.error = Some("it was cancelled".into()),
        End::Failed(failure) => reply.error = Some(failure.message),
    }
}

/// As it is said on the wire.
fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
    }
}

fn cost(report: &GateReport, timings: &Timings, discarded_tokens: u64) -> GateCost {
    GateCost {
        first_held: timings.first_held().unwrap_or_default().as_secs_f64(),
        held: timings.held.as_secs_f64(),
        attempts: u64::from(report.attempts) + 1,
        discarded_tokens,
        judged: timings.gate.as_secs_f64(),
        ..GateCost::default()
    }
}

impl Ruler for EngineTarget {
    async fn count(&self, text: &str) -> Option<usize> {
        // Thousands are counted in a row: whoever wants to stop that must get a turn.
        tokio::task::yield_now().await;
        Some(self.tokenizer.encode(text, true).ok()?.len())
    }

    async fn count_plain(&self, text: &str) -> Option<usize> {
        Some(self.tokenizer.encode(text, false).ok()?.len())
    }

    fn estimate(&self) -> (f64, f64) {
        // Counted anyway.
        (1.0, 1.5)
    }
}

/// What is asked of an engine in this process, how, and what is told of it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RunArgs {
    /// What is asked.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// How it is asked.
    #[command(flatten)]
    pub load: LoadArgs,
    /// What is told.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Where it goes.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl RunArgs {
    /// Few requests, and one at a time, unless flags say otherwise.
    pub fn one_at_a_time(mut self) -> Self {
        /// As many as medians need.
        const REQUESTS: usize = 10;
        self.load.max_concurrency.get_or_insert(1);
        self.workload.num_prompts.get_or_insert(REQUESTS);
        self
    }

    /// The plan.
    ///
    /// # Errors
    /// A flag makes no sense.
    pub fn plan(&self) -> Result<Plan, BenchError> {
        Plan::resolve(&self.workload, &self.load, &self.measure)
    }

    /// Measures an engine, prints the table and writes the files.
    ///
    /// # Errors
    /// The dataset or a file cannot be used, or nothing was answered.
    pub async fn run(
        &self,
        target: EngineTarget,
        environment: Environment,
    ) -> Result<Report, BenchError> {
        let plan = self.plan()?;
        let files = Files::open(&self.output)?;
        let measured = measure(&Arc::new(target), &plan, &Stop::listen()).await?;
        files.write_requests(&measured.runs)?;
        let report = measured.report(&plan, BACKEND, environment);
        show::print(show::report(&report, "this process"))?;
        files.write_report(&report)?;
        match report.summary.completed {
            0 => Err(BenchError::NothingAnswered),
            _ => Ok(report),
        }
    }
}

/// Warms up and measures.
///
/// # Errors
/// The dataset cannot be used.
pub async fn measure(
    target: &Arc<EngineTarget>,
    plan: &Plan,
    stop: &Stop,
) -> Result<Measured, BenchError> {
    bench::measure(target, &**target, plan, stop).await
}
