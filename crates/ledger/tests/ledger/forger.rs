//! Somebody changes a log. Each kind of change is found, and told in words of its own.

use portcullis_ledger::{Audit, Fault, Outcome, Predicate, RecordId, Timestamp};

use crate::making::{LOG, Log, RECORD, STRANGER, key, pinned, two_servers};

/// Nothing but what `expect` tells, in its order.
#[track_caller]
fn check(log: &Log, expect: &[&str]) {
    let faults = log.verify().faults;
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let as_expected = told.len() == expect.len()
        && told
            .iter()
            .zip(expect)
            .all(|(told, expect)| told.contains(expect));
    assert!(as_expected, "wanted {expect:#?}, got {told:#?}");
}

fn edited(log: &Log, index: usize, change: impl FnOnce(String) -> String) -> Log {
    let mut entries = log.entries.clone();
    let text = String::from_utf8(entries[index].clone()).unwrap();
    entries[index] = change(text).into_bytes();
    log.with(entries)
}

/// The payload of an entry with some words replaced, under the signature that was there.
fn reworded(log: &Log, index: usize, from: &str, to: &str) -> Log {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    edited(log, index, |text| {
        let mut envelope: serde_json::Value = serde_json::from_str(&text).unwrap();
        let payload = STANDARD
            .decode(envelope["payload"].as_str().unwrap())
            .unwrap();
        let payload = String::from_utf8(payload).unwrap();
        assert!(payload.contains(from), "{payload}");
        envelope["payload"] = STANDARD.encode(payload.replace(from, to)).into();
        envelope.to_string()
    })
}

mod without_keys {
    use super::*;

    const ROOT: &str = "do not have the root that the checkpoint signs";

    #[tokio::test]
    async fn deletes_an_end() {
        let log = two_servers().await;
        let mut entries = log.entries.clone();
        entries.remove(5);
        let faults = [
            // Everything after it has moved.
            "record rec_00000000000000000000000000000002 of entry 4 was not closed before the next",
            "closes record rec_00000000000000000000000000000003 as opened by entry 8",
            "the checkpoint is of 11 entries and there are 10: the log was cut off",
        ];
        check(&log.with(entries), &faults);
    }

    #[tokio::test]
    async fn deletes_a_beginning() {
        let log = two_servers().await;
        let mut entries = log.entries.clone();
        entries.remove(8);
        let faults = [
            "entry 8 closes record rec_00000000000000000000000000000003, which was never opened",
            "the checkpoint is of 11 entries and there are 10: the log was cut off",
        ];
        check(&log.with(entries), &faults);
    }

    #[tokio::test]
    async fn deletes_the_first_entry() {
        let log = two_servers().await;
        let faults = log.with(log.entries[1..].to_vec()).verify().faults;
        assert_eq!(faults[0], Fault::NoStart);
        assert!(faults[0].to_string().contains("its beginning is missing"));
    }

    #[tokio::test]
    async fn cuts_off_the_end() {
        let log = two_servers().await;
        let cut = log.with(log.entries[..10].to_vec());
        check(
            &cut,
            &["the checkpoint is of 11 entries and there are 10: the log was cut off"],
        );
    }

    #[tokio::test]
    async fn changes_two_entries_for_each_other() {
        let log = two_servers().await;
        let mut entries = log.entries.clone();
        entries.swap(3, 4);
        let faults = [
            "time went back",
            "entry 5 closes record rec_00000000000000000000000000000002 as opened by entry 4",
            "entry 6 closes record rec_00000000000000000000000000000001 as opened by entry 3",
            ROOT,
        ];
        check(&log.with(entries), &faults);
    }

