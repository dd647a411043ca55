//! `rules test`: what rules would have found in past text.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{json, portcullis, repository, run, stderr, stdout, text};

const RULES: &str = "\
ruleset: house
version: 7
mode: enforce
rules:
- {id: guarantee, why: w, phrases: [\"guaranteed return\"], action: resample}
- {id: member, why: w, on: input, regex: 'M-[0-9]{4}', action: redact}
- {id: short, why: w, length: {max_characters: 60, max_tokens: 4}, action: flag}
- {id: sure, why: w, logits: {mean_entropy_max: 2.5}, action: flag}
tests:
- {rule: guarantee, should_fail: guaranteed return}
- {rule: member, should_fail: M-1234}
";

const CHATS: &str = r#"{"messages": [{"role": "user", "content": "I am M-1234. Is there a guaranteed return?"}, {"role": "assistant", "content": "No."}]}
{"prompt": "And now?", "completion": "A GUARANTEED\nreturn, and a guaranteed return again."}

not json
"#;

struct Files {
    _dir: TempDir,
    rules: PathBuf,
    chats: PathBuf,
}

fn files(chats: &str) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let (rules, chats_at) = (
        dir.path().join("house.yaml"),
        dir.path().join("chats.jsonl"),
    );
    std::fs::write(&rules, RULES).unwrap();
    std::fs::write(&chats_at, chats).unwrap();
    Files {
        _dir: dir,
        rules,
        chats: chats_at,
    }
}

#[test]
fn matches_are_shown_where_they_stand() {
    let files = files(CHATS);
    let (rules, chats) = (text(&files.rules), text(&files.chats));
    let output = run(&["rules", "test", rules, "--transcript", chats]);
    let told = stdout(&output);
    let lines: Vec<&str> = told.lines().skip(1).collect();
    let expected = [
        format!("{chats}: 3 lines, 2 prompts, 2 answers"),
        String::new(),
        "guarantee (phrases on output, resample): 2 matches in 1 of 2 texts".to_owned(),
        format!("  {chats}:2 completion: A »GUARANTEED\\nreturn«, and a guaranteed return again."),
        format!("  {chats}:2 completion: A GUARANTEED\\nreturn, and a »guaranteed return« again."),
        "member (regex on input, redact): 1 match in 1 of 2 texts".to_owned(),
        format!("  {chats}:1 messages[0].content: I am »M-1234«. Is there a guaranteed return?"),
        "short (length on output, flag): nothing in 2 texts; not evaluated: `max_tokens`: a text \
         does not tell its tokens"
            .to_owned(),
        "sure (logits on output, flag): not evaluated: it looks at the model's probabilities"
            .to_owned(),
        String::new(),
        format!("{chats}:4: not read: is no chat: expected ident at line 1 column 2"),
        "2 of 4 rules matched, 1 not evaluated; 1 line not read".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(output.status.code(), Some(1), "a line was not read");
}

#[test]
fn matches_are_no_errors_unless_asked() {
    let files = files(CHATS.trim_end_matches("not json\n"));
    let (rules, chats) = (text(&files.rules), text(&files.chats));
    let test = ["rules", "test", rules, "--transcript", chats];
    assert_eq!(run(&test).status.code(), Some(0));
    let failing = run(&[&test[..], &["--fail-on-match"]].concat());
    assert_eq!(failing.status.code(), Some(1));
    let none = run(&[&test[..], &["--examples", "0"]].concat());
    assert!(!stdout(&none).contains('»'));
}

#[test]
fn programs_get_counts_and_places() {
    let files = files(CHATS);
    let (rules, chats) = (text(&files.rules), text(&files.chats));
    let output = run(&["rules", "test", rules, "--transcript", chats, "--json"]);
    let report = json(&output);
    assert_eq!(report["ruleset"], "house@7");
    assert_eq!(
        (&report["unread"], &report["rules_matched"]),
        (&json!(1), &json!(2))
    );
    let statuses: Vec<&Value> = (0..4).map(|i| &report["rules"][i]["status"]).collect();
    assert_eq!(
        statuses,
        [
            "evaluated",
            "evaluated",
            "evaluated_in_part",
            "not_evaluated"
        ]
    );
    let example = &report["rules"][1]["examples"][0];
    assert_eq!(
        *example,
        json!({"line": 1, "part": "messages[0].content", "start": 5, "end": 11, "before": "I am ",
               "matched": "M-1234", "after": ". Is there a guaranteed return?"})
    );
}

#[test]
fn a_rule_that_saw_no_text_has_not_passed() {
    let files = files("\"just an answer\"\n");
    let (rules, chats) = (text(&files.rules), text(&files.chats));
    let told = stdout(&run(&["rules", "test", rules, "--transcript", chats]));
    assert!(
        told.contains(
            "member (regex on input, redact): not evaluated: the transcript holds no prompts"
        ),
        "{told}"
    );
}

#[test]
fn plain_lines_come_from_standard_input_too() {
    let files = files("");
    let mut child = portcullis()
        .args(["rules", "test", text(&files.rules), "--transcript", "-"])
        .args(["--side", "input"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"I am M-1234\n{\"not\": \"json\"\n")
        .unwrap();
    drop(stdin);
    let told = stdout(&child.wait_with_output().unwrap());
    assert!(told.contains("\n  -:1: I am »M-1234«\n"), "{told}");
    assert!(
        told.contains("\n-: 2 lines, 2 prompts, 0 answers\n"),
        "{told}"
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let files = files("");
    let rules = text(&files.rules);
    let absent = run(&[
        "rules",
        "test",
        rules,
        "--transcript",
        "/nonexistent/a.jsonl",
    ]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(stderr(&absent).starts_with("error: /nonexistent/a.jsonl cannot be read"));
    std::fs::write(&files.rules, RULES.replace("logits", "logit")).unwrap();
    let wrong = run(&["rules", "test", rules, "--transcript", text(&files.chats)]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stdout(&wrong).contains("unknown key `logit`"), "{wrong:?}");
}

/// What a bank, a clinic, a law firm and a coding agent say on an ordinary day: no rule that does
/// more than observe may fire, whoever said it.
#[test]
fn the_shipped_packs_leave_ordinary_text_alone() {
    let ordinary = repository("crates/cli/tests/cli/ordinary.txt");
    for pack in ["finance", "health", "legal", "agent-tools"] {
        let rules = repository(&format!("rules/packs/{pack}.yaml"));
        for side in ["input", "output"] {
            let args = [
                "rules",
                "test",
                text(&rules),
                "--transcript",
                text(&ordinary),
            ];
            let report = json(&run(&[&args[..], &["--side", side, "--json"]].concat()));
            assert!(report["lines"].as_u64() > Some(100), "{report}");
            for rule in report["rules"].as_array().unwrap() {
                let acts = rule["action"] != "observe";
                assert!(!(acts && rule["matches"] != 0), "{pack}: {rule}");
            }
        }
    }
}
