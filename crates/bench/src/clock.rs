//! The one clock of a run, which every time in a report is read from.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Counts seconds since a run began. It is the runtime's clock, which tests can stop.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    began: Instant,
}

impl RunClock {
    /// Begins now.
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Seconds since it began.
    pub fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Waits until so many seconds have passed since it began.
    pub async fn until(&self, seconds: f64) {
        let wait = Duration::from_secs_f64(seconds.max(0.0));
        sleep_until(self.began + wait).await;
    }
}
