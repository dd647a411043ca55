//! Keys, rule sets and bindings, kept across restarts
