use std::fs;
use std::path::{Path, PathBuf};

use portcullis_ledger::{
    Call, CallEnd, Closed, EntryProof, Export, Head, LeafRef, LogSigner, LogVerifier, Opened,
    Outcome, Predicate, RecordId, RecordProof, SignedCheckpoint, Started, Timestamp, Tree,
    TrustedKeys, inclusion, indexes_for_inclusion, seal,
};
use portcullis_sign::SecretKey;
use tempfile::TempDir;

use super::{json, run, stderr, stdout, text};

const ORIGIN: &str = "portcullis/here";

/// A log of one call, with what people are given of it.
struct Ledger {
    dir: TempDir,
    entries: Vec<Vec<u8>>,
    checkpoint: SignedCheckpoint,
}

fn keys() -> (SecretKey, SecretKey) {
    (
        SecretKey::from_seed(&[1; 32]),
        SecretKey::from_seed(&[2; 32]),
    )
}

impl Ledger {
    fn new() -> Self {
        let (record, log) = keys();
        let (mut tree, mut entries) = (Tree::default(), Vec::new());
        let mut add = |predicate| {
            let entry = seal(predicate, &record);
            let leaf = LeafRef {
                index: tree.size(),
                leaf_hash: leaf_hash(&mut tree, &entry),
            };
            entries.push(entry);
            leaf
        };
        add(Predicate::Started(started(&record, &log)));
        let head = Head {
            record_id: RecordId::parse(&format!("rec_{:032x}", 7)).unwrap(),
            replica: "here".to_owned(),
            key_id_hash: None,
            seq: 0,
        };
        let opened = add(Predicate::Opened(Opened {
            head: head.clone(),
            opened_at: Timestamp::from_unix_ms(1_700_000_000_000),
            call: Call::default(),
        }));
        add(Predicate::Closed(Closed {
            head,
            closed_at: Timestamp::from_unix_ms(1_700_000_001_000),
            opened,
            end: CallEnd::unknown(Outcome::Finished),
        }));
        let checkpoint = LogSigner::new(ORIGIN, &log).sign(&tree).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("record.pem"), record.public().to_pem()).unwrap();
        fs::write(dir.path().join("log.pem"), log.public().to_pem()).unwrap();
        Self {
            dir,
            entries,
            checkpoint,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn export(&self) -> PathBuf {
        let (record, log) = keys();
        let keys = TrustedKeys::pinned(vec![record.public()], vec![log.public()]);
        let dir = self.path("export");
        let mut export = Export::create(&dir, self.checkpoint.clone(), &keys).unwrap();
        for entry in &self.entries {
            export.entry(entry).unwrap();
        }
        export.finish().unwrap();
        dir
    }

    fn record(&self) -> PathBuf {
        let mut tree = Tree::default();
        let entries = self.entries.iter();
        let hashes: Vec<_> = entries.flat_map(|entry| tree.push_entry(entry)).collect();
        let entry = |index: u64| {
            let needed = indexes_for_inclusion(tree.size(), index).unwrap();
            let needed: Vec<_> = needed.iter().map(|&at| hashes[at as usize]).collect();
            let proof = inclusion(tree.size(), index, &needed).unwrap();
            EntryProof {
                index,
                envelope: serde_json::from_slice(&self.entries[index as usize]).unwrap(),
                inclusion: proof.iter().map(ToString::to_string).collect(),
            }
        };
        let proof = RecordProof {
            record_id: RecordId::parse(&format!("rec_{:032x}", 7)).unwrap(),
            opened: entry(1),
            closed: Some(entry(2)),
            checkpoint: self.checkpoint.note.clone(),
            salt: None,
        };
        let path = self.path("record.json");
        fs::write(&path, serde_json::to_string_pretty(&proof).unwrap()).unwrap();
        path
    }

    /// With the keys of the operator.
    fn verify(&self, path: &Path, more: &[&str]) -> std::process::Output {
        let (record, log) = (self.path("record.pem"), self.path("log.pem"));
        let keys = ["--record-key", text(&record), "--log-key", text(&log)];
        run(&[&["audit", "verify", text(path)], &keys[..], more].concat())
    }
}

fn leaf_hash(tree: &mut Tree, entry: &[u8]) -> String {
    let bytes = tree.push_entry(entry)[0].0;
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn started(record: &SecretKey, log: &SecretKey) -> Started {
    Started {
        replica: "here".to_owned(),
        started_at: Timestamp::from_unix_ms(1_700_000_000_000),
        engine_build: "0.1.0".to_owned(),
        deployment: "demo".to_owned(),
        digests: Default::default(),
        record_key: record.public().id().to_string(),
        log_key: LogVerifier::new(ORIGIN, log.public()).to_string(),
    }
}

#[test]
fn an_export_is_verified_and_described() {
    let ledger = Ledger::new();
    let export = ledger.export();
    let output = ledger.verify(&export, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = stdout(&output);
    for part in [
        "log       portcullis/here\n",
        "entries   3, root ",
        "time      2023-11-14T22:13:20.000Z to 2023-11-14T22:13:21.000Z\n",
        "calls     1: 1 finished, 0 under way\n",
        ", given by you, signatures: 3\n",
        "Sound: signed by the keys that you gave.\n",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    let report = json(&ledger.verify(&export, &["--json"]));
    assert_eq!(report["sound"], true);
    assert_eq!(report["outcomes"]["finished"], 1);
}

#[test]
fn keys_of_the_export_alone_prove_little_and_that_is_said() {
    let ledger = Ledger::new();
    let output = run(&["audit", "verify", text(&ledger.export())]);
    assert_eq!(output.status.code(), Some(0));
    let told = stdout(&output);
    let id = keys().0.public().id().to_string();
    assert!(
        told.contains("compare their ids") && told.contains(&id),
        "{told}"
    );
    assert!(
        told.ends_with("whose keys these are is for you to find out.\n"),
        "{told}"
    );
}

#[test]
fn what_is_wrong_is_told_and_exits_with_1() {
    let ledger = Ledger::new();
    let export = ledger.export();
    let path = export.join("entries.jsonl");
    let lines = fs::read_to_string(&path).unwrap();
    let kept: Vec<_> = lines.lines().take(2).collect();
    fs::write(&path, kept.join("\n") + "\n").unwrap();
    let output = ledger.verify(&export, &[]);
    assert_eq!(output.status.code(), Some(1));
    let told = stdout(&output);
    assert!(
        told.contains("WRONG     the checkpoint is of 3 entries and there are 2"),
        "{told}"
    );
    assert!(told.ends_with("Not sound.\n"), "{told}");
    let report = json(&ledger.verify(&export, &["--json"]));
    assert_eq!(report["sound"], false);
    assert_eq!(report["faults"][0]["fault"], "truncated");
}

#[test]
fn a_witness_knows_how_the_log_began() {
    let ledger = Ledger::new();
    let export = ledger.export();
    let witness = ledger.path("older");
    fs::write(&witness, &ledger.checkpoint.note).unwrap();
    let with_witness = ["--witness", text(&witness)];
    assert_eq!(ledger.verify(&export, &with_witness).status.code(), Some(0));

    let mut longer = Tree::default();
    for entry in [b"1", b"2", b"3", b"4"] {
        longer.push_entry(entry);
    }
    let longer = LogSigner::new(ORIGIN, &keys().1).sign(&longer).unwrap();
    fs::write(&witness, longer.note).unwrap();
    let output = ledger.verify(&export, &with_witness);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("entries were taken away"));
}

#[test]
fn one_record_is_verified_and_described() {
    let ledger = Ledger::new();
    let record = ledger.record();
    let output = ledger.verify(&record, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = stdout(&output);
    assert!(
        told.contains("closed    2023-11-14T22:13:21.000Z, finished\n"),
        "{told}"
    );

    let changed = fs::read_to_string(&record).unwrap();
    fs::write(&record, changed.replacen("\"index\": 1", "\"index\": 0", 1)).unwrap();
    let output = ledger.verify(&record, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("WRONG     entry 0 is not in the log"));
}

#[test]
fn a_record_without_its_end_is_sound_only_as_far_as_it_goes() {
    let ledger = Ledger::new();
    let path = ledger.record();
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record.as_object_mut().unwrap().remove("closed").unwrap();
    fs::write(&path, record.to_string()).unwrap();
    for (more, code) in [(&[][..], 1), (&["--allow-open"], 0)] {
        let output = ledger.verify(&path, more);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let told = stdout(&output);
        let verdict = "Sound as far as it goes: how the call ended is not shown.\n";
        assert!(told.ends_with(verdict), "{told}");
        let report = json(&ledger.verify(&path, &[more, &["--json"]].concat()));
        assert_eq!(report["sound"], code == 0);
    }
}

#[test]
fn what_cannot_be_verified_is_told_with_what_to_do() {
    let ledger = Ledger::new();
    let record = ledger.record();
    let check = |args: &[&str], expect: &str| {
        let output = run(&[&["audit", "verify"], args].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(expect), "{}", stderr(&output));
    };
    let (record, log_key) = (text(&record), ledger.path("log.pem"));
    check(&[record], "give the operator's with --record-key PEM");
    check(
        &[text(&log_key)],
        "is neither the folder of an export nor one record",
    );
    check(&[text(ledger.dir.path())], "it has no file `checkpoint`");
    check(&["/nonexistent/x"], "/nonexistent/x cannot be read");
    check(&[record, "--log-key", record], "cannot be used");
}

/// Three gigabytes that take no room, and a pipe that nobody writes to.
#[test]
fn files_without_an_end_are_refused() {
    let ledger = Ledger::new();
    let (export, record) = (ledger.export(), ledger.record());
    let (endless, pipe) = (ledger.path("endless"), ledger.path("pipe"));
    let file = fs::File::create(&endless).unwrap();
    file.set_len(3 << 30).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for (odd, told) in [
        (text(&endless), "it is longer than the"),
        (text(&pipe), "it is not a regular file"),
    ] {
        for (path, more) in [
            (text(&export), &["--witness", odd][..]),
            (text(&record), &["--record-key", odd]),
            (text(&record), &["--log-key", odd]),
            (odd, &[]),
        ] {
            let output = ledger.verify(Path::new(path), more);
            assert_eq!(output.status.code(), Some(1));
            let said = stderr(&output);
            assert!(said.contains(told) && said.contains(odd), "{said}");
        }
    }
}
