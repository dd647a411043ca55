//! One measurement, of whatever target: warm up, then the same plan as often as asked.

use std::sync::Arc;

use tokio::sync::watch;

use crate::environment;
use crate::error::BenchError;
use crate::load::{self, Run};
use crate::measure;
use crate::plan::{Load, Plan};
use crate::progress::Progress;
use crate::report::{Environment, Report};
use crate::target::Target;
use crate::workload::{Ruler, Workload};

/// Warm-up requests at once, where no bound says so.
const WARMUP_AT_ONCE: usize = 16;

/// What was measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// One a repeat.
    pub runs: Vec<Run>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Warms up and measures, until done or told to stop; what was measured by then is returned.
///
/// # Errors
/// The dataset cannot be used; or it was told to stop before the first request.
pub async fn measure<T: Target>(
    target: &Arc<T>,
    ruler: &impl Ruler,
    plan: &Plan,
    stop: &Stop,
) -> Result<Measured, BenchError> {
    warm_up(target, ruler, plan, stop).await?;
    let mut measured = Measured::default();
    for repeat in 0..plan.repeats {
        let Some(workload) = stop.or(Workload::build(plan, ruler, repeat)).await else {
            break;
        };
        let workload = workload?;
        let progress = Arc::new(Progress::start(plan, repeat, &workload));
        let run = load::run(target, &workload, &plan.load, &progress, stop.wait()).await;
        progress.finish();
        if repeat == 0 {
            measured.notes.extend(workload.notes);
        }
        measured.runs.push(run);
        if stop.is_set() {
            break;
        }
    }
    if measured.runs.is_empty() {
        return Err(BenchError::Stopped);
    }
    measured.note_what_happened(stop);
    Ok(measured)
}

async fn warm_up<T: Target>(
    target: &Arc<T>,
    ruler: &impl Ruler,
    plan: &Plan,
    stop: &Stop,
) -> Result<(), BenchError> {
    if plan.warmup == 0 {
        return Ok(());
    }
    let warmup = Plan {
        num_prompts: Some(plan.warmup),
        load: Load {
            max_concurrency: plan.load.max_concurrency.or(Some(WARMUP_AT_ONCE)),
            request_rate: f64::INFINITY,
            duration: None,
            ..plan.load
        },
        ..plan.clone()
    };
    // Of a seed that no repeat has: what is asked now must not be in a cache later.
    let built = Workload::build(&warmup, ruler, usize::MAX / 2);
    let Some(workload) = stop.or(built).await else {
        return Ok(());
    };
    let workload = workload?;
    let workload = Workload {
        due: vec![0.0; workload.asks.len()],
        ..workload
    };
    load::run(target, &workload, &warmup.load, &Arc::new(()), stop.wait()).await;
    Ok(())
}

impl Measured {
    fn note_what_happened(&mut self, stop: &Stop) {
        if stop.is_set() {
            let cut_off: usize = self.runs.iter().map(|run| run.cut_off).sum();
            self.notes.push(format!(
                "stopped early; {cut_off} requests were under way and do not count"
            ));
        }
        if self.runs.iter().any(|run| run.is_repeating) {
            self.notes.push(
                "prompts ran out and were sent again, so a prefix cache may have answered; raise \
                 --num-prompts"
                    .into(),
            );
        }
        let outcomes = self.runs.iter().flat_map(|run| &run.outcomes);
        if outcomes
            .into_iter()
            .any(|it| it.error.is_none() && !it.counted)
        {
            self.notes.push(
                "the server tells no usage: each piece of a stream counts as one token, and \
                 prompts have the tokens asked for"
                    .into(),
            );
        }
    }

    /// Makes the report; the requests of the last repeat go into it.
    pub fn report(mut self, plan: &Plan, backend: &str, environment: Environment) -> Report {
        let summary = measure::summarise(&self.runs, plan);
        let each = |run: &Run| measure::summarise(std::slice::from_ref(run), plan);
        let repeats = self.runs.iter().map(each).collect();
        let client = measure::client_health(&self.runs, &summary);
        if client.is_bottleneck {
            self.notes.push(
                "the client is the bottleneck: it was late by more than a twentieth of the TTFT; \
                 give it cores of its own, or ask for less load"
                    .into(),
            );
        }
        Report {
            summary,
            backend: backend.to_owned(),
            model_id: environment.model.clone(),
            num_prompts: self.runs.first().map_or(0, |run| run.outcomes.len()),
            workload: serde_json::to_value(plan).unwrap_or_default(),
            definitions: measure::definitions(),
            client,
            notes: self.notes,
            repeats,
            environment,
            requests: self.runs.pop().map(|run| run.outcomes).unwrap_or_default(),
        }
    }
}

/// Whether the person at the keyboard wants it to end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for Ctrl-C from now on: the first ends the run, the second the process.
    pub fn listen() -> Self {
        /// As shells write it: 128 and the number of SIGINT.
        const INTERRUPTED: i32 = 130;
        let (set, seen) = watch::channel(false);
        tokio::spawn(async move {
            // Where signals cannot be heard, nothing stops early.
            while tokio::signal::ctrl_c().await.is_ok() {
                if set.send_replace(true) {
                    std::process::exit(INTERRUPTED);
                }
                environment::tell("stopping; what was measured follows, if anything was");
            }
        });
        Self(seen)
    }

    /// Whether it was asked for.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// What `work` gives, unless it is asked for before or meanwhile.
    async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            done = work => Some(done),
        }
    }

    /// Ends when it is asked for.
    pub async fn wait(&self) {
        let mut seen = self.0.clone();
        if seen.wait_for(|stop| *stop).await.is_err() {
            // Nobody listens any more, so nobody asks.
            std::future::pending::<()>().await;
        }
    }
}
