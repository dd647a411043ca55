//! What the real binary tells of its calls, in its log and to who collects traces; and what not.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::server::{Server, quick_folder, serve};

/// Stands in a prompt and must be told to nobody.
const SECRET: &str = "pineapple-seventeen";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn key(folder: &std::path::Path) -> String {
    let key = fs::read_to_string(folder.join("demo/inference.key")).unwrap();
    key.trim().to_owned()
}

async fn ask(server: &Server, key: &str, stream: bool) {
    let body = json!({"model": "demo", "max_tokens": 5, "seed": 1, "stream": stream,
                      "messages": [{"role": "user", "content": SECRET}]});
    let answer = reqwest::Client::new()
        .post(format!("{}/v1/chat/completions", server.url))
        .bearer_auth(key)
        .header("x-request-id", "told-by-a-test")
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer.bytes().await.unwrap());
}

/// Requests whose names would forge a line or colour one.
async fn attack(server: &Server, key: &str) {
    let evil = "x\r\n2026-01-01T00:00:00Z ERROR forged \u{1b}[31mred\u{7}";
    let path = "%0d%0a2026-01-01T00:00:00Z%20ERROR%20forged%1b[31m";
    let client = reqwest::Client::new();
    let models = format!("{}/v1/models/{path}", server.url);
    drop(client.get(models).bearer_auth(key).send().await.unwrap());
    for field in ["model", "user", "tool_choice"] {
        let mut body = json!({"model": "demo", "messages": [{"role": "user", "content": "hi"}],
                              "max_tokens": 1});
        body[field] = evil.into();
        let url = format!("{}/v1/chat/completions?key={evil}", server.url);
        let request = client.post(url).bearer_auth(key).json(&body);
        drop(request.send().await.unwrap());
    }
    // What no client library would send.
    let (_, address) = server.url.split_once("://").unwrap();
    let address: SocketAddr = address.parse().unwrap();
    for id in ["a\u{1b}[31m", "a b forged", "\u{9b}31m", "a\tforged"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /live HTTP/1.1\r\nhost: x\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(stream.read_to_end(&mut Vec::new()).await);
    }
}

/// The log of a server that was asked and attacked.
async fn log(format: &str) -> (String, String) {
    let folder = quick_folder();
    let path = folder.path().join("log");
    let mut command = serve(folder.path());
    command.args(["--log-format", format, "--log-level", "trace"]);
    let server = Server::logging_to(command, File::create(&path).unwrap());
    let key = key(folder.path());
    for stream in [false, true] {
        ask(&server, &key, stream).await;
    }
    attack(&server, &key).await;
    server.terminate();
    assert!(server.ended_within(Duration::from_secs(10)).await.success());
    (fs::read_to_string(path).unwrap(), key)
}

fn check_nothing_forged(log: &str, key: &str) {
    assert!(!log.contains(SECRET), "a prompt is in the log");
    assert!(!log.contains(key), "a key is in the log");
    for line in log.lines() {
        let is_plain = !line.contains(|c: char| c.is_control() && c != '\t');
        assert!(is_plain, "{line:?}");
        assert!(!line.starts_with("2026-01-01T00:00:00Z"), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_text_is_one_line_an_event() {
    let (log, key) = log("text").await;
    check_nothing_forged(&log, &key);
    for line in log.lines() {
        let is_dated = line.len() > 20 && line.as_bytes()[10] == b'T' && line.starts_with("20");
        assert!(is_dated, "{line:?}");
    }
    let ended: Vec<_> = log.lines().filter(|line| line.ends_with("ended")).collect();
    assert!(ended.len() >= 2, "{ended:?}");
    for part in [
        "id=\"told-by-a-test\"",
        "route=\"/v1/chat/completions\"",
        "model=demo",
        TRACE,
    ] {
        assert!(ended[0].contains(part), "{part}: {}", ended[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_json_says_what_a_call_came_to() {
    let (log, key) = log("json").await;
    check_nothing_forged(&log, &key);
    let events: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ended = events
        .iter()
        .find(|event| event["fields"]["message"] == "ended")
        .unwrap();
    let span = |name: &str| {
        let spans = ended["spans"].as_array().unwrap();
        spans
            .iter()
            .find(|span| span["name"] == name)
            .unwrap()
            .clone()
    };
    let (request, generation) = (span("request"), span("generate"));
    assert_eq!(request["id"], "told-by-a-test");
    assert_eq!(request["trace_id"], TRACE);
    assert_eq!(generation["model"], "demo");
    assert_eq!(generation["completion_tokens"], 5);
    assert_eq!(generation["finish_reason"], "length");
    assert!(generation["prompt_tokens"].as_u64().unwrap() > 0);
    assert!(generation["record_id"].as_str().unwrap().len() > 8);
    let timed = events
        .iter()
        .find(|event| event["fields"]["message"] == "a choice ended")
        .unwrap();
    for part in ["queue_ms", "prefill_ms", "decode_ms", "gate_ms"] {
        assert!(timed["fields"][part].as_f64().unwrap() >= 0.0, "{part}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_go_to_a_collector_in_the_trace_of_the_caller() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (took, mut taken) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(collect(stream, took.clone()));
        }
    });
    let folder = quick_folder();
    let mut command = serve(folder.path());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
    let server = Server::from(command);
    let key = key(folder.path());
    ask(&server, &key, true).await;
    // The last batch is sent before it ends.
    server.terminate();
    assert!(server.ended_within(Duration::from_secs(10)).await.success());
    let mut all = Vec::new();
    while let Ok(Some((head, body))) = timeout(Duration::from_secs(5), taken.recv()).await {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("application/x-protobuf"), "{head}");
        all.extend(body);
    }
    let has = |bytes: &[u8]| all.windows(bytes.len()).any(|window| window == bytes);
    for text in [
        "portcullis",
        "request",
        "validate",
        "generate",
        "record",
        "told-by-a-test",
        "a choice ended",
        "gate_ms",
    ] {
        assert!(has(text.as_bytes()), "{text} is not among what was sent");
    }
    let trace: Vec<u8> = (0..16)
        .map(|i| u8::from_str_radix(&TRACE[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    assert!(has(&trace), "the spans are in another trace");
    assert!(
        has(&0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()),
        "the caller's span is no parent"
    );
    assert!(!has(SECRET.as_bytes()), "a prompt was sent");
    assert!(!has(key.as_bytes()), "a key was sent");
}

/// Takes the requests of one connection.
async fn collect(mut stream: TcpStream, took: mpsc::Sender<(String, Vec<u8>)>) {
    let mut read = Vec::new();
    loop {
        while let Some((head, len)) = head_of(&read) {
            let total = head.len() + 4 + len;
            if read.len() < total {
                break;
            }
            let body = read[head.len() + 4..total].to_vec();
            read.drain(..total);
            took.send((head, body)).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n\
                           content-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// A whole head and how long its body is.
fn head_of(read: &[u8]) -> Option<(String, usize)> {
    let end = read.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let len = head.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    Some((head, len.unwrap_or(0)))
}
