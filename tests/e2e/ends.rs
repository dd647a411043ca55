//! Calls that do not come to their end: the server is told to stop, or the client goes away. Each is
//! on record as what it was.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use portcullis_ledger::Outcome;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::calls::{Ask, Ended, Heard, Listening, Manner};
use crate::ledger::Ledger;
use crate::server::{Server, new_key, quick_folder, serve};

/// A server under way, and how to ask it.
struct World {
    server: Server,
    client: reqwest::Client,
    key: String,
    folder: TempDir,
}

impl World {
    fn start(drain_timeout: &str) -> Self {
        let folder = quick_folder();
        let mut command = serve(folder.path());
        command.args(["--drain-timeout", drain_timeout]);
        let server = Server::from(command);
        let key = std::fs::read_to_string(folder.path().join("demo/inference.key")).unwrap();
        Self {
            server,
            client: reqwest::Client::new(),
            key: key.trim().to_owned(),
            folder,
        }
    }

    fn ask(&self, seed: u64, tokens: usize) -> Ask {
        Ask {
            key: self.key.clone(),
            text: "Tell me about the Growth Fund",
            seed,
            choices: 1 + seed as usize % 2,
            tokens: Some(tokens),
        }
    }

    /// Under rules there are no log-probabilities.
    async fn unbind_rules(&self) {
        let (_, admin) = new_key(self.folder.path(), "admin", "tests");
        let delete = reqwest::Method::DELETE;
        let path = "/v1/rulesets/demo-bank/bindings?deployment=demo";
        let (status, answer) = self.server.send(delete, path, &admin, "").await;
        assert_eq!(status, 204, "{answer}");
    }

    /// Streams of so many tokens, of each of which some text is there.
    async fn begin(&self, streams: u64, tokens: usize) -> Vec<Listening> {
        let mut begun = Vec::new();
        for seed in 0..streams {
            let ask = self.ask(seed, tokens);
            begun.push(ask.begin(&self.client, &self.server.url).await);
        }
        begun
    }

    /// The ledger of the server, which is to end well and in time.
    async fn ledger_after(self, patience: Duration) -> (Ledger, TempDir) {
        let Self { server, folder, .. } = self;
        let ended = server.ended_within(patience).await;
        assert!(ended.success(), "{ended}");
        (ledger_of_next_start(folder.path()).await, folder)
    }

    /// Until the server has seen the first signal.
    async fn until_it_drains(&self) {
        for _ in 0..3000 {
            let get = reqwest::Method::GET;
            if self.server.send(get, "/health", "", "").await.0 == 503 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the signal changed nothing");
    }

    /// The ledger, once the call is closed.
    async fn ledger_once_closed(&self, heard: &Heard) -> Ledger {
        for _ in 0..200 {
            let ledger = Ledger::read(self.folder.path(), None).await;
            if !ledger.of(heard).closed.is_empty() {
                return ledger;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("no end is on record: {heard:?}");
    }
}

/// Whatever the last server left open is on record as crashed then.
async fn ledger_of_next_start(data_dir: &Path) -> Ledger {
    Server::start(data_dir).kill();
    let ledger = Ledger::read(data_dir, None).await;
    assert_eq!(ledger.report.under_way, 0);
    ledger
}

async fn rest_of_all(streams: Vec<Listening>) -> Vec<Heard> {
    futures::future::join_all(streams.into_iter().map(Listening::rest)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_finish_after_sigterm_and_are_on_record_so() {
    let world = World::start("60s");
    let streams = world.begin(4, 800).await;
    world.server.terminate();
    let manner = Manner {
        stream: false,
        patience: None,
    };
    let late = world.ask(9, 4);
    let mut refused = late.call(&world.client, &world.server.url, manner).await;
    while refused.status == Some(200) {
        refused = late.call(&world.client, &world.server.url, manner).await;
    }
    assert_eq!(refused.error().unwrap()["code"], "draining");
    assert_eq!(refused.record, None);
    let heard = rest_of_all(streams).await;
    let (ledger, _folder) = world.ledger_after(Duration::from_secs(10)).await;
    for heard in &heard {
        assert_eq!((heard.end, heard.error()), (Ended::Complete, None));
        let end = ledger.of(heard).end();
        assert_eq!(end.outcome, Outcome::Finished);
        ledger.check_released(heard, &heard.choices()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_the_drain_timeout_cuts_off_are_on_record_as_cancelled() {
    let world = World::start("300ms");
    let streams = world.begin(4, 1900).await;
    world.server.terminate();
    check_cancelled(world, streams).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_a_second_sigterm_cuts_off_are_on_record_as_cancelled() {
    let world = World::start("60s");
    let streams = world.begin(4, 1900).await;
    world.server.terminate();
    // Two signals that come together are one.
    world.until_it_drains().await;
    world.server.terminate();
    check_cancelled(world, streams).await;
}

/// Each stream ends with an error, and what its client heard is all that was released.
async fn check_cancelled(world: World, streams: Vec<Listening>) {
    let heard = rest_of_all(streams).await;
    let (ledger, _folder) = world.ledger_after(Duration::from_secs(10)).await;
    for heard in &heard {
        assert_eq!(heard.end, Ended::Complete, "{heard:?}");
        assert!(heard.is_done());
        assert_eq!(heard.error().unwrap()["code"], "draining");
        let end = ledger.of(heard).end();
        assert_eq!(end.outcome, Outcome::Cancelled);
        assert!(end.usage.prompt > 0 && end.usage.released > 0, "{end:?}");
        ledger.check_released(heard, &heard.choices()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_holds_up_no_shutdown_and_is_on_record() {
    let world = World::start("300ms");
    world.unbind_rules().await;
    let ask = Ask {
        choices: 8,
        ..world.ask(0, 1900)
    };
    let stuck = send_and_read_nothing(&world.server.url, &ask).await;
    sleep(Duration::from_secs(3)).await;
    world.server.terminate();
    let (ledger, _folder) = world.ledger_after(Duration::from_secs(10)).await;
    let outcomes: Vec<_> = ledger.calls.values().map(|it| it.end().outcome).collect();
    assert_eq!(outcomes, [Outcome::Cancelled]);
    drop(stuck);
}

/// Through a connection that holds as little as can be.
async fn send_and_read_nothing(url: &str, ask: &Ask) -> TcpStream {
    let address: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    let mut connection = socket.connect(address).await.unwrap();
    let mut body = ask.body(true);
    // Much to send.
    body["logprobs"] = true.into();
    body["top_logprobs"] = 20.into();
    let (body, key) = (body.to_string(), &ask.key);
    let mut request = Vec::new();
    write!(
        request,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    connection.write_all(&request).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_is_on_record_with_what_it_got() {
    let world = World::start("60s");
    let known = world.begin(2, 1900).await;
    let known = rest_of_all(known).await;
    for (seed, known) in (0..).zip(&known) {
        let stream = world.ask(seed, 1900);
        let heard = stream.begin(&world.client, &world.server.url).await.leave();
        let ledger = world.ledger_once_closed(&heard).await;
        let end = ledger.of(&heard).end();
        assert_eq!(end.outcome, Outcome::ClientGone);
        ledger.check_released(&heard, &known.choices()).await;
        let released: u64 = end.choices.iter().map(|it| it.released_bytes).sum();
        assert!(released > 0 && end.usage.released > 0, "{end:?}");
        let all = ledger.of(known).end();
        assert_eq!(end.usage.prompt, all.usage.prompt);
        assert!(
            end.usage.released < all.usage.released,
            "it was computed on"
        );
    }
}
