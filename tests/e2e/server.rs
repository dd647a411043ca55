//! A running `portcullis serve`, and calls to it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The binary with nothing in its environment that could change what it does.
pub(crate) fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.env_clear().env("HOME", "/nonexistent");
    command
}

/// The command that serves the demo model from `data_dir` on a port of its own.
pub(crate) fn serve(data_dir: &Path) -> Command {
    let mut command = portcullis();
    command
        .args(["serve", "--bind", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir)
        // Rule sets of these tests are made up as they run.
        .args(["--rule-signatures", "allow_unsigned"]);
    command
}

/// A data directory in memory, where there is one: on a disk that is busy for others a call may
/// begin seconds after it was computed.
pub(crate) fn quick_folder() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap())
}

/// A server with the demo model on a port of its own. Dropping it kills it.
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
    client: reqwest::Client,
}

impl Server {
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::from(serve(data_dir))
    }

    /// Starts one by this command.
    pub(crate) fn from(command: Command) -> Self {
        Self::logging_to(command, Stdio::null())
    }

    /// The same with its log.
    pub(crate) fn logging_to(mut command: Command, log: impl Into<Stdio>) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| {
                line.split_whitespace()
                    .find(|w| w.starts_with("http://") || w.starts_with("https://"))
                    .map(String::from)
            })
            .expect("the server prints its address");
        // Read on, or the server would wait for its output to be taken.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            url,
            client: reqwest::Client::new(),
        }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process_id().to_string();
        let told = Command::new("kill").args([signal, &id]).status();
        assert!(told.unwrap().success());
    }

    /// How it ended; it is to end within `patience`.
    pub(crate) async fn ended_within(mut self, patience: Duration) -> ExitStatus {
        for _ in 0..patience.as_millis() / 10 {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server has not ended within {patience:?}");
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        key: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let request = self
            .client
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(key);
        let kind = match path {
            "/v1/rulesets" => "application/yaml",
            _ => "application/json",
        };
        let request = request.header("Content-Type", kind).body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null),
        )
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> Value {
        let (status, answer) = self.send(reqwest::Method::GET, path, key, "").await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        key: &str,
        body: impl Into<reqwest::Body>,
    ) -> Value {
        let (status, answer) = self.send(reqwest::Method::POST, path, key, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// The value of a metric that has one.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let asked = self.client.get(format!("{}/metrics", self.url)).send();
        let text = asked.await.unwrap().text().await.unwrap();
        let value = text.lines().find(|line| line.starts_with(name));
        let value = value.and_then(|line| line.rsplit(' ').next());
        value.unwrap().parse().unwrap()
    }

    /// Registers a rule set and puts it into force.
    pub(crate) async fn activate(&self, admin: &str, source: String) {
        let made = self.post("/v1/rulesets", admin, source).await;
        let (name, version) = (made["name"].as_str().unwrap(), &made["version"]);
        let path = format!("/v1/rulesets/{name}/versions/{version}/activate");
        self.post(&path, admin, "").await;
    }

    /// One chat call; the text and the finish reason, `refused` for a refusal before any release.
    pub(crate) async fn chat(
        &self,
        key: &str,
        question: &Question,
        stream: bool,
    ) -> (String, String) {
        let body = json!({
            "model": "demo",
            "messages": [{"role": "user", "content": question.text}],
            "seed": question.seed,
            "temperature": 0.9,
            "stream": stream,
        });
        let url = format!("{}/v1/chat/completions", self.url);
        let request = self.client.post(url).bearer_auth(key).json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let answer = answer.text().await.unwrap();
        if status == 400 && answer.contains("admissibility_error") {
            return (String::new(), "refused".into());
        }
        assert_eq!(status, 200, "{answer}");
        if stream {
            from_events(&answer)
        } else {
            from_whole(&answer)
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A question with the seed of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) text: &'static str,
    pub(crate) seed: u64,
}

fn from_whole(answer: &str) -> (String, String) {
    let choice = &serde_json::from_str::<Value>(answer).unwrap()["choices"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        text(&choice["message"]["content"]),
        text(&choice["finish_reason"]),
    )
}

fn from_events(answer: &str) -> (String, String) {
    let (mut text, mut reason) = (String::new(), String::new());
    let events: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    let (last, events) = events.split_last().unwrap();
    assert_eq!(*last, "[DONE]");
    for event in events {
        let choice = &serde_json::from_str::<Value>(event).unwrap()["choices"][0];
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        if let Some(found) = choice["finish_reason"].as_str() {
            reason = found.to_owned();
        }
    }
    (text, reason)
}

/// Runs the binary on a data folder and returns what it printed as JSON.
pub(crate) fn cli(data_dir: &Path, args: &[&str]) -> Value {
    let output: Output = portcullis()
        .args(args)
        .arg("--json")
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A new key through the command line: (id, key).
pub(crate) fn new_key(data_dir: &Path, role: &str, name: &str) -> (String, String) {
    let made = cli(
        data_dir,
        &["keys", "create", "--role", role, "--name", name],
    );
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// The demo rule set under another name and mode.
pub(crate) fn demo_rules(name: &str, mode: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules/demo.yaml");
    let source = std::fs::read_to_string(path).unwrap();
    let (named, moded) = (format!("ruleset: {name}"), format!("mode: {mode}"));
    let changed = source
        .replace("ruleset: demo-bank", &named)
        .replace("mode: enforce", &moded);
    assert!(changed.contains(&named) && changed.contains(&moded));
    changed
}
