//! What the server itself costs for each token: HTTP, text, gate, scheduling and records, over a
//! model that costs nothing.
//!
//!     cargo bench -p portcullis-benches --bench server [-- STREAMS TOKENS STEP_MS ROUNDS]
//!
//! The server is a process of its own, so that its time can be told from that of the clients. It
//! has the demo's tokenizer, a store and a ledger on disk, and every stream is in every step. A step
//! takes STEP_MS: without that, clients would fall behind, and their tokens come several at a time,
//! which costs less than a model that makes them wait.
#![expect(clippy::print_stdout, reason = "it prints its figures")]

#[path = "server/clients.rs"]
mod clients;
#[path = "server/process.rs"]
mod process;
#[path = "server/scripted.rs"]
mod scripted;

use std::io::Result;
use std::time::Duration;

use mimalloc::MiMalloc;
use process::ServerProcess;

/// As the server has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What follows is the server, not the measurement.
const SERVE: &str = "--serve";
const STREAMS: usize = 1000;
const TOKENS: usize = 256;
/// As long as a large model takes for so many streams.
const STEP_MS: usize = 50;
const ROUNDS: usize = 5;

/// What is measured: rules that hold, by number.
const RULES: [usize; 2] = [0, 50];

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says it to every bench.
    arguments.retain(|argument| argument != "--bench");
    if arguments.first().is_some_and(|first| first == SERVE) {
        let step_time = Duration::from_millis(number(&arguments, 2, STEP_MS) as u64);
        return scripted::serve(number(&arguments, 1, 0), step_time);
    }
    let streams = number(&arguments, 0, STREAMS);
    let tokens = number(&arguments, 1, TOKENS);
    let step_ms = number(&arguments, 2, STEP_MS);
    for round in 0..number(&arguments, 3, ROUNDS) {
        for rules in RULES {
            let server = ServerProcess::start(rules, step_ms)?;
            let cost = measure(&server, streams, tokens)?;
            println!("round {round}, {rules:2} rules, {streams} streams of {tokens}: {cost}");
        }
    }
    Ok(())
}

fn number(arguments: &[String], index: usize, default: usize) -> usize {
    arguments
        .get(index)
        .and_then(|argument| argument.parse().ok())
        .unwrap_or(default)
}

/// One wave of streams to warm it up, and one that counts.
fn measure(server: &ServerProcess, streams: usize, tokens: usize) -> Result<Cost> {
    let wave = || clients::wave(server.address(), server.key(), streams, tokens);
    wave()?;
    let before = server.cpu_time()?;
    let wave = wave()?;
    let cpu = server.cpu_time()? - before;
    let tokens = (streams * tokens) as f64;
    Ok(Cost {
        cpu_us: cpu.as_secs_f64() * 1e6 / tokens,
        tokens_per_frame: tokens / wave.frames as f64,
        tokens_per_second: tokens / wave.time.as_secs_f64(),
    })
}

/// What was measured.
struct Cost {
    /// For a token, of all threads of the server together.
    cpu_us: f64,
    /// How often a token had a frame of its own: 1 is always.
    tokens_per_frame: f64,
    /// With the clients on the same machine.
    tokens_per_second: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cpu_us,
            tokens_per_frame,
            tokens_per_second,
        } = self;
        write!(
            f,
            "{cpu_us:.1} us of the server's time a token, {tokens_per_frame:.2} tokens a frame, \
             {tokens_per_second:.0} tokens/s"
        )
    }
}
