//! Where and how a run is made, and what is said while it is.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::Command;
use std::time::SystemTime;

use sysinfo::{CpuRefreshKind, RefreshKind, System};

use crate::report::Environment;

/// Flags whose value must not be written down.
const SECRET_FLAGS: &[&str] = &["--api-key"];

impl Environment {
    /// Looks at this machine and this process, now. What is served is for the caller to add.
    #[expect(
        clippy::disallowed_methods,
        reason = "a report says when it was made, by the calendar"
    )]
    pub fn look() -> Self {
        let (gpu, driver) = gpu().unzip();
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: without_secrets(std::env::args()),
            cpu: cpu(),
            gpu,
            driver,
            commit: option_env!("PORTCULLIS_COMMIT").map(str::to_owned),
            ..Self::default()
        }
    }
}

/// Tells on stderr what whoever waits should know. That nobody reads it is no error.
pub(crate) fn tell(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn cpu() -> String {
    let processors = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(processors);
    let name = system.cpus().first().map_or("unknown", |cpu| cpu.brand());
    format!("{} × {}", system.cpus().len(), name.trim())
}

/// Name and driver of the first card, as its driver's own tool tells them.
fn gpu() -> Option<(String, String)> {
    let told = Command::new("nvidia-smi")
        .args(["--query-gpu=name,driver_version", "--format=csv,noheader"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&told.stdout);
    let (name, driver) = text.lines().next()?.rsplit_once(',')?;
    Some((name.trim().to_owned(), driver.trim().to_owned()))
}

fn without_secrets(words: impl Iterator<Item = String>) -> Vec<String> {
    const HIDDEN: &str = "…";
    let mut is_secret = false;
    let hide = |word: String| {
        if std::mem::take(&mut is_secret) {
            return HIDDEN.to_owned();
        }
        is_secret = SECRET_FLAGS.contains(&word.as_str());
        let with_value = |flag: &&&str| word.starts_with(&format!("{flag}="));
        match SECRET_FLAGS.iter().find(with_value) {
            Some(flag) => format!("{flag}={HIDDEN}"),
            None => word,
        }
    };
    words.map(hide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_written_down() {
        let check = |line: &str, expect: &str| {
            let words = line.split(' ').map(str::to_owned);
            assert_eq!(without_secrets(words).join(" "), expect);
        };
        check(
            "bench --api-key pk-1 --seed 1",
            "bench --api-key … --seed 1",
        );
        check(
            "bench --api-key=pk-1 --seed 1",
            "bench --api-key=… --seed 1",
        );
    }

    #[test]
    fn a_machine_has_processors_and_a_date() {
        let environment = Environment::look();
        assert!(environment.cpu.contains(" × "), "{}", environment.cpu);
        assert!(environment.date.ends_with('Z'), "{}", environment.date);
    }
}
