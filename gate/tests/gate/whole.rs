//! Whole texts: a scan finds what every stream of the text finds, and what the oracle finds.
#![expect(
    clippy::single_range_in_vec_init,
    reason = "a rule may have one stretch, and a stretch is a range"
)]

use std::ops::Range;

use portcullis_gate::{Gate, Quota, RuleReport, RuleSet, RuleStatus, Side, ToldByText};
use proptest::prelude::*;

use crate::{
    law::{self, Choices},
    stream,
};

/// The stretches of each rule, by its index.
fn scanned(set: &RuleSet, side: Side, text: &str) -> Vec<Vec<Range<usize>>> {
    let findings = set.scan(side, text).unwrap();
    let of_rule = |id: &str| {
        let found = findings.iter().filter(|finding| &*finding.rule == id);
        found.map(|finding| finding.start..finding.end).collect()
    };
    set.rules().map(|rule| of_rule(&rule.id)).collect()
}

/// By itself a rule finds what it finds beside the others.
#[test]
fn a_rule_alone_finds_what_it_finds_in_company() {
    let source = std::fs::read("../rules/demo.yaml").unwrap();
    let set = RuleSet::load(&source).unwrap();
    let text = "Your account number is 4417 1234 567. It is a guaranteed return.";
    let together = scanned(&set, Side::Output, text);
    assert!(together.iter().any(|found| !found.is_empty()));
    for (rule, expect) in set.rules().zip(together) {
        let alone = set.alone(&rule.id).unwrap();
        assert_eq!(scanned(&alone, Side::Output, text), [expect], "{}", rule.id);
    }
    assert!(set.alone("no such rule").is_none());
}

fn merged(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_by_key(|span| (span.start, span.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// What a stream of `tokens` finds, for each rule.
fn streamed(gate: &Gate, tokens: &[&str]) -> Vec<Vec<Range<usize>>> {
    let mut state = gate.begin(false);
    stream::run_with(&mut state, tokens, |_, at| tokens[at].to_owned());
    let report = state.report();
    assert_eq!(
        report.findings_total,
        report.findings.len() as u64,
        "none was left out"
    );
    let of_rule = |id: &str| {
        let found = report
            .findings
            .iter()
            .filter(|finding| &*finding.rule == id);
        found.map(|finding| finding.start..finding.end).collect()
    };
    let rules = gate.sets()[0].set().rules();
    let found: Vec<Vec<Range<usize>>> = rules.map(|rule| of_rule(&rule.id)).collect();
    check_statuses(&report.rules, &found);
    found
}

/// A completion that ended has a status for each rule, by what the rule found.
fn check_statuses(rules: &[RuleReport], found: &[Vec<Range<usize>>]) {
    let said = rules.iter().map(|rule| (rule.status, rule.matches));
    let expected = found.iter().map(|found| match found.len() {
        0 => (RuleStatus::Pass, 0),
        count => (RuleStatus::Fail, count as u64),
    });
    assert!(said.eq(expected), "{rules:?}");
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_scan_finds_what_the_oracle_and_every_stream_find(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        // Text before, so that matches lie across the pieces in which a scan reads.
        before in prop_oneof![3 => Just(0), 1 => 250..258_usize],
    ) {
        let (observe, streams) = law::watched_stretches(&mut Choices::new(&bytes));
        let gate = Gate::new([observe.clone()], Quota::default());
        for tokens in &streams {
            let filler = "🙂".repeat(before);
            let text = filler.clone() + &tokens.concat();
            let found = scanned(&observe, Side::Output, &text);
            for (rule, found) in observe.rules().zip(&found) {
                prop_assert_eq!(found, &merged(law::stretches(rule, &text)), "{}", text);
            }
            if before > 0 {
                continue;
            }
            // A stream reports the first match of a stretch as soon as it is certain.
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            for (found, streamed) in found.iter().zip(streamed(&gate, &tokens)) {
                prop_assert!(streamed.iter().all(|one| found.iter().any(|all| covers(all, one))));
                prop_assert!(found.iter().all(|all| streamed.iter().any(|one| covers(all, one))));
            }
        }
    }
}

const JUDGES: &str = r#"
ruleset: t
version: 1
mode: enforce
resample: {scope: completion}
rules:
- {id: risk, why: w, require: [Capital is at risk.], action: resample}
- {id: short, why: w, length: {max_characters: 12, max_tokens: 1}, action: reject}
- {id: german, why: w, language: {allow: [de]}, action: flag}
- {id: sure, why: w, logits: {mean_entropy_max: 0}, action: flag}
- {id: secret, why: w, on: input, phrases: [secret], action: reject}
- {id: brief, why: w, length: {max_tokens: 1}, action: flag}
tests:
- {rule: risk, should_fail: x}
- {rule: german, should_pass: x}
- {rule: secret, should_pass: x}
"#;

#[test]
fn a_scan_judges_what_a_text_alone_tells() {
    let set = RuleSet::load(JUDGES.as_bytes()).unwrap();
    let german = "Das Geld liegt auf einem Konto bei einer Bank in der Stadt, und dort bleibt es.";
    let check = |side, text: &str, expected: [&[Range<usize>]; 6]| {
        assert_eq!(scanned(&set, side, text), expected, "{text}");
    };
    check(Side::Output, "secret", [&[6..6], &[], &[], &[], &[], &[]]);
    check(Side::Input, "a secret", [&[], &[], &[], &[], &[2..8], &[]]);
    let risk = "CAPITAL is at risk.";
    check(Side::Output, risk, [&[], &[12..19], &[], &[], &[], &[]]);
    let all = german.len();
    check(
        Side::Output,
        german,
        [&[all..all], &[12..all], &[], &[], &[], &[]],
    );
    let english = "The money is in an account at a bank in the city, and that is where it stays.";
    let all = english.len();
    check(
        Side::Output,
        english,
        [&[all..all], &[12..all], &[0..all], &[], &[], &[]],
    );
}

#[test]
fn a_rule_says_how_much_of_it_a_text_tells() {
    let set = RuleSet::load(JUDGES.as_bytes()).unwrap();
    let told: Vec<ToldByText> = set.rules().map(|rule| rule.kind.told_by_text()).collect();
    assert!(matches!(
        told[..],
        [
            ToldByText::All,
            ToldByText::AllBut("max_tokens"),
            ToldByText::All,
            ToldByText::Nothing(_),
            ToldByText::All,
            ToldByText::Nothing(_)
        ]
    ));
}

/// A place may begin a match for each byte that follows it: what is kept of them is bounded.
#[test]
fn many_matches_are_one_stretch() {
    let set = stream::ruleset("mode: enforce", &["regex: '[a-z]{1,900}', action: flag"]);
    let text = "a".repeat(20_000);
    assert_eq!(scanned(&set, Side::Output, &text), [[0..20_000]]);
}
