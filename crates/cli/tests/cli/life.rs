//! Rule sets from the key that signs them to the day they retire, as people do it.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use super::running::Server;
use super::{json, portcullis, run, stderr, stdout, text};

/// A folder with a rule file in it, and a server that asks for two signatures.
struct Bank {
    dir: tempfile::TempDir,
    server: Server,
    admin: String,
}

impl Bank {
    fn open(signatures: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        // Not the demo, which has a rule set of its own.
        let model = super::repository("models/demo/llama");
        let server = Server::start(
            &data_dir,
            &["--model", text(&model), "--rule-signatures", signatures],
        );
        let create = ["keys", "create", "--role", "admin", "--name", "ada"];
        let data_dir = ["--json", "--data-dir", text(&data_dir)];
        let made = json(&run(&[&create[..], &data_dir].concat()));
        let bank = Self {
            dir,
            server,
            admin: made["key"].as_str().unwrap().to_owned(),
        };
        bank.write(1, "guaranteed");
        bank
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, version: u32, phrase: &str) {
        std::fs::write(self.path("r.yaml"), rules(version, phrase)).unwrap();
    }

    /// A key, trusted as this.
    fn signer(&self, name: &str, role: &str) -> PathBuf {
        let key = self.path(&format!("{name}.key"));
        assert!(run(&["rules", "keygen", text(&key)]).status.success());
        let public = self.path(&format!("{name}.key.pub"));
        let add = ["signers", "add", text(&public), "--name", name, "--role"];
        self.done(&[&add[..], &[role]].concat());
        key
    }

    fn sign(&self, key: &Path) -> Output {
        let file = self.path("r.yaml");
        run(&["rules", "sign", text(&file), "--key", text(key)])
    }

    fn push(&self) -> Output {
        let file = self.path("r.yaml");
        self.ask(&["push", text(&file)])
    }

    fn ask(&self, args: &[&str]) -> Output {
        let mut command = portcullis();
        command.arg("rules").args(args).envs([
            ("PORTCULLIS_URL", self.server.url.as_str()),
            ("PORTCULLIS_API_KEY", &self.admin),
        ]);
        command.output().unwrap()
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn told(&self, args: &[&str]) -> Value {
        let output = self.ask(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        json(&output)
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        stderr(&output)
    }
}

fn rules(version: u32, phrase: &str) -> String {
    format!(
        "ruleset: advice\nversion: {version}\nmode: enforce\nrules:\n- {{id: word, why: w, \
         phrases: [\"{phrase}\"], action: redact}}\ntests:\n- {{rule: word, should_fail: \
         \"{phrase}\"}}\n- {{rule: word, should_pass: \"nothing\"}}\n"
    )
}

#[test]
fn a_set_goes_from_its_author_over_its_approver_into_force_and_out_of_it() {
    let bank = Bank::open("author_and_approver");
    let (ann, bob) = (bank.signer("Ann", "author"), bank.signer("Bob", "approver"));
    assert!(stderr(&bank.push()).contains("is not signed"));
    assert!(bank.sign(&ann).status.success());
    assert!(bank.push().status.success());
    let activate = ["activate", "advice@1"];
    let refused = bank.refused(&activate);
    assert!(
        refused.contains("portcullis rules approve advice@1 --key KEY"),
        "{refused}"
    );
    let approve = |version| bank.done(&["approve", version, "--key", text(&bob)]);
    assert!(approve("advice@1").contains("is signed by key"));
    bank.done(&activate);
    bank.done(&["bind", "advice", "--deployment", "llama"]);

    bank.write(2, "promised");
    bank.sign(&ann);
    assert!(bank.push().status.success());
    approve("advice@2");
    bank.done(&["bind", "advice@2", "--deployment", "llama", "--observe"]);
    let listed = bank.told(&["list"]);
    assert_eq!(listed[0]["bindings"][0]["observe"], false, "{listed}");
    assert_eq!(listed[1]["bindings"][0]["observe"], true, "{listed}");
    let table = bank.done(&["list"]);
    assert!(table.contains("Ann (author), Bob (approver)"), "{table}");

    let diff = bank.told(&["diff", "advice@1", "advice@2"]);
    assert_eq!(diff["rules"]["changed"], serde_json::json!(["word"]));
    let diff = bank.done(&["diff", "advice@1", "advice@2"]);
    assert!(diff.contains("--- advice@1\n+++ advice@2\n"), "{diff}");
    assert!(diff.contains("\n-version: 1\n+version: 2\n"), "{diff}");

    bank.done(&["activate", "advice@2"]);
    let refused = bank.refused(&["retire", "advice@2"]);
    assert!(refused.contains("unbind it"), "{refused}");
    bank.done(&["retire", "advice@1"]);
    bank.done(&["unbind", "advice", "--deployment", "llama", "--observe"]);
    let events = bank.told(&["history", "advice"]);
    let kinds: Vec<_> = events.as_array().unwrap().iter().collect();
    let kinds: Vec<_> = kinds.iter().map(|e| e["event"].as_str().unwrap()).collect();
    let expected = [
        "registered",
        "signed",
        "signed",
        "activated",
        "bound",
        "registered",
        "signed",
        "signed",
        "bound",
        "superseded",
        "activated",
        "retired",
        "unbound",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn who_is_revoked_signs_nothing_more() {
    let bank = Bank::open("author");
    let ann = bank.signer("Ann", "author");
    let signers = bank.told(&["signers", "list"]);
    let id = signers[0]["id"].as_str().unwrap();
    bank.sign(&ann);
    assert!(bank.push().status.success());
    assert!(
        bank.refused(&["signers", "revoke", "zz"])
            .contains("0 signers")
    );
    bank.done(&["signers", "revoke", &id[..12]]);
    let refused = bank.refused(&["activate", "advice@1"]);
    assert!(refused.contains("has none that counts"), "{refused}");
    bank.done(&["signers", "revoke", id, "--distrust"]);
    let table = bank.done(&["signers", "list"]);
    assert!(table.contains("distrusted"), "{table}");
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("ann");
    let made = json(&run(&["rules", "keygen", text(&key), "--json"]));
    let pem = std::fs::read_to_string(&key).unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = key.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let public = dir.path().join("ann.pub");
    let public = std::fs::read_to_string(public).unwrap();
    let public = portcullis_sign::PublicKey::from_pem(&public).unwrap();
    assert_eq!(made["id"], public.id().as_str());

    let again = run(&["rules", "keygen", text(&key)]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("choose another name"), "{again:?}");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), pem);
    // Either half alone is enough to refuse, and no half is left behind.
    let (bob, bob_public) = (dir.path().join("bob"), dir.path().join("bob.pub"));
    for taken in [&bob, &bob_public] {
        std::fs::write(taken, "mine").unwrap();
        assert_eq!(run(&["rules", "keygen", text(&bob)]).status.code(), Some(1));
        assert!(!(bob.exists() && bob_public.exists()), "{taken:?}");
        std::fs::remove_file(taken).unwrap();
    }
}

#[test]
fn signatures_join_those_that_are_there_and_go_when_the_file_changes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let file = at("r.yaml");
    std::fs::write(&file, rules(1, "one")).unwrap();
    for key in ["ann", "bob"] {
        run(&["rules", "keygen", text(&at(key))]);
    }
    let sign = |key: &str| {
        let (file, key) = (text(&file).to_owned(), at(key));
        run(&["rules", "sign", &file, "--key", text(&key), "--json"])
    };
    for (key, count) in [("ann", 1), ("bob", 2), ("ann", 2)] {
        assert_eq!(json(&sign(key))["signatures"], count);
    }
    std::fs::write(&file, rules(1, "two")).unwrap();
    // Without a server: what is stale is told before anybody is asked.
    let stale = run(&["rules", "push", text(&file), "--url", "http://127.0.0.1:9"]);
    assert!(stderr(&stale).contains("changed since it was signed"));
    let signed = json(&sign("bob"));
    assert_eq!(
        (&signed["signatures"], &signed["replaced"]),
        (&1.into(), &true.into())
    );

    let broken = rules(1, "two").replace("redact", "explode");
    std::fs::write(&file, broken).unwrap();
    let refused = sign("ann");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stdout(&refused).contains("r.yaml:5:"), "{refused:?}");
    let no_key = run(&["rules", "sign", text(&file), "--key", text(&file)]);
    assert_eq!(no_key.status.code(), Some(1));
}

