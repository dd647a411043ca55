//! A server over a scripted model that repeats what the user says, byte by byte: a test decides
//! what the model wants to write.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use portcullis_engine::scripted::ScriptedRunner;
use portcullis_engine::{Clock, EngineConfig, EngineHandle, EngineThread, SystemClock};
use portcullis_ledger::{KeyKind, RecordKeys, Recorder, RecorderConfig, Started, Timestamp};
use portcullis_scheduler::SchedulerConfig;
use portcullis_server::{
    AppState, ConnectionLimits, Ledger, Prices, RuleSignatures, SamplingDefaults, ServedEmbedder,
    ServedModel, ServerConfig, TextPolicy, Tls, WallClock, router,
};
use portcullis_sign::SecretKey;
use portcullis_store::{
    Act, ApiKey, BindingTarget, KeyLimits, NewBinding, NewKey, NewRuleSet, PublishedKey, Records,
    Role, RuleSetName, SqliteLedger, SqliteStore, Store,
};
use portcullis_text::{ChatTemplate, Tokenizer, ToolFormat};
use portcullis_types::TokenId;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// The name of the model.
pub(crate) const MODEL: &str = "parrot";
/// One token a byte, then the end of an answer.
pub(crate) const END: TokenId = 256;
/// Prompt and completion together.
pub(crate) const MAX_MODEL_LEN: usize = 512;
/// What the wall clock of these servers shows.
pub(crate) const NOW: i64 = 1_700_000_000;

/// Who does what a test does behind the server's back.
pub(crate) const ACT: Act<'static> = Act {
    actor: "a test",
    now: NOW,
};

/// How a server differs from the usual one.
pub(crate) struct Setup {
    pub(crate) config: ServerConfig,
    pub(crate) connections: ConnectionLimits,
    pub(crate) tls: Option<Tls>,
    pub(crate) step_time: Duration,
    pub(crate) max_waiting: usize,
    pub(crate) max_num_seqs: usize,
    /// Steps that fail as a whole.
    pub(crate) faulty: fn(u64) -> bool,
    /// The clock that measures, of all but the engine.
    pub(crate) clock: Arc<dyn Clock>,
    /// The time of day.
    pub(crate) wall: WallClock,
    /// What is put on record, if anything is.
    pub(crate) records: Option<Recording>,
    /// What makes embeddings, if anything does.
    pub(crate) embedder: Option<ServedEmbedder>,
}

/// What is put on record besides calls.
#[derive(Default)]
pub(crate) struct Recording {
    pub(crate) texts: TextPolicy,
    pub(crate) prices: Prices,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: ServerConfig {
                max_choices: 8,
                // Those tests that are about signatures say otherwise.
                rule_signatures: RuleSignatures::AllowUnsigned,
                ..ServerConfig::default()
            },
            connections: ConnectionLimits::DEFAULT,
            tls: None,
            step_time: Duration::ZERO,
            max_waiting: 64,
            max_num_seqs: 16,
            faulty: |_| false,
            clock: Arc::new(SystemClock::new()),
            wall: Arc::new(|| NOW),
            records: None,
            embedder: None,
        }
    }
}

