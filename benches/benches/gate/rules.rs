//! Rule sets of any size.

use portcullis_gate::RuleSet;

/// Makes rules with so many patterns.
pub(crate) type Rules = fn(usize) -> Vec<String>;

pub(crate) const FIRST: [&str; 20] = [
    "guaranteed",
    "secure",
    "your",
    "the best",
    "certain",
    "doubled",
    "every",
    "no risk",
    "return",
    "market",
    "investors",
    "profit",
    "savings",
    "an easy",
    "promised",
    "hidden",
    "trust",
    "money",
    "rates",
    "fees",
];
pub(crate) const SECOND: [&str; 10] = [
    "annual",
    "monthly",
    "and fixed",
    "total",
    "income",
    "of all",
    "growth",
    "with",
    "on your",
    "that never",
];
const THIRD: [&str; 5] = ["returns", "yield", "profits", "payout", "gains"];
/// Patterns in one rule.
const PER_RULE: usize = 10;
const PII: &str = "pii: [email, phone, iban, payment_card, us_ssn, ipv4, ipv6]";
/// Patterns of all kinds of personal data.
const PII_PATTERNS: usize = 10;

/// Phrases of three words, of which every first word begins many.
pub(crate) fn phrases(count: usize) -> Vec<String> {
    let phrases: Vec<String> = (0..count).map(phrase).collect();
    let rules = phrases.chunks(PER_RULE);
    rules
        .map(|list| format!("phrases: [{}], action: resample", list.join(", ")))
        .collect()
}

fn phrase(index: usize) -> String {
    let first = FIRST[index % FIRST.len()];
    let second = SECOND[index / FIRST.len() % SECOND.len()];
    let third = THIRD[index / FIRST.len() / SECOND.len() % THIRD.len()];
    format!("{first} {second} {third}")
}

/// All kinds of personal data where there is room for them, an expression for every fifth pattern,
/// and phrases.
pub(crate) fn mix(count: usize) -> Vec<String> {
    let expressions = count.div_ceil(5);
    let mut rules: Vec<String> = (0..expressions).map(expression).collect();
    let mut left = count - expressions;
    if left >= PII_PATTERNS {
        rules.push(format!("{PII}, action: redact"));
        left -= PII_PATTERNS;
    }
    rules.extend(phrases(left));
    rules
}

fn expression(index: usize) -> String {
    let letter = char::from(b'A' + u8::try_from(index % 26).expect("a remainder by 26"));
    let regex = match index % 4 {
        0 => format!(r"(?-u:\b){letter}C-[0-9]{{8}}(?-u:\b)"),
        1 => format!(r"case {letter}[0-9]{{2}}/{index:03}[a-z]?"),
        2 => format!(r"(?:ref|file)[:#] ?{letter}{index:03}-[0-9a-f]{{4,8}}"),
        _ => format!(r"{letter}[a-z]{{2,12}} v\. {letter}[a-z]{{2,12}}"),
    };
    format!("regex: '{regex}', action: redact")
}

/// Expressions that begin alike, and that the text leaves open for as long as they may be.
pub(crate) fn spans(count: usize) -> Vec<String> {
    let expressions = (0..count).map(|index| format!("x+!{index}!"));
    let rules = expressions.map(|regex| format!("regex: '{regex}', max_span: 500, action: redact"));
    rules.take(MANY).collect()
}

/// Rules that a set may have.
const MANY: usize = portcullis_gate::limits::RULES_MAX;

/// Loads a set of these rules, which holds as much back as it must.
pub(crate) fn load(rules: &[String]) -> RuleSet {
    let mut source = String::from(
        "ruleset: bench\nversion: 1\nmode: enforce\n\
         checkpoint: {every_tokens: 1, max_hold_tokens: 4096}\nrules:\n",
    );
    let mut tests = String::from("tests:\n");
    for (index, rule) in rules.iter().enumerate() {
        source += &format!("- {{id: r{index}, why: bench, {rule}}}\n");
        tests += &format!("- {{rule: r{index}, should_pass: \"~\"}}\n");
    }
    source += &tests;
    RuleSet::load(source.as_bytes()).unwrap_or_else(|mistakes| panic!("{mistakes}\n{source}"))
}
