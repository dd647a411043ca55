//! The mixture: each kernel that computes its products, at sizes around the shares of warps and
//! tiles, with experts that get all tokens and experts that get none.

use candle_core::{DType, Device, Result, Tensor};
use portcullis_kernels::{Order, Routing, emulate, mixture, route};

use crate::check::{DTYPES, Tolerance, check, random};

/// `num_experts`, `experts_per_token`, `hidden`, `inner`
type Sizes = (usize, usize, usize, usize);

/// Neither width is a multiple of the other's shares.
const SMALL: [Sizes; 3] = [(4, 1, 32, 40), (8, 2, 72, 136), (4, 2, 160, 32)];
/// Up to eight are few, the others go by small tiles.
const NUM_TOKENS: [usize; 5] = [0, 1, 2, 7, 33];
/// Small tiles, and large ones of which one expert needs two.
const MANY: [Sizes; 2] = [(4, 1, 32, 40), (4, 2, 40, 32)];
/// More than a block's features in either product, and several passes along a row.
const WIDE: [(usize, Sizes); 2] = [(1, (4, 2, 512, 264)), (9, (8, 1, 264, 512))];

/// Of a result of about 1: in 16 bits a product in between may fall to the other side of a
/// rounding, and with it what is added up behind it.
fn tolerance(dtype: DType) -> Tolerance {
    let once = Tolerance::of(dtype);
    Tolerance {
        absolute: 8.0 * once.absolute,
        relative: 2.0 * once.relative,
    }
}

/// `x`, expert and weight of each pair, gate, up and down; the weights so that answers are about 1.
fn inputs(num_tokens: usize, sizes: Sizes, dtype: DType) -> Vec<Tensor> {
    let (num_experts, k, hidden, inner) = sizes;
    let logits = random(1, &[num_tokens, num_experts], DType::F32);
    // Nobody goes to expert 1; many go to the last, and of two experts it is everybody's one.
    let favour = (0..num_experts).map(|expert| match expert {
        1 => -10.0f32,
        last if last == num_experts - 1 => {
            if k == 2 {
                5.0
            } else {
                1.0
            }
        }
        _ => 0.0,
    });
    let favour = Tensor::from_vec(favour.collect(), num_experts, &Device::Cpu).expect("a tensor");
    let logits = logits.broadcast_add(&favour).expect("logits");
    let Routing { experts, weights } = route(&logits, k).expect("a routing");
    let matrix = |seed, rows, columns: usize| {
        let values = random(seed, &[num_experts, rows, columns], DType::F32);
        let scaled = (values / (columns as f64).sqrt()).and_then(|x| x.to_dtype(dtype));
        scaled.expect("weights")
    };
    vec![
        random(2, &[num_tokens, hidden], dtype),
        experts,
        weights,
        matrix(3, inner, hidden),
        matrix(4, inner, hidden),
        matrix(5, hidden, inner),
    ]
}

fn run(inputs: &[Tensor]) -> Result<Tensor> {
    let [x, experts, weights, gate, up, down] = inputs else {
        unreachable!("six inputs")
    };
    let routing = Routing {
        experts: experts.clone(),
        weights: weights.clone(),
    };
    mixture(x, &routing, gate, up, down)
}

fn compare(num_tokens: usize, sizes: Sizes, dtype: DType) {
    let case = format!("{num_tokens} tokens, {sizes:?}, {dtype:?}");
    let inputs = inputs(num_tokens, sizes, dtype);
    check(&case, &inputs, tolerance(dtype), |inputs| {
        Ok(vec![run(inputs)?])
    });
}

fn compare_all(sizes: &[Sizes], num_tokens: &[usize]) {
    for dtype in DTYPES {
        for &sizes in sizes {
            for &num_tokens in num_tokens {
                compare(num_tokens, sizes, dtype);
            }
        }
    }
}

#[test]
fn any_number_of_tokens() {
    compare_all(&SMALL, &NUM_TOKENS);
}

#[test]
fn many_tokens() {
    compare_all(&MANY, &[130]);
}

#[test]
fn wide_rows() {
    for (num_tokens, sizes) in WIDE {
        compare_all(&[sizes], &[num_tokens]);
    }
}

