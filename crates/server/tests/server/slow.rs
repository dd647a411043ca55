//! Clients that are slow, silent, too many or too loud: each gets its answer or its end in time, and
//! its neighbours do not notice.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_server::ConnectionLimits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Setup, say, with};
use crate::listener::{Live, read_all, read_until};

/// Much shorter than anybody would want it.
fn impatient() -> Setup {
    let mut setup = Setup {
        connections: ConnectionLimits {
            header_timeout: ms(300),
            idle_timeout: ms(2000),
            write_timeout: ms(600),
            ..ConnectionLimits::DEFAULT
        },
        ..Setup::default()
    };
    setup.config.body_timeout = ms(400);
    setup
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What comes until the server closes, which it is to do within five seconds, and when that was.
async fn rest(stream: &mut TcpStream) -> (String, Duration) {
    let began = Instant::now();
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes))
        .await
        .expect("the server closes the connection");
    (String::from_utf8(bytes).unwrap(), began.elapsed())
}

#[tokio::test]
async fn a_header_that_trickles_is_cut_off() {
    let live = Live::start(impatient()).await;
    let mut stream = TcpStream::connect(live.address).await.unwrap();
    let began = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        for byte in b"GET /live HTTP/1.1\r\nx-slow: ".iter().chain([&b'x'; 100]) {
            if writer.write_all(&[*byte]).await.is_err() {
                // It was cut off, as the reader will see.
                std::future::pending::<()>().await;
            }
            sleep(ms(50)).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = trickle => panic!("the header went on for {:?}", began.elapsed()),
        _ = reader.read_to_end(&mut answer) => {}
    }
    assert!(answer.is_empty() && began.elapsed() >= ms(300));
    assert!(live.get("/live").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_trickles_gets_a_408_in_our_words() {
    let live = Live::start(impatient()).await;
    let mut stream = TcpStream::connect(live.address).await.unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\
                content-type: application/json\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        while writer.write_all(b" ").await.is_ok() {
            sleep(ms(50)).await;
        }
        std::future::pending().await
    };
    let mut answer = vec![0; 4096];
    let count = tokio::select! {
        () = trickle => unreachable!("it never ends"),
        count = reader.read(&mut answer) => count.unwrap(),
    };
    let answer = String::from_utf8_lossy(&answer[..count]);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.contains("\"code\":\"body_timeout\""), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_call_is_not() {
    let live = Live::start(Setup {
        step_time: ms(40),
        ..impatient()
    })
    .await;
    let mut silent = TcpStream::connect(live.address).await.unwrap();
    let (said, after) = rest(&mut silent).await;
    assert_eq!(said, "");
    assert!(after >= ms(1800), "closed after {after:?}");
    // Sixty steps of forty milliseconds are longer than any of the timeouts.
    let body = with(say("forever"), json!({"max_tokens": 60}));
    let answer = read_all(&mut live.open(&body).await).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The same between two requests.
    let mut kept = TcpStream::connect(live.address).await.unwrap();
    kept.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut kept, "ok").await;
    sleep(ms(600)).await;
    kept.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut kept, "ok").await;
    let (said, after) = rest(&mut kept).await;
    assert_eq!(said, "");
    assert!(after >= ms(1800), "closed after {after:?}");
}

/// Much to send, in a moment.
fn much() -> serde_json::Value {
    let options = json!({"max_tokens": 400, "n": 8, "stream": true, "logprobs": true,
                         "top_logprobs": 20});
    with(say("forever"), options)
}

#[tokio::test]
async fn a_reader_who_takes_nothing_is_cut_off() {
    let live = Live::start(impatient()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    let mut stream = socket.connect(live.address).await.unwrap();
    let body = with(much(), json!({"n": 1})).to_string();
    // As many calls as it takes to fill what the operating system holds.
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let flood = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    timeout(Duration::from_secs(60), flood)
        .await
        .expect("the connection is cut off, so that writing fails");
    live.until(|status| status.running == 0 && status.blocks_used == 0)
        .await;
}

#[tokio::test]
async fn a_reader_of_http2_who_takes_nothing_of_one_answer_is_cut_off() {
    let mut setup = impatient();
    // What is closed here is one answer, not the connection.
    setup.connections.idle_timeout = ms(60_000);
    let live = Live::start(setup).await;
    let stream = TcpStream::connect(live.address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1024)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = |body: serde_json::Value| {
        hyper::Request::post(format!("http://{}/v1/chat/completions", live.address))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap()
    };
    let untaken = client.send_request(request(much())).await.unwrap();
    assert_eq!(untaken.status(), 200);
    // Twice the timeout, and what a busy machine takes besides.
    sleep(ms(4000)).await;
    // The connection is as good as before.
    let other = client
        .send_request(request(with(say("hi"), json!({"temperature": 0}))))
        .await
        .unwrap();
    assert_eq!(other.status(), 200);
    let read = other.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&read).contains("hi"));
    let read = untaken.into_body().collect().await;
    assert!(read.is_err(), "the answer was cut off");
    live.until(|status| status.running == 0 && status.blocks_used == 0)
        .await;
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_finds_all_seats_taken_waits_for_one() {
    let mut setup = impatient();
    setup.connections.max_connections = 3;
    let live = Live::start(setup).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(TcpStream::connect(live.address).await.unwrap());
    }
    let late = live.get("/live");
    tokio::pin!(late);
    let early = timeout(ms(300), late.as_mut()).await;
    assert!(early.is_err(), "a fourth was answered: {early:?}");
    kept.pop();
    assert!(late.await.starts_with("HTTP/1.1 200"));
    // Nor do idle ones keep their seats for good.
    kept.push(TcpStream::connect(live.address).await.unwrap());
    let freed = timeout(Duration::from_secs(10), live.get("/live")).await;
    assert!(freed.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_huge_header_gets_431_and_harms_nobody() {
    let live = Live::start(Setup::default()).await;
    let mut stream = TcpStream::connect(live.address).await.unwrap();
    let head = format!(
        "GET /live HTTP/1.1\r\nhost: x\r\nx-big: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_all(&mut stream).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(
        lines.next(),
        Some("HTTP/1.1 431 Request Header Fields Too Large")
    );
    let date = |line: &&str| !line.starts_with("date:");
    let lines: Vec<_> = lines.filter(date).collect();
    assert_eq!(lines, ["connection: close", "content-length: 0"]);
    assert_eq!(body, "");
    assert!(live.get("/live").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_is_too_large_gets_its_413_though_all_of_it_is_sent() {
    let mut setup = Setup::default();
    setup.config.max_body_bytes = 64 << 10;
    let live = Live::start(setup).await;
    let mut stream = TcpStream::connect(live.address).await.unwrap();
    // More than the two ends of a connection hold, and read away in a fraction of a second.
    let len = 8 << 20;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {len}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; len]).await.unwrap();
    let (answer, _) = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("body_too_large"), "{answer}");
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_on_one_port() {
    let live = Live::start(Setup::default()).await;
    assert!(live.get("/live").await.starts_with("HTTP/1.1 200"));
    let stream = TcpStream::connect(live.address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get(format!("http://{}/live", live.address));
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.version(), hyper::Version::HTTP_2);
    assert_eq!(answer.status(), 200);
}