    #[tokio::test]
    async fn repeats_an_end() {
        let log = two_servers().await;
        let mut entries = log.entries.clone();
        entries.insert(3, entries[2].clone());
        let faults = log.with(entries).verify().faults;
        let record = RecordId::parse("rec_00000000000000000000000000000000").unwrap();
        assert_eq!(faults[0], Fault::ClosedTwice { entry: 3, record });
        assert!(faults.contains(&Fault::Root { size: 11 }));
        let uncovered = Fault::Uncovered {
            signed: 11,
            found: 12,
        };
        assert_eq!(faults.last(), Some(&uncovered));
    }

    #[tokio::test]
    async fn repeats_a_beginning() {
        let log = two_servers().await;
        let mut entries = log.entries.clone();
        entries.push(entries[10].clone());
        let faults = [
            "call 1 of the callers without a key was there before (the next one had to be call 2)",
            "entry 11 opens record rec_00000000000000000000000000000004, which has been open since entry 10",
            "the checkpoint is of 11 entries and there are 12: nothing vouches",
        ];
        check(&log.with(entries), &faults);
    }

    #[tokio::test]
    async fn edits_what_was_released() {
        let log = two_servers().await;
        let forged = reworded(&log, 2, "\"released_bytes\":4", "\"released_bytes\":5");
        let changed = "entry 2: the signature of key";
        check(&forged, &[changed, ROOT]);
    }

    #[tokio::test]
    async fn writes_the_same_in_other_words() {
        let log = two_servers().await;
        let spaced = edited(&log, 10, |text| text.replacen("\":\"", "\": \"", 1));
        check(&spaced, &["entry 10 is not written as records are", ROOT]);
    }

    #[tokio::test]
    async fn puts_rubbish_in_place_of_an_entry() {
        let log = two_servers().await;
        let rubbish = edited(&log, 10, |_| "{}".to_owned());
        check(
            &rubbish,
            &["entry 10 is no record: this is no DSSE envelope", ROOT],
        );
    }

    #[tokio::test]
    async fn back_dates_an_entry() {
        let log = two_servers().await;
        let forged = reworded(&log, 10, "2023-11-14T22:13:", "2023-11-14T21:13:");
        let faults = [
            "entry 10: the signature of key",
            "entry 10 says 2023-11-14T21:13:",
            ROOT,
        ];
        check(&forged, &faults);
    }

    #[tokio::test]
    async fn signs_an_entry_with_a_key_of_his_own() {
        let log = two_servers().await;
        let mut entries = log.entries.clone();
        let predicate = log.predicates().remove(10);
        entries[10] = portcullis_ledger::seal(predicate, &key(STRANGER));
        let named = format!(
            "entry 10 is not signed by a trusted record key; it names {}",
            key(STRANGER).public().id()
        );
        check(&log.with(entries), &[&named, ROOT]);
    }

    #[tokio::test]
    async fn signs_the_checkpoint_with_a_key_of_his_own() {
        let log = two_servers().await;
        let predicates = log.predicates();
        let forged = Log::written(&log.origin(), predicates, &key(RECORD), &key(STRANGER));
        check(
            &forged,
            &["the checkpoint: no trusted key has signed the checkpoint"],
        );
    }
}

/// Who has both keys can sign whatever he likes. What he writes must still hang together, and a
/// checkpoint that somebody kept elsewhere gives him away in any case.
mod with_both_keys {
    use super::*;

    #[tokio::test]
    async fn changes_nothing() {
        let log = two_servers().await;
        check(&log.rewritten(|_| {}), &[]);
    }

    #[tokio::test]
    async fn leaves_out_a_call() {
        let log = two_servers().await;
        let forged = log.rewritten(|said| drop(said.drain(4..6)));
        let gap = "entry 6, record rec_00000000000000000000000000000003: call 2 of the key with \
                   hash ";
        check(&forged, &[gap]);
        assert!(
            forged.verify().faults[0]
                .to_string()
                .contains("calls before it are missing")
        );
    }

    #[tokio::test]
    async fn leaves_out_an_end() {
        let log = two_servers().await;
        let forged = log.rewritten(|said| drop(said.remove(5)));
        let left = "record rec_00000000000000000000000000000002 of entry 4 was not closed before \
                    the next server started (entry 6)";
        check(&forged, &[left]);
    }

