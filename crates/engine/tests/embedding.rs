//! The thread of the embedding model, with a model that a test holds by the hand.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use portcullis_engine::{
    Embedder, EmbeddingError, EmbeddingHandle, EmbeddingLimits, EmbeddingThread, SubmitError,
};
use portcullis_types::TokenId;

/// Texts with this token cannot be computed, and no batch that they are in.
const FAULTY: TokenId = 666;
/// Texts with this token break the model.
const DEADLY: TokenId = 667;
/// Texts with this token have no finite vector.
const ENDLESS: TokenId = 668;

const LIMITS: EmbeddingLimits = EmbeddingLimits {
    max_batched_tokens: 8,
    max_waiting: 4,
    max_waiting_tokens: 100,
};

/// The vector of a text is its length and its first token.
struct Scripted {
    /// Tells of each batch.
    begun: SyncSender<Vec<Vec<TokenId>>>,
    /// One for each batch that may be computed.
    permits: Receiver<()>,
}

impl Embedder for Scripted {
    fn embed(&mut self, texts: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, EmbeddingError> {
        let batch = texts.iter().map(|text| text.to_vec()).collect();
        self.begun.send(batch).unwrap();
        self.permits.recv().unwrap();
        let has = |token| texts.iter().any(|text| text.contains(&token));
        assert!(!has(DEADLY), "the script says that the model breaks");
        if has(FAULTY) {
            let message = "scripted".to_owned();
            return Err(EmbeddingError::Failed { message });
        }
        let vector = |text: &&[TokenId]| match text[0] {
            ENDLESS => vec![f32::NAN],
            first => vec![text.len() as f32, first as f32],
        };
        Ok(texts.iter().map(vector).collect())
    }
}

/// The thread, its model in the test's hand.
struct World {
    handle: EmbeddingHandle,
    thread: EmbeddingThread,
    begun: Receiver<Vec<Vec<TokenId>>>,
    permits: SyncSender<()>,
}

impl World {
    fn start() -> Self {
        let (begin, begun) = sync_channel(1000);
        let (permits, permitted) = sync_channel(1000);
        let embedder = Scripted {
            begun: begin,
            permits: permitted,
        };
        let (handle, thread) = EmbeddingThread::start(LIMITS, embedder).unwrap();
        Self {
            handle,
            thread,
            begun,
            permits,
        }
    }

    /// Lets the model compute as much as it likes.
    fn run_freely(&self) {
        (0..900).for_each(|_| self.permits.send(()).unwrap());
    }

