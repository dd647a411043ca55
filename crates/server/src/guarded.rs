//! The bytes of a connection, so that nothing waits for its other side without end.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::activity::Activity;

/// How long a side that still sends is listened to after it was told goodbye.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// A stream whose writes make progress, whose reads are noted, and that can be severed.
pub(crate) struct Guarded<C> {
    inner: C,
    activity: Arc<Activity>,
    write_timeout: Duration,
    /// Runs while a write waits.
    stalling: Option<Pin<Box<Sleep>>>,
    /// Runs from the shutdown on.
    lingering: Option<Pin<Box<Sleep>>>,
    severing: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_severed: bool,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Guarded<C> {
    /// Writes fail that make no progress for `write_timeout`; once `severing` has resolved, all do
    /// that would have to wait.
    pub(crate) fn new(
        inner: C,
        activity: Arc<Activity>,
        write_timeout: Duration,
        severing: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self {
            inner,
            activity,
            write_timeout,
            stalling: None,
            lingering: None,
            severing: Box::pin(severing),
            is_severed: false,
        }
    }

    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut C>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match poll(Pin::new(&mut self.inner), context) {
            Poll::Pending if self.is_severed(context) => severed(),
            Poll::Pending => self.stall(context).map(Err),
            Poll::Ready(done) => {
                self.stalling = None;
                Poll::Ready(done)
            }
        }
    }

    fn stall(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let timeout = self.write_timeout;
        let sleep = || Box::pin(tokio::time::sleep(timeout));
        let stalling = self.stalling.get_or_insert_with(sleep);
        ready!(stalling.as_mut().poll(context));
        Poll::Ready(ErrorKind::TimedOut.into())
    }

    /// If it is not, the task is woken when it is.
    fn is_severed(&mut self, context: &mut Context<'_>) -> bool {
        self.is_severed = self.is_severed || self.severing.as_mut().poll(context).is_ready();
        self.is_severed
    }

    /// Reads away what still comes. A socket that is closed with something unread is reset, and with
    /// it the answer that says why: too large a header, or body. RFC 9112, section 9.6
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut room = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut self.inner).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if self.is_severed(context) => return Poll::Ready(()),
                Poll::Pending => break,
            }
            // Also while more is always there.
            if self.has_lingered(context) {
                return Poll::Ready(());
            }
        }
        match self.has_lingered(context) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn has_lingered(&mut self, context: &mut Context<'_>) -> bool {
        let sleep = || Box::pin(tokio::time::sleep(LINGER_TIMEOUT));
        let lingering = self.lingering.get_or_insert_with(sleep);
        lingering.as_mut().poll(context).is_ready()
    }
}

fn severed<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(ErrorKind::ConnectionAborted.into()))
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Pending if self.is_severed(context) => severed(),
            polled => {
                let came = &buffer.filled()[before..];
                if !came.is_empty() {
                    self.activity.note_read(came);
                }
                polled
            }
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |inner, context| inner.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |inner, context| {
            inner.poll_write_vectored(context, parts)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |inner, context| inner.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(self.write(context, |inner, context| inner.poll_shutdown(context)))?;
        }
        self.linger(context).map(Ok)
    }
}
