//! Sends a workload, and watches whether the client itself keeps up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::clock::RunClock;
use crate::outcome::Outcome;
use crate::plan::Load;
use crate::target::{Ask, Reply, Target};
use crate::workload::Workload;

/// How often the client asks itself whether it is late.
const PULSE: Duration = Duration::from_millis(10);

/// What came of a workload.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Every request that ended, in the order of the workload.
    pub outcomes: Vec<Outcome>,
    /// From the first that was sent to the last that ended, s.
    pub duration: f64,
    /// Most requests that were under way at once.
    pub concurrency_max: usize,
    /// How late the client's own timer woke, s, at each pulse.
    pub loop_delays: Vec<f64>,
    /// Requests that were under way when the run was stopped: they are not among the outcomes.
    pub cut_off: usize,
    /// Whether prompts were sent more than once, because they ran out before the time did.
    pub is_repeating: bool,
}

/// Is told how a run goes, while it goes.
pub trait Watcher: Send + Sync + 'static {
    /// A request ended.
    fn ended(&self, outcome: &Outcome, under_way: usize);
}

/// Watches nothing.
impl Watcher for () {
    fn ended(&self, _: &Outcome, _: usize) {}
}

/// Sends `workload` to `target` until it is done, its time is up, or `stop` says so.
pub async fn run<T: Target, W: Watcher>(
    target: &Arc<T>,
    workload: &Workload,
    load: &Load,
    watcher: &Arc<W>,
    stop: impl Future<Output = ()>,
) -> Run {
    let clock = RunClock::start();
    let board = Arc::new(Board::default());
    let pulse = tokio::spawn(pulse(clock, Arc::clone(&board)));
    let mut sender = Sender {
        target,
        watcher,
        clock,
        board: &board,
        under_way: JoinSet::new(),
        places: Places::new(load.max_concurrency),
        is_repeating: false,
    };
    let sending = async {
        sender.send_all(workload, load.duration).await;
        while sender.under_way.join_next().await.is_some() {}
    };
    let mut run = Run::default();
    tokio::select! {
        () = sending => {}
        () = stop => {}
    }
    run.is_repeating = sender.is_repeating;
    run.cut_off = board.under_way.load(Ordering::Relaxed);
    sender.under_way.shutdown().await;
    pulse.abort();
    run.loop_delays = take(&board.loop_delays);
    run.concurrency_max = board.concurrency_max.load(Ordering::Relaxed);
    run.outcomes = take(&board.outcomes);
    run.outcomes.sort_by_key(|outcome| outcome.index);
    run.duration = span(&run.outcomes);
    run
}

fn span(outcomes: &[Outcome]) -> f64 {
    let began = outcomes
        .iter()
        .map(|it| it.sent)
        .fold(f64::INFINITY, f64::min);
    let ended = outcomes.iter().map(|it| it.ended).fold(0.0, f64::max);
    (ended - began).max(0.0)
}

/// Where tasks write what came of their requests.
#[derive(Default)]
struct Board {
    outcomes: Mutex<Vec<Outcome>>,
    loop_delays: Mutex<Vec<f64>>,
    under_way: AtomicUsize,
    concurrency_max: AtomicUsize,
}

impl Board {
    fn begin(&self) {
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.concurrency_max.fetch_max(under_way, Ordering::Relaxed);
    }

    fn end(&self, outcome: Outcome) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        push(&self.outcomes, outcome);
    }
}

fn take<V>(list: &Mutex<Vec<V>>) -> Vec<V> {
    std::mem::take(&mut list.lock().unwrap_or_else(PoisonError::into_inner))
}

fn push<V>(list: &Mutex<Vec<V>>, value: V) {
    list.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(value);
}

/// Places under `--max-concurrency`. Each holds the time at which it became free, so that waiting
/// for one is not taken for the client's lag.
struct Places(Option<(mpsc::Sender<f64>, mpsc::Receiver<f64>)>);

