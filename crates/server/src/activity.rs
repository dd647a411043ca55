//! What a connection does, and how long it may go on doing it.
//!
//! HTTP/1 has no pings and no request is owed, so a connection that says nothing looks like one whose
//! other side is gone. Time is what tells: to begin a request there is much of it, to finish its
//! header there is little. While a request is being answered the clock of the connection stands;
//! bodies and answers have their own ([`crate::body`], [`crate::connection`]).

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::time::{Instant, Sleep};

use crate::config::ConnectionLimits;

/// What begins a connection of HTTP/2. RFC 9113, section 3.4
const HTTP2_PREFACE_START: &[u8] = b"PRI";

/// Shared by a connection, its service and the bodies of its answers.
pub(crate) struct Activity {
    state: Mutex<State>,
    /// The task of the connection, for when an answer ends in another.
    task: AtomicWaker,
}

struct State {
    phase: Phase,
    /// Requests whose answers are not sent whole.
    num_requests: usize,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has come since the last answer was sent.
    Idle { since: Instant },
    /// A header has begun and is not complete.
    Header { since: Instant },
    /// Requests are being answered.
    Answering,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Unknown,
    Http1,
    Http2,
}

/// Why a connection has lasted long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Nobody wants anything.
    Idle,
    /// A header that does not become complete.
    Header,
}

/// A request that is being answered. Dropping it says that its answer is sent, or cannot be.
pub(crate) struct Answering(Arc<Activity>);

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                phase: Phase::idle(),
                num_requests: 0,
                protocol: Protocol::Unknown,
            }),
            task: AtomicWaker::new(),
        })
    }

    /// Notes bytes that came.
    pub(crate) fn note_read(&self, bytes: &[u8]) {
        let mut state = self.state();
        if state.protocol == Protocol::Unknown {
            state.protocol = Protocol::begun_with(bytes);
        }
        // In HTTP/2 most of what comes is no header, and its library bounds headers by itself.
        if state.protocol == Protocol::Http1 && matches!(state.phase, Phase::Idle { .. }) {
            let since = Instant::now();
            state.phase = Phase::Header { since };
        }
    }

    /// Notes a request whose header is complete.
    pub(crate) fn begin(self: &Arc<Self>) -> Answering {
        let mut state = self.state();
        state.num_requests += 1;
        state.phase = Phase::Answering;
        drop(state);
        Answering(Arc::clone(self))
    }

    /// Resolves once the connection has been idle, or a header has been coming, for too long.
    pub(crate) fn overdue(self: &Arc<Self>, limits: &ConnectionLimits) -> Patience {
        Patience {
            activity: Arc::clone(self),
            limits: *limits,
            sleep: Box::pin(tokio::time::sleep(limits.idle_timeout)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.num_requests -= 1;
        if state.num_requests == 0 {
            state.phase = Phase::idle();
            drop(state);
            self.0.task.wake();
        }
    }
}

impl Phase {
    fn idle() -> Self {
        let since = Instant::now();
        Self::Idle { since }
    }

    fn due(self, limits: &ConnectionLimits) -> Option<(Instant, Overdue)> {
        match self {
            Self::Idle { since } => Some((since + limits.idle_timeout, Overdue::Idle)),
            Self::Header { since } => Some((since + limits.header_timeout, Overdue::Header)),
            Self::Answering => None,
        }
    }
}

impl Protocol {
    fn begun_with(bytes: &[u8]) -> Self {
        match bytes.starts_with(HTTP2_PREFACE_START) {
            true => Self::Http2,
            false => Self::Http1,
        }
    }
}

/// See [`Activity::overdue`]. To be polled after the connection in the same task, so that it sees
/// what the connection has just done; then one timer is enough.
pub(crate) struct Patience {
    activity: Arc<Activity>,
    limits: ConnectionLimits,
    sleep: Pin<Box<Sleep>>,
}

impl Future for Patience {
    type Output = Overdue;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Overdue> {
        self.activity.task.register(context.waker());
        let phase = self.activity.state().phase;
        let Some((due, overdue)) = phase.due(&self.limits) else {
            return Poll::Pending;
        };
        if self.sleep.deadline() != due {
            self.sleep.as_mut().reset(due);
        }
        self.sleep.as_mut().poll(context).map(|()| overdue)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{advance, timeout};

    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(70),
        ..ConnectionLimits::DEFAULT
    };

    /// After how many seconds from now it is too long; `None` if within an hour it is not.
    async fn seconds_left(activity: &Arc<Activity>) -> Option<(u64, Overdue)> {
        let (began, hour) = (Instant::now(), Duration::from_secs(3600));
        let overdue = timeout(hour, activity.overdue(&LIMITS)).await.ok()?;
        Some((began.elapsed().as_secs(), overdue))
    }

    #[tokio::test(start_paused = true)]
    async fn to_begin_there_is_much_time_and_to_finish_a_header_little() {
        let activity = Activity::new();
        assert_eq!(seconds_left(&activity).await, Some((70, Overdue::Idle)));
        activity.note_read(b"GET /");
        advance(Duration::from_secs(4)).await;
        activity.note_read(b"l");
        assert_eq!(seconds_left(&activity).await, Some((6, Overdue::Header)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_be_answered_as_long_as_that_takes() {
        let activity = Activity::new();
        activity.note_read(b"GET / HTTP/1.1\r\n\r\n");
        let (one, other) = (activity.begin(), activity.begin());
        drop(one);
        assert_eq!(seconds_left(&activity).await, None);
        drop(other);
        assert_eq!(seconds_left(&activity).await, Some((70, Overdue::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_of_an_answer_that_ends_elsewhere() {
        let activity = Activity::new();
        let answering = activity.begin();
        let waiting = tokio::spawn(activity.overdue(&LIMITS));
        advance(Duration::from_secs(100)).await;
        drop(answering);
        assert_eq!(waiting.await.unwrap(), Overdue::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn pings_of_http2_are_no_headers() {
        let activity = Activity::new();
        activity.note_read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        activity.note_read(b"a ping");
        assert_eq!(seconds_left(&activity).await, Some((70, Overdue::Idle)));
    }
}
