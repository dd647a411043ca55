//! The body of an answer on its way.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, sleep};

use crate::activity::Answering;

/// A body that counts as under way until it is sent or dropped.
pub(crate) fn while_sent(body: Body, answering: Answering) -> Body {
    Body::new(Counted {
        body,
        _answering: answering,
    })
}

/// The same on a connection of HTTP/2, where a reader can take nothing of one answer while the
/// connection goes on: after `timeout` the body is dropped, and what makes it with it.
pub(crate) fn sent_in_time(body: Body, timeout: Duration, answering: Answering) -> Body {
    let held = Arc::new(Mutex::new(Held {
        body: Some(Counted {
            body,
            _answering: answering,
        }),
        offered_at: Some(Instant::now()),
    }));
    tokio::spawn(drop_unless_taken(Arc::downgrade(&held), timeout));
    Body::new(Taken(held))
}

struct Counted {
    body: Body,
    _answering: Answering,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Held {
    body: Option<Counted>,
    /// Since when the reader could have asked for more. `None` while it is the one who waits.
    offered_at: Option<Instant>,
}

struct Taken(Arc<Mutex<Held>>);

async fn drop_unless_taken(held: Weak<Mutex<Held>>, timeout: Duration) {
    loop {
        sleep(timeout).await;
        let Some(held) = held.upgrade() else {
            return;
        };
        let mut held = lock(&held);
        if held
            .offered_at
            .is_some_and(|since| since.elapsed() >= timeout)
        {
            tracing::info!("a reader took nothing for too long; its answer is cut off");
            held.body = None;
            return;
        }
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpBody for Taken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut held = lock(&self.0);
        let Some(body) = &mut held.body else {
            return Poll::Ready(Some(Err(axum::Error::new(Untaken))));
        };
        let polled = Pin::new(body).poll_frame(context);
        held.offered_at = polled.is_ready().then(Instant::now);
        polled
    }

    fn is_end_stream(&self) -> bool {
        let held = lock(&self.0);
        held.body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let held = lock(&self.0);
        held.body
            .as_ref()
            .map(HttpBody::size_hint)
            .unwrap_or_default()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("nothing of the answer was taken for too long")]
struct Untaken;
