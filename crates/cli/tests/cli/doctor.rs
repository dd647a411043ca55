use super::{json, repository, run, stderr, text};

fn status<'a>(findings: &'a serde_json::Value, check: &str) -> &'a str {
    let of_check = |finding: &&serde_json::Value| finding["check"] == check;
    let finding = findings.as_array().unwrap().iter().find(of_check);
    finding.unwrap_or_else(|| panic!("no {check} in {findings}"))["status"]
        .as_str()
        .unwrap()
}

#[test]
fn a_sound_machine_passes() {
    let dir = tempfile::tempdir().unwrap();
    let model = repository("models/demo/llama");
    let args = [
        "doctor",
        "--json",
        "--data-dir",
        text(dir.path()),
        "--model",
        text(&model),
    ];
    let output = run(&[&args[..], &["--url", "http://127.0.0.1:9"]].concat());
    let findings = json(&output);
    assert_eq!(output.status.code(), Some(0), "{findings}");
    for check in [
        "configuration",
        "device",
        "cores",
        "data directory",
        "model",
        "KV cache",
    ] {
        assert_eq!(status(&findings, check), "ok", "{findings}");
    }
    assert_eq!(status(&findings, "server"), "warn");
}

#[test]
fn rule_sets_and_keys_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = text(dir.path());
    run(&[
        "keys",
        "create",
        "--role",
        "inference",
        "--name",
        "x",
        "--data-dir",
        data_dir,
    ]);
    let findings = json(&run(&["doctor", "--json", "--data-dir", data_dir]));
    assert_eq!(status(&findings, "rule sets"), "warn", "none is bound");
    assert_eq!(status(&findings, "keys"), "warn", "there is no admin");
    run(&[
        "keys",
        "create",
        "--role",
        "admin",
        "--name",
        "x",
        "--data-dir",
        data_dir,
    ]);
    let findings = json(&run(&["doctor", "--json", "--data-dir", data_dir]));
    assert_eq!(status(&findings, "keys"), "ok");
}

#[test]
fn looking_before_the_first_start_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let output = run(&["doctor", "--json", "--data-dir", text(&data_dir)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(status(&json(&output), "model"), "ok");
    assert!(!data_dir.exists());
}

#[test]
fn what_is_missing_fails_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (data_dir, empty) = (dir.path().join("data"), dir.path().join("empty"));
    std::fs::create_dir(&empty).unwrap();
    let output = run(&[
        "doctor",
        "--json",
        "--data-dir",
        text(&data_dir),
        "--model",
        text(&empty),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let findings = json(&output);
    assert_eq!(status(&findings, "model"), "fail");
}

#[test]
fn mistakes_of_the_configuration_are_findings_too() {
    let output = run(&["doctor", "--json", "--bind", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(status(&json(&output), "configuration"), "fail");
}
