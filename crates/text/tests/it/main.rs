//! Tests of the text crate through its public face, in one binary.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stop at the first surprise"
)]

mod chat_template;
mod control_tokens;
mod detokenizer;
mod encoder_tokenizer;
mod golden;
mod loading;
mod support;
mod tool_law;
mod tools;
