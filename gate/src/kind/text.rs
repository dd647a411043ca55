//! Kinds that look for stretches of text: reading them, and the expressions that an automaton runs.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, ClassUnicode, Hir, HirKind, Look},
};

use super::{Check, Checksum, Kind, PersonalData, TextPattern, injection::LISTS};
use crate::{
    Normalise, Rule,
    diagnostic::{Diagnostics, Place},
    limits::{PHRASE_BYTES_MAX, PHRASES_MAX, REGEX_BYTES_MAX, SPAN_BYTES_MAX},
    ruleset::fields::{self, Fields, printable},
    ruleset::yaml::Node,
    view,
};

/// Depth of nesting in a regular expression.
const NEST_MAX: u32 = 50;

/// What is wrong with a pattern, and how to mend it.
pub(crate) struct Unusable {
    pub(crate) message: String,
    pub(crate) mend: String,
}

/// One pattern, ready to be compiled.
#[derive(Debug)]
pub(crate) struct Expression {
    pub(crate) hir: Hir,
    /// Longer matches do not count; `None` where no match is longer than is allowed anyway.
    pub(crate) max_span: Option<usize>,
    /// Whether it depends on what follows its match.
    pub(crate) looks_ahead: bool,
    /// What a match must satisfy besides.
    pub(crate) check: Option<Check>,
}

pub(super) fn read_phrases(
    fields: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let (phrases, places) = texts(node, "`phrases`", "a phrase", mistakes)?;
    let whole_word = fields.get("whole_word");
    let whole_word = whole_word.and_then(|n| fields::boolean(n, "`whole_word`", mistakes));
    let kind = Kind::Phrases {
        phrases,
        whole_word: whole_word.unwrap_or(false),
    };
    Some((kind, places))
}

pub(super) fn read_require(
    _: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    if node.is_scalar() {
        let text = fields::text(node, "`require`", PHRASE_BYTES_MAX, mistakes)?;
        return Some((Kind::Require(vec![text.to_owned()]), vec![node.at]));
    }
    let (texts, places) = texts(node, "`require`", "a required text", mistakes)?;
    Some((Kind::Require(texts), places))
}

fn texts(
    node: &Node,
    what: &str,
    one: &str,
    mistakes: &mut Diagnostics,
) -> Option<(Vec<String>, Vec<Place>)> {
    let items = fields::items(node, what, PHRASES_MAX, mistakes)?;
    let texts = items.iter().filter_map(|item| {
        let text = fields::text(item, one, PHRASE_BYTES_MAX, mistakes)?;
        Some((text.to_owned(), item.at))
    });
    Some(texts.unzip())
}

pub(super) fn read_regex(
    fields: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let pattern = fields::text(node, "`regex`", REGEX_BYTES_MAX, mistakes);
    let max_span = fields.get("max_span");
    let max_span =
        max_span.and_then(|n| fields::number(n, "`max_span`", 1..=SPAN_BYTES_MAX, mistakes));
    let checksum = fields.get("checksum");
    let checksum = checksum.and_then(|n| fields::word(n, "`checksum`", &Checksum::WORDS, mistakes));
    let kind = Kind::Regex {
        pattern: pattern?.to_owned(),
        max_span,
        checksum,
    };
    Some((kind, vec![node.at]))
}

pub(super) fn read_pii(
    _: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let words = PersonalData::WORDS;
    let items = fields::items(node, "`pii`", words.len(), mistakes)?;
    let (mut data, mut places) = (Vec::new(), Vec::new());
    for item in items {
        if let Some(one) = fields::word(item, "`pii`", &words, mistakes) {
            if data.contains(&one) {
                let message = format!("`{}` is given twice", one.as_str());
                mistakes.push(item.at, message, "keep one of the two");
                continue;
            }
            places.extend(one.patterns().iter().map(|_| item.at));
            data.push(one);
        }
    }
    Some((Kind::Pii(data), places))
}

