//! Somebody changes an exported folder. Each kind of change is found, and told in words of its own.

use std::fs;
use std::path::Path;

use portcullis_ledger::{Export, Fault, LogReport, Outcome, Predicate, RULESET_TYPE, TrustedKeys};
use portcullis_sign::{Envelope, Signature};
use tempfile::TempDir;

use crate::export::{exported, write};
use crate::making::{AUTHOR, Log, RECORD, RULESET, STRANGER, key, pinned, two_servers};

fn verify(dir: &TempDir) -> LogReport {
    Export::open(dir.path()).unwrap().verify(&pinned(), &[])
}

fn verify_unpinned(dir: &TempDir) -> LogReport {
    let export = Export::open(dir.path()).unwrap();
    export.verify(&TrustedKeys::default(), &[])
}

fn witnessed(dir: &TempDir, older: &Log) -> Vec<Fault> {
    let export = Export::open(dir.path()).unwrap();
    export
        .verify(&pinned(), std::slice::from_ref(&older.checkpoint))
        .faults
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[track_caller]
fn check(faults: &[Fault], expect: &[&str]) {
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let as_expected = told.len() == expect.len()
        && told
            .iter()
            .zip(expect)
            .all(|(told, expect)| told.contains(expect));
    assert!(as_expected, "wanted {expect:#?}, got {told:#?}");
}

#[tokio::test]
async fn swaps_a_rule_set() {
    let dir = exported(&two_servers().await);
    let path = dir.path().join("rulesets/retail-advice@3.yaml");
    fs::write(path, "ruleset: retail-advice\nversion: 3\nrules: []\n").unwrap();
    let faults = [
        "the exported rule set retail-advice@3 has digest sha256:",
        "the envelope of rule set retail-advice@3 does not hold the exported file",
    ];
    check(&verify(&dir).faults, &faults);
}

#[tokio::test]
async fn swaps_the_envelope_of_a_rule_set() {
    let dir = exported(&two_servers().await);
    let path = dir.path().join("rulesets/retail-advice@3.dsse.json");
    fs::write(path, "{}").unwrap();
    check(
        &verify(&dir).faults,
        &["the envelope of rule set retail-advice@3"],
    );
}

#[tokio::test]
async fn takes_the_signatures_of_a_rule_set_or_makes_others() {
    let log = two_servers().await;
    let signed = |mut envelope: Envelope, seed: u8| {
        envelope.sign(&key(seed));
        envelope
    };
    let of_type = |of_type: &str| Envelope::new(of_type, RULESET.to_vec(), Vec::new());
    let author = key(AUTHOR).public().id().to_string();
    let zeroed = Signature {
        key: Some(author.clone()),
        bytes: [0; 64],
    };
    let no_signature = format!("retail-advice@3 has no signature of key {author} that matches");
    for envelope in [
        of_type(RULESET_TYPE),
        Envelope::new(RULESET_TYPE, RULESET.to_vec(), vec![zeroed]),
        signed(of_type(RULESET_TYPE), STRANGER),
        signed(of_type("application/yaml"), AUTHOR),
    ] {
        let dir = exported(&log);
        let path = dir.path().join("rulesets/retail-advice@3.dsse.json");
        fs::write(path, envelope.to_json()).unwrap();
        check(&verify(&dir).faults, &[&no_signature]);
    }
}

#[tokio::test]
async fn swaps_the_key_of_who_signed() {
    let dir = exported(&two_servers().await);
    let id = key(AUTHOR).public().id().to_string();
    let path = dir.path().join(format!("keys/signer-{}.pem", &id[..16]));
    fs::write(path, key(STRANGER).public().to_pem()).unwrap();
    let unreadable = format!("the key {id} of a signer cannot be read: its file holds another key");
    check(&verify(&dir).faults, &[&unreadable]);
}

#[tokio::test]
async fn edits_the_lines_and_not_the_tiles() {
    let dir = exported(&two_servers().await);
    let path = dir.path().join("entries.jsonl");
    change(&path, |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.swap(9, 10);
        *bytes = (lines.join("\n") + "\n").into_bytes();
    });
    let faults = [
        "time went back",
        "do not have the root that the checkpoint signs",
        "tile/0/000.p/11 does not agree with entries.jsonl, first at entry 9",
        "tile/entries/000.p/11 does not agree with entries.jsonl, first at entry 9",
    ];
    check(&verify(&dir).faults, &faults);
}

