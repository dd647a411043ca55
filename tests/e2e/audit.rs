//! docs/audit.md, by its own words: its commands verify the export in the repository, with nothing of
//! ours, and refuse it once a byte is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::server::{Question, Server, cli, new_key, portcullis, serve};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// A copy of the export, where a test may change it.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        let status = Command::new("cp")
            .arg("-r")
            .arg(docs().join("audit-example"))
            .arg(copy.path("docs"))
            .status();
        assert!(status.unwrap().success());
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name == "docs" {
            fs::create_dir_all(&path).unwrap();
        }
        path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("docs/audit-example").join(name)
    }

    /// Runs every command of the page.
    fn verify(&self) -> Output {
        let script = format!("set -euo pipefail\n{}", commands());
        let mut bash = Command::new("bash");
        let bash = bash.arg("-c").arg(script).current_dir(self.0.path());
        bash.output().unwrap()
    }

    /// Changes one bit of the byte that stands so far behind the first `mark`.
    fn change(&self, name: &str, mark: &str, behind: usize) {
        let mut bytes = fs::read(self.file(name)).unwrap();
        let at = bytes
            .windows(mark.len())
            .position(|window| window == mark.as_bytes());
        bytes[at.unwrap() + mark.len() + behind] ^= 1;
        fs::write(self.file(name), bytes).unwrap();
    }
}

