//! Products of few rows: sizes around a load, a stretch and the shares of lanes, warps and blocks;
//! rows of each number that the kernels take, and one more; several weights of a launch.

use candle_core::{DType, Device, Result, Tensor};
use portcullis_kernels::{LinearWeight, Order, emulate, linear, linears};

use crate::check::{DTYPES, Tolerance, check, random};

/// No whole load in any dtype, in bf16, one, several; around a stretch, a warp's loads under way, and
/// those of all warps of a block.
const SIZES_IN: [usize; 14] = [
    7, 12, 8, 24, 32, 40, 120, 128, 136, 512, 520, 1024, 1032, 2080,
];
/// Around the features of a block in either kernel.
const SIZES_OUT: [usize; 8] = [1, 7, 8, 9, 15, 16, 17, 40];
const ROWS_MAX: usize = 9;

/// `x` and the weights, these so that products are about 1.
fn inputs(num_rows: usize, size_in: usize, sizes_out: &[usize], dtype: DType) -> Vec<Tensor> {
    let weight = |(index, &size_out): (usize, &usize)| {
        let values = random(2 + index as u64, &[size_out, size_in], DType::F32);
        let scaled = (values / (size_in as f64).sqrt()).and_then(|x| x.to_dtype(dtype));
        scaled.expect("a weight")
    };
    let weights = sizes_out.iter().enumerate().map(weight);
    let x = random(1, &[num_rows, size_in], dtype);
    std::iter::once(x).chain(weights).collect()
}

/// Long sums in another order, of terms that take each other away: in f32 they differ by that.
fn tolerance(dtype: DType) -> Tolerance {
    let once = Tolerance::of(dtype);
    match dtype {
        DType::F32 => Tolerance {
            absolute: 4.0 * once.absolute,
            ..once
        },
        _ => once,
    }
}

fn run<const N: usize>(inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let weights = inputs[1..].iter().map(LinearWeight::new);
    let weights: Vec<LinearWeight> = weights.collect::<Result<_>>()?;
    let products: [Tensor; N] = linears(&inputs[0], std::array::from_fn(|i| &weights[i]))?;
    Ok(products.into())
}

fn compare<const N: usize>(num_rows: usize, size_in: usize, sizes_out: [usize; N]) {
    for dtype in DTYPES {
        let case = format!("{num_rows} rows of {size_in} by {sizes_out:?} in {dtype:?}");
        let inputs = inputs(num_rows, size_in, &sizes_out, dtype);
        check(&case, &inputs, tolerance(dtype), run::<N>);
    }
}

#[test]
fn sizes_around_all_shares() {
    for size_in in SIZES_IN {
        for size_out in SIZES_OUT {
            compare(3, size_in, [size_out]);
        }
    }
}

#[test]
fn any_number_of_rows() {
    for num_rows in 0..=ROWS_MAX {
        compare(num_rows, 136, [40]);
        compare(num_rows, 1032, [17]);
    }
}

#[test]
fn several_weights() {
    for num_rows in [1, 5, 8] {
        compare(num_rows, 136, [48, 17]);
        compare(num_rows, 136, [16, 8, 16]);
        compare(num_rows, 136, [1, 40, 9]);
        // Two launches.
        compare(num_rows, 40, [9, 40, 1, 17]);
    }
}

#[test]
fn one_weight_by_itself() {
    for dtype in DTYPES {
        let inputs = inputs(4, 136, &[40], dtype);
        let case = format!("one weight in {dtype:?}");
        check(&case, &inputs, tolerance(dtype), |inputs| {
            Ok(vec![linear(&inputs[0], &inputs[1])?])
        });
    }
}

/// A view whose first element is not where loads of 16 bytes may begin is computed all the same.
#[test]
fn an_argument_that_starts_within_a_load() {
    for dtype in DTYPES {
        let inputs = inputs(1, 136, &[9], dtype);
        let case = format!("from the second element on, in {dtype:?}");
        check(&case, &inputs, tolerance(dtype), |inputs| {
            let of_one_row = inputs[0].narrow(1, 1, 128)?;
            let weight = inputs[1].narrow(1, 0, 128)?.contiguous()?;
            Ok(vec![linear(&of_one_row, &weight)?])
        });
    }
}

