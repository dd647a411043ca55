//! The edge of the real binary: its first moments, very many connections, no files left, TLS.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::server::{Server, portcullis, quick_folder, serve};

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn address_of(server: &Server) -> SocketAddr {
    let (_, address) = server.url.split_once("://").unwrap();
    address.parse().unwrap()
}

/// `None` if nobody answers.
async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_answers_while_the_model_loads() {
    let mut loading = None;
    // It takes a fraction of a second, in which one must come to ask.
    for _ in 0..10 {
        loading = asked_while_it_loads().await;
        if loading.is_some() {
            break;
        }
    }
    let loading = loading.expect("it was asked while it loaded");
    assert!(loading.contains("retry-after: 5\r\n"), "{loading}");
    assert!(loading.contains("\"code\":\"loading\""), "{loading}");
}

/// How a server that starts answers before it is ready, if it was asked.
async fn asked_while_it_loads() -> Option<String> {
    let (folder, address) = (quick_folder(), free_address());
    let mut command = portcullis();
    command
        .args(["serve", "--bind", &address.to_string(), "--data-dir"])
        .arg(folder.path());
    let starting = tokio::task::spawn_blocking(move || Server::from(command));
    let mut loading = None;
    while !starting.is_finished() {
        match get(address, "/health").await {
            Some(answer) if answer.starts_with("HTTP/1.1 503") => loading = Some(answer),
            _ => sleep(Duration::from_millis(1)).await,
        }
    }
    let ready = get(address, "/health").await.unwrap();
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    drop(starting.await.unwrap());
    loading
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_cost_little() {
    const CONNECTIONS: u64 = 10_000;
    let folder = quick_folder();
    let server = Server::start(folder.path());
    let address = address_of(&server);
    assert!(get(address, "/live").await.is_some());
    let before = resident_bytes(&server);
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    // The last one is answered, so all were accepted before.
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(last.read(&mut [0; 1024]).await.unwrap() > 0);
    let cost = resident_bytes(&server).saturating_sub(before) / CONNECTIONS;
    println!("{cost} bytes for each idle connection");
    assert!(cost < 16 << 10, "{cost} bytes for each idle connection");
    // All are accepted, but the last may still be set up.
    let mut share = f64::MAX;
    for _ in 0..5 {
        share = share.min(share_of_a_core(&server, sleep(Duration::from_secs(2))).await);
        if share < 0.1 {
            break;
        }
    }
    assert!(share < 0.1, "idle connections took {share:.2} of a core");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_files_left_is_waited_for_and_not_spun_on() {
    let folder = quick_folder();
    let inner = serve(folder.path());
    let mut command = Command::new("sh");
    command
        .env_clear()
        .args(["-c", "ulimit -n 80; exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env("HOME", "/nonexistent");
    let server = Server::from(command);
    let address = address_of(&server);
    let mut many = Vec::new();
    for _ in 0..120 {
        many.push(TcpStream::connect(address).await.unwrap());
    }
    let refused = async {
        let none = timeout(Duration::from_secs(3), get(address, "/live")).await;
        assert!(none.is_err(), "files had not run out: {none:?}");
    };
    let share = share_of_a_core(&server, refused).await;
    assert!(share < 0.1, "{share:.2} of a core");
    drop(many);
    let answer = timeout(Duration::from_secs(10), get(address, "/live")).await;
    assert!(answer.unwrap().unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_is_served_and_a_hangup_brings_the_new_certificate() {
    let folder = quick_folder();
    let (cert, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let old = new_pair(&cert, &key);
    let mut command = serve(folder.path());
    command
        .arg("--tls-cert")
        .arg(&cert)
        .arg("--tls-key")
        .arg(&key);
    let server = Server::from(command);
    let port = address_of(&server).port();
    let models = async |trusted: &str| {
        let trusted = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([trusted])
            .build()
            .unwrap();
        let url = format!("https://localhost:{port}/live");
        client.get(url).send().await?.json::<Value>().await
    };
    assert!(server.url.starts_with("https://"), "{}", server.url);
    assert_eq!(models(&old).await.unwrap()["status"], "ok");
    // Files are looked at besides, which takes two seconds at least: one of a few hangups is quicker,
    // however busy the machine is.
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let new = new_pair(&cert, &key);
        server.signal("-HUP");
        let began = Instant::now();
        while models(&new).await.is_err() {
            let waited = began.elapsed();
            assert!(waited < Duration::from_secs(30), "it is never taken");
            sleep(Duration::from_millis(20)).await;
        }
        quickest = quickest.min(began.elapsed());
        if quickest < Duration::from_secs(1) {
            break;
        }
    }
    assert!(quickest < Duration::from_secs(1), "{quickest:?}");
    assert!(models(&old).await.is_err());
}

/// The certificate.
fn new_pair(cert: &Path, key: &Path) -> String {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(cert, pair.cert.pem()).unwrap();
    fs::write(key, pair.signing_key.serialize_pem()).unwrap();
    pair.cert.pem()
}

fn resident_bytes(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// What the server takes of a core meanwhile.
async fn share_of_a_core(server: &Server, meanwhile: impl Future<Output = ()>) -> f64 {
    let (began, before) = (Instant::now(), cpu_time(server));
    meanwhile.await;
    (cpu_time(server) - before).as_secs_f64() / began.elapsed().as_secs_f64()
}

/// In user and kernel. proc_pid_stat(5): hundredths of a second, fields 14 and 15.
fn cpu_time(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.process_id())).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks = rest
        .split(' ')
        .skip(11)
        .take(2)
        .map(|it| it.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
