//! A draft to a rule set that can be run.

use std::collections::BTreeMap;

use regex_syntax::hir::Hir;

use super::{
    model::{Definition, Normalise},
    pattern::{self, Expression},
    read::{Draft, Test},
};
use crate::{
    diagnostic::{Diagnostics, Place},
    limits::{DFA_BYTES_MAX, SET_BYTES_MAX},
    scan::{BuildError, Lane, Matcher, Pattern, ViewMatcher},
};

/// Patterns that share an automaton.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    normalise: Normalise,
    holds: bool,
    max_span: Option<usize>,
}

struct Entry {
    rule: usize,
    at: Place,
    expression: Expression,
}

type Lanes = BTreeMap<LaneKey, Vec<Entry>>;

/// Compiles the patterns of a draft.
pub(super) fn compile(
    draft: Draft,
    mistakes: &mut Diagnostics,
) -> Option<(Definition, Matcher, Vec<Test>)> {
    let lanes = lanes(&draft, mistakes);
    // Building automata is the dear part: not for a file that is refused anyway.
    if !mistakes.is_empty() {
        return None;
    }
    let mut matcher = Matcher::default();
    let mut bytes = 0;
    for (key, entries) in lanes {
        let lane = lane(&key, &entries, draft.rules_at, mistakes)?;
        bytes += lane.memory_bytes();
        if bytes > SET_BYTES_MAX {
            too_large(
                draft.rules_at,
                "the automata of the set",
                SET_BYTES_MAX,
                mistakes,
            );
            return None;
        }
        match matcher.views.last_mut() {
            Some(view) if view.normalise == key.normalise => view.lanes.push(lane),
            _ => matcher.views.push(ViewMatcher {
                normalise: key.normalise,
                lanes: vec![lane],
            }),
        }
    }
    Some((draft.definition, matcher, draft.tests))
}

fn lanes(draft: &Draft, mistakes: &mut Diagnostics) -> Lanes {
    let mut lanes = Lanes::new();
    for (index, rule) in draft.definition.rules.iter().enumerate() {
        let expressions = pattern::expressions(rule);
        for (expression, &at) in expressions.into_iter().zip(&draft.places[index]) {
            match expression {
                Ok(expression) => {
                    let key = LaneKey {
                        normalise: rule.normalise,
                        holds: draft.definition.action(index).holds(),
                        max_span: expression.max_span,
                    };
                    let entry = Entry {
                        rule: index,
                        at,
                        expression,
                    };
                    lanes.entry(key).or_default().push(entry);
                }
                Err(unusable) => mistakes.push(at, unusable.message, unusable.mend),
            }
        }
    }
    lanes
}

fn lane(
    key: &LaneKey,
    entries: &[Entry],
    rules_at: Place,
    mistakes: &mut Diagnostics,
) -> Option<Lane> {
    let hirs: Vec<Hir> = entries.iter().map(|e| e.expression.hir.clone()).collect();
    let patterns = entries.iter().map(|entry| Pattern {
        rule: entry.rule,
        looks_ahead: entry.expression.looks_ahead,
    });
    let error = match Lane::build(&hirs, patterns.collect(), key.holds, key.max_span) {
        Ok(lane) => return Some(lane),
        Err(error) => error,
    };
    match first_unbuildable(entries) {
        Some((at, error)) => report(at, "the automaton of this pattern", &error, mistakes),
        None => report(
            rules_at,
            "the automaton of all patterns together",
            &error,
            mistakes,
        ),
    }
    None
}

/// The first pattern for which no automaton can be built even alone.
fn first_unbuildable(entries: &[Entry]) -> Option<(Place, BuildError)> {
    entries.iter().find_map(|entry| {
        let alone = std::slice::from_ref(&entry.expression.hir);
        let pattern = Pattern {
            rule: entry.rule,
            looks_ahead: false,
        };
        let error = Lane::build(alone, vec![pattern], false, None).err()?;
        Some((entry.at, error))
    })
}

fn report(at: Place, what: &str, error: &BuildError, mistakes: &mut Diagnostics) {
    match error {
        BuildError::TooLarge => too_large(at, what, DFA_BYTES_MAX, mistakes),
        BuildError::Unsupported(reason) => {
            let message = format!("{what} cannot be built: {reason}");
            mistakes.push(at, message, "write the pattern more simply");
        }
    }
}

fn too_large(at: Place, what: &str, bytes_max: usize, mistakes: &mut Diagnostics) {
    let mib = bytes_max >> 20;
    let message = format!("{what} would need more than {mib} MiB");
    let mend = "use shorter repetitions and smaller classes (`[0-9]` for `\\d`), or split the \
                rule set";
    mistakes.push(at, message, mend);
}