pub(super) fn read_injection(
    _: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let fields = Fields::open(node, "`injection`", &["patterns"], mistakes)?;
    let mend = "write `injection: {patterns: v1}`: the list is part of what the set means";
    let list = fields.require("patterns", mend, mistakes)?;
    let list = fields::word(list, "`patterns`", &LISTS, mistakes)?;
    let places = vec![node.at; list.patterns().len()];
    Some((Kind::Injection(list), places))
}

/// The expressions of a rule, one for each of its patterns in their order.
pub(crate) fn expressions(rule: &Rule) -> Vec<Result<Expression, Unusable>> {
    match &rule.kind {
        Kind::Phrases {
            phrases,
            whole_word,
        } => {
            let phrases = phrases.iter();
            phrases
                .map(|text| phrase(text, rule.normalise, *whole_word))
                .collect()
        }
        Kind::Require(texts) => {
            let texts = texts.iter();
            texts
                .map(|text| phrase(text, rule.normalise, false))
                .collect()
        }
        Kind::Regex {
            pattern,
            max_span,
            checksum,
        } => {
            let check = checksum.map(Check::Checksum);
            vec![regex(pattern, rule.normalise, *max_span, check)]
        }
        Kind::Pii(data) => data
            .iter()
            .flat_map(|one| shipped(one.patterns()))
            .collect(),
        Kind::Injection(list) => shipped(list.patterns()).collect(),
        Kind::Length(_)
        | Kind::Logits(_)
        | Kind::Language(_)
        | Kind::JsonSchema(_)
        | Kind::Grammar(_) => Vec::new(),
    }
}

/// A phrase as the text will be when it is looked for. Folding is per character, so wherever the
/// phrase stands in the text as written, its fold stands in the fold of the text: one look at the
/// folded text finds both.
fn phrase(text: &str, normalise: Normalise, whole_word: bool) -> Result<Expression, Unusable> {
    let folded = view::fold(normalise, text);
    if folded.trim().is_empty() {
        return Err(Unusable {
            message: format!(
                "nothing that shows is left of the phrase `{}`",
                printable(text)
            ),
            mend: "write visible text, or use a regex with `normalise: none`".to_owned(),
        });
    }
    if folded.len() > SPAN_BYTES_MAX {
        return Err(Unusable {
            message: format!(
                "the phrase `{}` folds to {} bytes",
                printable(text),
                folded.len()
            ),
            mend: format!("use one of at most {SPAN_BYTES_MAX}"),
        });
    }
    let literal = Hir::literal(folded.into_bytes());
    let hir = match whole_word {
        // Half boundaries: only what is next to the phrase counts, so that `$100` may begin a word.
        true => Hir::concat(vec![
            Hir::look(Look::WordStartHalfAscii),
            literal,
            Hir::look(Look::WordEndHalfAscii),
        ]),
        false => literal,
    };
    Ok(Expression {
        hir,
        max_span: None,
        looks_ahead: whole_word,
        check: None,
    })
}

/// Patterns of ours are written for folded text: in small letters.
fn shipped(patterns: Vec<TextPattern>) -> impl Iterator<Item = Result<Expression, Unusable>> {
    let patterns = patterns.into_iter();
    patterns.map(|pattern| expression(parse(pattern.regex, false)?, None, pattern.check))
}

fn regex(
    pattern: &str,
    normalise: Normalise,
    max_span: Option<usize>,
    check: Option<Check>,
) -> Result<Expression, Unusable> {
    let folded = normalise != Normalise::None;
    if folded {
        refuse_unseen(&parse(pattern, false)?)?;
    }
    expression(parse(pattern, folded)?, max_span, check)
}

fn expression(
    hir: Hir,
    max_span: Option<usize>,
    check: Option<Check>,
) -> Result<Expression, Unusable> {
    let properties = hir.properties();
    refuse_lengths(properties.minimum_len(), properties.maximum_len(), max_span)?;
    let looks = properties.look_set();
    if looks.contains_word_unicode() {
        return Err(Unusable {
            message: "a word boundary over all of Unicode cannot be run on bytes".to_owned(),
            mend: r"write `(?-u:\b)` for `\b`".to_owned(),
        });
    }
    let longest = properties.maximum_len();
    let bounded = |max: &usize| longest.is_none_or(|longest| longest > *max);
    Ok(Expression {
        looks_ahead: looks
            .iter()
            .any(|look| !matches!(look, Look::Start | Look::StartLF)),
        max_span: max_span.filter(bounded),
        hir,
        check,
    })
}

