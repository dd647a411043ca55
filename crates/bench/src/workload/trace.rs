//! Arrivals and lengths that were recorded from real traffic.

use std::time::SystemTime;

use serde::Deserialize;

use super::words::{Composer, Ruler};
use super::{Workload, count, files, stream};
use crate::error::BenchError;
use crate::plan::Plan;

/// Tokens that one of Mooncake's hashes stands for.
const BLOCK_TOKENS: usize = 512;
/// Randomness of blocks, apart from that of prompts.
const BLOCKS: u64 = 1 << 62;

/// One request of a trace.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    /// When it came, s since the first.
    at: f64,
    input_tokens: usize,
    output_tokens: usize,
    /// Names of the blocks that its prompt is made of: equal names are equal text.
    blocks: Vec<u64>,
}

/// A line of a Mooncake trace. Source: github.com/kvcache-ai/Mooncake, `FAST25-release/traces`.
#[derive(Debug, Deserialize)]
struct MooncakeLine {
    /// ms since the trace began.
    timestamp: f64,
    input_length: usize,
    output_length: usize,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

/// Reads a trace, and makes prompts of its lengths that share what its prompts shared.
pub(super) async fn read<R: Ruler>(
    plan: &Plan,
    composer: &Composer<'_, R>,
) -> Result<Workload, BenchError> {
    let path = files::path(plan)?;
    let text = std::fs::read_to_string(path).map_err(|error| files::unreadable(path, error))?;
    let mut calls = parse(&text).map_err(|why| BenchError::Content {
        path: path.to_owned(),
        why,
    })?;
    calls.truncate(count(plan));
    let due = paced(&calls, plan);
    let begun = calls.iter().map(|call| {
        let shared = call.blocks.iter().flat_map(|block| {
            let mut rng = stream(composer.seed, BLOCKS | block);
            composer.some_words(BLOCK_TOKENS, &mut rng)
        });
        // What is left makes the length exact, and the prompt its own.
        let words = composer.words_of(call.input_tokens * 31 / 32);
        let size = (call.input_tokens, call.output_tokens);
        (shared.take(words).collect(), size)
    });
    Ok(Workload {
        asks: composer.compose_all(begun).await,
        due,
        notes: Vec::new(),
    })
}

/// The trace's own times, stretched to `--request-rate` if one was given.
fn paced(calls: &[Call], plan: &Plan) -> Vec<f64> {
    let last = calls.last().map_or(0.0, |call| call.at);
    let own_rate = (calls.len() - 1) as f64 / last;
    let stretch = match plan.load.rate_given && last > 0.0 {
        true => own_rate / plan.load.request_rate,
        false => 1.0,
    };
    calls.iter().map(|call| call.at * stretch).collect()
}

fn parse(text: &str) -> Result<Vec<Call>, String> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let is_json = text.trim_start().starts_with('{');
    let lines = lines.skip(usize::from(!is_json));
    let calls: Result<Vec<Call>, String> = lines
        .map(|(number, line)| {
            let call = if is_json { mooncake(line) } else { azure(line) };
            call.map_err(|why| format!("line {}: {why}", number + 1))
        })
        .collect();
    let mut calls = calls?;
    calls.sort_by(|a, b| a.at.total_cmp(&b.at));
    let first = calls.first().map(|call| call.at);
    let first = first.ok_or("has no requests; a trace is Mooncake JSONL or Azure CSV")?;
    calls.iter_mut().for_each(|call| call.at -= first);
    Ok(calls)
}

fn mooncake(line: &str) -> Result<Call, String> {
    let line: MooncakeLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    Ok(Call {
        at: line.timestamp / 1e3,
        input_tokens: line.input_length.max(1),
        output_tokens: line.output_length.max(1),
        blocks: line.hash_ids,
    })
}

/// `TIMESTAMP,ContextTokens,GeneratedTokens`. Source: github.com/Azure/AzurePublicDataset,
/// `AzureLLMInferenceDataset`.
fn azure(line: &str) -> Result<Call, String> {
    let fields: Vec<_> = line.trim().split(',').collect();
    let [at, input, output] = fields[..] else {
        return Err("is not TIMESTAMP,ContextTokens,GeneratedTokens".into());
    };
    let tokens = |text: &str| {
        let count = text.trim().parse::<usize>();
        count.map_err(|_| format!("{text:?} is no number of tokens"))
    };
    let moment = at.trim().trim_end_matches("+00:00");
    let moment = humantime::parse_rfc3339_weak(moment)
        .map_err(|_| format!("{at:?} is no time like 2023-11-16 18:15:46.68"))?;
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    Ok(Call {
        at: since
            .map_err(|_| format!("{at:?} is too long ago"))?
            .as_secs_f64(),
        input_tokens: tokens(input)?.max(1),
        output_tokens: tokens(output)?.max(1),
        blocks: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Letters, plan, text};
    use super::*;
    use crate::args::{Dataset, WorkloadArgs};

    #[test]
    fn both_formats_are_read_in_order_of_time() {
        let mooncake = "{\"timestamp\": 27000, \"input_length\": 6955, \"output_length\": 52, \
                        \"hash_ids\": [46, 47]}\n{\"timestamp\": 30000, \"input_length\": 1, \
                        \"output_length\": 0}\n";
        let calls = parse(mooncake).unwrap();
        assert_eq!(calls[0].blocks, [46, 47]);
        assert_eq!((calls[1].at, calls[1].output_tokens), (3.0, 1));
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                     2023-11-16 18:15:50.9951690,396,109\n2023-11-16 18:15:46.6805900,374,44\n";
        let calls = parse(azure).unwrap();
        assert_eq!((calls[0].at, calls[0].input_tokens), (0.0, 374));
        assert!((calls[1].at - 4.314_579).abs() < 1e-5, "{}", calls[1].at);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let said = parse("TIMESTAMP,a,b\n2023-11-16 18:15:50.9,396,many\n").unwrap_err();
        assert!(said.contains("line 2") && said.contains("many"), "{said}");
        assert!(parse("").unwrap_err().contains("Mooncake"));
    }

    #[tokio::test]
    async fn calls_share_the_blocks_that_they_shared() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = |at: u32, ids: &str| {
            format!(
                "{{\"timestamp\":{at},\"input_length\":1500,\"output_length\":3,\"hash_ids\":[{ids}]}}\n"
            )
        };
        let content = [line(0, "1,2,3"), line(500, "1,2,4"), line(2000, "9,8,7")].concat();
        std::fs::write(file.path(), content).unwrap();
        let args = WorkloadArgs {
            dataset: Some(Dataset::Trace),
            dataset_path: Some(file.path().to_owned()),
            ..WorkloadArgs::default()
        };
        let workload = Workload::build(&plan(args), &Letters, 0).await.unwrap();
        assert_eq!(workload.due, [0.0, 0.5, 2.0]);
        let [one, two, three] = &workload.asks[..] else {
            panic!("three calls were recorded");
        };
        let shared = |a, b| {
            let same = text(a)
                .split(' ')
                .zip(text(b).split(' '))
                .take_while(|(a, b)| a == b);
            same.count()
        };
        assert!(shared(one, two) > 500, "{}", shared(one, two));
        assert!(shared(one, three) < 5);
    }
}