/// What stands between "```bash" and "```".
fn commands() -> String {
    let page = fs::read_to_string(docs().join("audit.md")).unwrap();
    let blocks = page.split("```bash\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn the_commands_of_the_page_verify_the_export() {
    let copy = Copy::new();
    let output = copy.verify();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let entries = fs::read_to_string(copy.file("log/entries.jsonl")).unwrap();
    let verified = said.matches("Signature Verified Successfully").count();
    // The checkpoint, the entries, two rule sets.
    assert_eq!(verified, 1 + entries.lines().count() + 2, "{said}");
    for verdict in [
        "these are the entries that were signed",
        "each call has its number, one beginning and one end",
        "the log begins with the one that was kept",
    ] {
        assert!(said.contains(verdict), "{verdict}: {said}");
    }
    assert!(said.matches("is what records name").count() >= 2, "{said}");
}

#[test]
fn they_refuse_it_after_one_byte_is_changed() {
    let changes = [
        ("log/entries.jsonl", "\"payload\":\"", 400),
        ("log/entries.jsonl", "\"sig\":\"", 20),
        // Outside of what is signed, but part of the leaf.
        ("log/entries.jsonl", "\"keyid\":\"", 3),
        ("log/checkpoint", "portcullis/", 2),
        // Behind the name of the log and the four bytes that name the key.
        ("log/checkpoint", "\n— ", 60),
        ("log/rulesets/demo-bank@1.yaml", "guaranteed", 0),
        ("log/rulesets/demo-bank@1.dsse.json", "\"sig\": \"", 20),
        ("kept-checkpoint", "\n5\n", 4),
        ("plain-answer.txt", "Hello", 3),
    ];
    for (file, mark, behind) in changes {
        let copy = Copy::new();
        copy.change(file, mark, behind);
        let output = copy.verify();
        assert!(
            !output.status.success(),
            "{file}, {behind} behind {mark:?}: {}",
            said(&output)
        );
    }
}

#[test]
fn the_page_shows_the_records_of_the_export() {
    let page = fs::read_to_string(docs().join("audit.md")).unwrap();
    for call in ["plain", "redacted", "resampled", "refused"] {
        let path = docs()
            .join("audit-example")
            .join(call)
            .with_extension("txt");
        let shown = fs::read_to_string(path).unwrap();
        let record = shown.split("\nThis is what").next().unwrap();
        assert!(
            page.contains(record),
            "docs/audit.md shows another {call} call:\n{record}"
        );
    }
}

#[test]
fn our_own_tool_agrees() {
    let verify = |path: &Path| {
        let mut portcullis = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        portcullis
            .args(["audit", "verify"])
            .arg(path)
            .output()
            .unwrap()
    };
    let copy = Copy::new();
    let output = verify(&copy.file("log"));
    assert!(output.status.success(), "{}", said(&output));
    copy.change("log/entries.jsonl", "\"keyid\":\"", 3);
    assert_eq!(verify(&copy.file("log")).status.code(), Some(1));
}

/// One call to the demo, answered.
async fn call(server: &Server, data_dir: &Path) {
    let (_, key) = new_key(data_dir, "inference", "caller");
    let question = Question {
        text: "hi",
        seed: 1,
    };
    server.chat(&key, &question, false).await;
}

fn verify(data_dir: &Path) -> serde_json::Value {
    let output = portcullis()
        .args(["audit", "verify", "--json"])
        .arg(data_dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let witness = data.join("kept-elsewhere");
    let witnessed = || cli(data, &["audit", "witness", witness.to_str().unwrap()]);
    let server = Server::start(data);
    call(&server, data).await;
    assert_eq!(witnessed()["before"], serde_json::Value::Null);
    let history = fs::read_to_string(data.join("kept-elsewhere.history")).unwrap();
    assert_eq!(history.lines().count(), 1);
    let running = portcullis()
        .args(["audit", "rotate", "--data-dir"])
        .arg(data)
        .output()
        .unwrap();
    assert!(
        said(&running).contains("stop it first"),
        "{}",
        said(&running)
    );
    server.kill();
    let rotated = cli(data, &["audit", "rotate"]);
    assert_eq!(rotated.as_array().unwrap().len(), 2);

    let server = Server::start(data);
    call(&server, data).await;
    assert_eq!(
        witnessed()["before"],
        3,
        "the log of the new keys continues the old one"
    );
    server.kill();

    // A key that is gone is not silently another one.
    let record_key = data.join("keys/record.key");
    fs::rename(&record_key, data.join("unmounted")).unwrap();
    let refused = serve(data).output().unwrap();
    assert!(
        said(&refused).contains("record.key is missing"),
        "{}",
        said(&refused)
    );
    fs::rename(data.join("unmounted"), &record_key).unwrap();

    // And with keys that the operator brings.
    let pem = |name: &str| {
        let path = data.join(name);
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "ed25519", "-out"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        path
    };
    let mut command = serve(data);
    let record_key = fs::read_to_string(pem("own-record.pem")).unwrap();
    command.env("PORTCULLIS_RECORD_KEY", record_key);
    command.arg("--log-key-file").arg(pem("own-log.pem"));
    let server = Server::from(command);
    call(&server, data).await;
    assert_eq!(witnessed()["before"], 6);
    server.kill();
    let report = verify(data);
    assert_eq!(report["calls"], 3);
    let keys = report["keys"].as_array().unwrap().iter();
    let record_keys = keys.filter(|key| key["kind"] == "record").count();
    assert_eq!(record_keys, 3, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_shows_who_signed_the_rule_sets() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Server::start(data);
    call(&server, data).await;
    let (_, admin) = new_key(data, "admin", "auditor");
    let (from_directory, from_server) = (data.join("one"), data.join("other"));
    cli(data, &["audit", "export", from_directory.to_str().unwrap()]);
    let exported = portcullis()
        .args(["audit", "export", "--url", &server.url, "--api-key", &admin])
        .arg(&from_server)
        .output()
        .unwrap();
    assert!(exported.status.success(), "{}", said(&exported));
    server.kill();
    for export in [&from_directory, &from_server] {
        let report = verify(export);
        let signers = report["rulesets"][0]["signers"].as_array().unwrap();
        assert_eq!(signers.len(), 1, "the demo signs its rules: {report}");
        let remarks = report["remarks"].as_array().unwrap().iter();
        let hidden = remarks.filter(|it| it["remark"] == "signer_not_shown");
        assert_eq!(hidden.count(), 0, "{report}");
        let id = signers[0].as_str().unwrap();
        assert!(
            export
                .join(format!("keys/signer-{}.pem", &id[..16]))
                .exists()
        );
    }
}
