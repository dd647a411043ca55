//! Lists: every filter, alone and with the others, page by page.

use portcullis_ledger::{Outcome, RecordId, Timestamp};
use portcullis_store::{RecordFilter, RecordSummary, Records};
use tempfile::TempDir;

use super::common::{ALICE, BOB, HOUR_MS, Server, at, call, end, pages};

/// Rule sets of a call; a name may be there twice, the second time observed.
const RULESETS: [&[(&str, u32)]; 5] = [
    &[],
    &[("cards", 1)],
    &[("cards", 2), ("advice", 1)],
    &[("cards", 1), ("cards", 2)],
    &[("cards", 1), ("cards", 1)],
];

/// 120 calls, one an hour, of all kinds; every seventh still runs.
async fn server_with_calls(dir: &TempDir) -> Server {
    let server = Server::start(dir.path()).await;
    for n in 0..120_usize {
        server.set_time(n as i64 * HOUR_MS);
        let key = [Some(ALICE), Some(BOB), None][n % 3];
        let deployment = ["bank", "shop"][n / 3 % 2];
        let new = call(key, deployment, RULESETS[n / 5 % 5]);
        let open = server.open(new).await;
        if n % 7 == 6 {
            std::mem::forget(open);
            continue;
        }
        let outcome = Outcome::ALL[n / 2 % 4];
        open.close(end(outcome, n as u64)).durable().await.unwrap();
    }
    server
}

#[tokio::test]
async fn every_filter_finds_what_meets_it_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let server = server_with_calls(&dir).await;
    let all = server.list(&RecordFilter::default()).await.records;
    assert_eq!(all.len(), 120);
    assert!(all.is_sorted_by(|a, b| a.opened_index > b.opened_index));

    let mut found = 0;
    for filter in filters() {
        let expected: Vec<_> = ids(all.iter().filter(|record| meets(record, &filter)));
        let listed = pages(&server.ledger, &filter, 1000).await;
        assert_eq!(listed.concat(), expected, "{filter:?}");
        let paged = pages(&server.ledger, &filter, 7).await.concat();
        assert_eq!(paged, expected, "{filter:?}");
        found += usize::from(!expected.is_empty());
    }
    assert!(found > 500, "only {found} filters found anything");
}

fn ids<'r>(records: impl Iterator<Item = &'r RecordSummary>) -> Vec<RecordId> {
    records.map(|record| record.id.clone()).collect()
}

/// Every condition with every other, and without it.
fn filters() -> Vec<RecordFilter> {
    let keys = [None, Some(ALICE)];
    let deployments = [None, Some("shop")];
    let rulesets = [
        None,
        Some(("cards", None)),
        Some(("cards", Some(2))),
        Some(("advice", None)),
        Some(("none", None)),
    ];
    let outcomes = [None, Some(Outcome::Finished), Some(Outcome::ClientGone)];
    let times = [None, Some(at(40 * HOUR_MS - 1)), Some(at(90 * HOUR_MS))];
    let mut filters = vec![RecordFilter::default()];
    let mut with = |set: &dyn Fn(&RecordFilter) -> Vec<RecordFilter>| {
        filters = filters.iter().flat_map(set).collect();
    };
    with(&|filter| {
        keys.map(|key| changed(filter, |it| it.key = key.map(parsed)))
            .into()
    });
    with(&|filter| {
        let of = |name: Option<&str>| changed(filter, |it| it.deployment = name.map(parsed));
        deployments.map(of).into()
    });
    with(&|filter| {
        let under = |set: Option<(&str, _)>| {
            changed(filter, |it| {
                it.ruleset = set.map(|(name, n)| (parsed(name), n))
            })
        };
        rulesets.map(under).into()
    });
    with(&|filter| {
        outcomes
            .map(|it| changed(filter, |f| f.outcome = it))
            .into()
    });
    with(&|filter| {
        [None, Some(true), Some(false)]
            .map(|it| changed(filter, |f| f.ended = it))
            .into()
    });
    with(&|filter| times.map(|it| changed(filter, |f| f.since = it)).into());
    with(&|filter| times.map(|it| changed(filter, |f| f.until = it)).into());
    filters
}

fn changed(filter: &RecordFilter, change: impl FnOnce(&mut RecordFilter)) -> RecordFilter {
    let mut filter = filter.clone();
    change(&mut filter);
    filter
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// The same conditions, over again and in Rust.
fn meets(record: &RecordSummary, filter: &RecordFilter) -> bool {
    fn is<T: PartialEq>(wanted: &Option<T>, found: Option<&T>) -> bool {
        wanted.is_none() || wanted.as_ref() == found
    }
    let outcome = record.closed.map(|(_, outcome, _)| outcome);
    let under = |label: &String| match &filter.ruleset {
        None => true,
        Some((name, None)) => label.starts_with(&format!("{name}@")),
        Some((name, Some(version))) => *label == format!("{name}@{version}"),
    };
    let opened = |bound: Option<Timestamp>| bound.map(|bound| record.opened_at >= bound);
    is(&filter.key, record.key.as_ref())
        && filter
            .deployment
            .as_ref()
            .is_none_or(|it| it.as_str() == record.deployment)
        && (filter.ruleset.is_none() || record.rulesets.iter().any(under))
        && is(&filter.outcome, outcome.as_ref())
        && is(&filter.ended, Some(&outcome.is_some()))
        && opened(filter.since) != Some(false)
        && opened(filter.until) != Some(true)
}

#[tokio::test]
async fn pages_stay_as_they_are_while_records_are_added() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let mut before = Vec::new();
    for _ in 0..30 {
        let new = call(Some(ALICE), "bank", &[]);
        before.push(server.call(new, end(Outcome::Finished, 1)).await);
    }
    before.reverse();
    let filter = RecordFilter {
        key: Some(parsed(ALICE)),
        ..RecordFilter::default()
    };
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = server.ledger.list_records(&filter, after, 4).await.unwrap();
        listed.extend(ids(page.records.iter()));
        let Some(next) = page.next else { break };
        after = Some(next);
        let new = call(Some(ALICE), "bank", &[]);
        server.call(new, end(Outcome::Finished, 1)).await;
    }
    assert_eq!(listed, before);
}

#[tokio::test]
async fn a_page_that_ends_with_the_list_has_no_next() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let none = RecordFilter::default();
    assert_eq!(pages(&server.ledger, &none, 2).await, [vec![]]);
    for _ in 0..4 {
        let new = call(None, "bank", &[]);
        server.call(new, end(Outcome::Finished, 1)).await;
    }
    let sizes = |limit| {
        let pages = pages(&server.ledger, &none, limit);
        async move { pages.await.iter().map(Vec::len).collect::<Vec<_>>() }
    };
    assert_eq!(sizes(2).await, [2, 2]);
    assert_eq!(sizes(3).await, [3, 1]);
    assert_eq!(sizes(0).await, [1, 1, 1, 1]);
}
