//! Text to tokens, and tokens to text as they come, with the demo's tokenizer.
//!
//! `cargo bench -p portcullis-benches --bench text`

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis_text::Tokenizer;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/llama");
const SENTENCE: &str = "Our branch in the old town opens at nine, and on Saturdays at ten. ";

criterion_main!(benches);
criterion_group!(benches, text);

fn text(criterion: &mut Criterion) {
    let tokenizer = Tokenizer::load(Path::new(DEMO)).expect("the demo has a tokenizer");
    let text = SENTENCE.repeat(64);
    let tokens = tokenizer.encode(&text, false).expect("it is text");
    let mut group = criterion.benchmark_group("text");
    group.throughput(Throughput::Elements(tokens.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| tokenizer.encode(black_box(&text), false));
    });
    group.bench_function("detokenize, token by token", |bencher| {
        bencher.iter(|| {
            let mut detokenizer = tokenizer.detokenizer();
            let length = |token: &u32| detokenizer.push(*token).len();
            tokens.iter().map(length).sum::<usize>()
        });
    });
}
