//! Embeddings by the real binary, on the tiny encoders that transformers was asked about.

use std::path::Path;

use serde_json::{Value, json};

use crate::server::{Server, new_key, quick_folder, serve};

/// f32: other orders of the same sums.
const TOLERANCE: f64 = 1e-5;

fn numbers(vector: &Value) -> Vec<f64> {
    serde_json::from_value(vector.clone()).unwrap()
}

#[tokio::test]
async fn texts_become_the_vectors_that_transformers_makes() {
    for kind in ["mean", "cls"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = root.join("models/tests/golden-embeddings").join(kind);
        let golden = std::fs::read(folder.join("golden.json")).unwrap();
        let golden: Value = serde_json::from_slice(&golden).unwrap();
        let data_dir = quick_folder();
        let mut command = serve(data_dir.path());
        command.args(["--embedding-model", &format!("{}=tiny", folder.display())]);
        let server = Server::from(command);
        let (_, key) = new_key(data_dir.path(), "inference", "tests");
        let body = json!({"model": "tiny", "input": golden["texts"]}).to_string();
        let answer = server.post("/v1/embeddings", &key, body).await;
        let expected = golden["vectors"].as_array().unwrap();
        let data = answer["data"].as_array().unwrap();
        assert_eq!(data.len(), expected.len());
        for (text, (entry, expected)) in data.iter().zip(expected).enumerate() {
            let (found, expected) = (numbers(&entry["embedding"]), numbers(expected));
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let worst = off.fold(0.0, f64::max);
            assert!(
                found.len() == expected.len() && worst <= TOLERANCE,
                "{kind}, {text}: {worst}"
            );
        }
        let tokens: usize = golden["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text.as_array().unwrap().len())
            .sum();
        assert_eq!(answer["usage"]["prompt_tokens"], tokens);
    }
}
