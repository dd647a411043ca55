//! A server that runs, as a child of the test.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::thread::JoinHandle;

use super::{portcullis, text};

/// Ended with the test, however that ends.
pub(crate) struct Server {
    child: Child,
    /// What it printed when it was ready.
    pub(crate) welcome: String,
    pub(crate) url: String,
    log: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts on a free port and waits until it is ready.
    pub(crate) fn start(data_dir: &Path, args: &[&str]) -> Self {
        let mut child = portcullis()
            .args([
                "serve",
                "--bind",
                "127.0.0.1:0",
                "--data-dir",
                text(data_dir),
            ])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stderr = child.stderr.take().expect("piped");
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).expect("text");
            log
        });
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let welcome = read_welcome(stdout);
        let Some(url) = welcome
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
        else {
            let _ = child.kill();
            panic!(
                "no address in {welcome:?}; log: {}",
                log.join().expect("read")
            );
        };
        Self {
            url: url.to_owned(),
            child,
            welcome,
            log: Some(log),
        }
    }

    /// Asks it to stop as an operator does, and waits.
    pub(crate) fn stop(self) -> (ExitStatus, String) {
        self.send_sigterm();
        self.wait()
    }

    pub(crate) fn send_sigterm(&self) {
        let id = self.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status();
        assert!(sent.expect("kill is there").success());
    }

    /// Its exit status and its log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("it was started");
        let log = self.log.take().expect("taken once").join().expect("read");
        (status, log)
    }

    /// The value that stands behind a label.
    pub(crate) fn told(&self, label: &str) -> Option<&str> {
        let line = self
            .welcome
            .lines()
            .find_map(|line| line.trim().strip_prefix(label))?;
        Some(line.trim())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything up to the line that ends the text.
fn read_welcome(stdout: impl BufRead) -> String {
    let mut welcome = String::new();
    for line in stdout.lines() {
        let line = line.expect("text");
        welcome.push_str(&line);
        welcome.push('\n');
        let is_last =
            line.starts_with("  -d ") || line.starts_with("  keys ") && !line.contains("none yet");
        if is_last || line.contains("make one: ") {
            break;
        }
    }
    welcome
}
