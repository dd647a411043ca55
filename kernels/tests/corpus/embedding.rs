//! Rows of a table at widths around a block's share, and ids beyond it.

use candle_core::{DType, Device, Result, Tensor};
use portcullis_kernels::{Order, embedding, emulate};

use crate::check::{DTYPES, Tolerance, check, random};

const VOCAB: usize = 50;
/// One load, less and more than a block's pass, the 8B model's.
const HIDDEN: [usize; 5] = [8, 64, 1000, 2056, 4096];
/// Nothing; the ends of the vocabulary; one of them twice.
const IDS: [&[u32]; 4] = [&[], &[49], &[0, 7, 49], &[3, 3, 0, 48, 3]];

fn tensor(ids: &[u32]) -> Tensor {
    Tensor::from_slice(ids, ids.len(), &Device::Cpu).expect("a tensor")
}

#[test]
fn rows() {
    for dtype in DTYPES {
        for hidden in HIDDEN {
            for ids in IDS {
                let inputs = [tensor(ids), random(1, &[VOCAB, hidden], dtype)];
                let case = format!("{ids:?} of {hidden} in {dtype:?}");
                check(&case, &inputs, Tolerance::EXACT, |inputs| {
                    Ok(vec![embedding(&inputs[0], &inputs[1])?])
                });
            }
        }
    }
}

#[test]
fn an_id_beyond_the_vocabulary() -> Result<()> {
    let (ids, table) = (
        tensor(&[1, 50, u32::MAX, 2]),
        random(1, &[VOCAB, 16], DType::BF16),
    );
    let refused = embedding(&ids, &table)
        .expect_err("no such row")
        .to_string();
    assert!(
        refused.contains("token 50 is not among the 50 rows"),
        "{refused}"
    );

    let row = |id: usize| table.narrow(0, id, 1);
    let zeros = row(0)?.zeros_like()?;
    let expected = Tensor::cat(&[&row(1)?, &zeros, &zeros, &row(2)?], 0)?;
    let found = emulate(Order::Ascending, || embedding(&ids, &table))?;
    let bits = |x: &Tensor| x.to_dtype(DType::F32)?.to_vec2::<f32>();
    assert_eq!(bits(&found)?, bits(&expected)?);
    Ok(())
}
