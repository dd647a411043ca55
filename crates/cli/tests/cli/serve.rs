use std::time::Duration;

use serde_json::Value;

use super::running::Server;
use super::{json, portcullis, repository, run, stderr, text};

#[tokio::test]
async fn a_folder_is_served_on_the_port_that_is_printed_until_it_is_told_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let model = repository("models/demo/llama");
    let server = Server::start(dir.path(), &["--model", text(&model)]);
    let models: Value = get(&format!("{}/v1/models", server.url), None).await;
    assert_eq!(models["data"][0]["id"], "llama");
    assert!(
        server
            .welcome
            .contains("none yet: whoever is on this machine"),
        "{}",
        server.welcome
    );
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(
        log.contains("loading") && log.contains("KV cache: "),
        "{log}"
    );
}

/// Many models are made for more tokens than any cache holds that nobody asked for.
#[tokio::test]
async fn a_model_for_very_long_texts_is_served_as_long_as_the_cache_holds() {
    const MADE_FOR: u64 = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("long");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(repository("models/demo/llama")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let config = model.join("config.json");
    let mut made_for: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    made_for["max_position_embeddings"] = MADE_FOR.into();
    std::fs::write(&config, made_for.to_string()).unwrap();
    let args = ["--model", text(&model), "--load-format", "dummy"];
    let server = Server::start(&dir.path().join("data"), &args);
    let models: Value = get(&format!("{}/v1/models", server.url), None).await;
    let len = models["data"][0]["max_model_len"].as_u64().unwrap();
    assert!((1000..MADE_FOR).contains(&len), "{len}");
    let (_, log) = server.stop();
    assert!(
        log.contains(&format!("a sequence may have {len} tokens")),
        "{log}"
    );
}

#[tokio::test]
async fn the_demo_answers_its_curl_line_and_shows_the_gate_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let answer = send_curl_line(&server.welcome).await;
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.contains("[account number]"), "{answer}");
}

#[tokio::test]
async fn secrets_are_printed_once_and_the_demo_can_always_be_tried() {
    let dir = tempfile::tempdir().unwrap();
    let first = Server::start(dir.path(), &[]);
    let admin = first.told("admin key").unwrap().to_owned();
    let rulesets: Value = get(&format!("{}/v1/rulesets", first.url), Some(&admin)).await;
    assert_eq!(rulesets["data"][0]["name"], "demo-bank");
    let (_, log) = first.stop();
    assert!(!log.contains("pk-"), "no key in the log");

    let second = Server::start(dir.path(), &[]);
    assert!(!second.welcome.contains(&admin));
    assert!(
        second
            .told("admin key")
            .unwrap()
            .contains("portcullis keys create --role admin")
    );
    send_curl_line(&second.welcome).await;
}

#[tokio::test]
async fn rules_and_keys_are_managed_through_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let admin = server.told("admin key").unwrap();
    let ask = |args: &[&str]| {
        let asked = portcullis()
            .args(args)
            .envs([
                ("PORTCULLIS_URL", server.url.as_str()),
                ("PORTCULLIS_API_KEY", admin),
            ])
            .output()
            .unwrap();
        assert_eq!(asked.status.code(), Some(0), "{args:?}: {}", stderr(&asked));
        asked
    };
    let made = json(&ask(&[
        "keys",
        "create",
        "--role",
        "inference",
        "--name",
        "web",
        "--json",
    ]));
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        json(&ask(&["keys", "list", "--json"]))
            .as_array()
            .unwrap()
            .len(),
        3
    );

    let demo = repository("rules/demo.yaml");
    let pushed = json(&ask(&["rules", "push", text(&demo), "--json"]));
    assert_eq!(pushed["version"], 1);
    ask(&["rules", "bind", "demo-bank@1", "--key", id]);
    let listed = json(&ask(&["rules", "list", "--json"]));
    assert_eq!(
        listed[0]["bindings"].as_array().unwrap().len(),
        2,
        "{listed}"
    );
    ask(&["rules", "unbind", "demo-bank", "--key", id]);
    let listed = json(&ask(&["rules", "list", "--json"]));
    assert_eq!(listed[0]["bindings"][0]["deployment"], "demo");
    ask(&["keys", "revoke", id]);

    let refused = run(&[
        "keys",
        "list",
        "--url",
        &server.url,
        "--api-key",
        made["key"].as_str().unwrap(),
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("not revoked?"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn mistakes_that_the_server_finds_are_told_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &[]);
    let bad = dir.path().join("bad.yaml");
    std::fs::write(&bad, "ruleset: bad\nversion: 1\nmode: strict\n").unwrap();
    let admin = server.told("admin key").unwrap();
    let pushed = run(&[
        "rules",
        "push",
        text(&bad),
        "--url",
        &server.url,
        "--api-key",
        admin,
    ]);
    assert_eq!(pushed.status.code(), Some(1));
    assert!(super::stdout(&pushed).contains("bad.yaml:3:"), "{pushed:?}");
}

#[test]
fn a_second_server_is_told_what_is_taken() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Server::start(dir.path(), &[]);
    let address = first.url.trim_start_matches("http://");
    let port = address.rsplit(':').next().unwrap();

    let same_data = run(&[
        "serve",
        "--bind",
        "127.0.0.1:0",
        "--data-dir",
        text(dir.path()),
    ]);
    assert_eq!(same_data.status.code(), Some(1));
    assert!(
        stderr(&same_data).contains("another portcullis server (process "),
        "{same_data:?}"
    );

    let same_port = run(&["serve", "--bind", address, "--data-dir", text(other.path())]);
    assert_eq!(same_port.status.code(), Some(1));
    let told = stderr(&same_port);
    assert!(
        told.contains(&format!("port {port} is in use")) && told.contains("--bind"),
        "{told}"
    );
}

