//! Texts to vectors, beside the step loop: one thread owns the model, and joins texts of several
//! calls into batches. Read [`Worker::step`] first.
//!
//! Calls take turns, a text at a time, so that a long one delays a short one by a batch at most.

mod handle;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use portcullis_types::TokenId;
use thiserror::Error;

pub use handle::{EmbeddingCall, EmbeddingHandle, EmbeddingStatus, EmbeddingThread};
use handle::{Shared, Submission};

/// Makes one vector of each text.
pub trait Embedder {
    /// One vector for each text, in their order. What a text gives must not depend on its
    /// neighbours, but for rounding.
    ///
    /// # Errors
    /// The batch could not be computed; each of its texts is then tried alone.
    fn embed(&mut self, texts: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, EmbeddingError>;
}

/// How much at once, and how much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingLimits {
    /// Tokens of a batch, at most, each text counted as long as the longest. A text alone may have
    /// more.
    pub max_batched_tokens: usize,
    /// Calls under way.
    pub max_waiting: usize,
    /// Tokens of calls under way. A call alone may have more.
    pub max_waiting_tokens: usize,
}

/// A text has no vector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EmbeddingError {
    /// It cannot be computed.
    #[error("the model could not compute a batch: {message}")]
    Failed {
        /// What the model says.
        message: String,
    },
    /// The vector has NaN or infinity in it.
    #[error("the model gave no finite vector for this text; are the weights right?")]
    NotFinite,
    /// The thread has ended.
    #[error("the thread of the embedding model has ended; see the server's log for why")]
    Stopped,
}

/// The thread's own state.
struct Worker<E> {
    embedder: E,
    max_batched_tokens: usize,
    inbox: Receiver<Submission>,
    calls: BTreeMap<u64, Running>,
    /// Calls with texts that are in no batch yet, in the order of their turns. Those that have
    /// ended meanwhile are skipped.
    turns: VecDeque<u64>,
    next_id: u64,
    shared: Arc<Shared>,
}

/// A call under way.
struct Running {
    submission: Submission,
    /// Texts that are in no batch yet, the longest last.
    left: Vec<usize>,
    /// Those that are there, in the order of the texts.
    vectors: Vec<Vec<f32>>,
    missing: usize,
}

/// A text in a batch.
struct Place {
    call: u64,
    text: usize,
}

