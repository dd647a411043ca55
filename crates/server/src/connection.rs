//! Connections that end when the server does, whatever their other side does.
//!
//! A reader that takes nothing keeps what it was sent in the connection's task, and with it the call:
//! it could neither be ended nor put on record.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// A listener whose connections can be severed.
pub(crate) struct Severable<L> {
    listener: L,
    severed: watch::Receiver<bool>,
}

/// One of its connections.
pub(crate) struct Connection<C> {
    inner: C,
    severing: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_severed: bool,
}

impl<L> Severable<L> {
    /// Connections of `listener` are severed once `severed` turns true.
    pub(crate) fn new(listener: L, severed: watch::Receiver<bool>) -> Self {
        Self { listener, severed }
    }
}

impl<L: Listener> Listener for Severable<L> {
    type Io = Connection<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (inner, address) = self.listener.accept().await;
        let connection = Connection {
            inner,
            severing: Box::pin(severing(self.severed.clone())),
            is_severed: false,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn severing(mut severed: watch::Receiver<bool>) {
    if severed.wait_for(|&severed| severed).await.is_err() {
        // Nobody is left who could.
        std::future::pending().await
    }
}

impl<C: Unpin> Connection<C> {
    /// What would have to wait fails once the connection is severed.
    fn unless_severed<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut C>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match poll(Pin::new(&mut self.inner), context) {
            Poll::Pending if self.is_severed(context) => {
                Poll::Ready(Err(ErrorKind::ConnectionAborted.into()))
            }
            polled => polled,
        }
    }

    /// If it is not, the task is woken when it is.
    fn is_severed(&mut self, context: &mut Context<'_>) -> bool {
        self.is_severed = self.is_severed || self.severing.as_mut().poll(context).is_ready();
        self.is_severed
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Connection<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.unless_severed(context, |inner, context| inner.poll_read(context, buffer))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Connection<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unless_severed(context, |inner, context| inner.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_severed(context, |inner, context| {
            inner.poll_write_vectored(context, parts)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_severed(context, |inner, context| inner.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_severed(context, |inner, context| inner.poll_shutdown(context))
    }
}
