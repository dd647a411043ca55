//! The real server over a model that knows its next token without computing.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portcullis_engine::{
    Clock, Draw, EngineConfig, EngineHandle, EngineThread, ModelRunner, RunnerError, Score,
    StepOutput, SystemClock, Ticket,
};
use portcullis_ledger::{RecordKeys, Recorder, RecorderConfig, Started};
use portcullis_scheduler::{SchedulerConfig, SchedulerOutput};
use portcullis_server::{
    AppState, ConnectionLimits, Door, Ledger, Prices, RuleSignatures, SamplingDefaults,
    ServedModel, ServerConfig, TextPolicy,
};
use portcullis_sign::SecretKey;
use portcullis_store::{
    Act, BindingTarget, NewBinding, NewKey, NewRuleSet, Role, SqliteLedger, SqliteStore, Store,
};
use portcullis_text::{ChatTemplate, Tokenizer};
use portcullis_types::{Sample, TokenId};
use tokio::net::TcpListener;

const MODEL: &str = "scripted";
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/llama");
/// What it writes, again and again: nothing that a rule finds.
const TEXT: &str = " Our branch in the old town opens at nine and closes at five, and on Saturdays \
                    it is there for you from ten to two. You can also write to us, or call.";
const MAX_MODEL_LEN: usize = 1024;
const MAX_STREAMS: usize = 2048;

