//! The server at its door, and how it stops.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portcullis_ledger::Timestamp;
use portcullis_store::Erased;
use tokio::sync::watch;

use crate::door::Door;
use crate::routes::router;
use crate::state::{App, AppState};

/// How long answers that are complete may take to reach their readers after the last call ended.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often texts that were kept long enough are erased.
const RETENTION_INTERVAL: Duration = Duration::from_secs(600);
/// How often the heartbeat of the engine is looked at when nobody asks.
const PULSE_INTERVAL: Duration = Duration::from_secs(1);

/// A server behind its door: calls are answered.
pub struct Serving {
    door: Door,
    app: App,
}

impl Door {
    /// From now on the server answers, no longer who waits for the model.
    ///
    /// Inference without a key is possible only if it is bound to a loopback address.
    pub fn lead_to(self, state: AppState) -> Serving {
        let app = Arc::clone(&state.0);
        if !self.address().ip().is_loopback() {
            app.open.store(false, Ordering::Release);
        }
        self.answer_with(router(state));
        Serving { door: self, app }
    }
}

impl Serving {
    /// Serves until `shutdown` resolves, then drains: readiness fails and new calls get 503, running
    /// ones finish for up to `drain_timeout` or until `at_once` resolves; those that have not by then
    /// are cut off, and go on record so. Then the door closes.
    ///
    /// # Errors
    /// The listener failed for good.
    pub async fn until(
        mut self,
        shutdown: impl Future<Output = ()>,
        at_once: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let app = self.app;
        tokio::select! {
            error = self.door.failed() => return Err(error),
            () = shutdown => {}
            never = watch_pulse(&app) => match never {},
            never = keep_to_retention(&app) => match never {},
        }
        drain(&app, at_once, &self.door).await;
        self.door.close(FLUSH_TIMEOUT).await;
        settle(&app).await;
        Ok(())
    }
}

/// Keeps the heartbeat current, so that one question to `/health` is enough to know.
async fn watch_pulse(app: &App) -> Infallible {
    let mut ticks = tokio::time::interval(PULSE_INTERVAL);
    loop {
        ticks.tick().await;
        app.heartbeat.observe(&app.engine.status(), app.clock.now());
    }
}

/// Waits until the ends of all calls are on disk, as long as that may take.
async fn settle(app: &App) {
    let Some(ledger) = &app.ledger else {
        return;
    };
    let settled = tokio::time::timeout(FLUSH_TIMEOUT, ledger.recorder.settle()).await;
    if settled.is_err() {
        let calls = ledger.recorder.num_open();
        tracing::error!(
            calls,
            "ends of calls are not on record; the next start writes them as crashed"
        );
    }
}

/// Erases texts of calls that are older than their class allows.
async fn keep_to_retention(app: &App) -> Infallible {
    let Some(ledger) = &app.ledger else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(RETENTION_INTERVAL);
    loop {
        ticks.tick().await;
        let now = Timestamp::from_unix_ms((app.wall)() * 1000);
        match ledger
            .records
            .erase_expired(&ledger.texts.classes, now)
            .await
        {
            Ok(Erased { records: 0, .. }) => {}
            Ok(Erased { records, held }) => {
                tracing::info!(records, held, "texts that were kept long enough are erased");
            }
            Err(error) => {
                tracing::error!(%error, "texts that were kept long enough are still there")
            }
        }
    }
}

async fn drain(app: &App, at_once: impl Future<Output = ()>, door: &Door) {
    app.engine.drain();
    if let Some(embedder) = &app.embedder {
        embedder.handle.drain();
    }
    tracing::info!(calls = app.calls.running(), "draining");
    let timeout = app.config.drain_timeout;
    let is_drained = tokio::select! {
        ended = tokio::time::timeout(timeout, app.calls.all_ended()) => ended.is_ok(),
        () = at_once => false,
    };
    if !is_drained {
        let calls = app.calls.running();
        tracing::warn!(calls, ?timeout, "calls are cut off by the shutdown");
        app.cut_off.send_replace(true);
        if tokio::time::timeout(FLUSH_TIMEOUT, app.calls.all_ended())
            .await
            .is_err()
        {
            // Their readers take nothing. They go on record once their connections are gone.
            door.sever();
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, app.calls.all_ended()).await;
        }
    }
}

/// Counts calls from their submission until their answer is complete, or its reader is gone and that
/// is on record.
pub(crate) struct CallCounter(watch::Sender<usize>);

/// One call under way.
pub(crate) struct RunningCall(watch::Sender<usize>);

impl CallCounter {
    pub(crate) fn begin(&self) -> RunningCall {
        self.0.send_modify(|running| *running += 1);
        RunningCall(self.0.clone())
    }

    fn running(&self) -> usize {
        *self.0.borrow()
    }

    async fn all_ended(&self) {
        // The sender is `self`: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|&running| running == 0).await;
    }
}

impl Default for CallCounter {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}