impl<E: Embedder> Worker<E> {
    fn new(
        embedder: E,
        max_batched_tokens: usize,
        inbox: Receiver<Submission>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            embedder,
            max_batched_tokens,
            inbox,
            calls: BTreeMap::new(),
            turns: VecDeque::new(),
            next_id: 0,
            shared,
        }
    }

    /// Works until every handle is dropped and the last call is done.
    fn run(mut self) {
        while self.take_calls() {
            self.step();
        }
    }

    /// Waits for a call if there is none; `false` once none can come.
    fn take_calls(&mut self) -> bool {
        if self.calls.is_empty() {
            match self.inbox.recv() {
                Ok(submission) => self.take(submission),
                Err(_) => return false,
            }
        }
        while let Ok(submission) = self.inbox.try_recv() {
            self.take(submission);
        }
        true
    }

    fn take(&mut self, submission: Submission) {
        self.next_id += 1;
        let call = Running::new(submission);
        let is_done = call.missing == 0;
        self.calls.insert(self.next_id, call);
        match is_done {
            true => self.end(self.next_id, Ok(())),
            false => self.turns.push_back(self.next_id),
        }
    }

    /// One batch.
    fn step(&mut self) {
        // A reader who is gone cancels.
        self.calls
            .retain(|_, call| !call.submission.done.is_closed());
        let batch = self.next_batch();
        if batch.is_empty() {
            return;
        }
        let calls = &self.calls;
        let texts: Vec<_> = batch.iter().map(|place| text(calls, place)).collect();
        let vectors = embed_all(&mut self.embedder, &texts);
        self.shared.count_batch(&texts);
        for (place, vector) in batch.iter().zip(vectors) {
            self.deliver(place, vector);
        }
    }

    /// A text of each call in turn, as long as they fit.
    fn next_batch(&mut self) -> Vec<Place> {
        let (mut batch, mut longest) = (Vec::new(), 0);
        while let Some(id) = self.turns.pop_front() {
            let Some(call) = self.calls.get_mut(&id) else {
                continue;
            };
            let Some(&text) = call.left.last() else {
                continue;
            };
            let width = longest.max(call.submission.texts[text].len());
            if !batch.is_empty() && width * (batch.len() + 1) > self.max_batched_tokens {
                self.turns.push_front(id);
                break;
            }
            longest = width;
            call.left.pop();
            self.turns.push_back(id);
            batch.push(Place { call: id, text });
        }
        batch
    }

    fn deliver(&mut self, place: &Place, vector: Result<Vec<f32>, EmbeddingError>) {
        // A call of which another text failed has ended.
        let Some(call) = self.calls.get_mut(&place.call) else {
            return;
        };
        match vector {
            Ok(vector) => {
                call.vectors[place.text] = vector;
                call.missing -= 1;
                if call.missing == 0 {
                    self.end(place.call, Ok(()));
                }
            }
            Err(error) => self.end(place.call, Err(error)),
        }
    }

    fn end(&mut self, id: u64, result: Result<(), EmbeddingError>) {
        if let Some(call) = self.calls.remove(&id) {
            self.shared.count_call(result.is_ok());
            let Submission { done, place, .. } = call.submission;
            // First, so that whoever has an answer finds room for the next call.
            drop(place);
            // Nobody may be there to take it.
            drop(done.send(result.map(|()| call.vectors)));
        }
    }
}

impl Running {
    fn new(submission: Submission) -> Self {
        let count = submission.texts.len();
        let mut left: Vec<usize> = (0..count).collect();
        // Texts of like length share batches.
        left.sort_by_key(|&text| submission.texts[text].len());
        Self {
            submission,
            left,
            vectors: vec![Vec::new(); count],
            missing: count,
        }
    }
}

fn text<'c>(calls: &'c BTreeMap<u64, Running>, place: &Place) -> &'c [TokenId] {
    &calls[&place.call].submission.texts[place.text]
}

/// What each text gives. One that cannot be computed takes no other with it.
fn embed_all<E: Embedder>(
    embedder: &mut E,
    texts: &[&[TokenId]],
) -> Vec<Result<Vec<f32>, EmbeddingError>> {
    match embed(embedder, texts) {
        Ok(vectors) => vectors.into_iter().map(finite).collect(),
        Err(error) if texts.len() == 1 => {
            tracing::error!(%error, "a text could not be embedded");
            vec![Err(error)]
        }
        Err(_) => texts
            .iter()
            .flat_map(|text| embed_all(embedder, &[text]))
            .collect(),
    }
}

/// A panic is an error of this batch; the model does not change, so the next may pass.
fn embed<E: Embedder>(
    embedder: &mut E,
    texts: &[&[TokenId]],
) -> Result<Vec<Vec<f32>>, EmbeddingError> {
    let failed = |message: &str| EmbeddingError::Failed {
        message: message.to_owned(),
    };
    let vectors = catch_unwind(AssertUnwindSafe(|| embedder.embed(texts)))
        .unwrap_or_else(|_| Err(failed("it panicked; the report stands in the log")))?;
    match vectors.len() == texts.len() {
        true => Ok(vectors),
        false => Err(failed("it gave another number of vectors than of texts")),
    }
}

fn finite(vector: Vec<f32>) -> Result<Vec<f32>, EmbeddingError> {
    match vector.iter().all(|number| number.is_finite()) {
        true => Ok(vector),
        false => Err(EmbeddingError::NotFinite),
    }
}
