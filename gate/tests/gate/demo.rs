//! The rule set that the demonstration ships.

use portcullis_gate::{Action, Mode, RuleSet, RuleSetErrors};
use proptest::prelude::*;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever is done to the file, it loads or says why not.
    #[test]
    fn a_damaged_file_never_panics(
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8),
            1..6,
        ),
    ) {
        let mut file = DEMO.to_vec();
        for (from, to, byte, edit) in edits {
            let (a, b) = (from.index(file.len()), to.index(file.len()));
            let (from, to) = (a.min(b), a.max(b));
            match edit {
                0 => file[from] = byte,
                1 => file.insert(from, byte),
                2 => drop(file.drain(from..to.min(from + 40))),
                _ => file.extend_from_within(from..to),
            }
            file.push(b'\n');
        }
        if let Err(RuleSetErrors(mistakes)) = RuleSet::load(&file) {
            prop_assert!(!mistakes.is_empty());
            prop_assert!(mistakes.iter().all(|mistake| mistake.line > 0 && mistake.column > 0));
        }
    }
}
