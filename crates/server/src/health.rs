//! Whether the step loop advances. A process that answers is not yet one that works.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use portcullis_engine::EngineStatus;

/// Remembers when the engine last stepped, or last had nothing to do.
pub(crate) struct Heartbeat {
    stall_timeout: Duration,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    steps: u64,
    /// When `steps` was last seen to change, or the engine to be idle.
    advanced_at: Duration,
    stopped: bool,
}

/// What is known of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// It steps, or has nothing to do.
    Beating,
    /// It has work and has not stepped for so long.
    Stalled(Duration),
    /// Its thread is gone.
    Stopped,
}

impl Heartbeat {
    pub(crate) fn new(stall_timeout: Duration) -> Self {
        Self {
            stall_timeout,
            seen: Mutex::default(),
        }
    }

    /// Takes a look at the counters, at time `now`.
    pub(crate) fn observe(&self, status: &EngineStatus, now: Duration) -> Pulse {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = status.running == 0 && status.waiting == 0;
        if idle || status.steps_total != seen.steps {
            seen.advanced_at = now;
            seen.steps = status.steps_total;
        }
        let still = now.saturating_sub(seen.advanced_at);
        match () {
            () if seen.stopped => Pulse::Stopped,
            () if still > self.stall_timeout => Pulse::Stalled(still),
            () => Pulse::Beating,
        }
    }

    /// The engine refused a call or dropped a stream because its thread is gone.
    pub(crate) fn note_stopped(&self) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stopped = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn working(steps_total: u64) -> EngineStatus {
        EngineStatus {
            steps_total,
            running: 1,
            ..EngineStatus::default()
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn work_without_steps_is_a_stall_and_a_step_ends_it() {
        let heart = Heartbeat::new(seconds(30));
        assert_eq!(heart.observe(&working(7), seconds(100)), Pulse::Beating);
        assert_eq!(heart.observe(&working(7), seconds(130)), Pulse::Beating);
        assert_eq!(
            heart.observe(&working(7), seconds(131)),
            Pulse::Stalled(seconds(31))
        );
        assert_eq!(heart.observe(&working(8), seconds(132)), Pulse::Beating);
    }

    #[test]
    fn an_idle_engine_need_not_step() {
        let heart = Heartbeat::new(seconds(30));
        let idle = EngineStatus {
            steps_total: 7,
            ..EngineStatus::default()
        };
        assert_eq!(heart.observe(&idle, seconds(0)), Pulse::Beating);
        assert_eq!(heart.observe(&idle, seconds(1000)), Pulse::Beating);
        assert_eq!(heart.observe(&working(7), seconds(1029)), Pulse::Beating);
    }

    #[test]
    fn a_stopped_engine_stays_stopped() {
        let heart = Heartbeat::new(seconds(30));
        heart.note_stopped();
        assert_eq!(
            heart.observe(&EngineStatus::default(), seconds(1)),
            Pulse::Stopped
        );
    }
}