/// Eight rows are the kernel's, which adds up in an order of its own; nine are not.
#[test]
fn the_ninth_row_changes_who_computes() -> Result<()> {
    for (num_rows, ours) in [(8, true), (9, false)] {
        let inputs = inputs(num_rows, 1032, &[40], DType::F32);
        let plain = linear(&inputs[0], &inputs[1])?;
        let emulated = emulate(Order::Ascending, || linear(&inputs[0], &inputs[1]))?;
        assert_eq!(bits(&emulated)? != bits(&plain)?, ours, "{num_rows} rows");
    }
    Ok(())
}

#[test]
fn biases() {
    for dtype in DTYPES {
        for num_rows in [1, 8, 9] {
            let mut inputs = inputs(num_rows, 136, &[17, 40], dtype);
            inputs.push(random(4, &[40], dtype));
            let case = format!("a bias for {num_rows} rows in {dtype:?}");
            check(&case, &inputs, tolerance(dtype), |inputs| {
                let [x, without, with, bias] = inputs else {
                    unreachable!("four inputs")
                };
                let with = LinearWeight::new(with)?.with_bias(bias.clone())?;
                let products = linears(x, [&LinearWeight::new(without)?, &with])?;
                Ok(products.into())
            });
        }
    }
}

/// Neither the rows beside it nor the weights beside its own change a bit of a product.
#[test]
fn bits_do_not_depend_on_the_company() -> Result<()> {
    for dtype in DTYPES {
        let all = inputs(8, 1032, &[40, 17, 8], dtype);
        for (place, run) in runs() {
            let together = run(&all)?;
            for count in 1..=8 {
                let rows: Vec<u32> = (0..count).map(|row| (row * 3 + 5) % 8).collect();
                let rows = Tensor::from_vec(rows, count as usize, &Device::Cpu)?;
                let x = all[0].index_select(&rows, 0)?;
                for (weight, together) in all[1..].iter().zip(&together) {
                    let alone = run(&[x.clone(), weight.clone()])?;
                    assert_eq!(
                        bits(&alone[0])?,
                        bits(&together.index_select(&rows, 0)?)?,
                        "{count} rows in {dtype:?}, {place}"
                    );
                }
            }
        }
    }
    Ok(())
}

type Run = fn(&[Tensor]) -> Result<Vec<Tensor>>;

/// Wherever the kernels run, with one weight or three.
fn runs() -> Vec<(&'static str, Run)> {
    fn any(inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        match inputs.len() {
            2 => run::<1>(inputs),
            _ => run::<3>(inputs),
        }
    }
    vec![
        ("emulation", |inputs| emulate(Order::Mixed, || any(inputs))),
        #[cfg(feature = "cuda")]
        ("card", |inputs| {
            let there = inputs.iter().map(|x| x.to_device(&crate::check::card()));
            let found = any(&there.collect::<Result<Vec<_>>>()?)?;
            found.iter().map(|x| x.to_device(&Device::Cpu)).collect()
        }),
    ]
}

fn bits(x: &Tensor) -> Result<Vec<Vec<u32>>> {
    let rows = x.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let row = |row: Vec<f32>| row.into_iter().map(f32::to_bits).collect();
    Ok(rows.into_iter().map(row).collect())
}

/// NaN stands around the tensors, and in one row of each: of the product it is one row and one
/// column. Rows end within a stretch, so that a load too far would bring the next one's NaN.
#[test]
fn a_nan_stays_in_its_row_and_its_column() -> Result<()> {
    for dtype in DTYPES {
        for num_rows in [1, 2, 7, 8] {
            let clean = inputs(num_rows, 40, &[17, 9], dtype);
            let inputs = clean.iter().enumerate().map(|(index, x)| {
                // One row of weights; of x, only if there are several.
                let spoilt = (index > 0 || num_rows > 1).then_some(1);
                among_nan(x, spoilt)
            });
            let inputs: Vec<Tensor> = inputs.collect::<Result<_>>()?;
            let case = format!("{num_rows} rows in {dtype:?}");
            check(&case, &inputs, tolerance(dtype), run::<2>);
        }
    }
    Ok(())
}

/// `x` with NaN in one row, if any, and two rows of NaN before and behind it.
fn among_nan(x: &Tensor, row: Option<usize>) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let nan = |rows: usize| Tensor::full(f32::NAN, (rows, columns), &Device::Cpu);
    let wide = x.to_dtype(DType::F32)?;
    let spoilt = match row {
        Some(row) => wide.slice_assign(&[row..row + 1, 0..columns], &nan(1)?)?,
        None => wide,
    };
    let around = Tensor::cat(&[&nan(2)?, &spoilt, &nan(2)?], 0)?;
    around.to_dtype(x.dtype())?.narrow(0, 2, rows)
}