/// The same rows in another order and in other company, which other kernels compute.
#[test]
fn bits_do_not_depend_on_the_other_rows() -> Result<()> {
    for dtype in DTYPES {
        let inputs = inputs(130, (4, 2, 64, 40), dtype);
        for (place, run) in runs() {
            let all = run(&inputs)?;
            for count in [1, 7, 33, 130] {
                let rows: Vec<u32> = (0..count).map(|row| (row * 37 + 11) % 130).collect();
                let rows = Tensor::from_vec(rows, count as usize, &Device::Cpu)?;
                let mut some = inputs.clone();
                for per_token in &mut some[..3] {
                    *per_token = per_token.index_select(&rows, 0)?;
                }
                let case = format!("{count} rows in {dtype:?}, {place}");
                assert_eq!(
                    bits(&run(&some)?)?,
                    bits(&all.index_select(&rows, 0)?)?,
                    "{case}"
                );
            }
        }
    }
    Ok(())
}

/// A token's experts are added up by their index, in whatever order the routing names them.
#[test]
fn bits_do_not_depend_on_the_order_of_the_experts() -> Result<()> {
    let inputs = inputs(33, (8, 3, 64, 40), DType::F32);
    let mut turned = inputs.clone();
    for per_pair in &mut turned[1..3] {
        let order = Tensor::new(&[1u32, 2, 0], &Device::Cpu)?;
        *per_pair = per_pair.index_select(&order, 1)?;
    }
    for (place, run) in runs() {
        assert_eq!(bits(&run(&turned)?)?, bits(&run(&inputs)?)?, "{place}");
    }
    Ok(())
}

type Run = fn(&[Tensor]) -> Result<Tensor>;

/// Wherever the op runs, from and to the host's memory.
fn runs() -> Vec<(&'static str, Run)> {
    vec![
        ("plain loops", run),
        ("emulation", |inputs| emulate(Order::Mixed, || run(inputs))),
        #[cfg(feature = "cuda")]
        ("card", |inputs| {
            let there = inputs.iter().map(|x| x.to_device(&crate::check::card()));
            run(&there.collect::<Result<Vec<_>>>()?)?.to_device(&Device::Cpu)
        }),
    ]
}

fn bits(x: &Tensor) -> Result<Vec<Vec<u32>>> {
    let rows = x.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let row = |row: Vec<f32>| row.into_iter().map(f32::to_bits).collect();
    Ok(rows.into_iter().map(row).collect())
}

/// The plain loops themselves, against the definition in f64.
#[test]
fn each_token_is_the_weighted_sum_of_its_experts() -> Result<()> {
    let (hidden, inner) = (32, 40);
    let inputs = inputs(7, (4, 2, hidden, inner), DType::F32);
    let found = run(&inputs)?.to_vec2::<f32>()?;
    let experts = inputs[1].to_vec2::<u32>()?;
    let wide = |x: &Tensor| x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (x, weights) = (wide(&inputs[0])?, wide(&inputs[2])?);
    let (gate, up, down) = (wide(&inputs[3])?, wide(&inputs[4])?, wide(&inputs[5])?);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (token, found) in found.iter().enumerate() {
        let x = &x[token * hidden..][..hidden];
        let mut expected = vec![0.0; hidden];
        for (choice, &expert) in experts[token].iter().enumerate() {
            let expert = expert as usize;
            let gated = (expert * inner..(expert + 1) * inner).map(|row| {
                let row = row * hidden..(row + 1) * hidden;
                let gate = dot(&gate[row.clone()], x);
                gate / (1.0 + (-gate).exp()) * dot(&up[row], x)
            });
            let gated: Vec<f64> = gated.collect();
            for (feature, sum) in expected.iter_mut().enumerate() {
                let row = &down[(expert * hidden + feature) * inner..][..inner];
                *sum += weights[token * 2 + choice] * dot(row, &gated);
            }
        }
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-5,
                "{found}, expected {expected}"
            );
        }
    }
    Ok(())
}

#[test]
fn an_expert_that_does_not_exist() -> Result<()> {
    for dtype in DTYPES {
        let mut inputs = inputs(2, (4, 2, 32, 40), dtype);
        // Token 0 has one expert that exists, token 1 none.
        inputs[1] = Tensor::new(&[[4u32, 2], [u32::MAX, 4]], &Device::Cpu)?;
        let refused = run(&inputs).expect_err("there are four").to_string();
        assert!(refused.contains("expert 4 of 4"), "{refused}");

        let found = bits(&emulate(Order::Ascending, || run(&inputs))?)?;
        inputs[1] = Tensor::new(&[[0u32, 2], [0, 0]], &Device::Cpu)?;
        let weight = inputs[2].to_vec2::<f32>()?[0][1];
        inputs[2] = Tensor::new(&[[0.0, weight], [0.0, 0.0]], &Device::Cpu)?;
        assert_eq!(found, bits(&emulate(Order::Ascending, || run(&inputs))?)?);
    }
    Ok(())
}
