//! `kernels::linear` beside Candle's product, on shapes of decoding and prefill.
#![expect(clippy::print_stdout, reason = "it prints its figures")]

use candle_core::{DType, Device, Result, Tensor};
use portcullis_benches::median_time;
use portcullis_kernels::linear;

fn main() -> Result<()> {
    for rows in [1, 4, 16, 64, 512] {
        for dtype in [DType::F32, DType::BF16] {
            let x = Tensor::randn(0f32, 1.0, (rows, 2048), &Device::Cpu)?.to_dtype(dtype)?;
            let weight = Tensor::randn(0f32, 1.0, (2048, 2048), &Device::Cpu)?.to_dtype(dtype)?;
            let ours = median_time(|| linear(&x, &weight)).as_secs_f64() * 1e3;
            let candle = median_time(|| x.matmul(&weight.t()?)).as_secs_f64() * 1e3;
            let ratio = candle / ours;
            println!(
                "{rows:4} x 2048 x 2048 {dtype:?}: {ours:.3} ms, candle {candle:.3} ms, {ratio:.2} times"
            );
        }
    }
    Ok(())
}
