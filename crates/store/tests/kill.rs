//! What the store and the ledger have answered survives `kill -9`.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use ledger::{ALICE, BOB, Server, call, end};
use portcullis_ledger::{LogStore, Outcome, RecordId};
use portcullis_store::{
    Act, BindingTarget, NewBinding, NewKey, NewRuleSet, Records, Role, RuleSetName, SqliteStore,
    Store,
};
use tempfile::TempDir;

#[expect(dead_code, reason = "the tests of the ledger need more of it")]
#[path = "ledger/common.rs"]
mod ledger;

const DATA_DIR: &str = "PORTCULLIS_STORE_KILL_TEST_DATA_DIR";
const ROUNDS: u32 = 6;

#[tokio::test]
async fn what_was_answered_survives_kill_nine() {
    let dir = TempDir::new().unwrap();
    let mut answered = Vec::new();
    for round in 0..ROUNDS {
        let lines = run_child_and_kill_it("child", dir.path(), random(60));
        assert!(!lines.is_empty(), "round {round} wrote nothing");
        answered.extend(lines);
        let store = SqliteStore::open(dir.path()).await.unwrap();
        for line in &answered {
            assert!(
                is_there(&store, line).await,
                "lost in round {round}: {line}"
            );
        }
        store.close().await;
    }
}

/// Writes without end and says what has been answered. Run by the test above only.
#[tokio::test]
#[ignore = "the child of what_was_answered_survives_kill_nine; it ends by being killed"]
async fn child() {
    let dir = std::env::var_os(DATA_DIR).expect("only the test above runs this one");
    let store = SqliteStore::open(Path::new(&dir)).await.unwrap();
    let first = store.list_rulesets().await.unwrap().len() as u32;
    for version in first.. {
        write_all_kinds(&store, version).await;
    }
}

async fn write_all_kinds(store: &SqliteStore, version: u32) {
    let new = NewKey::new("k".parse().unwrap(), Role::Inference);
    let (key, secret) = store.create_key(new, 0).await.unwrap();
    say(&format!("key {} {}", key.id, secret.expose()));
    let new = NewRuleSet {
        name: cards(),
        version,
        digest: "d".into(),
        source: vec![7; 3000],
        signatures: Vec::new(),
    };
    let act = Act { actor: "k", now: 0 };
    store.put_ruleset(new, act).await.unwrap();
    say(&format!("ruleset {version}"));
    store.activate(&cards(), version, act).await.unwrap();
    say(&format!("activated {version}"));
    let target = BindingTarget::Key(key.id.clone());
    let new = NewBinding {
        ruleset: cards(),
        version: Some(version),
        target,
        observe: false,
    };
    store.bind(new, act).await.unwrap();
    say(&format!("binding {}", key.id));
    if version.is_multiple_of(2) {
        store.revoke_key(&key.id, true, 9).await.unwrap();
        say(&format!("revoked {}", key.id));
    }
}

/// The marker keeps our lines apart from those of the test harness.
const MARKER: &str = "answered: ";

