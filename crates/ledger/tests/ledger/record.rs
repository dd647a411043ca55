//! One record with its proof.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_ledger::{
    Closed, EntryProof, Fault, Predicate, RecordId, RecordProof, Salt, Timestamp, Tree,
    TrustedKeys, inclusion, indexes_for_inclusion, verify_record,
};
use serde_json::json;

use crate::making::{LOG, Log, RECORD, STRANGER, key, pinned, public, two_servers};

fn entry(log: &Log, index: u64) -> EntryProof {
    let mut tree = Tree::default();
    let hashes: Vec<_> = log
        .entries
        .iter()
        .flat_map(|entry| tree.push_entry(entry))
        .collect();
    let indexes = indexes_for_inclusion(tree.size(), index).unwrap();
    let hashes: Vec<_> = indexes.iter().map(|&at| hashes[at as usize]).collect();
    let proof = inclusion(tree.size(), index, &hashes).unwrap();
    EntryProof {
        index,
        envelope: serde_json::from_slice(&log.entries[index as usize]).unwrap(),
        inclusion: proof.iter().map(|hash| STANDARD.encode(hash.0)).collect(),
    }
}

/// Call 1 of ada, entries 4 and 5.
fn proof_from(log: &Log) -> RecordProof {
    RecordProof {
        record_id: RecordId::parse("rec_00000000000000000000000000000002").unwrap(),
        opened: entry(log, 4),
        closed: Some(entry(log, 5)),
        checkpoint: log.checkpoint.clone(),
        salt: Some(Salt::from_bytes([7; 32])),
    }
}

async fn proof() -> (RecordProof, Log) {
    let log = two_servers().await;
    (proof_from(&log), log)
}

#[tokio::test]
async fn a_record_is_verified_from_its_json_alone() {
    let (proof, _) = proof().await;
    let json = serde_json::to_string_pretty(&proof).unwrap();
    let proof: RecordProof = serde_json::from_str(&json).unwrap();
    let report = verify_record(&proof, &pinned());
    assert_eq!(report.faults, []);
    assert!(report.is_sound() && report.remarks.is_empty());
    assert_eq!(report.keys[0].signatures, 2);
    assert_eq!(report.opened.unwrap().head.seq, 1);
    assert_eq!(report.closed.unwrap().end.choices[0].released_bytes, 4);
}

#[tokio::test]
async fn a_record_under_way_has_no_end_and_is_sound() {
    let (mut proof, _) = proof().await;
    proof.closed = None;
    let report = verify_record(&proof, &pinned());
    assert!(report.is_sound());
    assert_eq!(report.remarks.len(), 1);
}

/// What is found after `change`.
async fn check(change: impl FnOnce(&mut RecordProof, &Log), expect: impl FnOnce(&[Fault]) -> bool) {
    let (mut proof, log) = proof().await;
    change(&mut proof, &log);
    let faults = verify_record(&proof, &pinned()).faults;
    assert!(expect(&faults), "{faults:#?}");
}

#[tokio::test]
async fn whatever_is_changed_in_a_record_is_found() {
    let is_included = |faults: &[Fault]| matches!(faults, [Fault::NotIncluded { entry: 4 }]);
    check(
        |proof, _| proof.opened.index = 5,
        |faults| faults.contains(&Fault::NotIncluded { entry: 5 }),
    )
    .await;
    check(|proof, _| proof.opened.inclusion.truncate(1), is_included).await;
    check(
        |proof, _| proof.opened.inclusion[0] = "?".to_owned(),
        is_included,
    )
    .await;
    check(
        |proof, _| proof.opened.index = u64::MAX,
        |faults| faults.contains(&Fault::NotIncluded { entry: u64::MAX }),
    )
    .await;
    check(
        |proof, _| proof.opened.envelope["note"] = json!("added"),
        |faults| faults.contains(&Fault::Form { entry: 4 }),
    )
    .await;
    check(
        |proof, _| {
            let text = proof.closed.as_mut().unwrap();
            let payload = text.envelope["payload"].as_str().unwrap();
            let payload = STANDARD.decode(payload).unwrap();
            let payload = String::from_utf8(payload).unwrap();
            let payload = payload.replace("\"released_bytes\":4", "\"released_bytes\":5");
            text.envelope["payload"] = json!(STANDARD.encode(payload));
        },
        |faults| {
            matches!(
                faults,
                [
                    Fault::NotIncluded { entry: 5 },
                    Fault::Signature { entry: 5, .. }
                ]
            )
        },
    )
    .await;
    check(
        |proof, _| proof.checkpoint.insert(0, 'x'),
        |faults| matches!(faults, [Fault::Checkpoint { .. }]),
    )
    .await;
}

