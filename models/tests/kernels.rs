//! The golden logits through the kernels: in the emulation always, and on a card where the tests
//! are compiled with CUDA.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use common::{FAMILIES, Golden, Pieces, worst_difference};
use portcullis_kernels::{Order, emulate, launches_of};
use portcullis_models::{Config, LoadOptions};

/// f32, against transformers: other orders of the same sums.
const TOLERANCE_F32: f32 = 1e-4;
/// The same through cuBLAS, whose products may be summed in parts.
const TOLERANCE_CARD_F32: f32 = 1e-3;

#[test]
fn every_family_equals_transformers_in_the_emulation() {
    for family in FAMILIES {
        let golden = Golden::load(family);
        for chunk in [usize::MAX, 33, 1] {
            let compute = || golden.compute(&LoadOptions::default(), Pieces::of(chunk));
            let worst = worst_difference(&emulate(Order::Ascending, compute), &golden.logits);
            assert!(
                worst <= TOLERANCE_F32,
                "{family} in chunks of {chunk}: off by {worst}"
            );
        }
    }
}

#[test]
fn company_changes_nothing_in_the_emulation() {
    for family in FAMILIES {
        let golden = Golden::load(family);
        let compute = || golden.compute_in_company(&LoadOptions::default());
        let worst = worst_difference(&emulate(Order::Mixed, compute), &golden.logits);
        assert!(worst <= TOLERANCE_F32, "{family}: off by {worst}");
    }
}

#[test]
fn short_numbers_stay_close_in_the_emulation() {
    short_numbers_stay_close(&Device::Cpu, |compute| emulate(Order::Descending, compute));
}

/// Launches are time where a step is short: an op that falls apart into several shows here. Products of
/// the same rows are one: of a dense layer's seven, four launches are left.
#[test]
fn a_decode_launches_no_more_kernels_than_were_counted() {
    let attention = [("rope_kv_write", 1), ("paged_attention", 2)];
    let dense = [("linear", 4), ("silu_mul", 1)];
    let experts = [("linear", 3), ("route", 1), ("mixture", 4)];
    check_launches("llama3", &[&attention[..], &dense].concat());
    check_launches("mixtral", &[&attention[..], &experts].concat());
}

/// Holds each step of one token to an embedding, two norms a layer and one at the end, the output's
/// product, and in each layer what is given.
fn check_launches(family: &str, in_layer: &[(&'static str, usize)]) {
    let golden = Golden::load(family);
    let layers = Config::load(&golden.dir).unwrap().num_layers;
    let compute = || golden.compute(&LoadOptions::default(), Pieces::of(1));
    let (_, launches) = launches_of(|| emulate(Order::Ascending, compute));
    let mut counted = BTreeMap::new();
    for op in launches {
        *counted.entry(op).or_insert(0) += 1;
    }
    let mut expected = BTreeMap::from([("embedding", 1), ("add_rms_norm", 2 * layers + 1)]);
    expected.extend(in_layer.iter().map(|&(op, count)| (op, count * layers)));
    *expected.entry("linear").or_insert(0) += 1;
    let steps = golden.tokens.len();
    expected.values_mut().for_each(|count| *count *= steps);
    assert_eq!(counted, expected, "{family}, {steps} steps");
}

/// Compiled with CUDA, the tests need a card.
#[test]
fn every_family_equals_transformers_on_a_card() {
    if !candle_core::utils::cuda_is_available() {
        return;
    }
    let device = Device::new_cuda_with_stream(0).unwrap();
    let options = LoadOptions {
        device: device.clone(),
        ..LoadOptions::default()
    };
    for family in FAMILIES {
        let golden = Golden::load(family);
        for chunk in [usize::MAX, 33, 1] {
            let logits = golden.compute(&options, Pieces::of(chunk));
            let worst = worst_difference(&logits, &golden.logits);
            assert!(
                worst <= TOLERANCE_CARD_F32,
                "{family} in chunks of {chunk}: off by {worst}"
            );
        }
        let worst = worst_difference(&golden.compute_in_company(&options), &golden.logits);
        assert!(
            worst <= TOLERANCE_CARD_F32,
            "{family} in company: off by {worst}"
        );
    }
    short_numbers_stay_close(&device, |compute| compute());
}

/// In bf16 and f16 the kernels are hardly further from f32 than the plain loops.
fn short_numbers_stay_close(device: &Device, run: impl Fn(&dyn Fn() -> Tensor) -> Tensor) {
    let demo = Golden::load("llama2").moved(Path::new("demo/llama"));
    let compute = |dtype, device: &Device| {
        let options = LoadOptions {
            dtype,
            device: device.clone(),
            ..LoadOptions::default()
        };
        demo.compute(&options, Pieces::of(32))
    };
    let exact = compute(DType::F32, &Device::Cpu);
    for dtype in [DType::BF16, DType::F16] {
        let plain = worst_difference(&compute(dtype, &Device::Cpu), &exact);
        let kernels = worst_difference(&run(&|| compute(dtype, device)), &exact);
        assert!(
            kernels <= 1.5 * plain,
            "{dtype:?}: kernels are off by {kernels}, plain loops by {plain}"
        );
    }
}
