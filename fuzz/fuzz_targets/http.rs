//! Any bytes on a connection to the real server: what comes back is HTTP, the connection ends when
//! its other side does, and others are answered as ever.
#![no_main]
#![expect(clippy::unwrap_used, reason = "what is not as expected ends the run")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{MODEL, Server};
use libfuzzer_sys::fuzz_target;
use portcullis_server::{ConnectionLimits, Door};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

#[expect(dead_code, reason = "a target uses its part of the server")]
#[path = "../../crates/server/tests/server/common.rs"]
mod common;
mod http {
    pub(crate) mod well_formed;
}

use http::well_formed::check;

/// After how many connections the server is looked at.
const CHECK_INTERVAL: u64 = 32;
/// After so much silence nothing more is expected to come.
const SILENCE: Duration = Duration::from_millis(3);
/// How long a connection may go on when its client has gone.
const END_TIMEOUT: Duration = Duration::from_secs(5);

struct World {
    _runtime: Runtime,
    server: Server,
    address: SocketAddr,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let (server, address) = runtime.block_on(async {
        let server = Server::start().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let never = std::future::pending;
        let door = Door::open(listener, ConnectionLimits::DEFAULT, None).unwrap();
        tokio::spawn(door.lead_to(server.state.clone()).until(never(), never()));
        (server, address)
    });
    World {
        _runtime: runtime,
        server,
        address,
    }
});
static RUNS: AtomicU64 = AtomicU64::new(0);

fuzz_target!(|bytes: &[u8]| {
    let bytes = harmless(bytes);
    let answer = talk(&bytes);
    if let Err(wrong) = check(&bytes, &answer) {
        panic!("{wrong}: {:?}", String::from_utf8_lossy(&answer));
    }
    if RUNS.fetch_add(1, Ordering::Relaxed) % CHECK_INTERVAL == 0 {
        check_server();
    }
});

/// The script breaks the model at one word.
fn harmless(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while let Some(at) = bytes.windows(3).position(|word| word == b"die") {
        bytes[at + 1] = b'y';
    }
    bytes
}

/// Says all of it, waits until nothing comes, and hangs up.
fn talk(bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(WORLD.address).unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    // The server may have had enough before all is said.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let is_open = read(&mut stream, &mut answer);
    if is_open && stream.shutdown(Shutdown::Write).is_ok() {
        stream.set_read_timeout(Some(END_TIMEOUT)).unwrap();
        assert!(
            !read(&mut stream, &mut answer),
            "the server does not let go"
        );
    }
    answer
}

/// Reads until nothing comes; false when nothing ever will.
fn read(stream: &mut TcpStream, answer: &mut Vec<u8>) -> bool {
    match stream.read_to_end(answer) {
        Ok(_) => false,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// A plain call is answered as ever, and nothing is left of the others.
fn check_server() {
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "plain"}],
                      "temperature": 0})
    .to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                connection: close";
    let mut stream = TcpStream::connect(WORLD.address).unwrap();
    let len = body.len();
    write!(stream, "{head}\r\ncontent-length: {len}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let is_answered = answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"plain\"");
    assert!(is_answered, "{answer}");
    for _ in 0..500 {
        if WORLD.server.engine.status().blocks_used == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("blocks are left: {:?}", WORLD.server.engine.status());
}
