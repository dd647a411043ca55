//! Bugs that other servers had, each a test. What needs the engine or HTTP stands there:
//! `crates/server/tests/server/peers.rs` (streams judged like whole answers, usage counted), and
//! `crates/engine/tests/simulation.rs` (`check_same_as_alone`: the sampler after a roll-back).

use portcullis_gate::{Cause, Checkpoint, End, Gate, GateState, Quota, Verdict};
use portcullis_types::Sample;

use crate::stream::{enforce, gate, ruleset, run, run_with};

fn check(state: &mut GateState, token: u32, text: &str, end: Option<End>) -> Verdict {
    let sample = Sample {
        drawn_logprob: -0.1,
        ..Sample::certain(token)
    };
    state.check(Checkpoint { sample, text, end })
}

/// exllamav2/v3: at `max_new_tokens` the text that was held went out before the ban was checked.
#[test]
fn exllama_text_held_at_the_token_limit_is_checked_before_it_is_flushed() {
    let gate = enforce(&["phrases: [\"forbidden word\"], action: reject"]);
    for end in [End::Natural, End::Cut] {
        let mut state = gate.begin(false);
        check(&mut state, 0, "a ", None);
        check(&mut state, 1, "forbidden", None);
        let verdict = check(&mut state, 2, " word", Some(end));
        assert!(matches!(verdict, Verdict::Reject(_)), "{verdict:?}");
    }
    // And what could have become a match is not shown by choosing the limit.
    let account = enforce(&["regex: 'AC-[0-9]{8}', action: redact, with: \"#\""]);
    let digits = [
        "Is ", "A", "C", "-", "2", "0", "4", "8", "1", "6", "3", "1", ".",
    ];
    for limit in 1..digits.len() {
        let mut state = account.begin(false);
        let mut shown = String::new();
        for (at, text) in digits[..limit].iter().enumerate() {
            let end = (at + 1 == limit).then_some(End::Cut);
            if let Verdict::Continue(admitted) = check(&mut state, 0, text, end) {
                shown += admitted.text();
            }
        }
        assert_eq!(
            shown,
            if limit < 12 { "Is " } else { "Is #" },
            "{limit} tokens"
        );
    }
}

/// antislop-sampler: where the token was still the likeliest, the phrase stayed.
#[test]
fn antislop_a_refused_phrase_does_not_stay_though_it_is_the_likeliest() {
    let gate = enforce(&["phrases: [\"tapestry of\"], action: resample"]);
    let mut state = gate.begin(true);
    check(&mut state, 7, "tapestry", None);
    let verdict = check(&mut state, 8, " of", None);
    assert_eq!(verdict, Verdict::Resample { keep_tokens: 0 });
    let banned = |weights: &[(u32, f32)]| weights.contains(&(8, f32::NEG_INFINITY));
    assert!(banned(&state.mask_after(&[7]).weights));
    // The phrase only, not the words in it.
    assert!(!banned(&state.mask_after(&[]).weights) && !banned(&state.mask_after(&[3]).weights));
}

/// antislop-sampler: penalties spread to other sequences through a shared table.
#[test]
fn antislop_a_refusal_stays_with_its_sequence() {
    let gate = enforce(&["phrases: [\"tapestry of\"], action: resample"]);
    let mut choices = [gate.begin(true), gate.begin(true)];
    check(&mut choices[0], 7, "tapestry", None);
    check(&mut choices[0], 8, " of", None);
    assert!(!choices[0].mask_after(&[]).is_empty());
    assert!(choices[1].mask_after(&[]).is_empty() && choices[1].mask_after(&[7]).is_empty());
    assert_eq!((choices[0].attempt(), choices[1].attempt()), (1, 0));
}

/// antislop-sampler: expressions were not looked at while streaming.
#[test]
fn antislop_expressions_hold_while_streaming() {
    let gate = enforce(&["regex: 'not (?:only|just) .{1,20} but', max_span: 120, action: reject"]);
    let outcome = run(&gate, &["It is ", "not", " ju", "st ", "good", " bu", "t"]);
    assert_eq!(outcome.text, "It is ");
    assert_eq!(outcome.refusal.unwrap().cause, Cause::Matched);
}

