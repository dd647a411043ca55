//! Clients that read streams and look at as little of them as they can.

use std::io::{Error, Result};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What each event with text has once; that it is cut in two is rare enough.
const TEXT: &[u8] = br#""content":""#;

/// What came of the streams of a wave.
pub(crate) struct Wave {
    /// From the first request to the last byte.
    pub(crate) time: Duration,
    /// Events with text.
    pub(crate) frames: usize,
}

/// Reads so many streams at once to their ends.
#[expect(
    clippy::disallowed_methods,
    reason = "measuring is what this crate is for"
)]
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn wave(address: &str, key: &str, streams: usize, tokens: usize) -> Result<Wave> {
    let connections = try_join_all((0..streams).map(|_| TcpStream::connect(address))).await?;
    let request = request(key, tokens);
    let began = Instant::now();
    let frames = try_join_all(connections.into_iter().map(|it| read(it, &request))).await?;
    Ok(Wave {
        time: began.elapsed(),
        frames: frames.into_iter().sum(),
    })
}

fn request(key: &str, tokens: usize) -> String {
    let body = format!(
        r#"{{"model":"scripted","messages":[{{"role":"user","content":"Tell me."}}],"stream":true,"max_tokens":{tokens},"ignore_eos":true}}"#
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\
         authorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Counts the frames of a stream, which must come to its end.
async fn read(mut connection: TcpStream, request: &str) -> Result<usize> {
    connection.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 16 << 10];
    let mut last = Vec::new();
    let mut frames = 0;
    loop {
        let count = connection.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        frames += memmem::find_iter(&buffer[..count], TEXT).count();
        keep_end(&mut last, &buffer[..count]);
    }
    let last = String::from_utf8_lossy(&last);
    match last.contains("[DONE]") && last.contains(r#""finish_reason":"length""#) {
        true => Ok(frames),
        false => Err(Error::other(format!("a stream ended with {last:?}"))),
    }
}

/// The last bytes, enough for the frames that end a stream.
fn keep_end(last: &mut Vec<u8>, read: &[u8]) {
    const END_BYTES: usize = 4096;
    last.extend_from_slice(&read[read.len().saturating_sub(END_BYTES)..]);
    last.drain(..last.len().saturating_sub(END_BYTES));
}
