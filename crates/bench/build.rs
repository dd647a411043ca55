//! Tells the harness which commit it is built from, so that reports can.

use std::process::Command;

const HEAD_LOG: &str = "../../.git/logs/HEAD";

fn main() {
    println!("cargo:rerun-if-env-changed=PORTCULLIS_COMMIT");
    // Written to by every commit and every change of branch. A file that is not there would have
    // cargo ask at every build.
    if std::path::Path::new(HEAD_LOG).exists() {
        println!("cargo:rerun-if-changed={HEAD_LOG}");
    }
    let given = std::env::var_os("PORTCULLIS_COMMIT").and_then(|commit| commit.into_string().ok());
    if let Some(commit) = given.or_else(checked_out) {
        println!("cargo:rustc-env=PORTCULLIS_COMMIT={commit}");
    }
}

/// None where the source is no checkout, or git is not there.
fn checked_out() -> Option<String> {
    let told = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let commit = String::from_utf8(told.stdout).ok()?;
    Some(commit.trim().to_owned()).filter(|commit| told.status.success() && !commit.is_empty())
}
