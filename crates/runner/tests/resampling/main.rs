//! The resampler against its law, on toys small enough to enumerate.
//!
//! `toy` drives the real gate and the real sampler as the engine does; `law` computes from the
//! documented semantics, and without either, how often each outcome must come; `fit` compares.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

mod endings;
mod fit;
mod greedy;
mod law;
mod price;
mod sampling;
mod toy;
