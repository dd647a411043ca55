//! Any answer in every format of tool calls, under the law that the property tests hold the parser
//! to: however it is cut, the same is said and called.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_text::ToolFormat;

#[path = "../../crates/text/tests/it/tool_law.rs"]
mod tool_law;

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, text)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let formats = ToolFormat::ALL;
    let parser = tool_law::parser(formats[usize::from(how) % formats.len()]);
    // A forced call goes on behind its opening.
    match how.is_ascii_uppercase() {
        true => tool_law::every_way(&parser.opened(), &text),
        false => tool_law::every_way(&parser, &text),
    };
});
