//! The rule set that the demonstration ships.

use portcullis_gate::{Action, Mode, RuleSet};

const DEMO: &[u8] = include_bytes!("../../../rules/demo.yaml");

#[test]
fn the_demo_rule_set_loads_and_its_tests_pass() {
    let demo = RuleSet::load(DEMO).unwrap();
    assert_eq!((demo.name(), demo.version()), ("demo-bank", 1));
    assert_eq!(demo.mode(), Mode::Enforce);
    assert_eq!(demo.source(), DEMO);
    let rules: Vec<(&str, Action)> = demo.rules().map(|rule| (&*rule.id, rule.action)).collect();
    let expected = [
        ("no-guarantee", Action::Resample),
        ("account-number", Action::Redact),
        ("card-number", Action::Redact),
    ];
    assert_eq!(rules, expected);
}