    /// Waits until the model has begun a batch.
    fn next_batch(&self) -> Vec<Vec<TokenId>> {
        self.begun.recv_timeout(Duration::from_secs(10)).unwrap()
    }
}

fn text(first: TokenId, len: usize) -> Vec<TokenId> {
    let mut text = vec![0; len];
    text[0] = first;
    text
}

#[test]
fn vectors_come_in_the_order_of_the_texts_and_batches_keep_their_bound() {
    let world = World::start();
    world.run_freely();
    let lens = [3, 1, 9, 2, 4, 1, 8, 2];
    let texts: Vec<_> = (1..).zip(lens).map(|(n, len)| text(n, len)).collect();
    let vectors = world.handle.submit(texts.clone()).unwrap();
    let expect: Vec<_> = texts
        .iter()
        .map(|text| vec![text.len() as f32, text[0] as f32])
        .collect();
    assert_eq!(vectors.blocking_finish().unwrap(), expect);
    let batches: Vec<_> = world.begun.try_iter().collect();
    for batch in &batches {
        let longest = batch.iter().map(Vec::len).max().unwrap();
        assert!(
            batch.len() == 1 || longest * batch.len() <= LIMITS.max_batched_tokens,
            "{batch:?}"
        );
    }
    // 9 and 8 alone, then 4 with 3, then the rest together.
    assert_eq!(batches.len(), 4, "{batches:?}");
}

#[test]
fn a_short_call_does_not_wait_for_a_long_one() {
    let world = World::start();
    let long = world.handle.submit(vec![text(1, 4); 20]).unwrap();
    world.next_batch();
    let short = world.handle.submit(vec![text(2, 4)]).unwrap();
    world.permits.send(()).unwrap();
    let second = world.next_batch();
    assert_eq!(second, [text(1, 4), text(2, 4)]);
    world.permits.send(()).unwrap();
    assert_eq!(short.blocking_finish().unwrap(), [[4.0, 2.0]]);
    world.run_freely();
    assert_eq!(long.blocking_finish().unwrap().len(), 20);
}

#[test]
fn a_reader_who_is_gone_cancels_what_is_left() {
    let world = World::start();
    let gone = world.handle.submit(vec![text(1, 8); 10]).unwrap();
    world.next_batch();
    drop(gone);
    let next = world.handle.submit(vec![text(2, 8)]).unwrap();
    world.permits.send(()).unwrap();
    assert_eq!(world.next_batch(), [text(2, 8)]);
    world.permits.send(()).unwrap();
    next.blocking_finish().unwrap();
    let status = world.handle.status();
    assert_eq!((status.calls, status.tokens), (0, 0));
    assert_eq!((status.batches_total, status.finished_total), (2, 1));
}

#[test]
fn a_text_that_cannot_be_computed_takes_no_other_with_it() {
    for (token, expect) in [
        (FAULTY, "scripted"),
        (DEADLY, "panicked"),
        (ENDLESS, "no finite vector"),
    ] {
        let world = World::start();
        // Held until the others are there, so that they share a batch.
        let first = world.handle.submit(vec![text(1, 8)]).unwrap();
        world.next_batch();
        let bad = world.handle.submit(vec![text(token, 2)]).unwrap();
        let good = world.handle.submit(vec![text(3, 2)]).unwrap();
        world.run_freely();
        first.blocking_finish().unwrap();
        assert_eq!(world.next_batch().len(), 2, "they share a batch");
        let error = bad.blocking_finish().unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
        assert_eq!(good.blocking_finish().unwrap(), [[2.0, 3.0]]);
        assert_eq!(world.handle.status().failed_total, 1);
        drop(world.handle);
        assert!(world.thread.join(), "the thread lives on");
    }
}

#[test]
fn the_queue_has_a_bound_in_calls_and_in_tokens() {
    let world = World::start();
    // Alone, a call may be larger than the bound.
    let large = world.handle.submit(vec![text(1, 101)]).unwrap();
    let full = |texts| world.handle.submit(texts).unwrap_err();
    assert_eq!(
        full(vec![text(1, 1)]),
        SubmitError::QueueFull { waiting: 1 }
    );
    world.permits.send(()).unwrap();
    large.blocking_finish().unwrap();
    let small: Vec<_> = (0..LIMITS.max_waiting)
        .map(|_| world.handle.submit(vec![text(1, 1)]).unwrap())
        .collect();
    assert_eq!(
        full(vec![text(1, 1)]),
        SubmitError::QueueFull { waiting: 4 }
    );
    world.run_freely();
    for call in small {
        call.blocking_finish().unwrap();
    }
    assert!(world.handle.submit(vec![text(1, 1)]).is_ok());
}

#[test]
fn draining_takes_no_calls_and_ends_those_under_way() {
    let world = World::start();
    let running = world.handle.submit(vec![text(1, 1)]).unwrap();
    world.handle.drain();
    let refused = world.handle.submit(vec![text(2, 1)]);
    assert_eq!(refused.unwrap_err(), SubmitError::Draining);
    drop(world.handle);
    world.permits.send(()).unwrap();
    assert_eq!(running.blocking_finish().unwrap(), [[1.0, 1.0]]);
    assert!(world.thread.join());
}

#[test]
fn a_call_without_texts_has_no_vectors() {
    let world = World::start();
    let none = world.handle.submit(Vec::new()).unwrap();
    assert!(none.blocking_finish().unwrap().is_empty());
}
