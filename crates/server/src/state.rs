//! What every handler shares. Nothing in it changes after the start but counters and caches.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use portcullis_engine::{Clock, EngineHandle, Limits};
use portcullis_store::Store;
use portcullis_text::{ChatTemplate, Tokenizer, ToolFormat};
use tokio::sync::watch;

use crate::budget::Budgets;
use crate::config::{ServedEmbedder, ServedModel, ServerConfig};
use crate::form::FormCache;
use crate::health::Heartbeat;
use crate::limits::Limiter;
use crate::metrics::Metrics;
use crate::record::Ledger;
use crate::rules::Catalog;
use crate::serve::CallCounter;
use crate::vocabulary::VocabularyCell;

/// Gives the time in Unix seconds.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The server's state; cheap to clone.
#[derive(Clone)]
pub struct AppState(pub(crate) App);

/// What handlers take as `State`.
pub(crate) type App = Arc<Shared>;

pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) model: ServedModel,
    pub(crate) limits: Limits,
    pub(crate) engine: EngineHandle,
    /// `None` where no embeddings are made.
    pub(crate) embedder: Option<ServedEmbedder>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: Option<ChatTemplate>,
    /// How the model calls tools; `None` if it cannot.
    pub(crate) tool_format: Option<ToolFormat>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) wall: WallClock,
    pub(crate) catalog: Catalog,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) limiter: Limiter,
    pub(crate) vocabulary: VocabularyCell,
    pub(crate) forms: FormCache,
    pub(crate) metrics: Metrics,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) calls: CallCounter,
    /// `None` where nothing is recorded.
    pub(crate) ledger: Option<Ledger>,
    /// Whether the server has stopped waiting for its calls.
    pub(crate) cut_off: watch::Sender<bool>,
    /// Whether inference needs no key while the store holds none.
    pub(crate) open: AtomicBool,
}

impl AppState {
    /// Binds everything together. Without `embedder` no embeddings are made, without `ledger`
    /// nothing is recorded. `clock` measures, `wall`
    /// dates answers.
    #[expect(
        clippy::too_many_arguments,
        reason = "the one place where all parts meet"
    )]
    pub fn new(
        config: ServerConfig,
        model: ServedModel,
        engine: EngineHandle,
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        embedder: Option<ServedEmbedder>,
        store: Arc<dyn Store>,
        ledger: Option<Ledger>,
        clock: Arc<dyn Clock>,
        wall: WallClock,
    ) -> Self {
        let recorder = ledger.as_ref().map(|ledger| ledger.recorder.clone());
        let shared = Shared {
            limits: model.limits(&config),
            catalog: Catalog::new(
                Arc::clone(&store),
                config.quota,
                config.rule_signatures,
                config.max_compiled_rulesets,
            ),
            budgets: Arc::new(Budgets::new(config.key_quota)),
            limiter: Limiter::default(),
            vocabulary: VocabularyCell::default(),
            forms: FormCache::default(),
            tool_format: tool_format(&config, template.as_ref()),
            metrics: Metrics::new(&model, engine.clone(), embedder.as_ref(), recorder),
            heartbeat: Heartbeat::new(config.stall_timeout),
            calls: CallCounter::default(),
            ledger,
            cut_off: watch::Sender::new(false),
            open: AtomicBool::new(config.open_on_loopback),
            config,
            model,
            engine,
            embedder,
            tokenizer,
            template,
            store,
            clock,
            wall,
        };
        Self(Arc::new(shared))
    }
}

/// Only a template that shows tools to the model lets it call them.
fn tool_format(config: &ServerConfig, template: Option<&ChatTemplate>) -> Option<ToolFormat> {
    let template = template?;
    config.tool_format.or_else(|| template.tool_format())
}
