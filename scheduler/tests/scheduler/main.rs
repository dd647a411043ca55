//! The scheduler through its public face.

mod fairness;
mod forks;
mod holding;
mod preemption;
mod prefix_cache;
mod random;
mod refusals;
mod rollback;
mod steps;
mod world;
