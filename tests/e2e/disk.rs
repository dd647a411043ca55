//! A disk that is full, and files that cannot be written: calls are refused rather than answered
//! without a record, and answered again once they can be.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis_ledger::Outcome;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::calls::{Ask, Ended, Heard, Manner};
use crate::ledger::Ledger;
use crate::server::{Server, serve};

/// The demo model and the databases, and some room.
const DISK_BYTES: usize = 16 << 20;
const NOT_ALLOWED: &str = "this user may not mount anything in a namespace of its own";
/// After room is made, calls are answered within this time, and what is owed is written. Some two
/// seconds where the machine does nothing else, which is printed.
const RECOVERY: Duration = Duration::from_secs(30);

/// A server whose data directory is a small disk that nobody else sees.
struct World {
    server: Server,
    client: reqwest::Client,
    /// The disk, as seen from here.
    disk: PathBuf,
    key: String,
    _folder: TempDir,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_calls_and_no_restart_is_needed() {
    let name = "a_full_disk_stops_calls_and_no_restart_is_needed";
    let Some(world) = World::start() else {
        return skip(name, NOT_ALLOWED);
    };
    for round in 0..2 {
        let [first, second, whole] = [0, 1, 2].map(|n| world.long(10 * round + n));
        let whole = world.begin_whole(whole);
        // Its beginning is on record.
        while world.server.metric("vllm:num_requests_running").await < 1.0 {
            assert!(!whole.is_finished(), "it was not taken, or is too short");
            sleep(Duration::from_millis(10)).await;
        }
        let mut under_way = Vec::new();
        for ask in [&first, &second] {
            under_way.push(ask.begin(&world.client, &world.server.url).await);
        }
        world.fill();
        world.check_refused().await;
        let mut owed = Vec::new();
        for listening in under_way {
            owed.push(listening.rest().await);
        }
        for heard in &owed {
            world.check_cut_off(heard);
        }
        let whole = whole.await.unwrap();
        assert_eq!(whole.status, Some(503), "{whole:?}");
        world.check_refused().await;
        // Nothing is under way any more, and the trouble is not over for that.
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.health().await.0, 503);

        fs::remove_file(world.disk.join("ballast")).unwrap();
        let recovered = async {
            // Nobody calls meanwhile.
            let ledger = world.ledger_once_closed(&owed).await;
            while world.health().await != (200, Value::Null) {
                sleep(Duration::from_millis(20)).await;
            }
            (ledger, world.call(true).await)
        };
        let began = Instant::now();
        let (ledger, answered) = timeout(RECOVERY, recovered).await.unwrap();
        println!(
            "calls are answered {:?} after there is room",
            began.elapsed()
        );
        assert_eq!(answered.status, Some(200), "{answered:?}");
        for heard in &owed {
            // All of it had left but the word that it was all, and so it is on record.
            let end = ledger.of(heard).end();
            assert_eq!(end.outcome, Outcome::Cancelled);
            assert_eq!(end.choices[0].finish_reason, None);
            ledger.check_released(heard, &heard.choices()).await;
        }
        let ledger = world.ledger_once_closed(std::slice::from_ref(&whole)).await;
        let end = ledger.of(&whole).end();
        assert_eq!((end.outcome, end.usage.released), (Outcome::Cancelled, 0));
        assert_eq!(end.choices[0].released_bytes, 0, "nothing of it had left");
        assert_eq!(ledger.of(&answered).end().outcome, Outcome::Finished);
    }
    world.server.terminate();
    let ended = world.server.ended_within(Duration::from_secs(10)).await;
    assert!(ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_could_not_record_does_not_start() {
    let name = "a_server_that_could_not_record_does_not_start";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    if !is_allowed(path) {
        return skip(name, NOT_ALLOWED);
    }
    // What is there is what a server has made.
    Server::start(path).kill();
    let read_only = [
        (
            ".",
            "check its permissions, or choose another with --data-dir",
        ),
        (
            "ledger.db",
            "check the permissions of the file and of its directory",
        ),
        (
            "ledger.lock",
            "check that the path is right and that this user may write there",
        ),
    ];
    for (file, advice) in read_only {
        let mount = format!("mount --bind {file} {file} && mount -o remount,bind,ro {file}");
        let serve = serve(path);
        // Should it start, the test is not to wait for its end.
        let mut briefly = Command::new("timeout");
        briefly.arg("60").arg(serve.get_program());
        briefly.args(serve.get_args());
        let refused = mounted(&mount, &briefly, path).output().unwrap();
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{file}: {message}");
        let said = message.split_once("error: ").unwrap().1;
        assert!(said.contains(path.to_str().unwrap()), "{file}: {said}");
        assert!(said.contains(advice), "{file}: {said}");
    }
    let server = Server::start(path);
    let get = reqwest::Method::GET;
    let (status, _) = server.send(get, "/health", "", "").await;
    assert_eq!(status, 200);
}

impl World {
    /// `None` where that is not allowed.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        if !is_allowed(folder.path()) {
            return None;
        }
        let mount = format!("mount -t tmpfs -o size={DISK_BYTES} tmpfs .");
        let server = Server::from(mounted(&mount, &serve(folder.path()), folder.path()));
        let root = PathBuf::from(format!("/proc/{}/root", server.process_id()));
        let disk = root.join(folder.path().strip_prefix("/").unwrap());
        let key = fs::read_to_string(disk.join("demo/inference.key")).unwrap();
        Some(Self {
            server,
            client: reqwest::Client::new(),
            disk,
            key: key.trim().to_owned(),
            _folder: folder,
        })
    }

