//! A folder that verifies without a server.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_ledger::{
    Export, ExportError, Fault, KeyKind, RULESET_TYPE, Remark, SignedCheckpoint, TilePath,
    TrustedKeys, split_bundle,
};
use portcullis_sign::Envelope;
use tempfile::TempDir;

use crate::making::{
    AUTHOR, LOG, Log, RECORD, RULESET, key, many_calls, pinned, public, two_servers,
};

pub(crate) fn keys_of(record: u8, log: u8) -> TrustedKeys {
    TrustedKeys::pinned(public(&[record]), public(&[log]))
}

fn checkpoint(log: &Log, log_key: u8) -> SignedCheckpoint {
    SignedCheckpoint::read(&log.checkpoint, &public(&[log_key])).unwrap()
}

/// Writes a log out as the server with these keys does.
pub(crate) fn write(log: &Log, dir: &Path, record: u8, log_key: u8) {
    let keys = keys_of(record, log_key);
    let mut export = Export::create(dir, checkpoint(log, log_key), &keys).unwrap();
    for entry in &log.entries {
        export.entry(entry).unwrap();
    }
    let mut envelope = Envelope::new(RULESET_TYPE, RULESET.to_vec(), Vec::new());
    envelope.sign(&key(AUTHOR));
    export.signer(&key(AUTHOR).public()).unwrap();
    export
        .ruleset("retail-advice", 3, RULESET, Some(&envelope))
        .unwrap();
    export.finish().unwrap();
}

pub(crate) fn exported(log: &Log) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(log, dir.path(), RECORD, LOG);
    dir
}

#[tokio::test]
async fn an_export_says_what_the_log_says() {
    let log = two_servers().await;
    let dir = exported(&log);
    let report = Export::open(dir.path()).unwrap().verify(&pinned(), &[]);
    assert_eq!(report, log.verify());
    assert!(report.is_sound());
}

#[tokio::test]
async fn an_export_without_pinned_keys_is_sound_in_itself_and_says_so() {
    let dir = exported(&two_servers().await);
    let export = Export::open(dir.path()).unwrap();
    let report = export.verify(&TrustedKeys::default(), &[]);
    assert!(report.is_sound());
    let told = report.remarks.iter().map(ToString::to_string);
    let told = told
        .filter(|it| it.contains("came with what they verify"))
        .count();
    assert_eq!(told, 2);
    // One kind of key is enough to know the other by.
    let record = TrustedKeys::pinned(public(&[RECORD]), Vec::new());
    let report = export.verify(&record, &[]);
    assert!(matches!(
        report.remarks[0],
        Remark::NotPinned {
            kind: KeyKind::Log,
            ..
        }
    ));
}

#[tokio::test]
async fn the_folder_is_laid_out_as_others_read_it() {
    let log = many_calls(300).await;
    let dir = exported(&log);
    let read = |path: &str| fs::read(dir.path().join(path)).unwrap();
    assert_eq!(read("checkpoint"), log.checkpoint.as_bytes());
    let lines = read("entries.jsonl");
    let lines: Vec<_> = lines
        .strip_suffix(b"\n")
        .unwrap()
        .split(|&b| b == b'\n')
        .collect();
    assert_eq!(lines, log.entries);
    let size = log.entries.len() as u64;
    assert_eq!(size, 601);
    for path in TilePath::all(size) {
        let there = read(&path.to_string());
        if path.is_bundle() {
            let (first, end) = path.entries();
            let entries = &log.entries[first as usize..end as usize];
            assert_eq!(split_bundle(&there).unwrap(), entries, "{path}");
        }
    }
    assert_eq!(read("rulesets/retail-advice@3.yaml"), RULESET);
    let envelope = Envelope::from_json(&read("rulesets/retail-advice@3.dsse.json")).unwrap();
    assert_eq!(envelope.unverified_payload(), RULESET);
    for (kind, seed) in [("record", RECORD), ("log", LOG), ("signer", AUTHOR)] {
        let public = key(seed).public();
        let name = format!("keys/{kind}-{}.pem", &public.id().as_str()[..16]);
        assert_eq!(read(&name), public.to_pem().as_bytes());
    }
    let vkey = String::from_utf8(read("keys/log.vkey")).unwrap();
    signed_note::StandardVerifier::new(vkey.trim_end()).unwrap();
    assert!(read("README.txt").starts_with(b"This folder holds"));
}

/// The commands of the folder's README, as somebody types them who trusts no program of ours.
#[tokio::test]
async fn an_entry_is_verified_by_hand() {
    let dir = exported(&two_servers().await);
    let by_hand = || {
        let readme = fs::read_to_string(dir.path().join("README.txt")).unwrap();
        let commands = readme.split_once("By hand, with").unwrap().1;
        let commands = commands.lines().filter(|line| line.starts_with("  "));
        let script = commands.collect::<Vec<_>>().join("\n").replace('…', "*");
        let run = Command::new("sh")
            .args(["-ec", &script])
            .current_dir(dir.path())
            .output();
        let run = run.unwrap();
        (run.status.success(), String::from_utf8(run.stdout).unwrap())
    };
    let (done, told) = by_hand();
    assert!(done, "openssl, sed and tail are needed: {told}");
    let verified = told.matches("Signature Verified Successfully").count();
    assert_eq!(verified, 2, "{told}");

    let path = dir.path().join("entries.jsonl");
    let lines = fs::read_to_string(&path).unwrap();
    let at = lines.match_indices("\"payload\":\"").nth(5).unwrap().0 + 14;
    fs::write(&path, format!("{}e{}", &lines[..at], &lines[at + 1..])).unwrap();
    let (done, told) = by_hand();
    assert!(!done, "{told}");
}