#[tokio::test]
async fn a_running_call_finishes_before_the_server_stops() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let call = tokio::spawn(long_call(&server, 1000));
    server.wait_for_running_call().await;
    server.send_sigterm();
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "length", "{answer}");
    assert_eq!(server.wait().0.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_the_server_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--drain-timeout", "1h"]);
    let call = tokio::spawn(long_call(&server, 2000));
    server.wait_for_running_call().await;
    server.send_sigterm();
    // Two signals that come together are one.
    server.wait_until_it_drains().await;
    server.send_sigterm();
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped at once by a second signal"), "{log}");
    assert!(call.await.unwrap().is_err(), "the call was cut off");
}

#[test]
fn a_kv_cache_that_is_too_small_says_what_to_change() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "serve",
        "--bind",
        "127.0.0.1:0",
        "--kv-cache-memory",
        "1MB",
        "--data-dir",
    ];
    let output = run(&[&args[..], &[text(dir.path())]].concat());
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("raise --kv-cache-memory to ") && told.contains("--max-model-len"),
        "{told}"
    );
}

/// A call that draws exactly so many tokens.
fn long_call(
    server: &Server,
    tokens: u32,
) -> impl Future<Output = reqwest::Result<Value>> + Send + use<> {
    let key = server.told("inference key").unwrap().to_owned();
    let url = format!("{}/v1/completions", server.url);
    let body = serde_json::json!({
        "model": "demo", "prompt": "Hello", "max_tokens": tokens, "ignore_eos": true, "seed": 1,
    });
    async move {
        let request = reqwest::Client::new()
            .post(url)
            .bearer_auth(key)
            .json(&body);
        request.send().await?.error_for_status()?.json().await
    }
}

impl Server {
    async fn wait_for_running_call(&self) {
        let metrics = format!("{}/metrics", self.url);
        let is_running = |text: &str| {
            let mut lines = text
                .lines()
                .filter(|line| line.starts_with("vllm:num_requests_running"));
            lines.any(|line| line.ends_with(" 1") || line.ends_with(" 1.0"))
        };
        let client = reqwest::Client::new();
        for _ in 0..1000 {
            let answer = client.get(&metrics).send().await.unwrap();
            if is_running(&answer.text().await.unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the call never ran");
    }

    /// Until it has seen the first signal.
    async fn wait_until_it_drains(&self) {
        let health = format!("{}/health", self.url);
        for _ in 0..3000 {
            if reqwest::get(&health).await.unwrap().status() == 503 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the signal changed nothing");
    }
}

async fn get(url: &str, key: Option<&str>) -> Value {
    let request = reqwest::Client::new().get(url);
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    request
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap()
}

/// Sends what the printed line would send.
async fn send_curl_line(welcome: &str) -> Value {
    let line = &welcome[welcome.find("curl ").expect("a curl line")..];
    let between = |start: &str, end: &str| {
        let rest = &line[line.find(start).expect(start) + start.len()..];
        rest[..rest.find(end).expect(end)].to_owned()
    };
    let url = between("curl -s ", " ");
    let key = between("Authorization: Bearer ", "'");
    let body = between("-d '", "'");
    let request = reqwest::Client::new().post(url).bearer_auth(key);
    let request = request
        .header("content-type", "application/json")
        .body(body);
    request
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap()
}

#[tokio::test]
async fn an_embedding_model_is_listed_beside_the_one_that_answers() {
    let dir = tempfile::tempdir().unwrap();
    let encoder = repository("models/tests/golden-embeddings/mean");
    let server = Server::start(dir.path(), &["--embedding-model", text(&encoder)]);
    assert!(
        server.welcome.contains("embeddings     mean ("),
        "{}",
        server.welcome
    );
    let key = server.told("inference key").unwrap();
    let models: Value = get(&format!("{}/v1/models", server.url), Some(key)).await;
    assert_eq!(models["data"][1]["id"], "mean");
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn an_embedding_model_that_cannot_be_served_is_told_before_anything_is_loaded() {
    let decoder = repository("models/demo/llama");
    let encoder = repository("models/tests/golden-embeddings/mean");
    let check = |given: String, expect: &str| {
        let dir = tempfile::tempdir().unwrap();
        let refused = run(&[
            "serve",
            "--bind",
            "127.0.0.1:0",
            "--data-dir",
            text(dir.path()),
            "--embedding-model",
            &given,
        ]);
        assert_eq!(refused.status.code(), Some(1));
        let said = stderr(&refused);
        assert!(said.contains(expect), "{said}");
        assert!(!said.contains("loading"), "{said}");
    };
    let answers = text(&decoder).to_owned();
    check(
        answers,
        "model_type is llama; embeddings are made by models of type bert",
    );
    let taken = format!("{}=demo", text(&encoder));
    check(taken, "demo is the name of the model that answers");
}
