//! Requests that failed, by what was said.

use std::collections::BTreeMap;

use super::figure::Table;
use super::number;
use super::run::Run;
use super::timeline::shortened;

/// Different errors that are told apart.
const ERRORS_MAX: usize = 20;

/// A line for the head of the page; `None` if all is well.
pub(super) fn notice(runs: &[Run]) -> Option<String> {
    let failed: usize = runs.iter().map(|run| run.summary().failed).sum();
    let completed: usize = runs.iter().map(|run| run.summary().completed).sum();
    (failed > 0).then(|| {
        format!(
            "Requests that failed: {} of {}. They count in no latency and no throughput.",
            number::count(failed),
            number::count(failed + completed)
        )
    })
}

/// Errors of the last repeats, the most frequent first.
pub(super) fn table(runs: &[Run]) -> Option<Table> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for run in runs {
        for error in run
            .report
            .requests
            .iter()
            .filter_map(|r| r.error.as_deref())
        {
            *counts.entry((&run.label, error)).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let head = ["Run", "Requests", "Error"];
    let mut table = Table::new(caption(counts.len()), head);
    let shown = counts.into_iter().take(ERRORS_MAX);
    table.rows = shown
        .map(|((run, error), count)| vec![run.to_owned(), number::count(count), shortened(error)])
        .collect();
    (!table.rows.is_empty()).then_some(table)
}

fn caption(errors: usize) -> String {
    match errors.checked_sub(ERRORS_MAX) {
        None | Some(0) => "Errors of the last repeat".to_owned(),
        Some(more) => format!("The most frequent errors of the last repeat; {more} more differ"),
    }
}
