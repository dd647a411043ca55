//! What the store has answered survives `kill -9`.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use portcullis_store::{
    Act, BindingTarget, NewBinding, NewKey, NewRuleSet, Role, RuleSetName, SqliteStore, Store,
};
use tempfile::TempDir;

const DATA_DIR: &str = "PORTCULLIS_STORE_KILL_TEST_DATA_DIR";
const ROUNDS: u32 = 6;

#[tokio::test]
async fn what_was_answered_survives_kill_nine() {
    let dir = TempDir::new().unwrap();
    let mut answered = Vec::new();
    for round in 0..ROUNDS {
        let lines = run_child_and_kill_it(dir.path(), random(60));
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
    let new = NewKey {
        name: "k".parse().unwrap(),
        role: Role::Inference,
    };
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
        store.revoke_key(&key.id, 9).await.unwrap();
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
fn run_child_and_kill_it(data_dir: &Path, lines_min: u32) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
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