#[tokio::test]
async fn entries_of_other_records_do_not_pass_for_this_one() {
    let wrong = |faults: &[Fault]| matches!(faults, [Fault::WrongEntry { .. }]);
    // The end of another call, its beginning, and the two changed for each other.
    check(|proof, log| proof.closed = Some(entry(log, 9)), wrong).await;
    check(|proof, log| proof.closed = Some(entry(log, 4)), wrong).await;
    check(|proof, log| proof.opened = entry(log, 1), wrong).await;
    check(|proof, log| proof.opened = entry(log, 0), wrong).await;
}

#[tokio::test]
async fn a_record_of_a_stranger_is_told_from_one_that_was_changed() {
    let (proof, _) = proof().await;
    let keys = TrustedKeys::pinned(public(&[STRANGER]), public(&[LOG]));
    let faults = verify_record(&proof, &keys).faults;
    let named = public(&[RECORD])[0].id().to_string();
    let untrusted = |entry| Fault::Untrusted {
        entry,
        named: named.clone(),
    };
    assert_eq!(faults, [untrusted(4), untrusted(5)]);
}

/// What is found in a record of somebody who has both keys.
async fn check_rewritten(change: impl FnOnce(&mut Closed), expect: impl FnOnce(&[Fault]) -> bool) {
    let log = two_servers().await.rewritten(|said| {
        let Predicate::Closed(closed) = &mut said[5] else {
            panic!("not an end")
        };
        change(closed);
    });
    let faults = verify_record(&proof_from(&log), &pinned()).faults;
    assert!(expect(&faults), "{faults:#?}");
}

#[tokio::test]
async fn the_two_entries_of_a_record_belong_together() {
    check_rewritten(|_| {}, <[_]>::is_empty).await;
    check_rewritten(
        |closed| closed.closed_at = Timestamp::default(),
        |faults| matches!(faults, [Fault::TimeWentBack { entry: 5, .. }]),
    )
    .await;
    check_rewritten(
        |closed| closed.head.seq = 0,
        |faults| matches!(faults, [Fault::HeadDiffers { entry: 5, .. }]),
    )
    .await;
    check_rewritten(
        |closed| closed.head.replica = "elsewhere".to_owned(),
        |faults| matches!(faults, [Fault::Replica { .. }, Fault::HeadDiffers { .. }]),
    )
    .await;
}

#[tokio::test]
async fn the_end_of_a_record_points_to_its_beginning() {
    let log = two_servers().await;
    // The same beginning once more, at another place.
    let moved = log.rewritten(|said| said.insert(6, said[4].clone()));
    let mut proof = proof_from(&moved);
    proof.opened = entry(&moved, 6);
    let faults = verify_record(&proof, &pinned()).faults;
    assert!(
        matches!(faults[..], [Fault::WrongReference { entry: 5, .. }]),
        "{faults:#?}"
    );
}

#[tokio::test]
async fn a_record_of_no_replica_is_none() {
    let log = two_servers().await;
    let elsewhere = Log::written("example.org/log", log.predicates(), &key(RECORD), &key(LOG));
    let faults = verify_record(&proof_from(&elsewhere), &pinned()).faults;
    assert!(matches!(faults[..], [Fault::Origin { .. }]), "{faults:#?}");
}
