//! Decoder definitions over kernels, and their weights