/// In one write, so that no kill cuts a line in two.
fn say(what: &str) {
    let line = format!("\n{MARKER}{what}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .unwrap();
}

/// Kills it after `lines_min` answers and a random moment more; returns what it had said by then.
fn run_child_and_kill_it(child: &str, data_dir: &Path, lines_min: u32) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--ignored", "--nocapture"])
        .env(DATA_DIR, data_dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut said = out
        .lines()
        .map(Result::unwrap)
        .filter_map(|line| line.strip_prefix(MARKER).map(str::to_owned));
    let mut lines: Vec<String> = said.by_ref().take(1 + lines_min as usize).collect();
    std::thread::sleep(std::time::Duration::from_micros(u64::from(random(4000))));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.extend(said);
    lines
}

#[tokio::test]
async fn every_record_that_was_durable_survives_kill_nine() {
    let dir = TempDir::new().unwrap();
    let mut said = Vec::new();
    let mut crashed = 0;
    for round in 0..ROUNDS {
        let lines = run_child_and_kill_it("ledger_child", dir.path(), random(300));
        assert!(!lines.is_empty(), "round {round} wrote nothing");
        said.extend(lines);
        let server = Server::start(dir.path()).await;
        crashed += server.crashed;
        for line in &said {
            check_record(&server, line).await;
        }
        server.assert_log_is_sound().await;
        assert!(server.ledger.open_calls().await.unwrap().is_empty());
        server.stop().await;
    }
    assert!(crashed > 0, "no kill came while a call was open");
}

/// A call that was durable is there; how it ended, if it had, is as it was; and if it had not, it
/// crashed, or its end was on its way.
async fn check_record(server: &Server, line: &str) {
    let (what, id) = line.split_once(' ').unwrap();
    let id = RecordId::parse(id).unwrap();
    let record = server.ledger.record(&id).await.unwrap();
    let record = record.unwrap_or_else(|| panic!("lost: {line}"));
    let (_, outcome, _) = record.closed.unwrap();
    match what {
        "opened" => assert!(matches!(outcome, Outcome::Crashed | Outcome::Finished)),
        "closed" => assert_eq!(outcome, Outcome::Finished),
        other => panic!("unknown line {other}"),
    }
    assert!(record.salt.is_some(), "no salt: {line}");
}

/// Records calls without end, some at once, and says what is durable. Run by the test above only.
#[tokio::test]
#[ignore = "the child of every_record_that_was_durable_survives_kill_nine; it ends by being killed"]
async fn ledger_child() {
    let dir = std::env::var_os(DATA_DIR).expect("only the test above runs this one");
    let server = std::sync::Arc::new(Server::start(Path::new(&dir)).await);
    let mut calling = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let server = std::sync::Arc::clone(&server);
        calling.spawn(async move {
            let key = [Some(ALICE), Some(BOB), None][caller % 3];
            loop {
                let open = server.open(call(key, "bank", &[("cards", 1)])).await;
                let id = open.id().clone();
                say(&format!("opened {id}"));
                open.close(end(Outcome::Finished, 1))
                    .durable()
                    .await
                    .unwrap();
                say(&format!("closed {id}"));
            }
        });
    }
    calling.join_all().await;
}

async fn is_there(store: &SqliteStore, line: &str) -> bool {
    let (kind, what) = line.split_once(' ').unwrap();
    let keys = store.list_keys().await.unwrap();
    match kind {
        "key" => {
            let (id, secret) = what.split_once(' ').unwrap();
            let listed = keys.iter().find(|key| key.id.as_str() == id);
            let found = store.find_key(secret).await.unwrap();
            // By now it may have been revoked: then it is listed, but no longer found.
            listed.is_some_and(|key| found.is_some() != key.revoked_at.is_some())
        }
        "ruleset" => {
            let found = store
                .ruleset(&cards(), Some(what.parse().unwrap()))
                .await
                .unwrap();
            found.is_some_and(|found| found.source == [7; 3000])
        }
        "activated" => {
            let version = Some(what.parse().unwrap());
            let found = store.ruleset(&cards(), version).await.unwrap();
            // By now another may have been activated.
            found.is_some_and(|found| found.state.may_hold())
        }
        "binding" => {
            let target = BindingTarget::Key(what.parse().unwrap());
            store
                .bindings(&cards())
                .await
                .unwrap()
                .iter()
                .any(|bound| bound.target == target)
        }
        "revoked" => keys
            .iter()
            .any(|key| key.id.as_str() == what && key.revoked_at == Some(9)),
        other => panic!("unknown line {other}"),
    }
}

fn cards() -> RuleSetName {
    "cards".parse().unwrap()
}

/// Below `end`.
fn random(end: u32) -> u32 {
    getrandom::u32().unwrap() % end
}
