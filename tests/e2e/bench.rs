//! The harness of the binary, against a server of its own kind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::server::{Server, demo_rules, portcullis, quick_folder};

#[test]
fn the_harness_measures_a_server_and_reads_all_that_ours_tells() {
    let folder = quick_folder();
    let server = Server::start(folder.path());
    let key = std::fs::read_to_string(folder.path().join("demo/inference.key")).unwrap();
    let output = folder.path().join("report.json");
    let ran = portcullis()
        .args(["bench", "serve", "--url", &server.url])
        .args(["--api-key", key.trim(), "--output"])
        .arg(&output)
        .args("--num-prompts 6 --max-concurrency 2 --input-len 40 --output-len 8".split(' '))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(told.contains("6 answered, 0 failed"), "{told}");
    let text = std::fs::read_to_string(output).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    // `/tokenize` makes lengths exact, the template counted in.
    assert_eq!(report["total_input_tokens"], 6 * 40, "{told}");
    assert!(
        report["gate"]["us_per_token"].as_f64() > Some(0.0),
        "{}",
        report["gate"]
    );
    assert!(
        report["environment"]["model_digest"].is_string(),
        "{}",
        report["environment"]
    );
    assert!(!text.contains(key.trim()), "the key is written down");
}

/// A command of the harness against a server, small prompts and short answers.
fn against(server: &Server, folder: &Path, args: &str) -> Command {
    let key = std::fs::read_to_string(folder.join("demo/inference.key")).unwrap();
    let mut command = portcullis();
    command
        .arg("bench")
        .args(args.split_whitespace())
        .args(["--url", &server.url, "--input-len", "8"])
        .env("PORTCULLIS_API_KEY", key.trim())
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn report(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

/// As Ctrl-C does.
fn interrupt(process: Child) -> Output {
    let id = process.id().to_string();
    let told = Command::new("kill").args(["-INT", &id]).status();
    assert!(told.unwrap().success());
    process.wait_with_output().unwrap()
}

#[test]
fn a_sweep_has_a_point_for_each_load() {
    let folder = quick_folder();
    let server = Server::start(folder.path());
    let sweep = "sweep --concurrencies 1,2 --num-prompts 4 --output-len 4 --output sweep.json";
    let ran = against(&server, folder.path(), sweep).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let points = &report(folder.path(), "sweep.json")["points"];
    let loads = points.as_array().unwrap().iter();
    assert_eq!(
        loads.map(|it| &it["max_concurrency"]).collect::<Vec<_>>(),
        [1, 2]
    );
}

/// The engine of a bench is its own; a server on the same data directory does not mind.
#[test]
fn the_engine_is_measured_beside_a_server() {
    let folder = quick_folder();
    let _server = Server::start(folder.path());
    let ran = portcullis()
        .args(["bench", "throughput", "--data-dir"])
        .arg(folder.path())
        .args("--num-prompts 3 --input-len 8 --output-len 4 --output t.json".split(' '))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let report = report(folder.path(), "t.json");
    assert_eq!(report["completed"], 3);
    let computed_by = report["environment"]["server"].as_str().unwrap();
    assert!(computed_by.contains("device cpu, f32"), "{computed_by}");
}

#[tokio::test]
async fn ctrl_c_ends_a_run_with_what_was_measured() {
    let folder = quick_folder();
    let server = Server::start(folder.path());
    let run =
        "serve --num-prompts 900 --max-concurrency 1 --warmup 0 --output-len 64 --output a.json";
    let process = against(&server, folder.path(), run).spawn().unwrap();
    // Some of the 900 are answered.
    while server.metric("vllm:generation_tokens_total").await < 500.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ran = interrupt(process);
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{ran:?}");
    assert!(told.contains("stopped early"), "{told}");
    let completed = report(folder.path(), "a.json")["completed"]
        .as_u64()
        .unwrap();
    assert!((1..900).contains(&completed), "{completed}");
}

/// Prompts of an exact length take a while to make.
#[test]
fn ctrl_c_before_the_first_request_ends_at_once_and_leaves_no_file() {
    let folder = quick_folder();
    let server = Server::start(folder.path());
    let run = "serve --num-prompts 1000000 --output-len 4 --output b.json";
    let mut process = against(&server, folder.path(), run).spawn().unwrap();
    let said = BufReader::new(process.stderr.take().unwrap());
    let mut said = said.lines().map(Result::unwrap);
    assert!(said.any(|line| line.starts_with("making prompts")));
    let ran = interrupt(process);
    assert_eq!(ran.status.code(), Some(1));
    let said: Vec<String> = said.collect();
    let last = said.last().unwrap();
    assert!(
        last.contains("stopped before anything was measured"),
        "{said:?}"
    );
    assert!(!folder.path().join("b.json").exists());
}

/// A run of the harness that is to succeed: what it prints.
fn bench(folder: &Path, args: &str) -> String {
    let ran = portcullis()
        .arg("bench")
        .args(args.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{args}: {said}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[test]
fn an_engine_is_measured_without_a_server_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let small = "--data-dir data --num-prompts 4 --input-len 16 --output-len 8";
    let told = bench(
        folder.path(),
        &format!("throughput {small} --output all.json"),
    );
    assert!(told.contains("4 answered, 0 failed"), "{told}");
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("all.json")).unwrap()).unwrap();
    assert_eq!(report["backend"], "in-process");
    assert_eq!(report["total_input_tokens"], 4 * 16);
    assert_eq!(report["total_output_tokens"], 4 * 8);

    let told = bench(folder.path(), &format!("latency {small} --output one.json"));
    assert!(told.contains("at most 1 under way"), "{told}");

    let page = bench(folder.path(), "plot all.json one.json --output page.html");
    let page = std::fs::read_to_string(folder.path().join(page.trim())).unwrap();
    assert!(page.contains("<svg"), "no plot");
}

#[test]
fn what_rules_cost_is_measured_in_turns() {
    let folder = tempfile::tempdir().unwrap();
    let small = "--data-dir data --num-prompts 2 --input-len 8 --output-len 8 --rounds 2";
    let told = bench(folder.path(), &format!("gate {small} --temperature 1"));
    for row in ["off", "observe", "enforce", "demo-bank/account-number"] {
        let found = told.lines().any(|line| line.trim().starts_with(row));
        assert!(found, "no row {row} in {told}");
    }
    std::fs::write(
        folder.path().join("watch.yaml"),
        demo_rules("watch", "observe"),
    )
    .unwrap();
    let ran = portcullis()
        .args([
            "bench",
            "gate",
            "--rules",
            "watch.yaml",
            "--data-dir",
            "data",
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        !ran.status.success() && said.contains("mode: enforce"),
        "{said}"
    );
}
