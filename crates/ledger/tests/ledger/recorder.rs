//! That calls get their records in time, whatever the storage does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portcullis_ledger::{
    CallEnd, Checks, Outcome, Predicate, RecorderConfig, RefusedBy, Side, StartError, Unrecorded,
};

use crate::making::{
    LOG, Log, STRANGER, TestClock, call, closed, config, end, opened, public, start,
};
use crate::memory::{MemoryStore, Trouble};

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::default())
}

/// Outcomes in the order in which they were written.
fn outcomes(store: &MemoryStore) -> Vec<Outcome> {
    let predicates = Log::of(store).predicates().into_iter();
    let ends = predicates.filter_map(|predicate| match predicate {
        Predicate::Closed(closed) => Some(closed.end.outcome),
        _ => None,
    });
    ends.collect()
}

fn is_sound(store: &MemoryStore) {
    assert_eq!(Log::of(store).verify().faults, []);
}

/// Until the storage works again: the writer tries twice a second.
async fn until(done: impl Fn() -> bool) {
    for _ in 0..100 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not happen");
}

#[tokio::test]
async fn calls_that_come_together_share_an_append() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    store.append_ms.store(50, Ordering::Relaxed);
    let mut records: Vec<_> = (0..40)
        .map(|number| recorder.open(call(number, Some("ada"))).unwrap())
        .collect();
    for record in &mut records {
        record.durable().await.unwrap();
    }
    let appends = store.kept().checkpoints.len();
    assert!(appends <= 3, "{appends} appends for a start and 40 calls");
    assert_eq!(recorder.num_open(), 40);
    assert_eq!(recorder.checkpoint().size, 41);
    is_sound(&store);
}

#[tokio::test]
async fn calls_are_refused_while_the_storage_fails_and_served_when_it_works_again() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    store.fail(Trouble::Always);
    let mut refused = recorder.open(call(0, None)).unwrap();
    let error = refused.durable().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the record of this call cannot be written: the disk is full"
    );
    // Asked again it does not change its mind.
    assert_eq!(refused.durable().await, Err(error));
    assert_eq!(recorder.trouble().as_deref(), Some("the disk is full"));
    drop(refused);

    store.fail(None);
    closed(opened(&recorder, 1, None).await, Outcome::Finished).await;
    until(|| recorder.num_open() == 0).await;
    assert_eq!(recorder.trouble(), None);
    assert_eq!(outcomes(&store), [Outcome::Finished]);
    is_sound(&store);
}

/// Callers may be kept away as long as there is trouble: then no call would show that it is over.
#[tokio::test]
async fn trouble_is_over_once_the_storage_works_though_nobody_calls() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    store.fail(Trouble::Writing);
    let mut refused = recorder.open(call(0, None)).unwrap();
    refused.durable().await.unwrap_err();
    drop(refused);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let trouble = recorder.trouble();
    assert_eq!(trouble.as_deref(), Some("the disk is full"));
    store.fail(None);
    until(|| recorder.trouble().is_none()).await;
    assert_eq!(store.kept().entries.len(), 1);
}

#[tokio::test]
async fn an_end_is_owed_until_it_can_be_written() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    let record = opened(&recorder, 0, None).await;
    store.fail(Trouble::Always);
    let told = record.close(end(Outcome::ClientGone)).durable().await;
    assert!(matches!(told, Err(Unrecorded::Storage(_))));
    assert_eq!(recorder.num_open(), 1, "what is owed keeps its place");

    store.fail(None);
    until(|| recorder.num_open() == 0).await;
    assert_eq!(outcomes(&store), [Outcome::ClientGone]);
    is_sound(&store);
}

#[tokio::test]
async fn what_is_owed_is_what_the_reader_saw() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    let late = opened(&recorder, 0, None).await;
    store.fail(Trouble::Always);
    let withheld = |end| CallEnd {
        outcome: Outcome::Cancelled,
        ..end
    };
    let told = late.close_or(end(Outcome::Finished), withheld);
    told.durable().await.unwrap_err();
    store.fail(None);
    until(|| recorder.num_open() == 0).await;
    let in_time = opened(&recorder, 1, None).await;
    let told = in_time.close_or(end(Outcome::Finished), withheld);
    told.durable().await.unwrap();
    assert_eq!(outcomes(&store), [Outcome::Cancelled, Outcome::Finished]);
    is_sound(&store);
}

