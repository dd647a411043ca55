//! `portcullis bench serve`: load a running server and tell what came of it.

use std::sync::Arc;

use crate::args::{Endpoint, ServeArgs};
use crate::bench::{self, Stop};
use crate::clock::RunClock;
use crate::environment::tell;
use crate::error::BenchError;
use crate::export::Files;
use crate::http::{HttpRuler, HttpTarget, Server};
use crate::plan::Plan;
use crate::report::{Environment, Report};
use crate::show;
use crate::target::{Ask, Prompt, Target};

/// Tokens of the first answer, which only shows that there are answers.
const FIRST_TOKENS: usize = 8;

/// Runs the command.
///
/// # Errors
/// It cannot be measured; or nothing was answered, which the table on stdout explains.
pub(crate) async fn run(args: &ServeArgs) -> Result<(), BenchError> {
    let plan = Plan::resolve(&args.workload, &args.load, &args.measure)?;
    let files = Files::open(&args.output)?;
    let stop = Stop::listen();
    let session = Session::open(args, &plan).await?;
    let measured = session.measure(&plan, &stop).await?;
    files.write_requests(&measured.runs)?;
    let report = session.report(measured, &plan);
    show::print(show::report(&report, session.url()))?;
    files.write_report(&report)?;
    match report.summary.completed {
        0 => Err(BenchError::NothingAnswered),
        _ => Ok(()),
    }
}

/// A server that was found and has answered once.
pub(crate) struct Session {
    target: Arc<HttpTarget>,
    server: Server,
    endpoint: Endpoint,
    notes: Vec<String>,
}

impl Session {
    /// Finds the server, and asks it once.
    ///
    /// # Errors
    /// It is not there, has not got the model, or does not answer.
    pub(crate) async fn open(args: &ServeArgs, plan: &Plan) -> Result<Self, BenchError> {
        let (mut target, server) = HttpTarget::connect(&args.target).await?;
        let wants_length = args.target.ignore_eos.unwrap_or(plan.is_made_up());
        target.ignore_eos(wants_length);
        let mut notes = Vec::new();
        if let Err(why) = ask_once(&target).await {
            // Servers that are strict about fields refuse vLLM's and ours.
            target.ask_plainly();
            if ask_once(&target).await.is_err() {
                return Err(BenchError::FirstRequest(why));
            }
            notes.push(format!(
                "the server does not take ignore_eos, min_tokens or admissibility ({why}): answers \
                 may end before --output-len"
            ));
        }
        Ok(Self {
            target: Arc::new(target),
            server,
            endpoint: args.target.endpoint,
            notes,
        })
    }

    pub(crate) fn url(&self) -> &str {
        self.target.url()
    }

    pub(crate) async fn measure(
        &self,
        plan: &Plan,
        stop: &Stop,
    ) -> Result<bench::Measured, BenchError> {
        if plan.num_prompts.is_none_or(|count| count > 1000) {
            tell("making prompts…");
        }
        let ruler = HttpRuler::new(&self.target).await;
        let mut measured = bench::measure(&self.target, &ruler, plan, stop).await?;
        measured.notes.splice(0..0, self.notes.iter().cloned());
        Ok(measured)
    }

    pub(crate) fn report(&self, measured: bench::Measured, plan: &Plan) -> Report {
        let backend = match self.endpoint {
            Endpoint::Chat => "openai-chat",
            Endpoint::Completions => "openai",
        };
        let environment = Environment {
            model: self.server.model.clone(),
            model_digest: self.server.model_digest.clone(),
            server: self.server.version.clone(),
            ..Environment::look()
        };
        measured.report(plan, backend, environment)
    }
}

async fn ask_once(target: &HttpTarget) -> Result<(), String> {
    let ask = Ask {
        prompt: Prompt::Text("Hello".into()),
        input_tokens: 1,
        output_tokens: FIRST_TOKENS,
    };
    let reply = target.answer(&ask, RunClock::start()).await;
    reply.error.map_or(Ok(()), Err)
}
