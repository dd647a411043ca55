//! The scheduler through its public face.

mod behaviour;
mod fairness;
mod random;
mod world;
