//! The door of the server: a listener that answers from its first moment on.
//!
//! While the model loads there is little to say, and that is said ([`crate::routes::loading`]). Then
//! the whole server takes over, for connections that are open already as well.
//!
//! Where all seats are taken the door waits rather than refusing: the operating system keeps who
//! comes in its queue, which costs nothing here, and seats become free as idle connections time out.
//! An answer of 503 would need a seat of its own, and under TLS a handshake.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

use crate::config::ConnectionLimits;
use crate::connection::{Protocols, Stage, reached};
use crate::routes::loading;
use crate::tls::Tls;

/// How long nothing is accepted after that has failed because files or memory ran out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// After how much silence the operating system asks whether the other side is still there.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// A listener whose connections are answered. Dropping it closes it and all of them.
pub struct Door {
    address: SocketAddr,
    front: Arc<Front>,
    stage: watch::Sender<Stage>,
    seats: Seats,
    accepting: JoinHandle<()>,
}

/// What answers: at first who waits for the model, then the server.
pub(crate) struct Front {
    loading: Router,
    ready: OnceLock<Router>,
}

impl Front {
    pub(crate) fn router(&self) -> Router {
        self.ready.get().unwrap_or(&self.loading).clone()
    }
}

impl Door {
    /// Begins to answer, in tasks of the runtime that this is called in; with `tls` to who speaks TLS
    /// alone.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn open(
        listener: TcpListener,
        limits: ConnectionLimits,
        tls: Option<Tls>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let front = Arc::new(Front {
            loading: loading(),
            ready: OnceLock::new(),
        });
        let (stage, follow) = watch::channel(Stage::Open);
        let seats = Seats::new(limits.max_connections);
        let protocols = Protocols::new(limits, tls.clone(), Arc::clone(&front), follow);
        let accepting = tokio::spawn(accept(listener, seats.clone(), Arc::new(protocols), tls));
        Ok(Self {
            address,
            front,
            stage,
            seats,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `router` answers.
    pub(crate) fn answer_with(&self, router: Router) {
        // Once it was ready it never loads again.
        let _ = self.front.ready.set(router);
    }

    /// Resolves when it has failed, which only a bug can do.
    pub(crate) async fn failed(&mut self) -> io::Error {
        match (&mut self.accepting).await {
            Ok(()) => io::Error::other("the listener was closed"),
            Err(panic) => io::Error::other(panic),
        }
    }

    /// Fails what waits for its reader.
    pub(crate) fn sever(&self) {
        self.stage.send_replace(Stage::Severed);
    }

    /// Accepts nothing more and closes each connection once its answers are sent, severing those
    /// that are not within `timeout`.
    pub(crate) async fn close(self, timeout: Duration) {
        self.stage.send_if_modified(|stage| {
            *stage < Stage::Closing && {
                *stage = Stage::Closing;
                true
            }
        });
        if tokio::time::timeout(timeout, self.seats.all_left())
            .await
            .is_err()
        {
            tracing::warn!("some connections were still open when the server stopped");
            self.sever();
        }
        // It was told to end; if it panicked, the log has it.
        drop(self.accepting.await);
    }
}

async fn accept(listener: TcpListener, seats: Seats, protocols: Arc<Protocols>, tls: Option<Tls>) {
    let closing = reached(protocols.stage(), Stage::Closing);
    let accepting = async {
        loop {
            let seat = seats.take().await;
            let stream = next(&listener).await;
            let protocols = Arc::clone(&protocols);
            tokio::spawn(async move {
                protocols.serve(stream).await;
                drop(seat);
            });
        }
    };
    tokio::select! {
        () = closing => {}
        never = accepting => never,
        () = follow_files(tls) => {}
    }
}

async fn follow_files(tls: Option<Tls>) {
    match tls {
        Some(tls) => tls.follow_files().await,
        None => std::future::pending().await,
    }
}

async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match prepare(&stream) {
                Ok(()) => return stream,
                Err(error) => tracing::debug!(%error, "a connection ended as it began"),
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(
                    %error,
                    "no connection can be accepted for now; if files ran out, raise `ulimit -n` or \
                     lower --max-connections"
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // The events of a stream are small: they must not wait for one another (Nagle's algorithm).
    stream.set_nodelay(true)?;
    // A call may be silent for long; a reader who is gone without a word is noticed all the same.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// accept(2) also reports what happened to a connection before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

/// A bound on open connections.
#[derive(Clone)]
struct Seats {
    free: Arc<Semaphore>,
    all: u32,
}

impl Seats {
    fn new(all: u32) -> Self {
        let free = Arc::new(Semaphore::new(all as usize));
        Self { free, all }
    }

    async fn take(&self) -> OwnedSemaphorePermit {
        let seat = Arc::clone(&self.free).acquire_owned().await;
        seat.expect("the semaphore is never closed")
    }

    async fn all_left(&self) {
        let seats = self.free.acquire_many(self.all).await;
        drop(seats.expect("the semaphore is never closed"));
    }
}
