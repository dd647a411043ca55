//! Headers of weights that are spoilt in any way: refused by the file's name, and never much memory
//! for a small file.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

use std::path::Path;

use portcullis_models::{Decoder, LoadOptions};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// Bytes behind the header: what the first tensor of the model asks for, 64 rows of 32 numbers.
const DATA_BYTES: usize = 64 * 32 * 4;
/// Bytes in use at a time, at most; the file has about ten thousand.
const MEMORY_MAX: u64 = 4 << 20;

fn check(dir: &Path, file: &[u8]) -> Result<(), TestCaseError> {
    let path = dir.join("model.safetensors");
    std::fs::write(&path, file).unwrap();
    let mut refusal = None;
    let memory = allocation_counter::measure(|| {
        refusal = Decoder::load(dir, &LoadOptions::default()).err();
    });
    prop_assert!(memory.bytes_max < MEMORY_MAX as _, "{memory:?}");
    // One tensor makes no model.
    let said = refusal.unwrap().to_string();
    prop_assert!(said.contains(&*dir.to_string_lossy()), "{said}");
    Ok(())
}

/// A folder with the configuration of a model.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = Path::new("tests/golden/llama2/config.json");
    std::fs::copy(config, dir.path().join("config.json")).unwrap();
    dir
}

fn file(header: &[u8], announced: u64) -> Vec<u8> {
    [&announced.to_le_bytes(), header, &[0; DATA_BYTES]].concat()
}

fn number() -> impl Strategy<Value = Value> {
    let odd = [
        0,
        1,
        4,
        31,
        32,
        64,
        8191,
        8192,
        8193,
        u64::MAX,
        u64::MAX / 4,
        1 << 62,
        1 << 32,
        1 << 31,
    ];
    prop_oneof![
        4 => select(odd.to_vec()).prop_map(|number| json!(number)),
        1 => select(vec![json!(-1), json!(1.5), json!("1"), json!(null), json!([]), json!({})]),
    ]
}

fn tensor() -> impl Strategy<Value = (String, Value)> {
    let names = [
        "model.embed_tokens.weight",
        "model.norm.weight",
        "",
        "a",
        "__metadata__",
        "a\u{0}b",
    ];
    let kinds = [
        "F32", "BF16", "F64", "F4", "F8_E4M3", "I64", "BOOL", "f32", "X",
    ];
    let shape = prop_oneof![
        Just(json!([64, 32])),
        vec(number(), 0..4).prop_map(Value::from)
    ];
    let offsets = prop_oneof![
        Just(json!([0, 8192])),
        vec(number(), 0..4).prop_map(Value::from)
    ];
    let fields = (select(kinds.to_vec()), shape, offsets);
    let tensor = fields.prop_map(
        |(kind, shape, offsets)| json!({"dtype": kind, "shape": shape, "data_offsets": offsets}),
    );
    (select(names.to_vec()).prop_map(str::to_owned), tensor)
}

proptest! {
    #[test]
    fn spoilt_tensors(tensors in vec(tensor(), 0..5)) {
        let dir = folder();
        let header = Value::Object(tensors.into_iter().collect()).to_string();
        check(dir.path(), &file(header.as_bytes(), header.len() as u64))?;
    }

    #[test]
    fn spoilt_bytes(at in 0..80_usize, bytes in vec(any::<u8>(), 0..9), announced in any::<u64>(), is_long: bool) {
        let dir = folder();
        let header = br#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[64,32],"data_offsets":[0,8192]}}"#;
        let mut spoilt = header.to_vec();
        spoilt.splice(at..(at + bytes.len()).min(header.len()), bytes);
        check(dir.path(), &file(&spoilt, spoilt.len() as u64))?;
        // What is announced may be anything, and often is near the bound of the format.
        let announced = if is_long { announced % 200_000_000 } else { announced };
        check(dir.path(), &file(header, announced))?;
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        let dir = folder();
        check(dir.path(), &bytes)?;
    }
}
