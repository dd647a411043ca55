//! Text in, tokens out, and back: tokenizer, incremental detokenizer, chat templates, tool calls.
//!
//! Three rules hold throughout:
//!
//! - **Text that a user sent never becomes a control token.** `<|eot_id|>` in a message is seven
//!   letters and some punctuation to the model. Only the chat template writes control tokens.
//! - **Streaming changes nothing.** The pieces that a [`Detokenizer`] returns, joined, are what
//!   [`Tokenizer::decode`] makes of all tokens at once.
//! - **No clock, no environment, no network.** What a template may know of the date, the caller
//!   passes in.

mod chat_template;
mod detokenizer;
mod encoder_tokenizer;
mod error;
mod message;
mod prompt;
mod token_table;
mod tokenizer;
mod tools;

pub use chat_template::{ChatTemplate, MAX_RENDERED_BYTES, RenderOptions, TEMPLATE_FUEL};
pub use detokenizer::Detokenizer;
pub use encoder_tokenizer::EncoderTokenizer;
pub use error::TextError;
pub use message::{FunctionCall, Message, Role, ToolCall};
pub use prompt::{RenderedPrompt, Segment};
pub use tokenizer::Tokenizer;
pub use tools::{Piece, ToolForm, ToolFormat, ToolParser, WhetherToCall};
