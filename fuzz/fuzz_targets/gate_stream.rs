//! Bytes to rule sets and completions, under the law that the property tests hold the gate to.
#![no_main]
#![expect(clippy::unwrap_used, reason = "what is not as expected ends the run")]

use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "a target uses its part of the law")]
#[path = "../../gate/tests/gate/law/mod.rs"]
mod law;

use law::{Case, Choices, Theme, Weakening};

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    // Automata for personal data take long to build.
    let theme = match choices.sometimes(8) {
        true => Theme::Personal,
        false => Theme::Letters,
    };
    let checked = match choices.sometimes(4) {
        true => law::check_roll_backs(theme, &mut choices),
        false => check_streams(theme, &mut choices),
    };
    if let Err(broken) = checked {
        panic!("{broken}");
    }
});

fn check_streams(theme: Theme, choices: &mut Choices<'_>) -> Result<(), String> {
    let case = Case::new(theme, choices);
    while !choices.is_empty() {
        case.check(choices, Weakening::None)?;
    }
    Ok(())
}