#[tokio::test]
async fn a_recorder_settles_when_all_ends_are_written() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    let record = opened(&recorder, 0, None).await;
    let soon = Duration::from_millis(50);
    let settled = tokio::time::timeout(soon, recorder.settle()).await;
    assert!(settled.is_err(), "a call is open");
    store.fail(Trouble::Always);
    drop(record.close(end(Outcome::Finished)));
    let settled = tokio::time::timeout(soon, recorder.settle()).await;
    assert!(settled.is_err(), "its end is owed");
    store.fail(None);
    recorder.settle().await;
    assert_eq!(outcomes(&store), [Outcome::Finished]);
    let too_late = recorder.open(call(1, None));
    assert!(matches!(too_late, Err(Unrecorded::TooManyOpen { .. })));
}

#[tokio::test]
async fn an_end_that_says_too_much_keeps_what_matters() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    let record = opened(&recorder, 0, None).await;
    let rules = |status: &str| (0..500).map(|n| format!("{status}-{n:060}")).collect();
    let long = Checks {
        ruleset: "long".into(),
        version: 1,
        on: Side::Output,
        pass: rules("pass"),
        fail: rules("fail"),
        error: Vec::new(),
        not_run: rules("none"),
        pass_unlisted: 0,
        not_run_unlisted: 0,
        fail_unlisted: 0,
    };
    let by = RefusedBy {
        ruleset: "long".into(),
        version: 1,
        rule: Some("fail-0".into()),
        after_release: false,
    };
    let full = CallEnd {
        refused_by: Some(by.clone()),
        checks: vec![long],
        ..end(Outcome::Refused)
    };
    record.close(full.clone()).durable().await.unwrap();
    let Some(Predicate::Closed(closed)) = Log::of(&store).predicates().pop() else {
        panic!("the call is closed");
    };
    let checks = &closed.end.checks[0];
    assert_eq!(
        (closed.end.refused_by, closed.end.usage),
        (Some(by), full.usage)
    );
    assert_eq!(closed.end.choices, full.choices);
    assert_eq!((checks.pass_unlisted, checks.not_run_unlisted), (500, 500));
    assert_eq!(checks.fail.len() as u64 + checks.fail_unlisted, 500);
    assert!(!checks.fail.is_empty());
    is_sound(&store);
}

#[tokio::test]
async fn ends_are_owed_also_when_nobody_is_left_to_ask() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    let record = opened(&recorder, 0, None).await;
    store.fail(Trouble::Always);
    drop(record.close(end(Outcome::Finished)));
    drop(recorder);
    tokio::time::sleep(Duration::from_millis(100)).await;
    store.fail(None);
    until(|| outcomes(&store) == [Outcome::Finished]).await;
    is_sound(&store);
}

#[tokio::test]
async fn an_append_that_fails_and_is_written_is_not_written_twice() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    let first = opened(&recorder, 0, Some("ada")).await;
    store.fail(Trouble::OnceThoughWritten);
    let told = first.close(end(Outcome::Finished)).durable().await;
    assert!(told.is_err());
    until(|| recorder.num_open() == 0).await;

    // A beginning that was written all the same: nothing was released, and the record says so.
    store.fail(Trouble::OnceThoughWritten);
    let mut second = recorder.open(call(1, Some("ada"))).unwrap();
    assert!(second.durable().await.is_err());
    drop(second);
    closed(opened(&recorder, 2, Some("ada")).await, Outcome::Refused).await;
    until(|| store.kept().open_ids().is_empty()).await;
    let mut ends = outcomes(&store);
    ends.sort();
    assert_eq!(
        ends,
        [Outcome::Finished, Outcome::Refused, Outcome::EngineError]
    );
    is_sound(&store);
}

#[tokio::test]
async fn a_call_that_is_dropped_ends_as_an_engine_error() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    drop(opened(&recorder, 0, None).await);
    until(|| recorder.num_open() == 0).await;
    assert_eq!(outcomes(&store), [Outcome::EngineError]);
    is_sound(&store);
}