#[tokio::test]
async fn edits_a_tile() {
    let dir = exported(&two_servers().await);
    change(&dir.path().join("tile/0/000.p/11"), |bytes| {
        bytes[7 * 32 + 1] ^= 1
    });
    let differs = "tile/0/000.p/11 does not agree with entries.jsonl, first at entry 7";
    check(&verify(&dir).faults, &[differs]);
}

#[tokio::test]
async fn edits_a_bundle() {
    let log = two_servers().await;
    let dir = exported(&log);
    let before: usize = log.entries[..6].iter().map(|entry| 2 + entry.len()).sum();
    change(&dir.path().join("tile/entries/000.p/11"), |bytes| {
        bytes[before + 40] ^= 1
    });
    let differs = "tile/entries/000.p/11 does not agree with entries.jsonl, first at entry 6";
    check(&verify(&dir).faults, &[differs]);
}

#[tokio::test]
async fn adds_to_a_tile() {
    let dir = exported(&two_servers().await);
    change(&dir.path().join("tile/0/000.p/11"), |bytes| bytes.push(0));
    let differs = "tile/0/000.p/11 does not agree with entries.jsonl, first at entry 10";
    check(&verify(&dir).faults, &[differs]);
}

#[tokio::test]
async fn takes_a_tile_away() {
    let dir = exported(&two_servers().await);
    fs::remove_file(dir.path().join("tile/0/000.p/11")).unwrap();
    check(
        &verify(&dir).faults,
        &["tile/0/000.p/11 cannot be read: No such file"],
    );
}

#[tokio::test]
async fn cuts_the_lines_off() {
    let log = two_servers().await;
    let dir = exported(&log);
    let path = dir.path().join("entries.jsonl");
    let cut_off = "the checkpoint is of 11 entries and there are 10: the log was cut off";
    change(&path, |bytes| {
        bytes.truncate(bytes.len() - log.entries[10].len() - 1)
    });
    check(&verify(&dir).faults, &[cut_off]);

    let dir = exported(&log);
    let path = dir.path().join("entries.jsonl");
    change(&path, |bytes| bytes.truncate(bytes.len() - 1));
    let faults = ["entry 10 cannot be read: its line does not end", cut_off];
    check(&verify(&dir).faults, &faults);
}

#[tokio::test]
async fn puts_an_older_checkpoint_of_the_same_log_there() {
    let log = two_servers().await;
    let dir = exported(&log);
    let older = log.rewritten(|said| said.truncate(8));
    fs::write(dir.path().join("checkpoint"), &older.checkpoint).unwrap();
    let uncovered = "the checkpoint is of 8 entries and there are 11: nothing vouches";
    check(&verify(&dir).faults, &[uncovered]);
}

/// All of the folder is of that time, so that nothing in it gives it away.
#[tokio::test]
async fn goes_back_to_an_older_state_and_a_witness_knows() {
    let log = two_servers().await;
    let dir = exported(&log.rewritten(|said| said.truncate(8)));
    check(&verify(&dir).faults, &[]);
    let shrunken = "the log had 11 entries when the older checkpoint was kept, and has 8 now";
    check(&witnessed(&dir, &log), &[shrunken]);
}

#[tokio::test]
async fn rewrites_the_log_with_both_keys_and_a_witness_knows() {
    let log = two_servers().await;
    let forged = log.rewritten(|said| {
        let Predicate::Closed(closed) = &mut said[5] else {
            panic!("not an end")
        };
        closed.end.outcome = Outcome::Finished;
    });
    let dir = exported(&forged);
    check(&verify(&dir).faults, &[]);
    check(
        &witnessed(&dir, &log),
        &["the log does not begin with the 11 entries"],
    );
    let half = log.rewritten(|said| said.truncate(4));
    check(&witnessed(&dir, &half), &[]);
}