/// KoboldCpp: the hold was measured in canonical tokens, so that unusual ones escaped.
#[test]
fn koboldcpp_unusual_tokens_do_not_escape() {
    let gate = enforce(&["phrases: [\"guaranteed return\"], action: reject"]);
    for size in 1..9 {
        let phrase = "guaranteed return".as_bytes().chunks(size);
        let tokens: Vec<&str> = phrase
            .map(|piece| std::str::from_utf8(piece).unwrap())
            .collect();
        let outcome = run(&gate, &tokens);
        assert!(
            outcome.refusal.is_some() && outcome.text.is_empty(),
            "{tokens:?}"
        );
    }
}

/// KoboldCpp: the text was truncated while the model went on from what was taken back.
#[test]
fn koboldcpp_text_and_tokens_roll_back_to_the_same_place() {
    let gate = enforce(&["phrases: [\"bad word\"], action: resample"]);
    let tokens = ["It", " is", " a", " bad", " word"];
    let mut state = gate.begin(false);
    let outcome = run_with(&mut state, &tokens, |_, at| {
        [" good", " day"][at - 3].to_owned()
    });
    let kept = outcome.resamples[0];
    assert_eq!(tokens[..kept].concat(), "It is a");
    assert_eq!(outcome.text, "It is a good day");
    assert_eq!(outcome.samples, [0, 1, 2, 3, 4]);
}

/// ik_llama: a ban held for the whole buffer and not for its place.
#[test]
fn ik_llama_a_ban_holds_at_its_place_only() {
    let gate = enforce(&["phrases: [\"x y\"], action: resample"]);
    let mut state = gate.begin(true);
    check(&mut state, 1, "x ", None);
    check(&mut state, 2, "y", None);
    assert!(!state.mask_after(&[1]).is_empty());
    // Elsewhere the same tokens are as free as before.
    check(&mut state, 3, "z ", None);
    assert!(state.mask_after(&[]).is_empty() && state.mask_after(&[1]).is_empty());
    assert_eq!(state.mask_after(&[2]).weights, []);
}

/// ik_llama: of several matches not the earliest was acted on.
#[test]
fn ik_llama_the_earliest_match_acts() {
    let gate = enforce(&[
        "phrases: [\"late\"], action: resample",
        "phrases: [\"early\"], action: reject",
    ]);
    let refusal = run(&gate, &["so early and late"]).refusal.unwrap();
    assert_eq!(refusal.rule.as_deref(), Some("r1"));
    let mut state = gate.begin(false);
    let outcome = run_with(&mut state, &["late and early"], |_, _| "fine".to_owned());
    assert_eq!(
        (outcome.text.as_str(), outcome.resamples.len()),
        ("fine", 1)
    );
}

/// ik_llama: what was thrown away was not counted as used, or counted as an answer.
#[test]
fn ik_llama_discarded_tokens_are_counted_apart() {
    let gate = enforce(&["phrases: [\"bad word\"], action: resample"]);
    let mut state = gate.begin(false);
    let outcome = run_with(&mut state, &["a", " bad", " word"], |_, at| {
        [" good", " word"][at - 1].to_owned()
    });
    assert_eq!(outcome.released_tokens, 3);
    assert_eq!(
        (state.report().discarded_tokens, state.report().attempts),
        (2, 1)
    );
}

/// ik_llama: the sampler was out of step after a roll-back. A draw is a function of seed, position
/// and attempt, so no attempt may come twice.
#[test]
fn ik_llama_no_attempt_is_numbered_twice() {
    let head = "mode: enforce\nresample: {max_attempts: 3, then: flag}";
    let gate = gate(&[ruleset(head, &["phrases: [\"bad\"], action: resample"])]);
    let mut state = gate.begin(false);
    let mut attempts = vec![state.attempt()];
    for text in ["bad", "bad", "ok ", "bad", "bad", "ok"] {
        if let Verdict::Resample { .. } = check(&mut state, 0, text, None) {
            attempts.push(state.attempt());
        }
    }
    assert_eq!(attempts, [0, 1, 2, 3, 4]);
}