#[tokio::test]
async fn what_was_open_is_closed_as_crashed_at_the_next_start() {
    let (store, clock) = (store(), TestClock::default());
    let (recorder, _) = start(&store, config(&clock)).await.unwrap();
    let mut open = Vec::new();
    for number in 0..5 {
        open.push(opened(&recorder, number, Some("ada")).await);
    }
    let store = store.after_a_crash();
    clock.set_back();
    let (again, crashed) = start(&store, config(&clock)).await.unwrap();
    assert_eq!(crashed, 5);
    assert_eq!(outcomes(&store), [Outcome::Crashed; 5]);
    assert_eq!(again.replica(), recorder.replica());
    // Also where the clock was set back, and the calls of a key go on.
    closed(opened(&again, 9, Some("ada")).await, Outcome::Finished).await;
    assert_eq!(Log::of(&store).verify().calls, 6);
    is_sound(&store);
}

/// As with a list of every key that ever signed.
#[tokio::test]
async fn the_key_of_a_log_may_be_among_its_earlier_ones() {
    let (store, clock) = (store(), TestClock::default());
    let listed = || RecorderConfig {
        earlier_log_keys: public(&[STRANGER, LOG, LOG]),
        ..config(&clock)
    };
    start(&store, listed()).await.unwrap();
    start(&store.after_a_crash(), listed()).await.unwrap();
}

#[tokio::test]
async fn a_start_is_written_all_at_once() {
    let (store, clock) = (store(), TestClock::default());
    let mut many = config(&clock);
    many.max_open = 300;
    let (recorder, _) = start(&store, many).await.unwrap();
    let mut open: Vec<_> = (0..300)
        .map(|n| recorder.open(call(n, None)).unwrap())
        .collect();
    for record in &mut open {
        record.durable().await.unwrap();
    }
    let store = store.after_a_crash();
    let before = store.kept().checkpoints.len();
    start(&store, config(&clock)).await.unwrap();
    assert_eq!(store.kept().checkpoints.len(), before + 1);
    is_sound(&store);
}

#[tokio::test]
async fn no_more_calls_are_open_than_may_be() {
    let mut config = config(&TestClock::default());
    config.max_open = 2;
    let store = store();
    let (recorder, _) = start(&store, config).await.unwrap();
    let (first, _second) = (
        opened(&recorder, 0, None).await,
        opened(&recorder, 1, None).await,
    );
    let third = recorder.open(call(2, None)).map(|_| ());
    assert_eq!(third, Err(Unrecorded::TooManyOpen { max: 2 }));
    closed(first, Outcome::Finished).await;
    until(|| recorder.num_open() == 1).await;
    opened(&recorder, 3, None).await;
}

#[tokio::test]
async fn an_end_that_says_too_much_is_said_in_fewer_words() {
    let store = store();
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    let record = opened(&recorder, 0, None).await;
    let mut end = end(Outcome::Finished);
    end.choices = vec![end.choices[0].clone(); 1000];
    record.close(end).durable().await.unwrap();
    assert_eq!(outcomes(&store), [Outcome::Finished]);

    let mut too_long = call(1, None);
    too_long.call.request_id = Some("x".repeat(70_000));
    let mut refused = recorder.open(too_long).unwrap();
    assert_eq!(refused.durable().await, Err(Unrecorded::TooLong));
    drop(refused);
    is_sound(&store);
}

#[tokio::test]
async fn a_log_that_was_changed_is_not_written_on() {
    type Change = fn(&mut crate::memory::Kept);
    let changes: [(&str, Change); 4] = [
        ("not those of its checkpoint", |kept| {
            kept.edge[0].0[0] ^= 1;
        }),
        ("hashes of its tree are missing", |kept| {
            kept.edge.pop();
        }),
        ("signature of the checkpoint does not match", |kept| {
            let last = kept.checkpoints.last_mut().unwrap();
            *last = last.replacen("\n11\n", "\n10\n", 1);
        }),
        ("no checkpoint", |kept| kept.checkpoints.clear()),
    ];
    for (told, change) in changes {
        let store = crate::making::store_of_two_servers().await;
        change(&mut store.kept());
        let entries = store.kept().entries.len();
        let error = match start(&store, config(&TestClock::default())).await {
            Err(error @ StartError::Changed(_)) => error.to_string(),
            other => panic!("{told}: {:?}", other.map(|(_, crashed)| crashed)),
        };
        assert!(error.contains(told), "{error}");
        assert_eq!(store.kept().entries.len(), entries);
    }
}