impl Places {
    fn new(max_concurrency: Option<usize>) -> Self {
        Self(max_concurrency.map(|places| {
            let (free, freed) = mpsc::channel(places);
            for _ in 0..places {
                // There is room for each of them.
                let _ = free.try_send(0.0);
            }
            (free, freed)
        }))
    }

    /// Waits for a place; tells since when it is free, and how to give it back.
    async fn take(&mut self) -> (f64, Option<mpsc::Sender<f64>>) {
        match &mut self.0 {
            Some((free, freed)) => (freed.recv().await.unwrap_or(0.0), Some(free.clone())),
            None => (0.0, None),
        }
    }
}

struct Sender<'a, T, W> {
    target: &'a Arc<T>,
    watcher: &'a Arc<W>,
    clock: RunClock,
    board: &'a Arc<Board>,
    under_way: JoinSet<()>,
    places: Places,
    is_repeating: bool,
}

impl<T: Target, W: Watcher> Sender<'_, T, W> {
    async fn send_all(&mut self, workload: &Workload, duration: Option<Duration>) {
        let end = duration.map_or(f64::INFINITY, |duration| duration.as_secs_f64());
        // Only a time limit sends prompts again, and only what paces itself can be endless.
        let is_paced = self.places.0.is_some() || workload.due.last() > Some(&0.0);
        let laps = if duration.is_some() && is_paced {
            usize::MAX
        } else {
            1
        };
        for (index, ask, due) in schedule(workload).take(workload.asks.len().saturating_mul(laps)) {
            if due >= end {
                return;
            }
            self.clock.until(due).await;
            let (free_since, place) = self.places.take().await;
            if self.clock.now() >= end {
                return;
            }
            self.is_repeating |= index >= workload.asks.len();
            self.send(index, ask.clone(), due, due.max(free_since), place);
            while self.under_way.try_join_next().is_some() {}
        }
    }

    /// Asks in a task of its own. It might have left at `ready`; what is later is lag.
    fn send(
        &mut self,
        index: usize,
        ask: Ask,
        due: f64,
        ready: f64,
        place: Option<mpsc::Sender<f64>>,
    ) {
        let (target, watcher) = (Arc::clone(self.target), Arc::clone(self.watcher));
        let (board, clock) = (Arc::clone(self.board), self.clock);
        board.begin();
        self.under_way.spawn(async move {
            let reply = target.answer(&ask, clock).await;
            let outcome = outcome(index, due, ready, &ask, reply);
            let under_way = board.under_way.load(Ordering::Relaxed).saturating_sub(1);
            watcher.ended(&outcome, under_way);
            board.end(outcome);
            if let Some(place) = place {
                // There is room: it is this task's own place.
                let _ = place.try_send(clock.now());
            }
        });
    }
}

/// The workload over and over: each lap begins one mean gap after the one before.
fn schedule(workload: &Workload) -> impl Iterator<Item = (usize, &Ask, f64)> {
    let count = workload.asks.len().max(1);
    let last = workload.due.last().copied().unwrap_or_default();
    let lap = last * (1.0 + 1.0 / count.saturating_sub(1).max(1) as f64);
    let all = workload.asks.iter().zip(&workload.due).cycle().enumerate();
    all.map(move |(index, (ask, due))| (index, ask, due + lap * (index / count) as f64))
}

fn outcome(index: usize, due: f64, ready: f64, ask: &Ask, reply: Reply) -> Outcome {
    let (input_tokens, output_tokens) = reply
        .usage
        .unwrap_or((ask.input_tokens, reply.chunks.len()));
    Outcome {
        index,
        due,
        sent: reply.sent,
        lag: (reply.sent - ready).max(0.0),
        ended: reply.ended,
        input_tokens,
        output_tokens,
        counted: reply.usage.is_some(),
        chunks: reply.chunks,
        error: reply.error,
        finish_reason: reply.finish_reason,
        gate: reply.gate,
    }
}

