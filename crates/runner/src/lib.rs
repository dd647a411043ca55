//! The model runner on Candle: paged KV cache, forward pass, sampler
