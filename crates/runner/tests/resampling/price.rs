//! The price of service: with segment scope, attempts buy completions and pay with bias.

use portcullis_types::{SamplingParams, TokenId};

use crate::fit::Fit;
use crate::law::{Law, Shares};
use crate::toy::{Fault, Outcome, Toy, gate};

const COMPLETIONS: u64 = 20_000;

/// `a` and `b` are as likely as each other; of what follows, 0.1 after `a` and 0.9 after `b` is
/// refused. Among the admissible, `a` has 0.9.
fn fork(refused: &'static [&'static str], length: usize) -> Toy {
    let texts = [&["a", "b", "."], refused].concat();
    let (end, count) = (texts.len(), refused.len());
    Toy::new(&texts, move |context| {
        let mut next = vec![0.0; end + 1];
        match context {
            [] => next[..2].fill(0.5),
            [first] => {
                let bad = if *first == 0 { 0.1 } else { 0.9 };
                next[2] = 1.0 - bad;
                next[3..end].fill(bad / count as f64);
            }
            [_, token, ..] if *token > 2 && context.len() <= length => {
                next[3..end].fill(1.0 / count as f64);
            }
            _ => next[end] = 1.0,
        }
        next
    })
}

/// What a scope comes to.
struct Price {
    /// Share of completions that were finished.
    served: f64,
    /// Of these, the share of `a`.
    first: f64,
}

fn price(shares: &Shares) -> Price {
    let finished = shares.iter().filter(|(outcome, _)| outcome.finished);
    let begins_with = |outcome: &Outcome, token: TokenId| outcome.released.first() == Some(&token);
    let (mut served, mut first) = (0.0, 0.0);
    for (outcome, share) in finished {
        served += share;
        first += share * f64::from(begins_with(outcome, 0));
    }
    Price {
        served,
        first: first / served,
    }
}

/// Holds real draws to the law, prints the row, and gives `a`'s share by the law, for segment and
/// completion scope.
fn row(toy: &Toy, phrases: &[&str], retries: u32) -> (Price, Price) {
    let sampling = SamplingParams::default();
    let [segment, completion] = ["segment", "completion"].map(|scope| {
        let law = Law {
            toy,
            phrases,
            whole_completion: scope == "completion",
            retries,
            sampling: &sampling,
        };
        let shares = law.shares();
        let gate = gate(phrases, scope, retries, "reject");
        let counts = toy.sample_outcomes(&gate, &sampling, Fault::None, COMPLETIONS);
        let fit = Fit::of(&counts, &shares);
        assert!(!fit.rejects(), "{scope}, {retries} retries: {fit:?}");
        price(&shares)
    });
    print_row(retries, &segment, &completion);
    (segment, completion)
}

#[expect(clippy::print_stdout, reason = "a table for who asks with --nocapture")]
fn print_row(retries: u32, segment: &Price, completion: &Price) {
    println!(
        "attempts {:2}: P(a) conditional 0.900, segment {:.3} (served {:.3}), completion {:.3} \
         (served {:.3})",
        retries + 1,
        segment.first,
        segment.served,
        completion.first,
        completion.served
    );
}

#[track_caller]
fn check_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 5e-4, "{found} {expected}");
}

/// 64 ways to be refused, each too unlikely to be remembered: every retry is only a fresh draw.
#[test]
fn fresh_draws_approach_what_the_first_segment_alone_would_give() {
    const LETTERS: [&str; 8] = ["s", "t", "u", "v", "w", "x", "y", "z"];
    let pairs: Vec<String> = LETTERS
        .iter()
        .flat_map(|first| LETTERS.map(|second| format!("{first}{second}")))
        .collect();
    let phrases: Vec<&str> = pairs.iter().map(String::as_str).collect();
    let toy = fork(&LETTERS, 2);
    let expected = [
        (1, 0.900, 0.500),
        (2, 0.839, 0.590),
        (10, 0.606, 0.826),
        (50, 0.501, 0.997),
    ];
    for (attempts, first, served) in expected {
        let (segment, completion) = row(&toy, &phrases, attempts - 1);
        check_close(segment.first, first);
        check_close(segment.served, served);
        check_close(completion.first, 0.9);
    }
}

/// One way to be refused, and a likely one: it is remembered, and the first retry serves. The bias
/// is that of endless attempts.
#[test]
fn a_remembered_refusal_serves_at_once_and_biases_at_once() {
    let toy = fork(&["x"], 1);
    for (attempts, first, served) in [(1, 0.9, 0.5), (2, 0.5, 1.0), (10, 0.5, 1.0)] {
        let (segment, completion) = row(&toy, &["x"], attempts - 1);
        check_close(segment.first, first);
        check_close(segment.served, served);
        check_close(completion.first, 0.9);
    }
}
