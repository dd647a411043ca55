use super::{json, repository, run, stderr, stdout, text};

#[test]
fn the_demo_model_is_described() {
    let demo = repository("models/demo/llama");
    let told = json(&run(&["models", "inspect", text(&demo), "--json"]));
    assert_eq!(told["architecture"], "Llama");
    assert_eq!(told["chat_template"], true);
    assert_eq!(told["max_model_len"], 2048);
    assert!(told["weight_bytes"].as_u64().unwrap() > 1_000_000);
    assert!(stdout(&run(&["models", "inspect", text(&demo)])).contains("weights"));
}

#[test]
fn a_folder_that_is_no_model_is_answered_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["models", "inspect", text(dir.path())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("holds no config.json"),
        "{output:?}"
    );
}

#[test]
fn inspecting_fetches_nothing_and_says_how_to() {
    let home = tempfile::tempdir().unwrap();
    let inspect = [
        "models",
        "inspect",
        "org/absent",
        "--hub-home",
        text(home.path()),
    ];
    // A hub that would answer nobody: an attempt to ask it would be told as such.
    let output = run(&[&inspect[..], &["--hub-endpoint", "http://127.0.0.1:9"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("`portcullis models pull org/absent` fetches it"),
        "{told}"
    );
    assert!(told.contains("is not in the cache"), "{told}");
}

#[test]
fn a_hub_that_does_not_answer_is_named() {
    let home = tempfile::tempdir().unwrap();
    let pull = [
        "models",
        "pull",
        "org/absent",
        "--hub-home",
        text(home.path()),
    ];
    let output = run(&[&pull[..], &["--hub-endpoint", "http://127.0.0.1:9"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("http://127.0.0.1:9"), "{output:?}");
}

#[test]
fn a_path_that_is_not_there_is_told_as_such() {
    let output = run(&["models", "pull", "./absent"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("./absent is no folder here"),
        "{output:?}"
    );
}
