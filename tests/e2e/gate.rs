//! Thousands of seeded generations that would break a rule: not one byte of a match leaves.

use std::sync::Arc;

use futures::{StreamExt, stream};
use serde_json::json;

use crate::server::{Question, Server, demo_rules, new_key};

/// Generations that would contain an account number or "guaranteed return".
const OFFENDING: usize = 2_000;
/// Calls under way at a time.
const AT_ONCE: usize = 64;

const QUESTIONS: [&str; 3] = [
    "What is my account number?",
    "Tell me about the Growth Fund",
    "What is my balance?",
];

/// Where the text first holds what the demo rules stop, found without the gate.
fn offence(text: &str) -> Option<usize> {
    let is_number = |at: usize| {
        text[at..]
            .bytes()
            .take(8)
            .filter(u8::is_ascii_digit)
            .count()
            == 8
    };
    let account = text
        .match_indices("AC-")
        .find(|(at, _)| is_number(at + 3))
        .map(|(at, _)| at);
    let guarantee = text.to_lowercase().find("guaranteed return");
    account.into_iter().chain(guarantee).min()
}

struct World {
    server: Server,
    open: String,
    enforced: String,
    observed: String,
}

/// Three keys: without rules, under the demo set, and under the same set in observe.
async fn world(data_dir: &std::path::Path) -> World {
    let server = Server::start(data_dir);
    let (_, admin) = new_key(data_dir, "admin", "tests");
    let [open, enforced, observed] =
        ["open", "enforced", "observed"].map(|name| new_key(data_dir, "inference", name));
    // The demo set is bound to the deployment, where it would hold for every key.
    let path = "/v1/rulesets/demo-bank/bindings?deployment=demo";
    let (status, answer) = server.send(reqwest::Method::DELETE, path, &admin, "").await;
    assert_eq!(status, 204, "{answer}");
    server
        .activate(&admin, demo_rules("watching", "observe"))
        .await;
    for (set, key) in [("demo-bank", &enforced.0), ("watching", &observed.0)] {
        let binding = json!({"key": key}).to_string();
        server
            .post(&format!("/v1/rulesets/{set}/bindings"), &admin, binding)
            .await;
    }
    World {
        server,
        open: open.1,
        enforced: enforced.1,
        observed: observed.1,
    }
}

/// The answers to `questions` with one key.
async fn ask(
    world: &Arc<World>,
    key: &str,
    questions: &[Question],
    streamed: bool,
) -> Vec<(String, String)> {
    let calls = questions.iter().cloned().map(|question| {
        let (world, key) = (Arc::clone(world), key.to_owned());
        async move { world.server.chat(&key, &question, streamed).await }
    });
    stream::iter(calls).buffered(AT_ONCE).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_one_byte_of_a_match_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(world(folder.path()).await);
    let (mut offending, mut plain) = (Vec::new(), Vec::new());
    let mut seed = 0;
    while offending.len() < OFFENDING {
        let questions: Vec<Question> = (seed..seed + 400)
            .map(|seed| Question {
                text: QUESTIONS[seed as usize % QUESTIONS.len()],
                seed,
            })
            .collect();
        seed += 400;
        let answers = ask(&world, &world.open, &questions, false).await;
        let pairs = questions.into_iter().zip(answers);
        let (bad, good): (Vec<_>, Vec<_>) =
            pairs.partition(|(_, (text, _))| offence(text).is_some());
        offending.extend(bad);
        plain.extend(good);
        assert!(
            seed < 20_000,
            "the demo model does not offend enough: {} of {seed}",
            offending.len()
        );
    }
    offending.truncate(OFFENDING);

    let (questions, unchecked): (Vec<Question>, Vec<_>) = offending.into_iter().unzip();
    let whole = ask(&world, &world.enforced, &questions, false).await;
    let streamed = ask(&world, &world.enforced, &questions, true).await;
    let mut answered = 0;
    for ((question, open), (whole, streamed)) in questions
        .iter()
        .zip(&unchecked)
        .zip(whole.iter().zip(&streamed))
    {
        answered += usize::from(check_enforced(question, &open.0, whole));
        assert_eq!(
            whole, streamed,
            "{question:?}: streamed and not are the same answer"
        );
    }

    assert!(
        answered >= OFFENDING * 99 / 100,
        "only {answered} of {OFFENDING} were answered"
    );

    let observed = ask(&world, &world.observed, &questions[..500], false).await;
    assert_eq!(observed, unchecked[..500], "observing changes nothing");

    // What breaks no rule is left alone.
    plain.truncate(300);
    let (questions, unchecked): (Vec<Question>, Vec<_>) = plain.into_iter().unzip();
    assert_eq!(
        ask(&world, &world.enforced, &questions, false).await,
        unchecked
    );
}

/// Whether the call ended with an answer. A rule that fails every attempt ends in its `then`, which
/// is a refusal: rare, and nothing of a match leaves then either.
fn check_enforced(question: &Question, open: &str, (text, reason): &(String, String)) -> bool {
    assert_eq!(offence(text), None, "{question:?}: {text}");
    // Up to its first match the answer is the one without rules, but for what was held back.
    let start = offence(open).unwrap();
    if open[start..].starts_with("AC-") {
        let redacted = format!("{}[account number]", &open[..start]);
        assert!(
            text.starts_with(&redacted),
            "{question:?}: {open:?} became {text:?}"
        );
    }
    ["stop", "length"].contains(&reason.as_str())
}
