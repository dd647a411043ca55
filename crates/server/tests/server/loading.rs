//! What the port answers before the model is there.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_server::{ConnectionLimits, Door};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::common::{Server, say};
use crate::listener::{read_all, read_until};

async fn door() -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Door::open(listener, ConnectionLimits::DEFAULT, None).unwrap()
}

/// The head of the answer in lower case, and its body.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_all(&mut stream).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn a_server_that_loads_is_alive_and_not_ready() {
    let door = door().await;
    let address = door.address();
    for path in ["/", "/live", "/version", "/v1/models"] {
        let (head, body) = ask(address, "GET", path, "").await;
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        assert!(head.contains("x-request-id: req_"), "{path}: {head}");
        if path == "/v1/models" {
            let list: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(list, json!({"object": "list", "data": []}));
        }
    }
    let call = say("hi").to_string();
    for (method, path, body) in [
        ("GET", "/health", ""),
        ("GET", "/metrics", ""),
        ("POST", "/v1/chat/completions", &*call),
        ("POST", "/v1/completions", &*call),
        ("GET", "/v1/keys", ""),
        ("GET", "/v1/models/parrot", ""),
    ] {
        let (head, body) = ask(address, method, path, body).await;
        assert!(head.starts_with("http/1.1 503"), "{path}: {head}");
        assert!(head.contains("retry-after: 5"), "{path}: {head}");
        let error: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(error["error"]["code"], "loading", "{path}");
        assert_eq!(error["error"]["type"], "service_unavailable", "{path}");
    }
}

#[tokio::test]
async fn who_came_while_it_loaded_is_served_when_it_is_ready() {
    let door = door().await;
    let mut early = TcpStream::connect(door.address()).await.unwrap();
    let question = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    early.write_all(question).await.unwrap();
    read_until(&mut early, "loading").await;
    let server = Server::start().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let serving = door.lead_to(server.state.clone());
    let serving = tokio::spawn(serving.until(shutdown, std::future::pending()));
    // Only the task above can say when.
    tokio::time::sleep(Duration::from_millis(100)).await;
    early.write_all(question).await.unwrap();
    let answer = read_until(&mut early, "}").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_gives_up_loading_closes_its_port() {
    let door = door().await;
    let address = door.address();
    let mut early = TcpStream::connect(address).await.unwrap();
    early
        .write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut early, "ok").await;
    drop(door);
    assert_eq!(read_all(&mut early).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}
