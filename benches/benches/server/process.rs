//! The server as a child of the measurement.

use std::io::{BufRead, BufReader, Error, Result};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::SERVE;

/// Kernel ticks a second: what Linux shows to programs on every machine.
const TICKS_PER_SECOND: u64 = 100;

/// Ends with this value.
pub(crate) struct ServerProcess {
    child: Child,
    address: String,
    key: String,
}

impl ServerProcess {
    /// Under so many rules, over a model whose steps take so long.
    pub(crate) fn start(rules: usize, step_ms: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([SERVE, &rules.to_string(), &step_ms.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let (address, key) = line
            .trim()
            .split_once(' ')
            .ok_or_else(|| Error::other("the server did not start; its words are above"))?;
        Ok(Self {
            address: address.to_owned(),
            key: key.to_owned(),
            child,
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Of all its threads, in user and kernel mode. Source: proc_pid_stat(5), fields 14 and 15.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        // The first behind the name is field 3.
        let fields = behind_name.split_whitespace().skip(14 - 3).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It reads its input to the end, and ends with it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
