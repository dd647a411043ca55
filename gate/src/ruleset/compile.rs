//! A draft to a rule set that can be run.

use std::collections::BTreeMap;

use regex_syntax::hir::Hir;

use super::{
    model::{Definition, Normalise, Side},
    read::{Draft, Test},
};
use crate::{
    diagnostic::{Diagnostics, Place},
    grammar::Grammar,
    judge::{Judge, JudgeKind},
    kind::{
        GrammarSource, Kind,
        text::{self, Expression},
    },
    limits::SET_BYTES_MAX,
    scan::{BuildError, Lane, Matcher, Pattern, ViewMatcher},
};

/// What a set looks for, ready to run.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// In each text of the prompt.
    pub(crate) input: Matcher,
    /// In what the model writes.
    pub(crate) output: Matcher,
    /// What a whole completion must be.
    pub(crate) grammars: Vec<RuleGrammar>,
}

/// The grammar of a rule.
#[derive(Debug)]
pub(crate) struct RuleGrammar {
    /// Index of the rule.
    pub(crate) rule: usize,
    pub(crate) grammar: Grammar,
    /// Whether its texts are JSON.
    pub(crate) is_json: bool,
}

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

/// Compiles the rules of a draft.
pub(super) fn compile(
    draft: Draft,
    mistakes: &mut Diagnostics,
) -> Option<(Definition, Compiled, Vec<Test>)> {
    let [input, output] = [Side::Input, Side::Output].map(|side| lanes(&draft, side, mistakes));
    // Building automata is the dear part: not for a file that is refused anyway.
    if !mistakes.is_empty() {
        return None;
    }
    let mut budget = SET_BYTES_MAX;
    let mut matcher = |side, lanes| {
        Some(Matcher {
            views: views(lanes, draft.rules_at, &mut budget, mistakes)?,
            judges: judges(&draft.definition, side),
        })
    };
    let compiled = Compiled {
        input: matcher(Side::Input, input)?,
        output: matcher(Side::Output, output)?,
        grammars: grammars(&draft, mistakes)?,
    };
    Some((draft.definition, compiled, draft.tests))
}

fn views(
    lanes: Lanes,
    rules_at: Place,
    budget: &mut usize,
    mistakes: &mut Diagnostics,
) -> Option<Vec<ViewMatcher>> {
    let mut views: Vec<ViewMatcher> = Vec::new();
    for (key, entries) in lanes {
        let lanes = match build(&key, &entries, budget) {
            Ok(lanes) => lanes,
            Err(NotBuilt { at, what, error }) => {
                report(at.unwrap_or(rules_at), what, &error, mistakes);
                return None;
            }
        };
        match views.last_mut() {
            Some(view) if view.normalise == key.normalise => view.lanes.extend(lanes),
            _ => views.push(ViewMatcher {
                normalise: key.normalise,
                lanes,
            }),
        }
    }
    Some(views)
}

struct NotBuilt {
    /// Where its pattern stands; of the whole set otherwise.
    at: Option<Place>,
    what: &'static str,
    error: BuildError,
}

/// As few automata as the patterns fit into: one, or those of the two halves.
fn build(key: &LaneKey, entries: &[Entry], budget: &mut usize) -> Result<Vec<Lane>, NotBuilt> {
    let hirs: Vec<Hir> = entries.iter().map(|e| e.expression.hir.clone()).collect();
    let patterns = entries.iter().map(|entry| Pattern {
        rule: entry.rule,
        looks_ahead: entry.expression.looks_ahead,
        check: entry.expression.check,
    });
    match (
        Lane::build(&hirs, patterns.collect(), key.holds, key.max_span),
        entries,
    ) {
        (Ok(lane), _) => match budget.checked_sub(lane.memory_bytes()) {
            Some(left) => {
                *budget = left;
                Ok(vec![lane])
            }
            None => Err(NotBuilt {
                at: None,
                what: "the automata of the set",
                error: BuildError::TooLarge(SET_BYTES_MAX),
            }),
        },
        (Err(error), [entry]) => Err(NotBuilt {
            at: Some(entry.at),
            what: "the automaton of this pattern",
            error,
        }),
        (Err(_), _) => {
            let (left, right) = entries.split_at(entries.len() / 2);
            let mut lanes = build(key, left, budget)?;
            lanes.extend(build(key, right, budget)?);
            Ok(lanes)
        }
    }
}

fn grammars(draft: &Draft, mistakes: &mut Diagnostics) -> Option<Vec<RuleGrammar>> {
    let mut grammars = Vec::new();
    for (rule, places) in draft.places.iter().enumerate() {
        let (grammar, is_json) = match &draft.definition.rules[rule].kind {
            Kind::JsonSchema(schema) => (Grammar::json_schema(schema), true),
            Kind::Grammar(GrammarSource::Lark(lark)) => (Grammar::lark(lark), false),
            Kind::Grammar(GrammarSource::Regex(regex)) => (Grammar::regex(regex), false),
            _ => continue,
        };
        match grammar {
            Ok(grammar) => grammars.push(RuleGrammar {
                rule,
                grammar,
                is_json,
            }),
            Err(error) => {
                let what = if is_json { "schema" } else { "grammar" };
                let message = format!("the {what} cannot be used: {error}");
                mistakes.push(places[0], message, error.mend());
            }
        }
    }
    mistakes.is_empty().then_some(grammars)
}

fn judges(definition: &Definition, side: Side) -> Vec<Judge> {
    let mut masses = 0;
    let rules = definition.rules.iter().enumerate();
    let judges = rules.filter(|(_, rule)| rule.on == side);
    let judges = judges.filter_map(|(index, rule)| {
        let kind = match &rule.kind {
            Kind::Length(limits) => JudgeKind::Length(*limits),
            Kind::Logits(limits) => {
                let mass = masses;
                masses += usize::from(limits.mean_mass.is_some());
                let limits = limits.clone();
                JudgeKind::Logits { limits, mass }
            }
            Kind::Require(_) => JudgeKind::Require,
            Kind::Language(languages) => JudgeKind::Language(languages.clone()),
            _ => return None,
        };
        Some(Judge {
            rule: index,
            kind,
            holds: definition.action(index).holds(),
        })
    });
    judges.collect()
}

fn lanes(draft: &Draft, side: Side, mistakes: &mut Diagnostics) -> Lanes {
    let mut lanes = Lanes::new();
    let rules = draft.definition.rules.iter().enumerate();
    for (index, rule) in rules.filter(|(_, rule)| rule.on == side) {
        let is_judged = matches!(rule.kind, Kind::Require(_));
        let expressions = text::expressions(rule);
        for (expression, &at) in expressions.into_iter().zip(&draft.places[index]) {
            match expression {
                Ok(expression) => {
                    let key = LaneKey {
                        normalise: rule.normalise,
                        holds: !is_judged && draft.definition.action(index).holds(),
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

fn report(at: Place, what: &str, error: &BuildError, mistakes: &mut Diagnostics) {
    match error {
        BuildError::TooLarge(bytes_max) => {
            let mib = bytes_max >> 20;
            let message = format!("{what} would need more than {mib} MiB");
            let mend = "use shorter repetitions and smaller classes (`[0-9]` for `\\d`), or split \
                        the rule set";
            mistakes.push(at, message, mend);
        }
        BuildError::Unsupported(reason) => {
            let message = format!("{what} cannot be built: {reason}");
            mistakes.push(at, message, "write the pattern more simply");
        }
    }
}
