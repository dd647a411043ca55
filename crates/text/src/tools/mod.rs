//! Tool calls as models write them: found in the text of an answer while it arrives.
//!
//! A [`ToolFormat`] is how a family of models spells a call, told by its chat template. A
//! [`ToolParser`] cuts an answer into [`Piece`]s: what is said, and what is called. The gate has
//! judged the text before it comes here; nothing here changes what is released but its shape.
//!
//! Only a tool that was offered is ever called: what looks like a call of another stays text.

mod call;
mod form;
mod format;
mod parser;

pub use form::{ToolForm, WhetherToCall};
pub use format::ToolFormat;
pub use parser::{Piece, ToolParser};