#[tokio::test]
async fn a_folder_with_something_in_it_is_left_alone() {
    let log = two_servers().await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    let error = Export::create(dir.path(), checkpoint(&log, LOG), &pinned()).err();
    assert!(matches!(error, Some(ExportError::NotEmpty(_))));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn an_export_that_was_not_finished_is_none() {
    let log = two_servers().await;
    let dir = tempfile::tempdir().unwrap();
    let begun = || Export::create(dir.path(), checkpoint(&log, LOG), &pinned()).unwrap();
    let mut export = begun();
    export.entry(&log.entries[0]).unwrap();
    let error = export.finish().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the checkpoint is of 11 entries, and 1 were given"
    );
    let error = Export::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("it was not finished"), "{error}");
}

#[tokio::test]
async fn what_cannot_stand_in_an_export_is_refused() {
    let log = two_servers().await;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new");
    let mut export = Export::create(&dir, checkpoint(&log, LOG), &pinned()).unwrap();
    for entry in [b"{}\n".as_slice(), &[b'x'; 65_536]] {
        assert!(matches!(export.entry(entry), Err(ExportError::Entry(0))));
    }
    for name in ["", ".hidden", "../../etc/passwd", "a b"] {
        let refused = export.ruleset(name, 1, b"", None);
        assert!(
            matches!(refused, Err(ExportError::RuleSetName(_))),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_rule_set_that_is_not_there_is_a_remark() {
    let dir = exported(&two_servers().await);
    fs::remove_dir_all(dir.path().join("rulesets")).unwrap();
    let report = Export::open(dir.path()).unwrap().verify(&pinned(), &[]);
    assert!(report.is_sound());
    let (name, version) = ("retail-advice".to_owned(), 3);
    assert!(
        report
            .remarks
            .contains(&Remark::RuleSetMissing { name, version })
    );
}

#[tokio::test]
async fn a_signature_that_cannot_be_looked_at_is_a_remark() {
    let log = two_servers().await;
    let id = key(AUTHOR).public().id().to_string();
    let key_file = format!("keys/signer-{}.pem", &id[..16]);
    for (file, missing) in [
        (key_file.as_str(), "its public key"),
        (
            "rulesets/retail-advice@3.dsse.json",
            "the envelope with its signature",
        ),
    ] {
        let dir = exported(&log);
        fs::remove_file(dir.path().join(file)).unwrap();
        let report = Export::open(dir.path()).unwrap().verify(&pinned(), &[]);
        assert!(report.is_sound(), "{:#?}", report.faults);
        let told: Vec<_> = report.remarks.iter().map(ToString::to_string).collect();
        let expect = format!(
            "rule set retail-advice@3: who signed it is not shown; records name key {id}, and \
             {missing} is not in the folder"
        );
        assert!(told.contains(&expect), "{told:#?}");
    }
}

#[tokio::test]
async fn a_key_file_is_the_key_that_its_name_says() {
    let dir = exported(&two_servers().await);
    let id = key(RECORD).public().id();
    let path = dir
        .path()
        .join(format!("keys/record-{}.pem", &id.as_str()[..16]));
    fs::write(&path, key(9).public().to_pem()).unwrap();
    let error = Export::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("another key than its name says"), "{error}");
    fs::write(&path, "no key").unwrap();
    let error = Export::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("BEGIN PUBLIC KEY"), "{error}");
}

#[tokio::test]
async fn a_line_that_is_longer_than_any_entry_is_not_read_to_its_end() {
    let dir = exported(&two_servers().await);
    let path = dir.path().join("entries.jsonl");
    fs::write(&path, "x".repeat(1 << 20) + "\n").unwrap();
    let report = Export::open(dir.path()).unwrap().verify(&pinned(), &[]);
    assert!(matches!(&report.faults[0], Fault::Unreadable { what, .. } if what == "entry 0"));
    fs::remove_file(&path).unwrap();
    let report = Export::open(dir.path()).unwrap().verify(&pinned(), &[]);
    assert!(matches!(&report.faults[0], Fault::Unreadable { what, .. } if what == "entries.jsonl"));
}

#[tokio::test]
async fn verifying_takes_no_more_memory_for_a_longer_log() {
    let bytes_max = |log: &Log| {
        let dir = exported(log);
        let export = Export::open(dir.path()).unwrap();
        let keys = pinned();
        let verify = || assert!(export.verify(&keys, &[]).is_sound());
        allocation_counter::measure(verify).bytes_max
    };
    // Both fill a bundle and a tile, which is what is kept of the entries.
    let (short, long) = (many_calls(150).await, many_calls(600).await);
    let (short, long) = (bytes_max(&short), bytes_max(&long));
    assert!(long < short + short / 10, "{short} bytes, then {long}");
}
