//! What is in the log of a run, at the level that tells most: no key, no prompt, no answer, and no
//! character of a caller that could make a line of its own or colour it.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::running::Server;

/// Words of a prompt that the model has never heard.
const PROMPT: &str = "zyxwvut";
const WRONG_KEY: &str = "pk-00000000000000000000000000000000000000000000000000000000000000aa";
/// What a caller would write to forge a line.
const FORGED: &str = "x\\r\\n2026-01-01T00:00:00Z  INFO forged\\u001b[31m";
const FORGED_IN_PATH: &str = "x%0d%0a2026-01-01T00:00:00Z%20%20INFO%20forged%1b%5b31m";

#[test]
fn no_secrets_and_no_forged_lines() {
    for format in ["text", "json"] {
        let dir = tempfile::tempdir().unwrap();
        let more = ["--log-level", "trace", "--log-format", format];
        let server = Server::start(dir.path(), &more);
        let admin = server.told("admin key").unwrap().to_owned();
        let key = server.told("inference key").unwrap().to_owned();
        attack(&server.url, &admin, &key);
        let (status, log) = server.stop();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("answered"), "calls are logged: {log}");
        for secret in [&*admin, &*key, WRONG_KEY, PROMPT] {
            // The beginning of a key may name it.
            let end = &secret[secret.len().min(20)..];
            let is_there = log.contains(secret) || !end.is_empty() && log.contains(end);
            assert!(!is_there, "{secret} is in the log: {log}");
        }
        for line in log.lines() {
            check_line(format, line);
        }
    }
}

fn check_line(format: &str, line: &str) {
    assert!(!line.contains(char::is_control), "{line:?}");
    match format {
        "json" => drop(serde_json::from_str::<Value>(line).unwrap()),
        _ => assert!(!line.starts_with("2026-01-01"), "a forged line: {line:?}"),
    }
}

/// Everything that a caller can write, with secrets and with what would forge a line.
fn attack(url: &str, admin: &str, key: &str) {
    let address = url.trim_start_matches("http://");
    let body = |model: &str| {
        let message =
            format!("{{\"role\": \"user\", \"name\": \"{FORGED}\", \"content\": \"{PROMPT}\"}}");
        format!(
            "{{\"model\": \"{model}\", \"user\": \"{FORGED}\", \"messages\": [{message}], \
             \"max_tokens\": 3}}"
        )
    };
    let chat = "POST /v1/chat/completions";
    for bearer in [key, WRONG_KEY, admin] {
        for model in ["demo", FORGED] {
            say(
                address,
                chat,
                &format!("authorization: Bearer {bearer}"),
                &body(model),
            );
            say(
                address,
                "POST /v1/messages",
                &format!("x-api-key: {bearer}"),
                &body(model),
            );
        }
    }
    let bearer = format!("authorization: Bearer {admin}");
    for line in [
        format!("GET /v1/models?api_key={key}&key={WRONG_KEY}"),
        format!("GET /v1/models/{FORGED_IN_PATH}"),
        format!("GET /v1/rulesets/{FORGED_IN_PATH}"),
        format!("DELETE /v1/keys/{WRONG_KEY}"),
        format!("GET /{FORGED_IN_PATH}/{key}"),
        format!("PUT /v1/keys/{key}"),
    ] {
        say(address, &line, &bearer, "");
    }
    for id in ["a\x1b[31mred", "a\rb", "\u{85}\u{2028}x"] {
        let headers = format!("x-request-id: {id}\r\nuser-agent: {id}");
        say(address, chat, &headers, &body("demo"));
    }
    let rules = format!("ruleset: \"{FORGED}\"\nversion: 1\n");
    say(address, "POST /v1/rulesets", &bearer, &rules);
    say(
        address,
        "POST /v1/keys",
        &bearer,
        &format!("{{\"name\": \"{FORGED}\", \"role\": \"x\"}}"),
    );
}

/// One request; whatever is answered.
fn say(address: &str, line: &str, headers: &str, body: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let len = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: x\r\n{headers}\r\ncontent-type: application/json\r\n\
         content-length: {len}\r\nconnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    // What is no HTTP may end with a reset.
    let _ = stream.read_to_end(&mut answer);
}
