//! On a real listener: readers who go away, streams that wait, shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_server::Door;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::common::{Server, Setup, ruleset, say, with};

pub(crate) struct Live {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<std::io::Result<()>>,
}

impl Live {
    pub(crate) async fn start(setup: Setup) -> Self {
        let (limits, tls) = (setup.connections, setup.tls.clone());
        let server = Server::with(setup).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let door = Door::open(listener, limits, tls).unwrap();
        let serving = door.lead_to(server.state.clone());
        let serving = serving.until(shutdown, std::future::pending());
        let ended = tokio::spawn(serving);
        Self {
            server,
            address,
            stop: Some(stop),
            ended,
        }
    }

    /// Tells the server to stop.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Sends a chat request and leaves the rest to the test.
    pub(crate) async fn open(&self, body: &Value) -> TcpStream {
        open(self.address, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    /// Waits until the engine is as `condition` wants it.
    pub(crate) async fn until(&self, condition: impl Fn(&portcullis_engine::EngineStatus) -> bool) {
        for _ in 0..3000 {
            if condition(&self.server.engine.status()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never came: {:?}", self.server.engine.status());
    }
}

pub(crate) async fn open(address: SocketAddr, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads until `text` has come.
pub(crate) async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    let mut buffer = [0; 4096];
    while !read.contains(text) {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the connection closed before {text:?}: {read}");
        read.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    read
}

pub(crate) fn slow() -> Setup {
    Setup {
        step_time: Duration::from_millis(5),
        max_num_seqs: 1,
        ..Setup::default()
    }
}

#[tokio::test]
async fn a_reader_who_goes_away_cancels_in_every_phase() {
    let live = Live::start(slow()).await;
    let forever = with(say("forever"), json!({"max_tokens": 400}));
    // While it streams.
    let mut first = live
        .open(&with(forever.clone(), json!({"stream": true})))
        .await;
    read_until(&mut first, "\"content\":\"a\"").await;
    // While it waits in the queue: there is room for one sequence.
    let queued = live.open(&forever).await;
    live.until(|status| status.waiting == 1).await;
    drop(queued);
    live.until(|status| status.waiting == 0).await;
    drop(first);
    live.until(|status| status.cancelled_total == 2 && status.running == 0)
        .await;
    // While a whole answer is computed.
    let whole = live.open(&forever).await;
    live.until(|status| status.running == 1).await;
    drop(whole);
    live.until(|status| status.cancelled_total == 3 && status.running == 0)
        .await;
    // While the first release of a stream is awaited: the rule holds all of it back.
    live.server
        .bind(&ruleset("enforce", "reject").replace("rules:", HOLD_ALL))
        .await;
    let held = live.open(&with(forever, json!({"stream": true}))).await;
    live.until(|status| status.running == 1).await;
    drop(held);
    live.until(|status| status.cancelled_total == 4 && status.running == 0)
        .await;
    assert_eq!(live.server.engine.status().blocks_used, 0);
}

/// Nothing is released before the end of a completion.
const HOLD_ALL: &str = "resample: {scope: completion}\nrules:";

#[tokio::test]
async fn a_silent_stream_is_kept_alive_with_comments() {
    let mut setup = Setup {
        step_time: Duration::from_millis(500),
        ..Setup::default()
    };
    setup.config.keep_alive_interval = Duration::from_millis(15);
    let live = Live::start(setup).await;
    let body = with(say("ab"), json!({"stream": true, "temperature": 0}));
    let answer = read_all(&mut live.open(&body).await).await;
    assert!(answer.contains(": keep-alive\n\n"), "{answer}");
    assert!(answer.contains("data: [DONE]\n\n"), "{answer}");
}

#[tokio::test]
async fn shutdown_finishes_what_runs_and_takes_nothing_new() {
    let mut live = Live::start(slow()).await;
    let body = with(say("forever"), json!({"max_tokens": 400, "stream": true}));
    let mut running = live.open(&body).await;
    read_until(&mut running, "\"content\":\"a\"").await;
    live.stop();
    live.until(|_| live.server.engine.is_draining()).await;
    let health = ask_and_keep(&live, "/health").await;
    for said in [
        "HTTP/1.1 503 ",
        "connection: close\r\n",
        "retry-after: 5\r\n",
        "draining",
    ] {
        assert!(health.contains(said), "{health}");
    }
    let refused = read_all(&mut live.open(&say("x")).await).await;
    assert!(
        refused.starts_with("HTTP/1.1 503") && refused.contains("draining"),
        "{refused}"
    );
    let rest = read_all(&mut running).await;
    assert!(
        rest.contains("\"finish_reason\":\"length\"") && rest.contains("[DONE]"),
        "{rest}"
    );
    live.ended.await.unwrap().unwrap();
    assert!(
        TcpStream::connect(live.address).await.is_err(),
        "the listener is closed"
    );
}

/// All that comes on a connection that the client would keep.
async fn ask_and_keep(live: &Live, path: &str) -> String {
    let mut stream = TcpStream::connect(live.address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    read_all(&mut stream).await
}

#[tokio::test]
async fn shutdown_does_not_wait_longer_than_it_is_told() {
    let mut setup = Setup {
        step_time: Duration::from_millis(50),
        ..Setup::default()
    };
    setup.config.drain_timeout = Duration::from_millis(100);
    let mut live = Live::start(setup).await;
    let body = with(say("forever"), json!({"max_tokens": 400, "stream": true}));
    let mut running = live.open(&body).await;
    read_until(&mut running, "\"content\":\"a\"").await;
    live.stop();
    let ended = tokio::time::timeout(Duration::from_secs(5), live.ended).await;
    ended
        .expect("twenty seconds of answer must not be waited for")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn many_streams_at_once_are_not_mixed_up() {
    let live = Live::start(Setup::default()).await;
    let calls = (0..48).map(|call| {
        let live = &live;
        async move {
            let text = format!("{call:02}-").repeat(call % 7 + 1);
            let body = with(say(&text), json!({"stream": true, "temperature": 0}));
            let answer = read_all(&mut live.open(&body).await).await;
            (text, said(&answer))
        }
    });
    for (asked, said) in futures::future::join_all(calls).await {
        assert_eq!(said, asked);
    }
}

/// The text of a streamed answer with its chunked transfer encoding.
pub(crate) fn said(answer: &str) -> String {
    let events = answer
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"));
    let chunks = events.map(|rest| serde_json::from_str::<Value>(&format!("{{{rest}")).unwrap());
    let text = |chunk: Value| {
        chunk["choices"][0]["delta"]["content"]
            .as_str()
            .map(str::to_owned)
    };
    chunks.filter_map(text).collect()
}
