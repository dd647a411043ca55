use super::{json, repository, run, stdout, text};

const BAD: &str = "\
ruleset: bad
version: 1
mode: enforce
rules:
- {id: one, why: because, phrases: [\"forbidden\"], actoin: reject}
- {id: two, why: because, regex: '(', action: reject}
tests:
- {rule: one, should_fail: \"forbidden\"}
";

#[test]
fn a_good_file_is_told_with_its_name_and_version() {
    let demo = repository("rules/demo.yaml");
    let output = run(&["rules", "check", text(&demo)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains(": ok: demo-bank@1, enforce, 3 rules, tests passed, sha256:"));
}

#[test]
fn every_mistake_of_every_file_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.yaml");
    std::fs::write(&bad, BAD).unwrap();
    let absent = dir.path().join("absent.yaml");
    let output = run(&["rules", "check", text(&bad), text(&absent)]);
    assert_eq!(output.status.code(), Some(1));
    let told = stdout(&output);
    assert!(told.contains(&format!("{}:5:", bad.display())), "{told}");
    assert!(told.contains("actoin"), "{told}");
    assert!(told.contains(&format!("{}:6:", bad.display())), "{told}");
    assert!(
        told.contains(&format!(
            "{}: cannot be read: No such file",
            absent.display()
        )),
        "{told}"
    );
}

#[test]
fn programs_get_the_same_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.yaml");
    std::fs::write(&bad, BAD).unwrap();
    let demo = repository("rules/demo.yaml");
    let output = run(&["rules", "check", "--json", text(&demo), text(&bad)]);
    assert_eq!(output.status.code(), Some(1));
    let reports = json(&output);
    assert_eq!(reports[0]["ok"], true);
    assert_eq!(reports[0]["ruleset"]["name"], "demo-bank");
    assert_eq!(reports[1]["ok"], false);
    assert_eq!(reports[1]["mistakes"][0]["line"], 5);
    assert!(reports[1]["mistakes"][0]["mend"].is_string());
}
