//! One connection: its requests are answered until one side has had enough of the other.
//!
//! A reader that takes nothing keeps what it was sent in the connection's task, and with it the call:
//! it could neither be ended nor put on record. So a write that makes no progress fails after a while,
//! and at once when the server ends; the answer is dropped with it, and with the answer the call.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Version;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::activity::{Activity, Overdue};
use crate::config::ConnectionLimits;
use crate::door::Front;
use crate::guarded::Guarded;
use crate::sending::{sent_in_time, while_sent};
use crate::tls::Tls;

/// How long a connection that was told to close may take to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an HTTP/2 connection on which nothing comes is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How far the end of the server has come. Connections follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Requests are answered.
    Open,
    /// Answers that are under way are sent, then connections close.
    Closing,
    /// What would have to wait fails.
    Severed,
}

/// What all connections share.
pub(crate) struct Protocols {
    builder: auto::Builder<TokioExecutor>,
    limits: ConnectionLimits,
    tls: Option<Tls>,
    front: Arc<Front>,
    stage: watch::Receiver<Stage>,
}

impl Protocols {
    pub(crate) fn new(
        limits: ConnectionLimits,
        tls: Option<Tls>,
        front: Arc<Front>,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        Self {
            builder: builder(&limits),
            limits,
            tls,
            front,
            stage,
        }
    }

    pub(crate) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.clone()
    }

    /// Answers the requests of one connection until it ends.
    pub(crate) async fn serve(&self, stream: TcpStream) {
        let Some(tls) = &self.tls else {
            return self.answer(stream).await;
        };
        let handshake = tokio::select! {
            shaken = timeout(self.limits.header_timeout, tls.shake_hands(stream)) => shaken,
            () = reached(self.stage(), Stage::Closing) => return,
        };
        if let Ok(Some(stream)) = handshake {
            self.answer(stream).await;
        }
    }

    async fn answer<C>(&self, stream: C)
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Activity::new();
        let io = Guarded::new(
            stream,
            Arc::clone(&activity),
            self.limits.write_timeout,
            reached(self.stage(), Stage::Severed),
        );
        let service = service_fn(|request| self.respond(&activity, request));
        let connection = self.builder.serve_connection(TokioIo::new(io), service);
        let mut connection = pin!(connection);
        let overdue = activity.overdue(&self.limits);
        tokio::select! {
            // In this order: see `Patience`.
            biased;
            ended = connection.as_mut() => return note(ended),
            overdue = overdue => {
                tracing::debug!(?overdue, "a connection took too long");
                if overdue == Overdue::Header {
                    return;
                }
            }
            () = reached(self.stage(), Stage::Closing) => {}
        }
        connection.as_mut().graceful_shutdown();
        self.say_goodbye(connection, &activity).await;
    }

    /// Answers that are under way may finish; afterwards little time is left.
    async fn say_goodbye(
        &self,
        mut connection: Pin<&mut impl Future<Output = Ended>>,
        activity: &Arc<Activity>,
    ) {
        let limits = ConnectionLimits {
            idle_timeout: GOODBYE_TIMEOUT,
            ..self.limits
        };
        tokio::select! {
            biased;
            ended = connection.as_mut() => note(ended),
            _ = activity.overdue(&limits) => {}
        }
    }

    fn respond(
        &self,
        activity: &Arc<Activity>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
        let answering = activity.begin();
        let timeout = self.limits.write_timeout;
        let is_http2 = request.version() == Version::HTTP_2;
        let response = self.front.router().oneshot(request.map(Body::new));
        async move {
            let response = response.await?;
            Ok(match is_http2 {
                true => response.map(|body| sent_in_time(body, timeout, answering)),
                false => response.map(|body| while_sent(body, answering)),
            })
        }
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn builder(limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // hyper's own timeout for headers is left off: it runs while a connection is idle, too.
    builder.http1().max_buf_size(limits.max_header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(limits.write_timeout);
    builder
}

/// Resolves once the server's end has come so far.
pub(crate) async fn reached(mut stage: watch::Receiver<Stage>, wanted: Stage) {
    // Without anybody who could move it on, it is over.
    let _ = stage.wait_for(|&stage| stage >= wanted).await;
}

/// Connections end in many ways, and few of them are the server's concern.
fn note(ended: Ended) {
    if let Err(error) = ended {
        let cause = error
            .source()
            .and_then(|cause| cause.downcast_ref::<io::Error>());
        match cause.map(io::Error::kind) {
            Some(io::ErrorKind::TimedOut) => {
                tracing::info!("a reader took nothing for too long; its connection is closed")
            }
            _ => tracing::debug!(%error, "a connection ended early"),
        }
    }
}
