//! The step loop: schedule, run, gate, release.
//!
//! One thread owns everything that changes: scheduler, gate states and model runner, without a
//! lock. The rest of the process talks to it through [`EngineHandle`] and bounded channels. Read
//! [`Engine::step`] first: it is the design.
//!
//! What is absent on purpose: HTTP, wire JSON, tensors, wall-clock decisions.

mod clock;
mod embedding;
mod engine;
mod generation;
mod handle;
mod outbox;
mod request;
mod runner;
pub mod scripted;
mod status;

pub use clock::{Clock, SystemClock};
pub use embedding::{
    Embedder, EmbeddingCall, EmbeddingError, EmbeddingHandle, EmbeddingLimits, EmbeddingStatus,
    EmbeddingThread,
};
pub use engine::{Engine, EngineConfig};
pub use handle::{EngineHandle, EngineThread, SubmitError, TokenStream};
pub use outbox::{End, Failure, StreamEvent, Timings};
pub use portcullis_types::PromptScore;
pub use request::{GenerateParts, GenerateRequest, InvalidRequest, Limits};
pub use runner::{Draw, DrawError, ModelRunner, RunnerError, Score, StepOutput, Ticket};
pub use status::EngineStatus;
