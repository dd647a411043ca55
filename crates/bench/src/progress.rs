//! How a run goes, on stderr while it goes; silent where that is no terminal.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::Watcher;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::workload::Workload;

/// How often the bar is drawn anew though nothing ended.
const TICK: Duration = Duration::from_millis(250);

/// A bar that grows with each request that ends.
pub(crate) struct Progress {
    bar: ProgressBar,
    failed: AtomicUsize,
    tokens: AtomicUsize,
}

impl Progress {
    pub(crate) fn start(plan: &Plan, repeat: usize, workload: &Workload) -> Self {
        let (bar, form) = match plan.load.duration {
            // How many it will be is not known.
            Some(_) => (
                ProgressBar::no_length(),
                "{prefix}{spinner} {pos} answered, {msg}",
            ),
            None => (
                ProgressBar::new(workload.asks.len() as u64),
                "{prefix}{bar:30} {pos}/{len} answered, {msg}",
            ),
        };
        let style = ProgressStyle::with_template(form).unwrap_or(ProgressStyle::default_bar());
        let bar = bar.with_style(style);
        if plan.repeats > 1 {
            bar.set_prefix(format!("{} of {}  ", repeat + 1, plan.repeats));
        }
        bar.enable_steady_tick(TICK);
        Self {
            bar,
            failed: AtomicUsize::new(0),
            tokens: AtomicUsize::new(0),
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watcher for Progress {
    fn ended(&self, outcome: &Outcome, under_way: usize) {
        let failure = usize::from(outcome.error.is_some());
        let failed = self.failed.fetch_add(failure, Ordering::Relaxed) + failure;
        let new = outcome.output_tokens;
        let tokens = self.tokens.fetch_add(new, Ordering::Relaxed) + new;
        let seconds = self.bar.elapsed().as_secs_f64();
        let rate = tokens as f64 / seconds.max(f64::EPSILON);
        self.bar.set_message(format!(
            "{failed} failed, {under_way} under way, {rate:.0} tokens/s"
        ));
        self.bar.inc(1);
    }
}