/// NeMo Guardrails: tokens were joined with spaces before they were looked at.
#[test]
fn nemo_tokens_are_joined_as_they_are() {
    let gate = enforce(&["phrases: [\"password\"], action: reject"]);
    assert!(run(&gate, &["pass", "word"]).refusal.is_some());
    assert_eq!(run(&gate, &["pass", " word"]).refusal, None);
}

/// NeMo Guardrails: a message of another request was looked at.
#[test]
fn nemo_requests_share_nothing() {
    let gate = enforce(&["phrases: [\"pass word\"], action: reject"]);
    let mut requests = [gate.begin(false), gate.begin(false)];
    check(&mut requests[0], 0, "pass", None);
    let other = check(&mut requests[1], 0, " word", Some(End::Natural));
    assert!(matches!(other, Verdict::Continue(_)));
    let input = |text: &str| {
        let set = "ruleset: t\nversion: 1\nmode: enforce\nrules:\n\
                   - {id: r, why: w, on: input, phrases: [\"x y\"], action: reject}\n\
                   tests: [{rule: r, should_pass: zz}]\n";
        let set = portcullis_gate::RuleSet::load(set.as_bytes()).unwrap();
        let gate = Gate::new([std::sync::Arc::new(set)], Quota::NONE);
        let texts = text.split('|').map(str::to_owned);
        gate.check_input(texts).is_ok()
    };
    assert!(input("x|y") && input("x") && input("y") && !input("x y"));
}

/// NeMo Guardrails streams first by default, Bedrock and Azure may: text reaches the reader before
/// its verdict.
#[test]
fn nemo_bedrock_azure_no_text_is_out_before_its_verdict() {
    let gate = enforce(&["phrases: [\"the secret is out\"], action: reject"]);
    let outcome = run(
        &gate,
        &["Well, ", "the ", "sec", "ret ", "is ", "ou", "t", "!"],
    );
    assert_eq!(outcome.pieces, ["Well, ", "", "", "", "", ""]);
    assert!(outcome.refusal.is_some_and(|refusal| refusal.after_release));
}

/// LiteLLM: a stream that was never scanned was logged as a success.
#[test]
fn litellm_what_was_not_looked_at_is_not_reported_as_looked_at() {
    let head = "mode: enforce\ncheckpoint: {at: [end]}";
    let gate = gate(&[ruleset(head, &["phrases: [\"x\"], action: flag"])]);
    let mut state = gate.begin(false);
    check(&mut state, 0, "x", None);
    assert_eq!(state.report().evaluations, 0);
    check(&mut state, 0, "", Some(End::Natural));
    assert_eq!(
        (state.report().evaluations, state.report().findings_total),
        (1, 1)
    );
    let mut open = Gate::open().begin(false);
    check(&mut open, 0, "x", Some(End::Natural));
    assert_eq!(open.report().evaluations, 0);
}

/// LiteLLM: values that were split across chunks passed.
#[test]
fn litellm_values_split_across_chunks_are_found() {
    let gate = enforce(&["pii: [payment_card], action: redact, with: \"#\""]);
    let text = "pay 4111 1111 1111 1111 now";
    for first in 0..text.len() {
        for second in first..text.len() {
            let chunks = [&text[..first], &text[first..second], &text[second..]];
            assert_eq!(run(&gate, &chunks).text, "pay # now", "{chunks:?}");
        }
    }
}

/// aisix: checks were skipped under `stream: true`. Here there is one path, which always streams:
/// what comes out token by token is what comes out at once.
#[test]
fn aisix_a_stream_is_judged_like_a_whole_answer() {
    let rules = [
        "phrases: [\"bad\"], action: redact, with: \"#\"",
        "phrases: [\"worse\"], action: reject",
    ];
    for text in ["all good", "a bad day", "bad and worse"] {
        let gate = enforce(&rules);
        let letters: Vec<&str> = text.split_inclusive(|_: char| true).collect();
        let (whole, streamed) = (run(&gate, &[text]), run(&gate, &letters));
        assert_eq!(whole.refusal.is_some(), streamed.refusal.is_some());
        assert!(streamed.text.starts_with(&whole.text));
        assert!(whole.refusal.is_some() || whole.text == streamed.text);
    }
}
