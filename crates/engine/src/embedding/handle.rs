//! The doors to the thread of the embedding model.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use portcullis_types::TokenId;
use tokio::sync::oneshot;

use super::{Embedder, EmbeddingError, EmbeddingLimits, Worker};
use crate::handle::SubmitError;

/// Submits calls to the thread; cheap to clone.
#[derive(Clone)]
pub struct EmbeddingHandle {
    submissions: SyncSender<Submission>,
    shared: Arc<Shared>,
}

/// What the thread and its callers both see.
pub(super) struct Shared {
    limits: EmbeddingLimits,
    draining: AtomicBool,
    calls: AtomicUsize,
    tokens: AtomicUsize,
    batches_total: AtomicU64,
    texts_total: AtomicU64,
    tokens_total: AtomicU64,
    finished_total: AtomicU64,
    failed_total: AtomicU64,
}

/// A call on its way to the thread.
pub(super) struct Submission {
    /// Each at least one token.
    pub(super) texts: Vec<Vec<TokenId>>,
    pub(super) done: oneshot::Sender<Result<Vec<Vec<f32>>, EmbeddingError>>,
    pub(super) place: QueuePlace,
}

/// A snapshot of the counters. `_total` only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbeddingStatus {
    /// Calls under way.
    pub calls: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Batches computed.
    pub batches_total: u64,
    /// Texts in them.
    pub texts_total: u64,
    /// Tokens in them, padding left out.
    pub tokens_total: u64,
    /// Calls that were answered.
    pub finished_total: u64,
    /// Calls that could not be computed.
    pub failed_total: u64,
}

impl EmbeddingHandle {
    /// Hands texts to the thread. Dropping the call cancels it.
    ///
    /// # Errors
    /// The queue is full, or no more calls are taken.
    pub fn submit(&self, texts: Vec<Vec<TokenId>>) -> Result<EmbeddingCall, SubmitError> {
        if self.shared.draining.load(Ordering::Acquire) {
            return Err(SubmitError::Draining);
        }
        let (done, vectors) = oneshot::channel();
        let submission = Submission {
            place: QueuePlace::take(&self.shared, texts.iter().map(Vec::len).sum())?,
            texts,
            done,
        };
        match self.submissions.try_send(submission) {
            Ok(()) => Ok(EmbeddingCall { vectors }),
            Err(TrySendError::Full(_)) => Err(self.shared.queue_full()),
            Err(TrySendError::Disconnected(_)) => Err(SubmitError::Stopped),
        }
    }

    /// Takes no more calls; those under way go on.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    /// The counters.
    pub fn status(&self) -> EmbeddingStatus {
        let shared = &self.shared;
        EmbeddingStatus {
            calls: shared.calls.load(Ordering::Relaxed) as u64,
            tokens: shared.tokens.load(Ordering::Relaxed) as u64,
            batches_total: shared.batches_total.load(Ordering::Relaxed),
            texts_total: shared.texts_total.load(Ordering::Relaxed),
            tokens_total: shared.tokens_total.load(Ordering::Relaxed),
            finished_total: shared.finished_total.load(Ordering::Relaxed),
            failed_total: shared.failed_total.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Debug for EmbeddingHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.status().fmt(f)
    }
}

/// A call under way.
#[derive(Debug)]
pub struct EmbeddingCall {
    vectors: oneshot::Receiver<Result<Vec<Vec<f32>>, EmbeddingError>>,
}

impl EmbeddingCall {
    /// Waits for the vectors, one for each text.
    ///
    /// # Errors
    /// One of them cannot be computed.
    pub async fn finish(self) -> Result<Vec<Vec<f32>>, EmbeddingError> {
        self.vectors.await.unwrap_or(Err(EmbeddingError::Stopped))
    }

    /// [`Self::finish`] for a thread outside any runtime.
    ///
    /// # Errors
    /// As there.
    pub fn blocking_finish(self) -> Result<Vec<Vec<f32>>, EmbeddingError> {
        self.vectors
            .blocking_recv()
            .unwrap_or(Err(EmbeddingError::Stopped))
    }
}

/// A counted place in the queue: given back when the call ends.
pub(super) struct QueuePlace {
    shared: Arc<Shared>,
    tokens: usize,
}

impl QueuePlace {
    fn take(shared: &Arc<Shared>, tokens: usize) -> Result<Self, SubmitError> {
        let EmbeddingLimits {
            max_waiting,
            max_waiting_tokens,
            ..
        } = shared.limits;
        let full = |_| shared.queue_full();
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        let one_more = |calls| (calls < max_waiting).then_some(calls + 1);
        let more = |waiting: usize| {
            let sum = waiting.saturating_add(tokens);
            (waiting == 0 || sum <= max_waiting_tokens).then_some(sum)
        };
        shared.tokens.fetch_update(set, fetch, more).map_err(full)?;
        if let Err(calls) = shared.calls.fetch_update(set, fetch, one_more) {
            shared.tokens.fetch_sub(tokens, set);
            return Err(full(calls));
        }
        Ok(Self {
            shared: Arc::clone(shared),
            tokens,
        })
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.shared.calls.fetch_sub(1, Ordering::AcqRel);
        self.shared.tokens.fetch_sub(self.tokens, Ordering::AcqRel);
    }
}

impl Shared {
    fn new(limits: EmbeddingLimits) -> Self {
        Self {
            limits,
            draining: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            tokens: AtomicUsize::new(0),
            batches_total: AtomicU64::new(0),
            texts_total: AtomicU64::new(0),
            tokens_total: AtomicU64::new(0),
            finished_total: AtomicU64::new(0),
            failed_total: AtomicU64::new(0),
        }
    }

    fn queue_full(&self) -> SubmitError {
        SubmitError::QueueFull {
            waiting: self.calls.load(Ordering::Relaxed),
        }
    }

    pub(super) fn count_batch(&self, texts: &[&[TokenId]]) {
        let tokens: usize = texts.iter().map(|text| text.len()).sum();
        self.batches_total.fetch_add(1, Ordering::Relaxed);
        self.texts_total
            .fetch_add(texts.len() as u64, Ordering::Relaxed);
        self.tokens_total
            .fetch_add(tokens as u64, Ordering::Relaxed);
    }

    pub(super) fn count_call(&self, finished: bool) {
        let counter = match finished {
            true => &self.finished_total,
            false => &self.failed_total,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The running thread.
pub struct EmbeddingThread {
    thread: JoinHandle<()>,
}

impl EmbeddingThread {
    /// Starts the thread. It ends when every handle is dropped and the last call is done.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(
        limits: EmbeddingLimits,
        embedder: impl Embedder + Send + 'static,
    ) -> std::io::Result<(EmbeddingHandle, Self)> {
        let (submissions, inbox) = sync_channel(limits.max_waiting);
        let shared = Arc::new(Shared::new(limits));
        let handle = EmbeddingHandle {
            submissions,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new()
            .name("embedding".into())
            .spawn(move || {
                Worker::new(embedder, limits.max_batched_tokens, inbox, shared).run();
            })?;
        Ok((handle, Self { thread }))
    }

    /// Waits for the thread to end; `false` if it panicked.
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}
