//! Which sequence gets how much of the next step, and which KV blocks hold it: pure
