//! HTTP and wire JSON: the only crate that knows them
