//! Any bytes as a rule set: never a panic, never an endless load, and every mistake has a place in
//! the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_gate::{RuleSet, limits};

fuzz_target!(|bytes: &[u8]| {
    let errors = match RuleSet::load(bytes) {
        Ok(set) => {
            assert_eq!(set.source(), bytes);
            return;
        }
        Err(errors) => errors.0,
    };
    assert!(!errors.is_empty(), "refused without a mistake");
    assert!(errors.len() <= limits::DIAGNOSTICS_MAX + 1);
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    // One more than there are: a file may end too early.
    let lines: Vec<&str> = text.split(['\n', '\r']).chain([""]).collect();
    for error in errors {
        assert!(
            !error.message.is_empty() && !error.mend.is_empty(),
            "{error}"
        );
        let line = error.line.checked_sub(1).and_then(|line| lines.get(line));
        let columns = line.map(|line| line.chars().count() + 1);
        assert!(error.column >= 1, "{error}");
        assert!(
            columns.is_some_and(|columns| error.column <= columns),
            "{error}"
        );
    }
});
