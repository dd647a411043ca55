//! Tensor operations of our own, each with its CPU twin