pub(crate) struct Server {
    pub(crate) state: AppState,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) engine: EngineHandle,
    pub(crate) dir: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), setup).await
    }

    /// Another server in the folder of this one, which is gone.
    pub(crate) async fn restarted(self, setup: Setup) -> Self {
        let Self {
            dir,
            state,
            store,
            engine,
        } = self;
        drop((state, store, engine));
        Self::in_folder(dir, setup).await
    }

    async fn in_folder(dir: TempDir, setup: Setup) -> Self {
        write_tokenizer(dir.path());
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        let template = ChatTemplate::load(dir.path(), &tokenizer).unwrap();
        let store = Arc::new(SqliteStore::open(dir.path()).await.unwrap());
        let engine = start_engine(&setup, &tokenizer);
        let ledger = match setup.records {
            Some(recording) => Some(ledger(dir.path(), recording).await),
            None => None,
        };
        let state = AppState::new(
            setup.config,
            model(),
            engine.clone(),
            tokenizer,
            template,
            setup.embedder,
            store.clone(),
            ledger,
            setup.clock,
            setup.wall,
        );
        Self {
            state,
            store,
            engine,
            dir,
        }
    }

    /// A server that puts calls on record.
    pub(crate) async fn with_records() -> Self {
        Self::with(Setup {
            records: Some(Recording::default()),
            ..Setup::default()
        })
        .await
    }

    pub(crate) async fn key(&self, role: Role) -> (ApiKey, String) {
        let name = format!("a key for {role}").parse().unwrap();
        self.make_key(NewKey::new(name, role)).await
    }

    /// A key for calls, with limits.
    pub(crate) async fn key_within(&self, limits: KeyLimits) -> (ApiKey, String) {
        let name = "a key with limits".parse().unwrap();
        self.make_key(NewKey {
            limits,
            ..NewKey::new(name, Role::Inference)
        })
        .await
    }

    pub(crate) async fn make_key(&self, new: NewKey) -> (ApiKey, String) {
        let (key, secret) = self.store.create_key(new, NOW).await.unwrap();
        (key, secret.expose().to_owned())
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = router(self.state.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(post(path, body.to_string())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    /// With a key.
    pub(crate) async fn with_key(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: String,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// A server whose model calls tools in this format.
    pub(crate) async fn with_tools(format: ToolFormat) -> Self {
        let usual = Setup::default();
        Self::with(Setup {
            config: ServerConfig {
                tool_format: Some(format),
                ..usual.config
            },
            // So that a stream is read as it is written.
            step_time: Duration::from_millis(1),
            ..usual
        })
        .await
    }

    pub(crate) async fn chat(&self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body).await
    }

    /// Registers a rule set, activates it and binds it to the deployment.
    pub(crate) async fn bind(&self, source: &str) {
        let target = BindingTarget::Deployment(MODEL.parse().unwrap());
        let name = self.activate(source).await;
        self.bind_to(&name, None, target).await;
    }

    /// Registers a rule set and makes it the active version.
    pub(crate) async fn activate(&self, source: &str) -> RuleSetName {
        let (name, version) = self.register(source).await;
        self.store.activate(&name, version, ACT).await.unwrap();
        name
    }

    /// Registers a rule set without asking the server.
    pub(crate) async fn register(&self, source: &str) -> (RuleSetName, u32) {
        let set = portcullis_gate::RuleSet::load(source.as_bytes()).unwrap();
        let new = NewRuleSet {
            name: set.name().parse().unwrap(),
            version: set.version(),
            digest: set.digest().to_owned(),
            source: source.as_bytes().to_vec(),
            signatures: Vec::new(),
        };
        let name = new.name.clone();
        self.store.put_ruleset(new, ACT).await.unwrap();
        (name, set.version())
    }

    pub(crate) async fn bind_to(
        &self,
        ruleset: &RuleSetName,
        version: Option<u32>,
        target: BindingTarget,
    ) {
        let new = NewBinding {
            ruleset: ruleset.clone(),
            version,
            target,
            observe: false,
        };
        self.store.bind(new, ACT).await.unwrap();
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text))
    }

    /// The `data:` of each event.
    pub(crate) fn events(&self) -> Vec<&str> {
        self.text
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "))
            .collect()
    }

    /// The events that are JSON: all but `[DONE]`.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        let json = self.events().into_iter().filter(|event| *event != "[DONE]");
        json.map(|event| serde_json::from_str(event).unwrap())
            .collect()
    }

    /// The text of one choice, joined from a stream's deltas.
    pub(crate) fn streamed_text(&self, index: u64) -> String {
        let of_choice = |chunk: &Value| {
            let choice = &chunk["choices"][0];
            let text = choice["delta"]["content"]
                .as_str()
                .or(choice["text"].as_str());
            (choice["index"] == index).then(|| text.unwrap_or("").to_owned())
        };
        self.chunks().iter().filter_map(of_choice).collect()
    }

    /// The named events of a stream, each with its data.
    pub(crate) fn named_events(&self) -> Vec<(String, Value)> {
        let events = self.text.split("\n\n").filter(|event| !event.is_empty());
        events
            .filter_map(|event| event.strip_prefix("event: ")?.split_once("\ndata: "))
            .map(|(name, data)| (name.to_owned(), serde_json::from_str(data).unwrap()))
            .collect()
    }

    pub(crate) fn error(&self) -> Value {
        self.json()["error"].clone()
    }
}

/// A request that makes the model say `text`.
pub(crate) fn say(text: &str) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": text}]})
}

/// `base` with the fields of `more`.
pub(crate) fn with(mut base: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

pub(crate) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .unwrap()
}

/// A rule set with one rule that refuses, rolls back, … where the model says "forbidden".
pub(crate) fn ruleset(mode: &str, action: &str) -> String {
    format!(
        "ruleset: test-rules\nversion: 1\nmode: {mode}\nrules:\n- {{id: no-word, why: \"a test\", \
         phrases: [\"forbidden\"], action: {action}}}\ntests:\n- {{rule: no-word, should_fail: \
         \"a forbidden word\"}}\n- {{rule: no-word, should_pass: \"a word\"}}\n"
    )
}

