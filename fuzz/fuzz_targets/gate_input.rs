//! Bytes to rules on prompts and to prompts, under the law.
#![no_main]
#![expect(clippy::unwrap_used, reason = "what is not as expected ends the run")]

use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "a target uses its part of the law")]
#[path = "../../gate/tests/gate/law/mod.rs"]
mod law;

use law::{Choices, Theme};

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let theme = match choices.sometimes(8) {
        true => Theme::Personal,
        false => Theme::Letters,
    };
    if let Err(broken) = law::check_input(theme, &mut choices) {
        panic!("{broken}");
    }
});
