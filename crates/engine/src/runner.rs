//! What the engine asks of a model.

use std::sync::Arc;

use portcullis_scheduler::SchedulerOutput;
use portcullis_types::{History, PromptScore, Sample, SamplingParams, TokenId, TokenMask};
use thiserror::Error;

/// Runs the model over the rows of a plan.
///
/// Split in two so that the engine can gate and send the step before while this one computes: on
/// a GPU `submit` only launches, on the CPU it hands the work to a thread.
pub trait ModelRunner {
    /// Starts one step. `draws` has one entry for each row with `samples`, in row order; `scores`
    /// asks about tokens of prompts besides.
    ///
    /// Steps run one after another: the caller collects each ticket before it submits the next.
    fn submit(&mut self, plan: &SchedulerOutput, draws: Vec<Draw>, scores: Vec<Score>) -> Ticket;

    /// Waits for a step.
    ///
    /// # Errors
    /// The whole step failed; none of its rows counts as computed.
    fn collect(&mut self, ticket: Ticket) -> Result<StepOutput, RunnerError>;
}

/// A step on its way.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a submitted step must be collected"]
pub struct Ticket(pub u64);

/// How one token is to be drawn. The randomness depends on seed, position and attempt alone:
/// never on the row, the neighbours or the time.
#[derive(Clone, Debug)]
pub struct Draw {
    /// Temperature and the like, with the seed.
    pub params: Arc<SamplingParams>,
    /// Index of the token in the completion.
    pub position: u64,
    /// How often the sequence has been rolled back.
    pub attempt: u32,
    /// What may not be drawn here.
    pub mask: TokenMask,
    /// Sets of tokens whose probability under the model is asked for: `Sample::masses`.
    pub watch: Arc<[Box<[TokenId]>]>,
    /// Tokens that came before, if a penalty asks for them.
    pub history: Option<History>,
}

/// A question about a token of a prompt: how likely the model thought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// Index of the row in the plan.
    pub row: usize,
    /// The token of the row behind which `target` stands.
    pub offset: usize,
    /// The token that is asked about.
    pub target: TokenId,
    /// How many of the likeliest tokens to tell besides.
    pub top: u8,
}

/// What a step brought.
#[derive(Debug)]
pub struct StepOutput {
    /// One for each draw, in the same order.
    pub samples: Vec<Result<Sample, DrawError>>,
    /// One for each score, in the same order, with its row.
    pub scores: Vec<(usize, Result<PromptScore, DrawError>)>,
}

/// One row could not be drawn; its neighbours are not affected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DrawError {
    /// The model gave NaN, or infinity for every token.
    #[error("the model gave no finite logit for this sequence; are the weights and dtype right?")]
    NotFinite,
    /// Bias and mask left nothing to draw from.
    #[error("every token is excluded here by logit_bias, min_tokens, a schema or a rule set")]
    NothingLeft,
}

/// A step failed as a whole.
#[derive(Debug, Error)]
pub enum RunnerError {
    /// The device had no memory for it: a smaller step may pass.
    #[error("the device has no memory for a step: {message}")]
    OutOfMemory {
        /// What the runner says.
        message: String,
    },
    /// It cannot be computed.
    #[error("the model could not compute a step: {message}")]
    Failed {
        /// What the runner says.
        message: String,
    },
}
