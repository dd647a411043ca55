//! `rules explain` and `rules schema`: what a rule file means, and its format.

use super::{json, repository, run, stderr, stdout, text};

const RULES: &str = "\
ruleset: house
version: 2
mode: enforce
resample: {max_attempts: 3, then: redact}
rules:
- {id: promise, why: the policy, phrases: [\"Gu\\u0430ranteed  return\"], action: resample, with: \"#\"}
- {id: member, why: the law, on: input, regex: 'M-[0-9]{4}(?-u:\\b)', action: reject}
- {id: sure, why: the study, logits: {mean_entropy_max: 2.5, window: 8}, action: flag}
tests:
- {rule: promise, should_fail: guaranteed return}
- {rule: member, should_fail: M-1234}
";

const TOLD: &str = "
promise (phrases, resample)
  why: the policy
  looks at: what the model writes, with case, width, accents, invisible characters, white space and look-alike letters folded
  looks for: guaranteed return
  longest match: 17 bytes of folded text
  waits: text from where a match may have begun until it is clear that there is none: up to 17 bytes of folded text
  on a match: what has not gone out is thrown away and written anew, up to 3 times at one place; then the match is replaced by #
  runs in: automaton 2
  cannot catch: the same meaning in other words, or in another language
  cannot catch: letters spaced out (g u a r), digits for letters (guarant33d)

member (regex, reject)
  why: the law
  looks at: each text of the prompt, as it is written
  looks for: M-[0-9]{4}(?-u:\\b)
  longest match: 6 bytes, and the character after it decides
  waits: nothing: the prompt is judged before the model sees it
  on a match: the call is refused
  runs in: automaton 1
  cannot catch: the same meaning in another form
  cannot catch: other case, invisible characters, look-alike letters: the text counts as written

sure (logits, flag)
  why: the study
  looks at: what the model writes
  waits: nothing: flag changes no text
  on a match: the text goes out, the caller is told, it is recorded
  cannot catch: what the model is sure of and wrong about

next
";

fn with_rules(check: impl FnOnce(&str)) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("house.yaml");
    std::fs::write(&file, RULES).unwrap();
    check(text(&file));
}

#[test]
fn people_read_what_each_rule_does() {
    with_rules(|file| {
        let output = run(&["rules", "explain", file]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told = stdout(&output);
        assert!(told.contains(TOLD), "{told}");
        let head: Vec<&str> = told.lines().take(3).collect();
        assert!(head[0].starts_with("house@2, enforce, sha256:"), "{told}");
        assert!(head[1].contains("after every token") && head[1].contains("64 tokens wait"));
        assert!(told.contains(&format!("\n  portcullis rules sign {file} --key KEY\n")));
        assert!(told.contains("\n  portcullis rules bind house --deployment NAME"));
    });
}

#[test]
fn one_rule_or_none_of_that_name() {
    with_rules(|file| {
        let one = stdout(&run(&["rules", "explain", file, "member"]));
        assert!(
            one.contains("\nmember (") && !one.contains("\npromise ("),
            "{one}"
        );
        let none = run(&["rules", "explain", file, "members"]);
        assert_eq!(none.status.code(), Some(1));
        let told = stderr(&none);
        assert!(
            told.contains("\"members\"; there are promise, member, sure"),
            "{told}"
        );
    });
}

#[test]
fn programs_read_numbers() {
    with_rules(|file| {
        let told = json(&run(&["rules", "explain", file, "--json"]));
        assert_eq!(told["rules"][0]["longest_match_bytes"], 17);
        assert_eq!(told["rules"][1]["looks_ahead"], true);
        let automaton = told["rules"][0]["automata"][0].as_u64().unwrap();
        assert_eq!(told["automata"][automaton as usize]["rules"][0], "promise");
        assert!(told["automata"][0]["states"].as_u64() > Some(6));
        assert!(told["rules"][2]["longest_match_bytes"].is_null());
    });
}

/// Each command that is told to come next exists.
#[test]
fn the_next_steps_are_commands() {
    with_rules(|file| {
        let told = json(&run(&["rules", "explain", file, "--json"]));
        for step in told["next"].as_array().unwrap() {
            let words: Vec<&str> = step.as_str().unwrap().split(' ').collect();
            let help = run(&[words[1], words[2], "--help"]);
            assert_eq!(help.status.code(), Some(0), "{step}");
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(stdout(&help).contains(flag), "{step}: {flag}");
            }
        }
    });
}

#[test]
fn the_schema_is_the_file_of_the_repository() {
    let file = std::fs::read_to_string(repository("rules/ruleset.schema.json")).unwrap();
    assert_eq!(stdout(&run(&["rules", "schema"])), file);
    let schema: serde_json::Value = serde_json::from_str(&file).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
}

/// Editors find the schema from the first line of a shipped file.
#[test]
fn every_shipped_file_names_the_schema() {
    let packs = std::fs::read_dir(repository("rules/packs")).unwrap();
    let mut files: Vec<_> = packs.map(|entry| entry.unwrap().path()).collect();
    files.push(repository("rules/demo.yaml"));
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        let first = source.lines().next().unwrap();
        let schema = first
            .strip_prefix("# yaml-language-server: $schema=")
            .unwrap();
        let path = file.parent().unwrap().join(schema);
        assert!(path.is_file(), "{}: {first}", file.display());
    }
}