/// The key that signs records, and the one that signs checkpoints.
pub(crate) fn record_keys() -> RecordKeys {
    RecordKeys {
        record: SecretKey::from_seed(&[1; 32]),
        log: SecretKey::from_seed(&[2; 32]),
    }
}

async fn ledger(dir: &Path, recording: Recording) -> Ledger {
    let records = Arc::new(SqliteLedger::open(dir).await.unwrap());
    for (kind, key) in [
        (KeyKind::Record, record_keys().record.public()),
        (KeyKind::Log, record_keys().log.public()),
    ] {
        let key = PublishedKey {
            id: key.id().to_string(),
            kind,
            pem: key.to_pem(),
            since: Timestamp::from_unix_ms(NOW * 1000),
        };
        records.publish_key(key).await.unwrap();
    }
    let about = Started {
        engine_build: "tests".into(),
        deployment: MODEL.into(),
        ..Started::default()
    };
    let config = RecorderConfig {
        keys: record_keys(),
        earlier_log_keys: Vec::new(),
        started: about.clone(),
        max_open: 64,
        clock: Arc::new(|| UNIX_EPOCH + Duration::from_secs(NOW as u64)),
    };
    let (recorder, _) = Recorder::start(records.clone(), config).await.unwrap();
    Ledger {
        recorder,
        records,
        about,
        texts: recording.texts,
        prices: recording.prices,
    }
}

fn model() -> ServedModel {
    ServedModel {
        deployment: MODEL.parse().unwrap(),
        root: "tests/parrot".into(),
        max_model_len: MAX_MODEL_LEN,
        vocab_size: 257,
        end_tokens: vec![END],
        defaults: SamplingDefaults::default(),
        created_unix: NOW - 1,
    }
}

fn start_engine(setup: &Setup, tokenizer: &Tokenizer) -> EngineHandle {
    let config = EngineConfig {
        scheduler: SchedulerConfig {
            num_blocks: 256,
            max_batched_tokens: 256,
            max_num_seqs: setup.max_num_seqs,
            max_model_len: MAX_MODEL_LEN,
            ageing_steps: 100,
        },
        max_waiting: setup.max_waiting,
        // As the server has it: a reader that is late gets its deltas one by one.
        stream_buffer: 64,
        tokenizer: tokenizer.clone(),
        clock: Arc::new(SystemClock::new()),
    };
    let (step_time, faulty) = (setup.step_time, setup.faulty);
    let make = move || {
        let runner = ScriptedRunner::new(256, parrot);
        Ok::<_, std::io::Error>(runner.with_step_time(step_time).with_faults(faulty))
    };
    EngineThread::start(config, make).unwrap().0
}

/// What the user said last, between `user: ` and `=>`; said again after it. `forever` never ends,
/// and `die` breaks the model.
fn parrot(context: &[TokenId]) -> Vec<(TokenId, f32)> {
    let bytes: Vec<u8> = context.iter().map(|&token| token as u8).collect();
    let arrow = bytes
        .windows(2)
        .rposition(|pair| pair == b"=>")
        .unwrap_or(bytes.len());
    let said = bytes.len().saturating_sub(arrow + 2);
    let prompt = String::from_utf8_lossy(&bytes[..arrow]);
    let asked = prompt
        .rsplit_once("user: ")
        .map_or(&*prompt, |(_, asked)| asked)
        .trim_end();
    match asked {
        "die" => panic!("the script says that the model breaks"),
        "forever" => vec![(u32::from(b'a'), 1.0)],
        asked => match asked.as_bytes().get(said) {
            Some(&byte) => vec![(byte.into(), 0.75), (u32::from(b'#'), 0.25)],
            None => vec![(END, 1.0)],
        },
    }
}

/// The byte-level alphabet of GPT-2, whose token ids are the bytes themselves, and an end token.
fn write_tokenizer(dir: &std::path::Path) {
    let mut spare = 256;
    let vocab: serde_json::Map<String, Value> = (0..=255u32)
        .map(|byte| {
            let printable = matches!(byte, 33..=126 | 161..=172 | 174..=255);
            let code = if printable { byte } else { spare };
            spare += u32::from(!printable);
            (char::from_u32(code).unwrap().to_string(), json!(byte))
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                            "use_regex": false});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": END, "content": "<|end|>", "single_word": false, "lstrip": false,
                          "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
                  "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    });
    let config = json!({
        "eos_token": "<|end|>",
        "chat_template": "{% for t in tools or [] %}tool: {{ t|tojson }}\n{% endfor %}\
                          {% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}=>",
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
}