/// Until the standard input ends.
#[tokio::main]
pub(crate) async fn serve(rules: usize, step_time: Duration) -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let (state, key) = state(dir.path(), rules, step_time)
        .await
        .map_err(io::Error::other)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let limits = ConnectionLimits {
        max_connections: 2 * MAX_STREAMS as u32,
        ..ConnectionLimits::DEFAULT
    };
    let door = Door::open(listener, limits, None)?;
    let address = door.address();
    let serving = door.lead_to(state);
    println!("{address} {key}");
    let input_ended = tokio::task::spawn_blocking(|| {
        let _ = std::io::stdin().read(&mut [0]);
    });
    let until = async { drop(input_ended.await) };
    serving.until(until, std::future::pending()).await
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn state(
    dir: &Path,
    rules: usize,
    step_time: Duration,
) -> Result<(AppState, String), Failure> {
    let tokenizer = Tokenizer::load(Path::new(DEMO))?;
    let template = ChatTemplate::load(Path::new(DEMO), &tokenizer)?;
    let store = Arc::new(SqliteStore::open(dir).await?);
    let new = NewKey::new("bench".parse()?, Role::Inference);
    let (_, secret) = store.create_key(new, unix_now()).await?;
    if rules > 0 {
        put_into_force(&*store, rules).await?;
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let state = AppState::new(
        ServerConfig {
            rule_signatures: RuleSignatures::AllowUnsigned,
            ..ServerConfig::default()
        },
        ServedModel {
            deployment: MODEL.parse()?,
            root: MODEL.into(),
            max_model_len: MAX_MODEL_LEN,
            vocab_size: tokenizer.vocab_size(),
            end_tokens: Vec::new(),
            defaults: SamplingDefaults::default(),
            created_unix: unix_now(),
        },
        engine(&tokenizer, Arc::clone(&clock), step_time)?,
        tokenizer,
        template,
        None,
        store,
        Some(ledger(dir).await?),
        clock,
        Arc::new(unix_now),
    );
    Ok((state, secret.expose().to_owned()))
}

/// Rules of the kinds that people write, bound to the model.
async fn put_into_force(store: &dyn Store, rules: usize) -> Result<(), Failure> {
    let now = unix_now();
    let act = Act {
        actor: "bench",
        now,
    };
    let source = ruleset(rules);
    let set = portcullis_gate::RuleSet::load(source.as_bytes())
        .map_err(|mistakes| format!("{mistakes:?}"))?;
    let name: portcullis_store::RuleSetName = set.name().parse()?;
    let new = NewRuleSet {
        name: name.clone(),
        version: set.version(),
        digest: set.digest().to_owned(),
        source: source.into_bytes(),
        signatures: Vec::new(),
    };
    store.put_ruleset(new, act).await?;
    store.activate(&name, set.version(), act).await?;
    let binding = NewBinding {
        ruleset: name,
        version: None,
        target: BindingTarget::Deployment(MODEL.parse()?),
        observe: false,
    };
    store.bind(binding, act).await?;
    Ok(())
}

fn ruleset(rules: usize) -> String {
    let rule = |number: usize| {
        let kind = match number % 3 {
            0 => {
                format!(
                    r#"phrases: ["guaranteed outcome {number}", "your money is safe {number}"]"#
                )
            }
            1 => format!("regex: 'REF{number}-[0-9]{{8}}'"),
            _ => "pii: [payment_card, iban, email]".to_owned(),
        };
        let action = if number.is_multiple_of(2) {
            "resample"
        } else {
            "redact"
        };
        format!("- {{id: r{number}, why: measured, {kind}, action: {action}}}\n")
    };
    let test = |number| format!("- {{rule: r{number}, should_pass: plain}}\n");
    let rules_text: String = (0..rules).map(rule).collect();
    let tests: String = (0..rules).map(test).collect();
    format!("ruleset: measured\nversion: 1\nmode: enforce\nrules:\n{rules_text}tests:\n{tests}")
}

fn engine(
    tokenizer: &Tokenizer,
    clock: Arc<dyn Clock>,
    step_time: Duration,
) -> Result<EngineHandle, Failure> {
    let blocks_per_stream = MAX_MODEL_LEN.div_ceil(portcullis_scheduler::BLOCK_TOKENS);
    let config = EngineConfig {
        scheduler: SchedulerConfig {
            num_blocks: (MAX_STREAMS * blocks_per_stream) as u32,
            max_batched_tokens: 8192,
            max_num_seqs: MAX_STREAMS,
            max_model_len: MAX_MODEL_LEN,
            ageing_steps: 256,
        },
        max_waiting: MAX_STREAMS,
        stream_buffer: 64,
        tokenizer: tokenizer.clone(),
        clock,
    };
    let runner = Recital {
        tokens: tokenizer.encode(TEXT, false)?,
        ready: None,
        due: instant_now(),
        step_time,
    };
    let (handle, _) = EngineThread::start(config, || Ok::<_, std::io::Error>(runner))?;
    Ok(handle)
}

/// Writes the same text on every stream.
struct Recital {
    tokens: Vec<TokenId>,
    ready: Option<StepOutput>,
    step_time: Duration,
    due: Instant,
}

impl ModelRunner for Recital {
    fn submit(&mut self, plan: &SchedulerOutput, draws: Vec<Draw>, _: Vec<Score>) -> Ticket {
        let next = |draw: &Draw| self.tokens[draw.position as usize % self.tokens.len()];
        self.ready = Some(StepOutput {
            samples: draws
                .iter()
                .map(|draw| Ok(Sample::certain(next(draw))))
                .collect(),
            scores: Vec::new(),
        });
        self.due = instant_now() + self.step_time;
        Ticket(plan.step)
    }

    fn collect(&mut self, _: Ticket) -> Result<StepOutput, RunnerError> {
        std::thread::sleep(self.due.saturating_duration_since(instant_now()));
        let ready = self.ready.take();
        ready.ok_or_else(|| RunnerError::Failed {
            message: "nothing was submitted".into(),
        })
    }
}

async fn ledger(dir: &Path) -> Result<Ledger, Failure> {
    let records = Arc::new(SqliteLedger::open(dir).await?);
    let about = Started {
        engine_build: "bench".into(),
        deployment: MODEL.into(),
        ..Started::default()
    };
    let config = RecorderConfig {
        keys: RecordKeys {
            record: SecretKey::from_seed(&[1; 32]),
            log: SecretKey::from_seed(&[2; 32]),
        },
        earlier_log_keys: Vec::new(),
        started: about.clone(),
        max_open: MAX_STREAMS,
        clock: Arc::new(now),
    };
    let (recorder, _) = Recorder::start(records.clone(), config).await?;
    Ok(Ledger {
        recorder,
        records,
        about,
        texts: TextPolicy::default(),
        prices: Prices::default(),
    })
}

fn unix_now() -> i64 {
    let since = now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server of its own, outside any test"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[expect(clippy::disallowed_methods, reason = "it paces a model that is none")]
fn instant_now() -> Instant {
    Instant::now()
}