    /// A call that takes a while.
    fn long(&self, seed: u64) -> Ask {
        Ask {
            key: self.key.clone(),
            text: "Tell me about the Growth Fund",
            seed,
            choices: 1,
            tokens: Some(1500),
        }
    }

    /// A call whose answer is one body, under way.
    fn begin_whole(&self, ask: Ask) -> JoinHandle<Heard> {
        let (client, url) = (self.client.clone(), self.server.url.clone());
        let manner = Manner {
            stream: false,
            patience: None,
        };
        tokio::spawn(async move { ask.call(&client, &url, manner).await })
    }

    async fn call(&self, stream: bool) -> Heard {
        let ask = Ask {
            tokens: Some(4),
            ..self.long(0)
        };
        let manner = Manner {
            stream,
            patience: None,
        };
        ask.call(&self.client, &self.server.url, manner).await
    }

    /// Leaves no room on the disk.
    fn fill(&self) {
        let mut ballast = File::create(self.disk.join("ballast")).unwrap();
        let mut bytes = vec![0; 1 << 20];
        while !bytes.is_empty() {
            while ballast.write_all(&bytes).is_ok() {}
            bytes.truncate(bytes.len() / 2);
        }
    }

    /// Calls are told why they are not answered, and so is who asks for the server's health.
    async fn check_refused(&self) {
        for stream in [true, false, true] {
            let heard = self.call(stream).await;
            assert_eq!(heard.status, Some(503), "{heard:?}");
            let error = heard.error().unwrap();
            assert_eq!(error["code"], "unrecorded");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("the disk is full; make room"), "{message}");
            assert_eq!((heard.record.as_ref(), heard.choices()), (None, Vec::new()));
        }
        let (status, error) = self.health().await;
        assert_eq!((status, error["code"].as_str()), (503, Some("unrecorded")));
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("the disk is full; make room"), "{message}");
        let (status, _) = self.get("/live").await;
        assert_eq!(status, 200);
    }

    /// A stream that was under way ends with the same error.
    fn check_cut_off(&self, heard: &Heard) {
        assert_eq!((heard.status, heard.end), (Some(200), Ended::Complete));
        assert!(heard.is_done());
        let error = heard.error().unwrap();
        assert_eq!(error["code"], "unrecorded");
        let finish_reason = heard.choices()[0].finish_reason.clone();
        assert_eq!(finish_reason, None, "it is not said to have ended well");
    }

    /// The ledger, once the ends of these calls are in it.
    async fn ledger_once_closed(&self, owed: &[Heard]) -> Ledger {
        loop {
            let ledger = self.ledger().await;
            if owed.iter().all(|heard| !ledger.of(heard).closed.is_empty()) {
                return ledger;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Read from a copy: SQLite takes the way to the disk for one that leads through our own root.
    async fn ledger(&self) -> Ledger {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&self.disk).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".db") || name.ends_with("-wal") {
                fs::copy(entry.path(), copy.path().join(name)).unwrap();
            }
        }
        Ledger::read(copy.path(), None).await
    }

    async fn health(&self) -> (u16, Value) {
        self.get("/health").await
    }

    /// The status, and the error if there is one.
    async fn get(&self, path: &str) -> (u16, Value) {
        let get = reqwest::Method::GET;
        let (status, mut body) = self.server.send(get, path, &self.key, "").await;
        (status, body["error"].take())
    }
}

/// The command in namespaces of its own, after `mount` was run in `folder`.
fn mounted(mount: &str, command: &Command, folder: &Path) -> Command {
    let mut unshared = Command::new("unshare");
    unshared
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/nonexistent")
        .current_dir(folder)
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg(format!("{mount} && exec \"$@\""))
        .arg("sh")
        .arg(command.get_program())
        .args(command.get_args());
    unshared
}

fn is_allowed(folder: &Path) -> bool {
    let mut mounted = mounted("mount -t tmpfs tmpfs .", &Command::new("true"), folder);
    mounted.status().is_ok_and(|status| status.success())
}

/// Also where the output of tests is captured.
fn skip(test: &str, reason: &str) {
    let said = format!("SKIPPED {test}: {reason}\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}
