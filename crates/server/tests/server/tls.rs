//! TLS: both versions of HTTP, others that do not speak it, and certificates that change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_server::{ConnectionLimits, Tls, TlsFiles};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::Setup;
use crate::listener::Live;

type Pair = CertifiedKey<KeyPair>;

fn pair() -> Pair {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    }
}

fn put(dir: &Path, pair: &Pair) {
    let TlsFiles { cert, key } = files(dir);
    std::fs::write(cert, pair.cert.pem()).unwrap();
    std::fs::write(key, pair.signing_key.serialize_pem()).unwrap();
}

/// A live server with a certificate, and the folder that this lies in.
async fn start() -> (Live, Tls, Pair, TempDir) {
    start_with(ConnectionLimits::DEFAULT).await
}

async fn start_with(connections: ConnectionLimits) -> (Live, Tls, Pair, TempDir) {
    let (dir, pair) = (tempfile::tempdir().unwrap(), pair());
    put(dir.path(), &pair);
    let tls = Tls::load(files(dir.path())).unwrap();
    let live = Live::start(Setup {
        tls: Some(tls.clone()),
        connections,
        ..Setup::default()
    })
    .await;
    (live, tls, pair, dir)
}

/// A connection of a client that trusts `pair` alone.
async fn connect(live: &Live, pair: &Pair, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(live.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn live(stream: &mut TlsStream<TcpStream>) -> String {
    let request = b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = [0; 1024];
    let count = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test]
async fn both_versions_of_http_are_offered() {
    let (server, _tls, pair, _dir) = start().await;
    let mut one = connect(&server, &pair, &["http/1.1"]).await.unwrap();
    assert!(live(&mut one).await.starts_with("HTTP/1.1 200"));
    let two = connect(&server, &pair, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(two.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = hyper_util::rt::TokioIo::new(two);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("https://localhost/live").body(String::new());
    let answer = client.send_request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    // A client that knows no ALPN gets what it asks for.
    let mut none = connect(&server, &pair, &[]).await.unwrap();
    assert!(live(&mut none).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn who_does_not_shake_hands_holds_up_nobody_and_goes() {
    let (server, _tls, pair, _dir) = start_with(ConnectionLimits {
        header_timeout: Duration::from_secs(2),
        ..ConnectionLimits::DEFAULT
    })
    .await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain
        .write_all(b"GET /live HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut shaken = connect(&server, &pair, &[]).await.unwrap();
    assert!(live(&mut shaken).await.starts_with("HTTP/1.1 200"));
    let still_open = silent.try_read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(
        still_open,
        Err(std::io::ErrorKind::WouldBlock),
        "it was waited for"
    );
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(30), silent.read_to_end(&mut rest)).await;
    let _ = end.expect("it is cut off");
    assert_eq!(rest, b"");
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!String::from_utf8_lossy(&rest).contains("HTTP"));
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let (server, tls, old, dir) = start().await;
    let mut kept = connect(&server, &old, &[]).await.unwrap();
    assert!(live(&mut kept).await.starts_with("HTTP/1.1 200"));
    // A certificate without its key, as for a moment in every renewal.
    let new = pair();
    std::fs::write(files(dir.path()).cert, new.cert.pem()).unwrap();
    tls.reload();
    assert!(connect(&server, &old, &[]).await.is_ok());
    assert!(connect(&server, &new, &[]).await.is_err());
    put(dir.path(), &new);
    tls.reload();
    assert!(connect(&server, &new, &[]).await.is_ok());
    assert!(connect(&server, &old, &[]).await.is_err());
    assert!(live(&mut kept).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn files_that_change_are_noticed() {
    let (server, _tls, _, dir) = start().await;
    let new = pair();
    put(dir.path(), &new);
    for _ in 0..100 {
        if let Ok(mut stream) = connect(&server, &new, &[]).await {
            return assert!(live(&mut stream).await.starts_with("HTTP/1.1 200"));
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("the new certificate was not read within ten seconds");
}

#[tokio::test]
async fn the_end_of_the_server_is_told_to_readers() {
    let (mut server, _tls, pair, _dir) = start().await;
    let mut stream = connect(&server, &pair, &[]).await.unwrap();
    assert!(live(&mut stream).await.starts_with("HTTP/1.1 200"));
    server.stop();
    // Without the goodbye of TLS this would be an error.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn what_is_wrong_with_a_pair_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let TlsFiles { cert, key } = files(dir.path());
    let error = || {
        let error = Tls::load(files(dir.path())).err().unwrap().to_string();
        error.replace(&format!("{}/", dir.path().display()), "")
    };
    assert!(
        error().starts_with("cert.pem: cannot be read: "),
        "{}",
        error()
    );
    let (one, other) = (pair(), pair());
    std::fs::write(&cert, "no PEM").unwrap();
    std::fs::write(&key, "no PEM").unwrap();
    assert!(
        error().starts_with("cert.pem: holds no certificate"),
        "{}",
        error()
    );
    std::fs::write(&cert, one.cert.pem()).unwrap();
    assert!(
        error().starts_with("key.pem: holds no private key"),
        "{}",
        error()
    );
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    assert!(
        error().starts_with("cert.pem and key.pem cannot be used together"),
        "{}",
        error()
    );
}
