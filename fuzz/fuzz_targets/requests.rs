//! Bodies for every route of inference, over the whole router: each gets an answer that the API
//! knows, and calls after it are answered as ever.
#![no_main]
#![expect(clippy::unwrap_used, reason = "what is not as expected ends the run")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

#[expect(dead_code, reason = "a target uses its part of the choices")]
#[path = "../../gate/tests/gate/law/choices.rs"]
mod choices;
#[expect(dead_code, reason = "a target uses its part of the server")]
#[path = "../../crates/server/tests/server/common.rs"]
mod common;
mod requests {
    pub(crate) mod hostile;
    pub(crate) mod seeds;
    pub(crate) mod world;
}

use choices::Choices;
use common::{Answer, MODEL, Server, post, say, with};
use requests::hostile::{mutate, spelled};
use requests::seeds::{PATHS, bodies};
use requests::world;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static SERVER: LazyLock<Server> = LazyLock::new(|| RUNTIME.block_on(world::start()));
static BODIES: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| bodies(MODEL));
static RUNS: AtomicU64 = AtomicU64::new(0);

/// After how many bodies a plain call is made.
const CHECK_INTERVAL: u64 = 64;
/// What may be said to a caller whose body is at fault, and to one whose is not.
const STATUSES: [u16; 8] = [200, 400, 401, 404, 413, 415, 422, 429];

fuzz_target!(|bytes: &[u8]| {
    let (path, body) = request(bytes);
    // The script breaks the model at this word.
    let body = body.replace("die", "dye");
    // It is started on the runtime, so not from within it.
    LazyLock::force(&SERVER);
    RUNTIME.block_on(async {
        let answer = SERVER.send(post(path, body.clone())).await;
        check_answer(path, &body, &answer);
        if RUNS.fetch_add(1, Ordering::Relaxed) % CHECK_INTERVAL == 0 {
            check_server().await;
        }
    });
});

/// A line with a path and a body; or bytes that decide how a good body is made bad.
fn request(bytes: &[u8]) -> (&'static str, String) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some((path, body)) = text.split_once('\n')
        && let Some(path) = PATHS.into_iter().find(|known| *known == path)
    {
        return (path, body.to_owned());
    }
    let mut choices = Choices::new(bytes);
    let (path, mut body) = BODIES[choices.below(BODIES.len())].clone();
    let path = match choices.sometimes(8) {
        true => choices.one_of(&PATHS),
        false => path,
    };
    choices.many(1, 4, |choices| mutate(&mut body, choices));
    (path, spelled(&body))
}

fn check_answer(path: &str, body: &str, answer: &Answer) {
    let status = answer.status.as_u16();
    let said = &answer.text;
    assert!(STATUSES.contains(&status), "{status} {path} {body}\n{said}");
    assert!(answer.headers.contains_key("x-request-id"));
    match (status, said.strip_prefix('{')) {
        (200, None) => check_stream(path, said),
        (200, Some(_)) => drop(answer.json()),
        _ => check_error(path, &answer.json()),
    }
}

fn check_error(path: &str, body: &Value) {
    let error = &body["error"];
    let is_text = |name: &str| error[name].as_str().is_some_and(|text| !text.is_empty());
    assert!(is_text("message") && is_text("type"), "{body}");
    let of_anthropic = path.starts_with("/v1/messages");
    for name in ["param", "code"] {
        let may_lack = of_anthropic && error.get(name).is_none();
        assert!(may_lack || error[name].is_null() || is_text(name), "{body}");
    }
    assert_eq!(body["type"] == "error", of_anthropic, "{body}");
}

/// A stream ends as its API says, whatever came before.
fn check_stream(path: &str, said: &str) {
    let last = said.trim_end().rsplit("\n\n").next().unwrap();
    let ends: &[&str] = match path {
        "/v1/messages" => &["event: message_stop", "event: error"],
        "/v1/responses" => &[
            "event: response.completed",
            "event: response.incomplete",
            "event: response.failed",
            "event: error",
        ],
        _ => &["data: [DONE]"],
    };
    assert!(
        ends.iter().any(|end| last.starts_with(end)),
        "{path} {said}"
    );
}

/// A plain call is answered as ever, and nothing is left of the others.
async fn check_server() {
    let body = with(say("plain"), json!({"temperature": 0}));
    let answer = SERVER.chat(&body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let message = &answer.json()["choices"][0]["message"];
    assert_eq!(message["content"], "plain");
    for _ in 0..500 {
        let status = SERVER.engine.status();
        if (status.running, status.waiting, status.blocks_used) == (0, 0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("something is left: {:?}", SERVER.engine.status());
}
