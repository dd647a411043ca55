//! The shipped packs: they load with their tests, and say of themselves what they are.

use std::path::{Path, PathBuf};

use portcullis_gate::{Mode, RuleSet};

const PACKS: [&str; 4] = ["agent-tools", "finance", "health", "legal"];

fn packs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/packs")
}

#[test]
fn every_shipped_pack_loads_and_its_tests_pass() {
    for pack in PACKS {
        let source = std::fs::read(packs().join(format!("{pack}.yaml"))).unwrap();
        let set = RuleSet::load(&source).unwrap_or_else(|errors| panic!("{pack}:\n{errors}"));
        assert_eq!((set.name(), set.mode()), (pack, Mode::Enforce));
    }
    let files = std::fs::read_dir(packs()).unwrap();
    assert_eq!(
        files.count(),
        PACKS.len(),
        "no pack is left out of this test"
    );
}

#[test]
fn every_rule_of_a_pack_shows_what_it_finds_and_what_it_leaves_alone() {
    for pack in PACKS {
        let source = std::fs::read_to_string(packs().join(format!("{pack}.yaml"))).unwrap();
        let set = RuleSet::load(source.as_bytes()).unwrap();
        for rule in set.rules() {
            for should in ["should_fail", "should_pass"] {
                let test = format!("- {{rule: {}, {should}: ", rule.id);
                assert!(
                    source.contains(&test),
                    "{pack}: no `{should}` for {}",
                    rule.id
                );
            }
        }
    }
}

#[test]
fn every_pack_says_what_it_cannot_catch() {
    for pack in PACKS {
        let source = std::fs::read_to_string(packs().join(format!("{pack}.yaml"))).unwrap();
        let head: Vec<&str> = source
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        let head = head.join("\n");
        for words in ["# What it does: ", "# What it cannot catch: "] {
            assert!(head.contains(words), "{pack}");
        }
    }
}
