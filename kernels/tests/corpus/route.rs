//! Routing: less and more experts than a warp has lanes, ties, and values that are no numbers.

use candle_core::{DType, Device, Result, Tensor};
use portcullis_kernels::{Routing, route};

use crate::check::{DTYPES, Tolerance, check, random};

const NUM_TOKENS: [usize; 6] = [0, 1, 2, 7, 33, 130];
/// `(num_experts, experts_per_token)`
const EXPERTS: [(usize, usize); 7] = [(1, 1), (4, 1), (4, 2), (8, 1), (8, 2), (33, 32), (100, 8)];

#[test]
fn the_likeliest_with_their_softmax() {
    for dtype in DTYPES {
        for num_tokens in NUM_TOKENS {
            for (num_experts, k) in EXPERTS {
                let case = format!("{num_tokens} tokens, {k} of {num_experts}, {dtype:?}");
                compare(&case, &random(1, &[num_tokens, num_experts], dtype), k);
            }
        }
    }
}

/// Values that can be told apart by their index alone, and the ends of the number line.
#[test]
fn ties_and_no_numbers() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let card_nan = f32::from_bits(0x7fff_ffff);
    let rows: [[f32; 6]; 6] = [
        [card_nan; 6],
        [1.0; 6],
        [0.0, 2.0, 1.0, 2.0, 2.0, 0.0],
        [-0.0, 0.0, -0.0, 0.0, -1.0, -2.0],
        [-inf, -1e30, -inf, -3.0, -2.0, -inf],
        [0.0, nan, 3.0, inf, -nan, 1.0],
    ];
    let logits = Tensor::from_slice(rows.as_flattened(), (rows.len(), 6), &Device::Cpu);
    let logits = logits.expect("a tensor");
    for k in [1, 2, 5, 6] {
        for dtype in DTYPES {
            let logits = logits.to_dtype(dtype).expect("every dtype has these");
            compare(&format!("{k} of ties in {dtype:?}"), &logits, k);
        }
    }
}

fn compare(case: &str, logits: &Tensor, k: usize) {
    // The weights are f32 in any dtype; experts differ by whole numbers.
    let tolerance = Tolerance::of(DType::F32);
    check(case, std::slice::from_ref(logits), tolerance, |inputs| {
        let Routing { experts, weights } = route(&inputs[0], k)?;
        Ok(vec![experts, weights])
    });
}

/// The plain loops themselves.
#[test]
fn two_of_four() -> Result<()> {
    let logits = Tensor::new(
        &[[0.0f32, 1.0, 1.0, -1.0], [3.0, 0.0, 2.0, 3.0]],
        &Device::Cpu,
    )?;
    let Routing { experts, weights } = route(&logits, 2)?;
    assert_eq!(experts.to_vec2::<u32>()?, [[1, 2], [0, 3]]);
    assert_eq!(weights.to_vec2::<f32>()?, [[0.5, 0.5], [0.5, 0.5]]);

    let weights = route(&logits, 3)?.weights.to_vec2::<f32>()?;
    let e = 1.0 / (2.0 + (-1.0f32).exp());
    assert!((weights[1][0] - e).abs() < 1e-6 && (weights[1][2] - e * (-1.0f32).exp()).abs() < 1e-6);
    let too_many = route(&logits, 5).expect_err("there are four").to_string();
    assert!(too_many.contains("5 experts a token of 4"), "{too_many}");
    Ok(())
}
