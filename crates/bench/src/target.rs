//! What is loaded: anything that answers an ask with a stream of tokens.

use crate::clock::RunClock;
use crate::outcome::{Chunk, GateCost};

/// One request of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// What to say.
    pub prompt: Prompt,
    /// Tokens that the prompt is meant to have, if known; what it had is for the server to say.
    pub input_tokens: usize,
    /// Tokens to answer with, at most.
    pub output_tokens: usize,
}

/// What is said to the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Text: of a user in a chat, or as it stands.
    Text(String),
    /// Tokens, for a plain completion.
    Tokens(Vec<u32>),
}

/// What came back, in seconds on the clock of the run.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// When the ask left.
    pub sent: f64,
    /// When its last byte came.
    pub ended: f64,
    /// Tokens of prompt and completion, if the server tells.
    pub usage: Option<(usize, usize)>,
    /// The pieces that held text.
    pub chunks: Vec<Chunk>,
    /// Why the answer ended, as the server says.
    pub finish_reason: Option<String>,
    /// What the gate did, if the server tells.
    pub gate: Option<GateCost>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Answers asks. A server behind HTTP is one, an engine in this process another.
pub trait Target: Send + Sync + 'static {
    /// Sends `ask` and follows the answer to its end. What fails is told in the reply.
    fn answer(&self, ask: &Ask, clock: RunClock) -> impl Future<Output = Reply> + Send;
}