    #[tokio::test]
    async fn leaves_out_a_beginning() {
        let log = two_servers().await;
        let forged = log.rewritten(|said| drop(said.remove(8)));
        let never = "entry 8 closes record rec_00000000000000000000000000000003, which was never";
        check(&forged, &[never]);
    }

    #[tokio::test]
    async fn leaves_out_a_beginning_in_the_middle() {
        let log = two_servers().await;
        let forged = log.rewritten(|said| drop(said.remove(4)));
        let faults = [
            "entry 4 closes record rec_00000000000000000000000000000002, which was never opened",
            "entry 7, record rec_00000000000000000000000000000003: call 2 of the key with hash",
        ];
        check(&forged, &faults);
    }

    /// Its end comes after the beginning of another call of the key, which shows the gap first.
    #[tokio::test]
    async fn leaves_out_a_beginning_among_others() {
        let log = two_servers().await;
        let forged = log.rewritten(|said| {
            let end = said.remove(2);
            said.insert(4, end);
            said.remove(1);
        });
        let faults = [
            "entry 2, record rec_00000000000000000000000000000002: call 1 of the key with hash",
            "time went back",
            "entry 3 closes record rec_00000000000000000000000000000000, which was never opened",
        ];
        check(&forged, &faults);
    }

    #[tokio::test]
    async fn back_dates_a_call() {
        let log = two_servers().await;
        let forged = log.rewritten(|said| {
            let Predicate::Opened(opened) = &mut said[8] else {
                panic!("not a beginning")
            };
            opened.opened_at = Timestamp::from_unix_ms(1_000_000_000_000);
        });
        check(
            &forged,
            &["entry 8 says 2001-09-09T01:46:40.000Z, and the one before it 2023"],
        );
    }

    /// The end of call 1 of ada, after a change.
    async fn with_end(change: impl FnOnce(&mut portcullis_ledger::Closed)) -> Log {
        let log = two_servers().await;
        log.rewritten(|said| {
            let Predicate::Closed(closed) = &mut said[5] else {
                panic!("not an end")
            };
            change(closed);
        })
    }

    #[tokio::test]
    async fn gives_an_end_to_another_key() {
        let forged = with_end(|closed| closed.head.key_id_hash = None).await;
        let differs = "entry 5 closes record rec_00000000000000000000000000000002 with another";
        check(&forged, &[differs]);
    }

    #[tokio::test]
    async fn calls_an_end_a_crash() {
        let forged = with_end(|closed| closed.end.outcome = Outcome::Crashed).await;
        // It stands right before the crash that there was, which ends with the start.
        check(&forged, &[]);
        let log = two_servers().await;
        let forged = log.rewritten(|said| {
            let Predicate::Closed(closed) = &mut said[2] else {
                panic!("not an end")
            };
            closed.end.outcome = Outcome::Crashed;
        });
        let crash = "entry 2 closes record rec_00000000000000000000000000000000 as crashed, and no";
        check(&forged, &[crash]);
    }

    #[tokio::test]
    async fn takes_an_entry_from_another_log() {
        let forged = with_end(|closed| closed.head.replica = "elsewhere".to_owned()).await;
        let faults = [
            "entry 5 is of replica \"elsewhere\"",
            "with another replica",
        ];
        check(&forged, &faults);
    }

    #[tokio::test]
    async fn gives_a_record_a_name_that_is_none() {
        let log = two_servers().await;
        let forged = log.rewritten(|said| {
            let Predicate::Opened(opened) = &mut said[10] else {
                panic!("not a beginning")
            };
            let name = serde_json::from_str("\"rec_\\u001b[2J\"").unwrap();
            opened.head.record_id = name;
        });
        check(
            &forged,
            &["entry 10 is no record: \"rec_\\u{1b}[2J\" is no record id"],
        );
    }

