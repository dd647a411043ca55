//! The doors to the engine thread: submit a call, read its stream, see the status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use thiserror::Error;
use tokio::sync::mpsc;

use crate::engine::{Engine, EngineConfig};
use crate::outbox::StreamEvent;
use crate::request::GenerateRequest;
use crate::runner::ModelRunner;
use crate::status::{EngineStatus, StatusCells};

/// Submits calls to the engine thread; cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    submissions: SyncSender<Submission>,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) status: StatusCells,
    draining: AtomicBool,
    max_waiting: usize,
    stream_buffer: usize,
}

/// A call on its way to the engine thread.
pub(crate) struct Submission {
    pub(crate) request: GenerateRequest,
    pub(crate) events: mpsc::Sender<StreamEvent>,
    /// Set by [`TokenStream::cancel`].
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) place: QueuePlace,
}

impl EngineHandle {
    /// Hands a call to the engine and returns its stream at once. Dropping the stream cancels;
    /// [`TokenStream::cancel`] does so and tells how the call ended.
    ///
    /// # Errors
    /// The queue is full, or the engine takes no more calls.
    pub fn submit(&self, request: GenerateRequest) -> Result<TokenStream, SubmitError> {
        if self.shared.draining.load(Ordering::Acquire) {
            return Err(SubmitError::Draining);
        }
        let place = QueuePlace::take(&self.shared)?;
        let (events, stream) = mpsc::channel(self.shared.stream_buffer);
        let cancelled = Arc::new(AtomicBool::new(false));
        match self.submissions.try_send(Submission {
            request,
            events,
            cancelled: Arc::clone(&cancelled),
            place,
        }) {
            Ok(()) => Ok(TokenStream {
                events: stream,
                cancelled,
            }),
            Err(TrySendError::Full(_)) => Err(SubmitError::QueueFull {
                waiting: self.shared.max_waiting,
            }),
            Err(TrySendError::Disconnected(_)) => Err(SubmitError::Stopped),
        }
    }

    /// The counters as of the last step.
    pub fn status(&self) -> EngineStatus {
        let waiting = self.shared.status.queue.load(Ordering::Relaxed) as u64;
        EngineStatus {
            waiting,
            ..self.shared.status.snapshot()
        }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Takes no more calls; those under way go on.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    /// Whether [`Self::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Acquire)
    }
}

/// The stream of one call: the events of all its choices, in the order they happened.
#[derive(Debug)]
pub struct TokenStream {
    events: mpsc::Receiver<StreamEvent>,
    cancelled: Arc<AtomicBool>,
}

impl TokenStream {
    /// Ends every choice of the call in the engine's next step, in whatever phase it is. What was
    /// admitted before is still to be read; then each choice has its
    /// [`Ended`](StreamEvent::Ended) with [`End::Cancelled`](crate::End::Cancelled), and with
    /// what it cost and what the gate did. A choice that had ended before keeps its own end.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// The next event; `None` after the last choice ended, or if the engine died.
    pub async fn next(&mut self) -> Option<StreamEvent> {
        self.events.recv().await
    }

    /// [`Self::next`] for those who wait for several streams at once.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        self.events.poll_recv(context)
    }

    /// The next event if one is there, without waiting.
    pub fn try_next(&mut self) -> Option<StreamEvent> {
        self.events.try_recv().ok()
    }
}

/// Why a call was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// As many calls wait as may.
    #[error("{waiting} calls wait already; try again shortly")]
    QueueFull {
        /// How many wait.
        waiting: usize,
    },
    /// The server is shutting down.
    #[error("the server is shutting down and takes no new calls")]
    Draining,
    /// The engine thread has ended.
    #[error("the engine has stopped; see the server's log for why, and restart it")]
    Stopped,
}

/// A counted place in the queue: given back when the call runs for the first time, or ends.
pub(crate) struct QueuePlace(Arc<Shared>);

impl QueuePlace {
    fn take(shared: &Arc<Shared>) -> Result<Self, SubmitError> {
        let max = shared.max_waiting;
        shared
            .status
            .queue
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < max).then_some(n + 1)
            })
            .map(|_| Self(Arc::clone(shared)))
            .map_err(|waiting| SubmitError::QueueFull { waiting })
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.0.status.queue.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The running engine thread.
pub struct EngineThread {
    thread: JoinHandle<()>,
}

impl EngineThread {
    /// Starts the thread. The runner is made on it, since a GPU stream belongs to one thread.
    ///
    /// The thread ends when every handle is dropped and the last call is done.
    ///
    /// # Errors
    /// The operating system gives no thread, or the runner cannot be made.
    pub fn start<R: ModelRunner + 'static, E: Send + From<std::io::Error> + 'static>(
        config: EngineConfig,
        make_runner: impl FnOnce() -> Result<R, E> + Send + 'static,
    ) -> Result<(EngineHandle, Self), E> {
        let (handle, submissions) = doors(&config);
        let shared = Arc::clone(&handle.shared);
        let (ready, made) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || {
                match make_runner() {
                    Ok(runner) => {
                        // If nobody waits for the start any more, nobody needs the engine.
                        if ready.send(Ok(())).is_ok() {
                            Engine::new(config, runner, submissions, shared).run();
                        }
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })?;
        match made.recv() {
            Ok(result) => result.map(|()| (handle, Self { thread })),
            Err(_) => Err(std::io::Error::other("the engine thread ended while it started").into()),
        }
    }

    /// Waits for the thread to end; `false` if it panicked.
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// The two ends through which calls come: the handle's and the engine's.
pub(crate) fn doors(config: &EngineConfig) -> (EngineHandle, Receiver<Submission>) {
    let (submissions, receiver) = sync_channel(config.max_waiting);
    let shared = Arc::new(Shared {
        status: StatusCells::default(),
        draining: AtomicBool::new(false),
        max_waiting: config.max_waiting,
        stream_buffer: config.stream_buffer,
    });
    (
        EngineHandle {
            submissions,
            shared,
        },
        receiver,
    )
}
