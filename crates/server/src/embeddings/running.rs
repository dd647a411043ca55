//! A call for embeddings under way. Dropping it in whatever phase, because the reader went away or
//! the server stops, cancels it and puts that on record.

use std::mem::take;

use portcullis_engine::SubmitError;
use portcullis_ledger::{Outcome, RecordId};
use portcullis_types::TokenId;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::ApiError;
use crate::limits::Place;
use crate::record::{CallRecord, Facts};
use crate::serve::RunningCall;
use crate::state::App;
use crate::tally::Tally;

pub(super) struct Running {
    /// Taken when it is waited for.
    vectors: Option<portcullis_engine::EmbeddingCall>,
    /// `None` where nothing is recorded, and once it is closed.
    record: Option<CallRecord>,
    tally: Tally,
    /// Among the calls of its key; given back once the end is on record.
    place: Option<Place>,
    /// Turns true when the server does not wait any longer.
    cut_off: watch::Receiver<bool>,
    /// Given back once the end is on record.
    counted: Option<RunningCall>,
}

impl Running {
    /// Hands a call to the embedding model, and its beginning to the log.
    ///
    /// # Errors
    /// No more calls are taken, or the call cannot be recorded.
    pub(super) fn submit(
        app: &App,
        texts: Vec<Vec<TokenId>>,
        facts: &Facts,
        tally: Tally,
        mut place: Place,
    ) -> Result<Self, ApiError> {
        let counted = app.calls.begin();
        let embedder = app.embedder.as_ref().ok_or(SubmitError::Stopped)?;
        let submitted = embedder.handle.submit(texts);
        let vectors = submitted.inspect_err(|_| place.forgo())?;
        let record = CallRecord::open(app, facts)?;
        place.note_usage(&tally.usage());
        Ok(Self {
            vectors: Some(vectors),
            record,
            tally,
            place: Some(place),
            cut_off: app.cut_off.subscribe(),
            counted: Some(counted),
        })
    }

    /// What the record of the call is called, if there is one.
    pub(super) fn record_id(&self) -> Option<&RecordId> {
        self.record.as_ref().map(CallRecord::id)
    }

    /// Waits for the vectors, and for the record of the call to be on disk.
    ///
    /// # Errors
    /// They cannot be computed or recorded, or the server stops.
    pub(super) async fn vectors(&mut self) -> Result<Vec<Vec<f32>>, ApiError> {
        let vectors = self.vectors.take().ok_or(SubmitError::Stopped)?;
        let vectors = tokio::select! {
            biased;
            _ = self.cut_off.wait_for(|&cut| cut) => return Err(cut_off()),
            vectors = vectors.finish() => vectors,
        };
        if let Some(record) = &mut self.record {
            record.durable().await?;
        }
        vectors.map_err(|error| {
            self.tally.note_failure();
            error.into()
        })
    }

    /// Puts the end of the call on record and waits until it is there.
    ///
    /// # Errors
    /// 503: it is not on disk yet.
    pub(super) async fn close(mut self, outcome: Outcome) -> Result<Tally, ApiError> {
        if let Some(record) = self.record.take() {
            record.close(outcome, &self.tally).await?;
        }
        Ok(take(&mut self.tally))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (Some(record), Ok(runtime)) = (self.record.take(), Handle::try_current()) else {
            return;
        };
        let outcome = match (self.tally.has_failed(), *self.cut_off.borrow()) {
            _ if std::thread::panicking() => Outcome::EngineError,
            (true, _) => Outcome::EngineError,
            (false, true) => Outcome::Cancelled,
            (false, false) => Outcome::ClientGone,
        };
        let tally = take(&mut self.tally);
        let held = (self.place.take(), self.counted.take());
        runtime.spawn(async move {
            // It is owed if it cannot be written now; the log says so.
            drop(record.abandon(outcome, &tally).await);
            drop(held);
        });
    }
}

fn cut_off() -> ApiError {
    let said = "the server stopped before these embeddings were complete";
    ApiError::unavailable("draining", said)
}