/// With the keys of the operator in the folder, as it was.
#[tokio::test]
async fn signs_everything_with_other_keys() {
    let log = two_servers().await;
    let (dir, honest) = (tempfile::tempdir().unwrap(), exported(&log));
    write(&by_a_stranger(&log), dir.path(), STRANGER, STRANGER);
    let keys = dir.path().join("keys");
    fs::remove_dir_all(&keys).unwrap();
    fs::rename(honest.path().join("keys"), &keys).unwrap();
    let faults = verify_unpinned(&dir).faults;
    assert_eq!(faults.len(), 12);
    assert!(matches!(faults[0], Fault::Checkpoint { .. }));
    let (untrusted, named) = (&faults[1..], key(STRANGER).public().id().to_string());
    let is_named = |it: &Fault| matches!(it, Fault::Untrusted { named: it, .. } if *it == named);
    assert!(untrusted.iter().all(is_named), "{untrusted:#?}");
}

/// And puts them into the folder, as if they were the operator's.
#[tokio::test]
async fn signs_everything_with_other_keys_and_puts_them_there() {
    let log = two_servers().await;
    let dir = tempfile::tempdir().unwrap();
    write(&by_a_stranger(&log), dir.path(), STRANGER, STRANGER);
    let unpinned = verify_unpinned(&dir);
    assert!(unpinned.is_sound(), "{:#?}", unpinned.faults);
    let id = key(STRANGER).public().id().to_string();
    assert!(unpinned.remarks[0].to_string().contains(&id));
    let faults = verify(&dir).faults;
    assert_eq!(faults.len(), 12);
    assert!(matches!(faults[1], Fault::Untrusted { entry: 0, .. }));
}

fn by_a_stranger(log: &Log) -> Log {
    let mut predicates = log.predicates();
    for predicate in &mut predicates {
        if let Predicate::Started(started) = predicate {
            let stranger = key(STRANGER).public();
            started.record_key = stranger.id().to_string();
            started.log_key =
                portcullis_ledger::LogVerifier::new(&log.origin(), stranger).to_string();
        }
    }
    Log::written(&log.origin(), predicates, &key(STRANGER), &key(STRANGER))
}

/// Three gigabytes that take no room, and would not fit into memory many times.
fn sparse(path: &Path) {
    let _ = fs::remove_file(path);
    fs::File::create(path).unwrap().set_len(3 << 30).unwrap();
}

/// Whoever opens it to read waits for somebody to write.
fn pipe(path: &Path) {
    let _ = fs::remove_file(path);
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// How it is made, and what is told of it.
type OddFile = (fn(&Path), &'static str);

const ODD_FILES: [OddFile; 2] = [
    (sparse, "it is longer than the"),
    (pipe, "it is not a regular file"),
];

#[tokio::test]
async fn puts_files_there_that_have_no_end() {
    let log = two_servers().await;
    let id = |seed| key(seed).public().id().to_string();
    for (make, told) in ODD_FILES {
        let with = |file: &str| {
            let dir = exported(&log);
            make(&dir.path().join(file));
            dir
        };
        let record_key = format!("keys/record-{}.pem", &id(RECORD)[..16]);
        for file in ["checkpoint", &record_key] {
            let dir = with(file);
            let open = || {
                let error = Export::open(dir.path()).unwrap_err().to_string();
                assert!(error.contains(told) && error.contains(file), "{error}");
            };
            let bytes_max = allocation_counter::measure(open).bytes_max;
            assert!(bytes_max < 1 << 20, "{file} took {bytes_max} bytes");
        }
        for (file, what) in [
            ("rulesets/retail-advice@3.yaml", "rule set retail-advice@3"),
            (
                "rulesets/retail-advice@3.dsse.json",
                "the envelope of rule set retail-advice@3",
            ),
            (
                &format!("keys/signer-{}.pem", &id(AUTHOR)[..16]),
                &format!("the key {} of a signer", id(AUTHOR)),
            ),
        ] {
            let unreadable = format!("{what} cannot be read: {told}");
            check(&verify(&with(file)).faults, &[&unreadable]);
        }
    }
}

#[tokio::test]
async fn puts_entries_and_tiles_there_that_have_no_end() {
    let log = two_servers().await;
    for file in ["entries.jsonl", "tile/0/000.p/11"] {
        for (make, _) in ODD_FILES {
            let dir = exported(&log);
            make(&dir.path().join(file));
            assert!(!verify(&dir).is_sound(), "{file}");
        }
    }
}
