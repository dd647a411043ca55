//! Thousands of different grammars, one after another, leave no memory behind.
//!
//! `PORTCULLIS_GRAMMARS` says how many; without it 1,000, which take seconds.
//! A binary of its own: it counts what is allocated, and nothing else may run meanwhile.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]
#![expect(
    clippy::disallowed_methods,
    reason = "how many is told by the environment, as for proptest"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use portcullis_gate::{Grammar, Vocabulary};
use portcullis_types::{TokenBytes, TokenId};

struct Counting;

static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; this one only counts"
)]
// SAFETY: every call goes to the system's allocator unchanged, which upholds the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const GRAMMARS: usize = 1_000;
/// What may be left over, however many grammars there were.
const LEFT_BYTES_MAX: isize = 64 << 10;

#[test]
fn thousands_of_grammars_leave_memory_bounded() {
    let grammars = match std::env::var("PORTCULLIS_GRAMMARS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => GRAMMARS,
    };
    let vocabulary = bytes();
    // Whatever is made once is made by then.
    (0..30).for_each(|number| live(number, &vocabulary));
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    (30..30 + grammars).for_each(|number| live(number, &vocabulary));
    let left = LIVE_BYTES.load(Ordering::Relaxed) - before;
    assert!(
        left < LEFT_BYTES_MAX,
        "{left} bytes are left of {grammars} grammars"
    );
}

/// One grammar's life: registered, compiled for a model, a few tokens, gone.
fn live(number: usize, vocabulary: &Arc<Vocabulary>) {
    let grammar = match number % 3 {
        0 => Grammar::json_schema(&format!(
            r#"{{"type":"object","properties":{{"p{number}":{{"type":"string","pattern":"^[a-z]{{{},9}}$"}}}},"required":["p{number}"]}}"#,
            number % 7
        )),
        1 => Grammar::regex(&format!("x{number}(a|b){{1,{}}}y*", number % 11 + 1)),
        _ => Grammar::lark(&format!(
            "start: \"x{number}\" item+\nitem: /[a-z]{{1,{}}}/ \";\"",
            number % 5 + 1
        )),
    };
    let mut state = grammar.unwrap().compile(vocabulary).unwrap().begin();
    let mut drawn: Vec<TokenId> = Vec::new();
    for step in 0..6 {
        let allowed: Vec<TokenId> = state.allowed_after(&drawn).iter().collect();
        drawn.push(allowed[(number + step) % allowed.len()]);
    }
}

fn bytes() -> Arc<Vocabulary> {
    let of = |token: TokenId| {
        let byte = vec![u8::try_from(token).ok()?];
        let at_start = byte.clone();
        Some(TokenBytes {
            at_start,
            inside: byte,
        })
    };
    Arc::new(Vocabulary::new(257, of, &[256]).unwrap())
}
