//! What verifying an honest log comes to.

use std::sync::Arc;

use portcullis_ledger::{
    FAULTS_LISTED_MAX, Fault, KeyKind, Outcome, Remark, TrustedKeys, consistency,
    indexes_for_consistency, plain_digest, verify_consistency, verify_log,
};

use crate::making::{
    LOG, Log, RECORD, RULESET, STRANGER, TestClock, closed, config, key, opened, pinned, public,
    start, store_of_two_servers, two_servers,
};
use crate::memory::MemoryStore;

#[tokio::test]
async fn a_log_that_was_left_alone_is_sound_and_counted() {
    let log = two_servers().await;
    let report = log.verify();
    assert_eq!(report.faults, []);
    assert!(report.is_sound());
    assert_eq!(report.origin, Some(log.origin()));
    assert_eq!((report.entries, report.starts, report.calls), (11, 2, 5));
    let outcomes = [
        (Outcome::Finished, 2),
        (Outcome::Refused, 1),
        (Outcome::Crashed, 1),
    ];
    assert_eq!(report.outcomes, outcomes.into());
    assert_eq!(report.under_way, 1);
    assert_eq!(report.remarks, [Remark::UnderWay { calls: 1 }]);
    let set = &report.rulesets[0];
    assert_eq!(
        (set.name.as_str(), set.version, set.calls),
        ("retail-advice", 3, 5)
    );
    assert_eq!(set.digest, format!("sha256:{}", plain_digest(RULESET)));
    assert!(report.first_at.unwrap() < report.last_at.unwrap());
    let keys: Vec<_> = report
        .keys
        .iter()
        .map(|key| (key.kind, key.pinned, key.signatures))
        .collect();
    assert_eq!(keys, [(KeyKind::Record, true, 11), (KeyKind::Log, true, 1)]);
}

#[tokio::test]
async fn keys_that_came_with_the_log_are_named_for_comparison() {
    let keys = TrustedKeys::unpinned(public(&[RECORD]), public(&[LOG]));
    let report = two_servers().await.verify_with(&keys);
    assert!(report.is_sound());
    let ids = |seed| vec![key(seed).public().id().to_string()];
    for (kind, seed) in [(KeyKind::Record, RECORD), (KeyKind::Log, LOG)] {
        let ids = ids(seed);
        assert!(report.remarks.contains(&Remark::NotPinned { kind, ids }));
    }
    assert!(report.remarks[0].to_string().contains("compare their ids"));
}

#[tokio::test]
async fn an_empty_log_is_sound_and_an_unsigned_one_is_not() {
    let empty = Log::written("portcullis/r", Vec::new(), &key(RECORD), &key(LOG));
    assert!(empty.verify().is_sound());
    let by_a_stranger = Log::written("portcullis/r", Vec::new(), &key(RECORD), &key(STRANGER));
    assert!(matches!(
        by_a_stranger.verify().faults[..],
        [Fault::Checkpoint { .. }]
    ));
    let elsewhere = Log::written("example.org/log", Vec::new(), &key(RECORD), &key(LOG));
    assert!(matches!(
        elsewhere.verify().faults[..],
        [Fault::Origin { .. }]
    ));
}

#[tokio::test]
async fn a_log_goes_on_under_new_keys() {
    let (store, clock) = (Arc::new(MemoryStore::default()), TestClock::default());
    let (first, _) = start(&store, config(&clock)).await.unwrap();
    let _never_ends = opened(&first, 0, None).await;

    let store = store.after_a_crash();
    let mut rotated = config(&clock);
    rotated.earlier_log_keys = public(&[LOG]);
    (rotated.keys.record, rotated.keys.log) = (key(3), key(4));
    let (second, crashed) = start(&store, rotated).await.unwrap();
    assert_eq!(crashed, 1);
    closed(opened(&second, 1, None).await, Outcome::Finished).await;

    // The end of the crash is signed by the new key, before the entry that announces it.
    let both = TrustedKeys::pinned(public(&[RECORD, 3]), public(&[LOG, 4]));
    assert_eq!(Log::of(&store).verify_with(&both).faults, []);
    let old = TrustedKeys::pinned(public(&[RECORD]), public(&[LOG]));
    let faults = Log::of(&store).verify_with(&old).faults;
    assert!(matches!(faults[0], Fault::Checkpoint { .. }));
    assert!(matches!(faults[1], Fault::Untrusted { entry: 2, .. }));
}

