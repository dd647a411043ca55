//! The step loop: schedule, run, gate, release
