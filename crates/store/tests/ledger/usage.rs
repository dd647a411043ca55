//! What calls cost, by key, deployment and day.

use portcullis_ledger::{Outcome, TokenCounts};
use portcullis_store::{Records, UsageFilter, UsageGrain, UsageRow};
use tempfile::TempDir;

use super::common::{ALICE, BOB, HOUR_MS, Server, at, call, end};

/// A row in short: day, key, deployment, calls and prompt tokens.
type Row = (
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
    u64,
    u64,
);

const DAY_1: Option<&str> = Some("2026-11-21");
const DAY_2: Option<&str> = Some("2026-11-22");

/// Calls on two days; the tokens of each are a power of two, so that every sum shows its parts.
async fn server_with_usage(dir: &TempDir) -> Server {
    let server = Server::start(dir.path()).await;
    let mut tokens = 1;
    for (hour, key, deployment) in [
        (1, Some(ALICE), "bank"),
        (2, Some(ALICE), "shop"),
        (3, None, "bank"),
        (23, Some(ALICE), "bank"),
        (24, Some(ALICE), "bank"),
        (25, Some(BOB), "bank"),
    ] {
        server.set_time(hour * HOUR_MS);
        let new = call(key, deployment, &[]);
        server.call(new, end(Outcome::Finished, tokens)).await;
        tokens *= 2;
    }
    // What runs has cost nothing yet.
    std::mem::forget(server.open(call(Some(ALICE), "bank", &[])).await);
    server
}

async fn check(server: &Server, filter: UsageFilter, by: [bool; 3], expected: &[Row]) {
    let [day, key, deployment] = by;
    let by = UsageGrain {
        key,
        deployment,
        day,
    };
    let rows = server.ledger.usage(&UsageFilter { by, ..filter }).await;
    let expected: Vec<_> = expected.iter().map(row).collect();
    assert_eq!(rows.unwrap(), expected, "{by:?}");
}

fn row(&(day, key, deployment, calls, tokens): &Row) -> UsageRow {
    let mut row = UsageRow {
        key: key.map(|key| key.parse().unwrap()),
        deployment: deployment.map(str::to_owned),
        day: day.map(str::to_owned),
        ..UsageRow::default()
    };
    row.usage.calls = calls;
    row.usage.tokens = TokenCounts {
        prompt: tokens,
        cached: 2 * tokens,
        released: 3 * tokens,
        discarded: 4 * tokens,
    };
    row
}

#[tokio::test]
async fn usage_is_told_apart_as_it_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let server = server_with_usage(&dir).await;
    let all = UsageFilter::default;
    check(&server, all(), [false; 3], &[(None, None, None, 6, 63)]).await;
    let by_day = [(DAY_1, None, None, 4, 15), (DAY_2, None, None, 2, 48)];
    check(&server, all(), [true, false, false], &by_day).await;
    let by_key = [
        (None, None, None, 1, 4),
        (None, Some(ALICE), None, 4, 27),
        (None, Some(BOB), None, 1, 32),
    ];
    check(&server, all(), [false, true, false], &by_key).await;
    let by_deployment = [
        (None, None, Some("bank"), 5, 61),
        (None, None, Some("shop"), 1, 2),
    ];
    check(&server, all(), [false, false, true], &by_deployment).await;
    let by_all = [
        (DAY_1, None, Some("bank"), 1, 4),
        (DAY_1, Some(ALICE), Some("bank"), 2, 9),
        (DAY_1, Some(ALICE), Some("shop"), 1, 2),
        (DAY_2, Some(ALICE), Some("bank"), 1, 16),
        (DAY_2, Some(BOB), Some("bank"), 1, 32),
    ];
    check(&server, all(), [true; 3], &by_all).await;
}

#[tokio::test]
async fn usage_is_of_what_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let server = server_with_usage(&dir).await;
    let total = [false; 3];
    let of_alice = UsageFilter {
        key: Some(ALICE.parse().unwrap()),
        ..UsageFilter::default()
    };
    check(&server, of_alice, total, &[(None, None, None, 4, 27)]).await;
    let of_shop = UsageFilter {
        deployment: Some("shop".parse().unwrap()),
        ..UsageFilter::default()
    };
    check(&server, of_shop, total, &[(None, None, None, 1, 2)]).await;
    // Days are whole, whichever moment of them is named.
    for hour in [24, 30, 47] {
        let since = UsageFilter {
            since: Some(at(hour * HOUR_MS)),
            ..UsageFilter::default()
        };
        check(&server, since, total, &[(None, None, None, 2, 48)]).await;
        let until = UsageFilter {
            until: Some(at(hour * HOUR_MS)),
            ..UsageFilter::default()
        };
        check(&server, until, total, &[(None, None, None, 4, 15)]).await;
    }
    let of_nobody = UsageFilter {
        deployment: Some("nobody".parse().unwrap()),
        ..UsageFilter::default()
    };
    check(&server, of_nobody, total, &[]).await;
}