#[tokio::test]
async fn reading_that_stops_is_told_with_the_place() {
    let log = two_servers().await;
    let good = log.entries[..4].iter().cloned().map(Ok);
    let entries = good.chain([Err("input/output error")]);
    let faults = verify_log(entries, &log.checkpoint, &pinned()).faults;
    assert_eq!(
        faults[0].to_string(),
        "entry 4 cannot be read: input/output error"
    );
    assert_eq!(
        faults[1..],
        [Fault::Truncated {
            signed: 11,
            found: 4
        }]
    );
}

#[test]
fn faults_are_listed_up_to_a_bound_and_then_counted() {
    let log = Log::written("portcullis/r", Vec::new(), &key(RECORD), &key(LOG));
    let rubbish = log.with(vec![b"{}".to_vec(); 150]).verify();
    assert_eq!(rubbish.faults.len(), FAULTS_LISTED_MAX);
    // 150 that are no records, and one that the checkpoint does not cover them.
    assert_eq!(rubbish.faults_unlisted, 51);
}

#[tokio::test]
async fn programs_get_each_fault_with_its_fields_and_its_message() {
    let log = two_servers().await;
    let report = log.with(log.entries[..10].to_vec()).verify();
    let json = serde_json::to_value(&report).unwrap();
    let fault = &json["faults"][0];
    assert_eq!(fault["fault"], "truncated");
    assert_eq!(
        (&fault["signed"], &fault["found"]),
        (&11.into(), &10.into())
    );
    assert!(fault["message"].as_str().unwrap().contains("cut off"));
    assert_eq!(json["outcomes"]["finished"], 2);
}

#[tokio::test]
async fn a_log_begins_with_each_of_its_earlier_states() {
    let store = store_of_two_servers().await;
    let kept = store.kept();
    let new = kept.checkpoints.last().unwrap();
    for old in &kept.checkpoints {
        let size = |note: &str| note.lines().nth(1).unwrap().parse::<u64>().unwrap();
        let (size, old_size) = (size(new), size(old));
        let indexes = indexes_for_consistency(size, old_size).unwrap();
        let hashes: Vec<_> = indexes.iter().map(|&at| kept.hashes[at as usize]).collect();
        let proof = consistency(size, old_size, &hashes).unwrap();
        verify_consistency(old, new, &proof, &pinned()).unwrap();

        let fork = Fault::Fork { old: old_size };
        let (mut wrong, other) = (proof.clone(), portcullis_ledger::Hash([1; 32]));
        wrong.push(other);
        assert_eq!(
            verify_consistency(old, new, &wrong, &pinned()),
            Err(fork.clone())
        );
        if old != new {
            let shrunken = verify_consistency(new, old, &proof, &pinned());
            assert!(matches!(shrunken, Err(Fault::Shrunken { .. })));
        }
    }
    let empty = Log::written(
        new.lines().next().unwrap(),
        Vec::new(),
        &key(RECORD),
        &key(LOG),
    );
    verify_consistency(&empty.checkpoint, new, &[], &pinned()).unwrap();
    let other = Log::written("portcullis/other", Vec::new(), &key(RECORD), &key(LOG));
    let other = verify_consistency(&other.checkpoint, new, &[], &pinned());
    assert!(matches!(other, Err(Fault::OtherLog { .. })));
    let stranger = TrustedKeys::pinned(public(&[STRANGER]), public(&[STRANGER]));
    let unsigned = verify_consistency(new, new, &[], &stranger);
    assert!(matches!(unsigned, Err(Fault::Checkpoint { .. })));
}
