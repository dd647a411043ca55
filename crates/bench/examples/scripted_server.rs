//! A server with known delays, to try a harness against.
//!
//!     cargo run -p portcullis-bench --example scripted_server -- --ttft-ms 100 --tpot-ms 10

#[path = "../tests/serve/scripted.rs"]
#[expect(clippy::disallowed_methods, reason = "known delays need a clock")]
mod scripted;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use scripted::{Fault, Script};

#[derive(Parser)]
struct Args {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// From a request to its first token
    #[arg(long, default_value_t = 100.0)]
    ttft_ms: f64,
    /// From a token to the next
    #[arg(long, default_value_t = 10.0)]
    tpot_ms: f64,
    /// Tokens that leave together
    #[arg(long, default_value_t = 1)]
    tokens_per_chunk: usize,
    /// Each delay varies by up to this share of it
    #[arg(long, default_value_t = 0.0)]
    jitter: f64,
    /// What it does wrong
    #[arg(long, value_enum, default_value_t)]
    fault: Fault,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let listener = tokio::net::TcpListener::bind(args.bind).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    let script = Script {
        ttft: Duration::from_secs_f64(args.ttft_ms / 1e3),
        tpot: Duration::from_secs_f64(args.tpot_ms / 1e3),
        tokens_per_chunk: args.tokens_per_chunk.max(1),
        jitter: args.jitter,
        slow: (0, Duration::ZERO),
        fault: args.fault,
    };
    scripted::serve(listener, script).await
}