/// Notes how late a timer wakes: what delays it delays the times of chunks as well.
async fn pulse(clock: RunClock, board: Arc<Board>) {
    let mut pulse = tokio::time::interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let before = clock.now();
        pulse.tick().await;
        let late = clock.now() - before - PULSE.as_secs_f64();
        push(&board.loop_delays, late.max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Chunk;
    use crate::target::Prompt;

    /// Answers each ask with its number of tokens, so many milliseconds apart.
    struct Metronome {
        ms: u64,
    }

    impl Target for Metronome {
        async fn answer(&self, ask: &Ask, clock: RunClock) -> Reply {
            let sent = clock.now();
            let mut chunks = Vec::new();
            for _ in 0..ask.output_tokens {
                tokio::time::sleep(Duration::from_millis(self.ms)).await;
                let at = clock.now();
                chunks.push(Chunk { at, tokens: 1.0 });
            }
            Reply {
                sent,
                ended: clock.now(),
                usage: Some((ask.input_tokens, ask.output_tokens)),
                chunks,
                ..Reply::default()
            }
        }
    }

    fn workload(due: &[f64]) -> Workload {
        let ask = Ask {
            prompt: Prompt::Text("x".into()),
            input_tokens: 1,
            output_tokens: 2,
        };
        Workload {
            asks: vec![ask; due.len()],
            due: due.to_vec(),
            notes: Vec::new(),
        }
    }

    fn load(max_concurrency: Option<usize>, seconds: Option<f64>) -> Load {
        Load {
            request_rate: f64::INFINITY,
            rate_given: false,
            burstiness: 1.0,
            max_concurrency,
            duration: seconds.map(Duration::from_secs_f64),
        }
    }

    async fn run_it(workload: &Workload, load: &Load, stop_after: f64) -> Run {
        let target = Arc::new(Metronome { ms: 10 });
        let stop = tokio::time::sleep(Duration::from_secs_f64(stop_after));
        run(&target, workload, load, &Arc::new(()), stop).await
    }

    #[tokio::test(start_paused = true)]
    async fn places_bound_what_is_under_way_and_all_is_sent_once() {
        let run = run_it(&workload(&[0.0; 7]), &load(Some(3), None), 10.0).await;
        assert_eq!(run.concurrency_max, 3);
        let sent: Vec<_> = run.outcomes.iter().map(|outcome| outcome.index).collect();
        assert_eq!(sent, [0, 1, 2, 3, 4, 5, 6]);
        // Waiting for a place is no lag.
        assert!(
            run.outcomes.iter().all(|it| it.lag < 0.001),
            "{:?}",
            run.outcomes
        );
    }

    #[tokio::test(start_paused = true)]
    async fn requests_leave_when_they_are_due() {
        let run = run_it(&workload(&[0.0, 0.05, 0.1]), &load(None, None), 10.0).await;
        for outcome in &run.outcomes {
            let late = outcome.sent - outcome.due;
            assert!((0.0..0.002).contains(&late), "{late}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_limit_sends_prompts_again_and_waits_for_the_last() {
        let run = run_it(&workload(&[0.0; 2]), &load(Some(1), Some(0.1)), 10.0).await;
        assert!(run.is_repeating && run.outcomes.len() > 2);
        assert_eq!(run.cut_off, 0);
        assert!(run.outcomes.iter().all(|it| it.sent < 0.1));
        let unpaced = run_it(&workload(&[0.0; 2]), &load(None, Some(0.1)), 10.0).await;
        assert_eq!(unpaced.outcomes.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stopped_keeps_what_ended_and_counts_what_did_not() {
        let run = run_it(&workload(&[0.0, 5.0]), &load(None, None), 0.1).await;
        assert_eq!((run.outcomes.len(), run.cut_off), (1, 0));
        let run = run_it(&workload(&[0.0]), &load(None, None), 0.005).await;
        assert_eq!((run.outcomes.len(), run.cut_off), (0, 1));
    }
}