fn parse(pattern: &str, case_insensitive: bool) -> Result<Hir, Unusable> {
    let mut parser = ParserBuilder::new()
        .nest_limit(NEST_MAX)
        .case_insensitive(case_insensitive)
        .build();
    parser.parse(pattern).map_err(|error| Unusable {
        message: syntax_message(&error),
        mend: "see https://docs.rs/regex for the syntax; there is no look-around and no \
               back-reference, and a pattern matches whole characters"
            .to_owned(),
    })
}

fn syntax_message(error: &regex_syntax::Error) -> String {
    let (what, at) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span()),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span()),
        other => return format!("the regex cannot be read: {other}"),
    };
    format!(
        "the regex cannot be read at its character {}: {what}",
        at.start.column
    )
}

fn refuse_lengths(
    shortest: Option<usize>,
    longest: Option<usize>,
    max_span: Option<usize>,
) -> Result<(), Unusable> {
    if shortest.is_none() {
        return Err(Unusable {
            message: "the regex can never match".to_owned(),
            mend: "take out the empty class or the contradiction".to_owned(),
        });
    }
    if shortest == Some(0) {
        return Err(Unusable {
            message: "the regex matches the empty text, that is everywhere".to_owned(),
            mend: "use `+` for `*`, or take out what makes all of it optional".to_owned(),
        });
    }
    let too_long = longest.is_none_or(|longest| longest > SPAN_BYTES_MAX);
    if too_long && max_span.is_none() {
        let longest = longest.map_or("any length".to_owned(), |bytes| format!("{bytes} bytes"));
        return Err(Unusable {
            message: format!("a match may have {longest}, and so much text may be held back"),
            mend: format!(
                "bound the repetition (`{{1,64}}` for `+`), or add `max_span: BYTES` of at most \
                 {SPAN_BYTES_MAX}"
            ),
        });
    }
    Ok(())
}

/// Refuses characters that the folded text never shows, for with them the rule would be blind.
fn refuse_unseen(hir: &Hir) -> Result<(), Unusable> {
    let mut open = vec![hir];
    while let Some(hir) = open.pop() {
        match hir.kind() {
            HirKind::Literal(literal) => refuse_unseen_literal(&literal.0)?,
            HirKind::Repetition(repetition) => open.push(&repetition.sub),
            HirKind::Capture(capture) => open.push(&capture.sub),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => open.extend(parts),
            HirKind::Class(Class::Unicode(class)) => refuse_unseen_class(class)?,
            HirKind::Empty | HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => {}
        }
    }
    Ok(())
}

fn refuse_unseen_literal(literal: &[u8]) -> Result<(), Unusable> {
    let literal = String::from_utf8_lossy(literal);
    literal.chars().try_for_each(refuse_unseen_character)
}

/// A class may name characters that are never shown beside others; with `[éè]` there is nothing
/// left to match.
fn refuse_unseen_class(class: &ClassUnicode) -> Result<(), Unusable> {
    let ranges = class.iter();
    let mut characters = ranges.flat_map(|range| range.start()..=range.end());
    let first = characters.next().map_or(Ok(()), refuse_unseen_character);
    first.or_else(|unseen| {
        let mut others = characters.map(refuse_unseen_character);
        match others.any(|other| other.is_ok()) {
            true => Ok(()),
            false => Err(unseen),
        }
    })
}

fn refuse_unseen_character(character: char) -> Result<(), Unusable> {
    let seen = view::fold(Normalise::Basic, &character.to_string());
    if seen == character.to_lowercase().to_string() {
        return Ok(());
    }
    let character = character.to_string();
    Err(Unusable {
        message: format!("the folded text never shows `{}`", printable(&character)),
        mend: match seen.is_empty() {
            true => "leave it out, or use `normalise: none`".to_owned(),
            false => format!("write `{seen}`, or use `normalise: none`"),
        },
    })
}