#[test]
fn an_envelope_can_be_pushed_by_itself() {
    let bank = Bank::open("author");
    let ann = bank.signer("Ann", "author");
    bank.sign(&ann);
    std::fs::remove_file(bank.path("r.yaml")).unwrap();
    let pushed = bank.done(&["push", text(&bank.path("r.yaml.dsse"))]);
    assert!(pushed.contains("advice@1 registered"), "{pushed}");
}

#[test]
fn doctor_finds_what_holds_and_is_not_signed() {
    let bank = Bank::open("allow_unsigned");
    assert!(bank.push().status.success());
    bank.done(&["activate", "advice@1"]);
    let status = |signatures: &str| {
        let data_dir = bank.path("data");
        let args = ["doctor", "--json", "--rule-signatures", signatures];
        let found = json(&run(&[&args[..], &["--data-dir", text(&data_dir)]].concat()));
        let all = found.as_array().unwrap();
        let sets = all.iter().find(|found| found["check"] == "rule sets");
        sets.unwrap().clone()
    };
    assert_eq!(status("author")["status"], "warn", "it holds for nothing");
    bank.done(&["bind", "advice", "--deployment", "llama"]);
    assert_eq!(status("allow_unsigned")["status"], "ok");
    let found = status("author");
    assert_eq!(found["status"], "fail");
    let said = found["found"].as_str().unwrap();
    assert!(
        said.contains("advice@1: it needs the signature of an author"),
        "{said}"
    );
}

#[test]
fn a_server_that_starts_says_which_bound_sets_are_not_signed() {
    let bank = Bank::open("allow_unsigned");
    assert!(bank.push().status.success());
    bank.done(&["activate", "advice@1"]);
    bank.done(&["bind", "advice", "--deployment", "llama"]);
    let Bank { dir, server, .. } = bank;
    server.stop();
    let model = super::repository("models/demo/llama");
    let server = Server::start(&dir.path().join("data"), &["--model", text(&model)]);
    let (_, log) = server.stop();
    let said = "advice@1: it needs the signature of an author";
    assert!(log.contains(said), "{log}");
}
