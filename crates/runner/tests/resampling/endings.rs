//! A rule that fails every attempt comes to its `then`, whatever the sampler; and where something
//! admissible is left, a retry does not draw the same again.

use portcullis_gate::Cause;
use portcullis_types::SamplingParams;

use crate::toy::{Completion, Fault, Toy, gate};

const RETRIES: u32 = 4;

fn samplers() -> Vec<SamplingParams> {
    let mut samplers = Vec::new();
    for temperature in [0.0, 1e-6, 0.7, 2.0] {
        for top_k in [None, Some(1), Some(2)] {
            for top_p in [1.0, 1e-6] {
                samplers.push(SamplingParams {
                    temperature,
                    top_k,
                    top_p,
                    ..SamplingParams::default()
                });
            }
        }
    }
    samplers
}

/// Writes `a`, `b` and `c`, less and less likely, and ends after three.
fn complete(phrases: &[&str], scope: &str, then: &str, sampling: SamplingParams) -> Completion {
    let toy = Toy::new(&["a", "b", "c"], |context| match context.len() {
        0..3 => vec![0.98, 0.0199, 0.0001, 0.0],
        _ => vec![0.0, 0.0, 0.0, 1.0],
    });
    let gate = gate(phrases, scope, RETRIES, then);
    let mut draws = 0;
    toy.complete(&gate, sampling, Fault::None, &mut |_, _| {
        draws += 1;
        // Three tokens and the end, each drawn ahead once more than it is kept.
        assert!(draws <= 8 * (RETRIES + 1) * 3, "a loop");
    })
}

#[test]
fn a_rule_that_fails_every_attempt_comes_to_its_then() {
    for sampling in samplers() {
        for scope in ["segment", "completion"] {
            let run = |then| complete(&["a", "b", "c"], scope, then, sampling.clone());
            let rejected = run("reject");
            let cause = rejected.refusal.map(|refusal| refusal.cause);
            let used_up = Cause::AttemptsUsedUp { attempts: RETRIES };
            assert_eq!(cause, Some(used_up), "{sampling:?}");
            assert_eq!(rejected.report.attempts, RETRIES);
            let flagged = run("flag");
            assert!(flagged.outcome.finished, "{sampling:?}");
            assert_eq!(flagged.text.len(), 3);
            let redacted = run("redact");
            assert!(redacted.outcome.finished, "{sampling:?}");
            assert!(
                !redacted.text.contains(['a', 'b', 'c']) || redacted.text.contains("[redacted]")
            );
        }
    }
}

/// At each of three places two tokens are refused, and the third is as good as never drawn.
#[test]
fn a_retry_finds_what_is_left_where_draws_repeat_themselves() {
    let repeats = |s: &SamplingParams| s.temperature < 0.1 || s.top_p < 1.0 || s.top_k == Some(1);
    for sampling in samplers().into_iter().filter(repeats) {
        let completion = complete(&["a", "b"], "segment", "reject", sampling.clone());
        assert_eq!(completion.text, "ccc", "{sampling:?}: {completion:?}");
        assert_eq!(completion.report.attempts, 6);
        assert!(completion.report.sampling_modified);
    }
}
