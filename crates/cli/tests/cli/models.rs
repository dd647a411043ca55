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
