//! Laws of the scan on long texts: what is done for speed changes nothing.

use std::sync::Arc;

use proptest::prelude::*;
use regex_automata::util::primitives::StateID;

use super::*;
use crate::RuleSet;

/// Expressions whose threads meet in one state, early, late or never, and with a check.
const EXPRESSIONS: [&str; 12] = [
    "regex: 'a+!', max_span: 200",
    "regex: 'b[ab]+!', max_span: 200",
    "regex: '[ab]{3}a*!', max_span: 30",
    "regex: '(?:ab)+!', max_span: 30",
    "regex: '[ab]+(?-u:\\b)', max_span: 12",
    "regex: 'a', max_span: 1",
    "regex: 'b[ab]{0,40}!'",
    "regex: '(?:a|bb){2,9} !'",
    "regex: '(?-u:\\b)[ab]{5,9}$'",
    "regex: '[01]{2,20}', checksum: luhn",
    "regex: '[01 ]+!', checksum: luhn, max_span: 60",
    "phrases: [a b, ab!, é]",
];

fn ruleset() -> impl Strategy<Value = Arc<RuleSet>> {
    prop::sample::subsequence(EXPRESSIONS.to_vec(), 1..6).prop_map(|expressions| {
        let rules = expressions.iter().enumerate();
        let rules = rules.map(|(index, expression)| {
            format!("- {{id: r{index}, why: law, {expression}, action: redact}}\n")
        });
        let tests = (0..expressions.len())
            .map(|index| format!("- {{rule: r{index}, should_pass: \"~\"}}\n"));
        let yaml = format!(
            "ruleset: law\nversion: 1\nmode: enforce\nrules:\n{}tests:\n{}",
            rules.collect::<String>(),
            tests.collect::<String>()
        );
        Arc::new(RuleSet::load(yaml.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{yaml}")))
    })
}

/// Tokens of a text in which matches stay open for long.
fn tokens(len: usize) -> impl Strategy<Value = Vec<String>> {
    let character = prop_oneof![
        60 => Just('a'),
        30 => Just('b'),
        10 => prop::sample::select(vec!['0', '1']),
        3 => prop::sample::select(vec![' ', '!', 'é']),
    ];
    let token = prop::collection::vec(character, 0..60).prop_map(String::from_iter);
    prop::collection::vec(token, 1..len)
}

/// A thread for each place, each on its own: what [`Threads`] must come to. Of the matches of a rule
/// that end at one byte only the longest counts.
#[derive(Default)]
struct SingleThreads(Vec<(usize, StateID)>);

impl SingleThreads {
    /// Reads the ASCII text `bytes` that follows `before`; gives the matches as start and end.
    fn read(&mut self, lane: &Lane, before: &[u8], bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut last = before.last().copied();
        for (at, &byte) in (before.len()..).zip(bytes) {
            let mut rules = Vec::new();
            self.0.retain_mut(|(start, state)| {
                *state = lane.next(*state, byte);
                for rule in lane.matches(*state).map(|pattern| pattern.rule) {
                    if !rules.contains(&rule) {
                        rules.push(rule);
                        found.push((*start, at));
                    }
                }
                lane.is_alive(*state, at + 1 - *start)
            });
            let state = lane.next(lane.start(last), byte);
            if lane.is_alive(state, 1) {
                self.0.push((at, state));
            }
            last = Some(byte);
        }
        found
    }
}

/// What a scan finds in `tokens`, and which byte it holds back from after each.
fn read_all(scan: &mut Scan, matcher: &Matcher, start: usize, tokens: &[String]) -> Reading {
    let mut at = start;
    let mut reading = Reading::default();
    for token in tokens {
        let found = &mut reading.found;
        scan.advance(matcher, at, token, found)
            .expect("no automaton gives up");
        scan.settle(matcher, found);
        reading.alive_from.push(scan.alive_from(matcher));
        at += token.len();
    }
    scan.finish(matcher, at, &mut reading.found);
    reading
}

#[derive(Debug, Default, PartialEq)]
struct Reading {
    found: Vec<Match>,
    alive_from: Vec<Option<usize>>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(proptest_cases()))]

    #[test]
    fn groups_of_threads_find_what_single_threads_find(
        ruleset in ruleset(),
        tokens in tokens(20),
    ) {
        for view in &ruleset.output().views {
            // Single threads know no checks.
            for lane in view.lanes.iter().filter(|lane| !lane.has_checks()) {
                let (mut threads, mut single) = (Threads::default(), SingleThreads::default());
                let mut position = Position::default();
                let mut text = Vec::new();
                for token in &tokens {
                    let mut piece = Piece::default();
                    let ascii = token.bytes().filter(u8::is_ascii).enumerate();
                    for (offset, byte) in ascii {
                        let at = position.len + offset;
                        piece.bytes.push(byte);
                        piece.origins.push(at..at + 1);
                    }
                    let mut found = Vec::new();
                    threads.read(lane, position, &piece, None, &mut found)
                        .expect("no automaton gives up");
                    let mut found: Vec<_> = found.iter().map(|one| (one.start, one.end)).collect();
                    let mut expected = single.read(lane, &text, &piece.bytes);
                    found.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(found, expected);
                    let oldest = single.0.first().map(|(start, _)| *start);
                    prop_assert_eq!(threads.oldest(), oldest);
                    text.extend_from_slice(&piece.bytes);
                    position = position.after(&piece);
                }
            }
        }
    }

    #[test]
    fn after_a_roll_back_a_scan_goes_on_as_if_nothing_had_been_thrown_away(
        ruleset in ruleset(),
        released in tokens(200),
        held in tokens(4),
        again in tokens(8),
        all_every in prop::sample::select(vec![1_usize, 3, 1_000]),
        forgets_before_end in prop::option::of(0..4_usize),
    ) {
        let matcher = ruleset.output();
        let mut head = Scan::new(matcher, false);
        let mut base = Base::new(head.clone());
        // What a roll-back must come to: the head itself, with nothing behind it.
        let mut straight = head.clone();
        let forgets_at = forgets_before_end.map(|back| released.len().saturating_sub(back + 1));
        let mut at = 0;
        for (index, token) in released.iter().enumerate() {
            for scan in [&mut head, &mut straight] {
                scan.advance(matcher, at, token, &mut Vec::new()).expect("no automaton gives up");
                scan.settle(matcher, &mut Vec::new());
                if forgets_at == Some(index) {
                    scan.forget_threads();
                }
            }
            if forgets_at == Some(index) {
                base.note_forgotten();
            }
            let all = forgets_at == Some(index) || index % all_every == 0;
            base.release(matcher, &head, at, token, all).expect("no automaton gives up");
            at += token.len();
        }
        read_all(&mut head, matcher, at, &held);
        base.restore(matcher, &mut head).expect("no automaton gives up");
        let expected = read_all(&mut straight, matcher, at, &again);
        prop_assert_eq!(read_all(&mut head, matcher, at, &again), expected);
    }
}

/// Long texts: a few cases say much.
fn proptest_cases() -> u32 {
    ProptestConfig::default().cases.div_ceil(4)
}
