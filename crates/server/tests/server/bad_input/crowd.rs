//! A server with streams under way, which whatever else it is sent must not harm.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_text::ToolFormat;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::common::{Server, Setup, say, with};
use crate::listener::{Live, open, read_all, read_until, said};

/// Streams that are under way at any time.
const STREAMS: usize = 16;

/// Sixteen clients that read one stream after the other, and want each to the letter.
pub(crate) struct Crowd {
    live: Live,
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    pub(crate) async fn gather() -> Self {
        Self::with(Setup::default()).await
    }

    /// Around a server whose model can call tools.
    pub(crate) async fn with_tools() -> Self {
        let mut setup = Setup::default();
        setup.config.tool_format = Some(ToolFormat::Hermes);
        Self::with(setup).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let live = Live::start(Setup {
            step_time: Duration::from_millis(2),
            max_num_seqs: STREAMS + 8,
            ..setup
        })
        .await;
        let is_over = Arc::new(AtomicBool::new(false));
        let (begun, mut all_begun) = mpsc::channel(STREAMS);
        let clients = (0..STREAMS)
            .map(|number| {
                tokio::spawn(read_on(
                    live.address,
                    number,
                    begun.clone(),
                    Arc::clone(&is_over),
                ))
            })
            .collect();
        drop(begun);
        for _ in 0..STREAMS {
            let begun = timeout(Duration::from_secs(60), all_begun.recv()).await;
            begun.expect("in time").expect("each stream begins");
        }
        Self {
            live,
            is_over,
            clients,
        }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.live.server
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// All streams, those under way and those before, said what they had to; nothing is left.
    pub(crate) async fn see_unharmed(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let all_gone = |status: &portcullis_engine::EngineStatus| {
            (status.running, status.waiting, status.blocks_used) == (0, 0, 0)
        };
        self.live.until(all_gone).await;
        assert_eq!(self.live.server.engine.status().failed_total, 0);
    }
}

/// At least one stream, and more until it is over.
async fn read_on(
    address: SocketAddr,
    number: usize,
    begun: mpsc::Sender<()>,
    is_over: Arc<AtomicBool>,
) {
    let text = format!("{number:02}-").repeat(30 + number);
    let body = with(say(&text), json!({"stream": true, "temperature": 0}));
    let mut begun = Some(begun);
    loop {
        let mut stream = open(address, &body).await;
        let mut answer = read_until(&mut stream, "data: ").await;
        if let Some(begun) = begun.take() {
            begun.send(()).await.expect("somebody waits for it");
        }
        answer += &read_all(&mut stream).await;
        assert_eq!(said(&answer), text, "a stream came to harm: {answer}");
        if is_over.load(Ordering::Relaxed) {
            return;
        }
    }
}