    #[tokio::test]
    async fn says_that_a_statement_is_about_something_else() {
        let log = two_servers().await;
        let mut entries = log.entries.clone();
        let mut statement = portcullis_ledger::Statement::new(log.predicates().remove(10));
        statement.subject[0].name = "something else".to_owned();
        let payload = serde_json::to_vec(&statement).unwrap();
        let mut envelope =
            portcullis_sign::Envelope::new(portcullis_ledger::STATEMENT_TYPE, payload, Vec::new());
        envelope.sign(&key(RECORD));
        entries[10] = envelope.to_line().into_bytes();
        let faults = [
            "entry 10: the statement's subjects are not",
            "do not have the root",
        ];
        check(&log.with(entries), &faults);
    }

    #[tokio::test]
    async fn goes_on_with_a_key_that_was_not_announced() {
        let log = two_servers().await;
        let keys = portcullis_ledger::TrustedKeys::pinned(
            crate::making::public(&[RECORD, 3]),
            crate::making::public(&[LOG, 4]),
        );
        let forged = Log::written(&log.origin(), log.predicates(), &key(3), &key(4));
        let faults = forged.verify_with(&keys).faults;
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 12, "{told:#?}");
        assert!(told[0].contains("entry 0 is signed by"), "{told:#?}");
        assert!(told[11].contains("not signed by the key that the log announced"));
    }

    /// Entries 0 to 5 and from 7 on by the key of the operator, the crash in between by another.
    #[tokio::test]
    async fn closes_a_crash_with_a_key_that_is_not_announced() {
        let log = two_servers().await;
        let mut entries = log.entries.clone();
        entries[6] = portcullis_ledger::seal(log.predicates().remove(6), &key(3));
        let keys = portcullis_ledger::TrustedKeys::pinned(
            crate::making::public(&[RECORD, 3]),
            crate::making::public(&[LOG]),
        );
        let faults = log.with(entries).verify_with(&keys).faults;
        assert!(
            matches!(faults[0], Fault::KeyNotAnnounced { entry: 6, .. }),
            "{faults:#?}"
        );
    }

    #[tokio::test]
    async fn rewrites_a_call_with_all_that_follows_and_a_witness_knows() {
        let log = two_servers().await;
        let forged = log.rewritten(|said| {
            for at in [4, 5] {
                match &mut said[at] {
                    Predicate::Opened(opened) => opened.call.endpoint = "/v1/other".to_owned(),
                    Predicate::Closed(closed) => closed.end.outcome = Outcome::Finished,
                    Predicate::Started(_) => panic!("not of a call"),
                }
            }
        });
        check(&forged, &[]);
        assert_eq!(
            witnessed(&forged, &log.checkpoint),
            [Fault::Fork { old: 11 }]
        );
        assert_eq!(witnessed(&log, &log.checkpoint), []);
    }

    #[tokio::test]
    async fn goes_back_to_an_older_state_and_a_witness_knows() {
        let log = two_servers().await;
        let older = log.rewritten(|said| said.truncate(8));
        check(&older, &[]);
        let shrunken = Fault::Shrunken { old: 11, new: 8 };
        assert_eq!(witnessed(&older, &log.checkpoint), [shrunken]);
        assert_eq!(witnessed(&log, &older.checkpoint), []);
    }

    #[tokio::test]
    async fn takes_another_log_altogether_and_a_witness_knows() {
        let (log, other) = (two_servers().await, two_servers().await);
        check(&other, &[]);
        let faults = witnessed(&other, &log.checkpoint);
        assert!(matches!(faults[0], Fault::OtherLog { .. }), "{faults:?}");
    }

    /// What is found by somebody who kept an older checkpoint.
    fn witnessed(log: &Log, older: &str) -> Vec<Fault> {
        let keys = pinned();
        let mut audit = Audit::new(&log.checkpoint, &keys);
        audit.witnessed(older);
        for entry in &log.entries {
            audit.entry(entry);
        }
        audit.finish().faults
    }
}
