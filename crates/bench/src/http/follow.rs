//! Follows one stream to its end, and notes when each piece of it came.

use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;

use super::causes;
use super::sse::Events;
use super::wire::{Event, shorten};
use crate::clock::RunClock;
use crate::outcome::Chunk;
use crate::target::Reply;

/// Reads until the stream says that it is done.
///
/// # Errors
/// It broke off, fell silent, or told an error.
pub(super) async fn follow(
    mut response: Response,
    silence: Duration,
    clock: RunClock,
    reply: &mut Reply,
) -> Result<(), String> {
    let mut stream = Stream::default();
    while !stream.is_done {
        let bytes = match timeout(silence, response.chunk()).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(causes(&error)),
            Err(_) => return Err(silent(silence)),
        };
        let now = clock.now();
        let events = stream.events.push(&bytes);
        for data in events.map_err(|_| "the stream has a line without end".to_owned())? {
            stream.take(&data, now, reply)?;
        }
        reply.ended = now;
    }
    stream.close(reply)
}

pub(super) fn silent(silence: Duration) -> String {
    let seconds = silence.as_secs_f64();
    format!("nothing came for {seconds} s; is the server stuck, or --timeout too short?")
}

#[derive(Default)]
struct Stream {
    events: Events,
    /// `[DONE]` has come.
    is_done: bool,
    /// Tokens so far at each piece that held text, where the server tells them as it goes.
    running: Vec<Option<usize>>,
}

impl Stream {
    fn take(&mut self, data: &str, now: f64, reply: &mut Reply) -> Result<(), String> {
        if data == "[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        let event: Event = serde_json::from_str(data).map_err(|error| {
            let start = shorten(data);
            format!("the stream holds what is no completion ({error}): {start}")
        })?;
        if let Some(error) = event.error() {
            return Err(format!("the stream told an error: {error}"));
        }
        let usage = event.usage();
        if event.has_text() {
            reply.chunks.push(Chunk {
                at: now,
                tokens: 1.0,
            });
            self.running.push(usage.map(|(_, completion)| completion));
        }
        reply.usage = usage.or(reply.usage);
        event.tell_gate(&mut reply.gate);
        if let Some(reason) = event.finish_reason() {
            reply.finish_reason = Some(reason.to_owned());
        }
        Ok(())
    }

    fn close(self, reply: &mut Reply) -> Result<(), String> {
        if !self.is_done && reply.finish_reason.is_none() {
            let pieces = reply.chunks.len();
            return Err(format!(
                "the stream ended after {pieces} pieces without its last event; the server's log \
                 may say why"
            ));
        }
        if let Some((_, completion)) = reply.usage {
            share(&mut reply.chunks, &self.running, completion);
        }
        Ok(())
    }
}

/// Gives each piece its tokens: what the server told at it, else an equal share of all.
fn share(chunks: &mut [Chunk], running: &[Option<usize>], completion: usize) {
    let equal = completion as f64 / chunks.len().max(1) as f64;
    let all: Option<Vec<usize>> = running.iter().copied().collect();
    let Some(running) = all else {
        chunks.iter_mut().for_each(|chunk| chunk.tokens = equal);
        return;
    };
    let mut before = 0;
    for (chunk, so_far) in chunks.iter_mut().zip(running) {
        chunk.tokens = so_far.saturating_sub(before) as f64;
        before = so_far;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(running: &[Option<usize>], completion: usize) -> Vec<f64> {
        let mut chunks = vec![
            Chunk {
                at: 0.0,
                tokens: 1.0
            };
            running.len()
        ];
        share(&mut chunks, running, completion);
        chunks.iter().map(|chunk| chunk.tokens).collect()
    }

    #[test]
    fn pieces_get_what_was_told_or_an_equal_share() {
        assert_eq!(tokens(&[Some(1), Some(4), Some(5)], 5), [1.0, 3.0, 1.0]);
        assert_eq!(tokens(&[None, None], 5), [2.5, 2.5]);
        assert_eq!(tokens(&[Some(1), None], 4), [2.0, 2.0]);
        assert!(tokens(&[], 0).is_empty());
    }
}
