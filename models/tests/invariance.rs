//! On the CPU a row's logits are the same bits alone, in chunks and in company: a greedy answer
//! under load is the answer alone, and a record can be replayed.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use candle_core::{DType, Tensor};
use common::{FAMILIES, Golden, Pieces};
use portcullis_models::LoadOptions;

fn bits(logits: &Tensor) -> Vec<u32> {
    let flat = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    flat.into_iter().map(f32::to_bits).collect()
}

#[test]
fn chunks_change_no_bit() {
    for dtype in [DType::F32, DType::BF16] {
        let options = LoadOptions {
            dtype,
            ..LoadOptions::default()
        };
        for family in FAMILIES {
            let golden = Golden::load(family);
            let whole = bits(&golden.compute(&options, Pieces::of(usize::MAX)));
            for size in [1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33] {
                let pieces = bits(&golden.compute(&options, Pieces::of(size)));
                assert!(pieces == whole, "{family} in {dtype:?} by {size} tokens");
            }
        }
    }
}

#[test]
fn company_changes_no_bit() {
    for family in FAMILIES {
        let golden = Golden::load(family);
        let alone = bits(&golden.compute(&LoadOptions::default(), Pieces::of(usize::MAX)));
        let together = bits(&golden.compute_in_company(&LoadOptions::default()));
        assert!(together == alone, "{family}");
    }
}
