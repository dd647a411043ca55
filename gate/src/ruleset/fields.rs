//! Reads values out of the tree, and says what is wrong with them.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use super::yaml::{Node, Value};
use crate::diagnostic::{Diagnostics, Place};

/// The entries of a map of which all keys are known.
pub(crate) struct Fields<'a> {
    pub(crate) at: Place,
    entries: Vec<(&'a str, &'a Node)>,
}

impl<'a> Fields<'a> {
    /// Opens `node`, which `what` names, and reports the keys that are not in `known`.
    pub(crate) fn open(
        node: &'a Node,
        what: &str,
        known: &[&str],
        mistakes: &mut Diagnostics,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let mend = format!("write `key: value` with {}", list(known));
            mistakes.push(node.at, format!("{what} is a map"), mend);
            return None;
        };
        for (key, _) in entries {
            if !known.contains(&key.name.as_str()) {
                let message = format!("unknown key `{}`", printable(&key.name));
                mistakes.push(key.at, message, suggestion(&key.name, known));
            }
        }
        let entries = entries.iter().map(|(key, node)| (key.name.as_str(), node));
        Some(Self {
            at: node.at,
            entries: entries.collect(),
        })
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        let mut entries = self.entries.iter();
        entries
            .find(|(name, _)| *name == key)
            .map(|(_, node)| *node)
    }

    /// Where the value of `key` stands, or the map itself.
    pub(crate) fn place(&self, key: &str) -> Place {
        self.get(key).map_or(self.at, |node| node.at)
    }

    /// The value of `key`, or a mistake that says how to give it.
    pub(crate) fn require(
        &self,
        key: &str,
        mend: &str,
        mistakes: &mut Diagnostics,
    ) -> Option<&'a Node> {
        let found = self.get(key);
        if found.is_none() {
            mistakes.push(self.at, format!("`{key}` is missing"), mend);
        }
        found
    }
}

/// Text that is not empty and has at most `bytes_max` bytes.
pub(crate) fn text<'a>(
    node: &'a Node,
    what: &str,
    bytes_max: usize,
    mistakes: &mut Diagnostics,
) -> Option<&'a str> {
    let Value::Scalar(text) = &node.value else {
        mistakes.push(node.at, format!("{what} is a text"), "write it in quotes");
        return None;
    };
    if text.is_empty() {
        mistakes.push(
            node.at,
            format!("{what} is empty"),
            "write it after the colon",
        );
        return None;
    }
    if text.len() > bytes_max {
        let message = format!("{what} has {} bytes", text.len());
        mistakes.push(node.at, message, format!("use at most {bytes_max}"));
        return None;
    }
    Some(text)
}

/// A name: letters, digits, `-`, `_` and `.`.
pub(crate) fn name<'a>(
    node: &'a Node,
    what: &str,
    bytes_max: usize,
    mistakes: &mut Diagnostics,
) -> Option<&'a str> {
    let name = text(node, what, bytes_max, mistakes)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.chars().all(allowed) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        let message = format!("{what}, `{}`, is not a name", printable(name));
        let mend = "use letters, digits, `-`, `_` and `.`, a letter or digit first";
        mistakes.push(node.at, message, mend);
        return None;
    }
    Some(name)
}

/// A whole number in `range`.
pub(crate) fn number<T: FromStr + PartialOrd + Display>(
    node: &Node,
    what: &str,
    range: RangeInclusive<T>,
    mistakes: &mut Diagnostics,
) -> Option<T> {
    let number = match &node.value {
        Value::Scalar(text) => text.parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| range.contains(number));
    if number.is_none() {
        let message = format!("{what} is not a whole number in its range");
        let mend = format!("use one from {} to {}", range.start(), range.end());
        mistakes.push(node.at, message, mend);
    }
    number
}

/// A decimal number in `range`.
pub(crate) fn decimal(
    node: &Node,
    what: &str,
    range: RangeInclusive<f64>,
    mistakes: &mut Diagnostics,
) -> Option<f64> {
    let number = match &node.value {
        Value::Scalar(text) => text.parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| range.contains(number));
    if number.is_none() {
        let message = format!("{what} is not a number in its range");
        let mend = format!("use one from {} to {}", range.start(), range.end());
        mistakes.push(node.at, message, mend);
    }
    number
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node, what: &str, mistakes: &mut Diagnostics) -> Option<bool> {
    word(node, what, &[("true", true), ("false", false)], mistakes)
}

/// One of several words.
pub(crate) fn word<T: Copy>(
    node: &Node,
    what: &str,
    words: &[(&str, T)],
    mistakes: &mut Diagnostics,
) -> Option<T> {
    let found = match &node.value {
        Value::Scalar(text) => words.iter().find(|(word, _)| word == text),
        _ => None,
    };
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let mend = format!("use one of {}", list(&known));
        mistakes.push(node.at, format!("{what} has an unknown value"), mend);
    }
    found.map(|(_, value)| *value)
}

/// A list of at least one and at most `items_max` items.
pub(crate) fn items<'a>(
    node: &'a Node,
    what: &str,
    items_max: usize,
    mistakes: &mut Diagnostics,
) -> Option<&'a [Node]> {
    let (message, mend) = match &node.value {
        Value::List(items) if items.is_empty() => (
            format!("{what} is empty"),
            "give at least one entry".to_owned(),
        ),
        Value::List(items) if items.len() > items_max => (
            format!("{what} has {} entries", items.len()),
            format!("use at most {items_max}, or split the rule set"),
        ),
        Value::List(items) => return Some(items),
        Value::Scalar(one) if !one.is_empty() => (
            format!("{what} is a list"),
            format!(
                "write `[{}]`, or lines that begin with `- `",
                printable(one)
            ),
        ),
        _ => (
            format!("{what} is a list"),
            "write `[…]`, or lines that begin with `- `".to_owned(),
        ),
    };
    mistakes.push(node.at, message, mend);
    None
}

/// A text as it may stand in a message: short, and without what a terminal would act on.
pub(crate) fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let shown: String = text
        .chars()
        .take(CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    match text.chars().nth(CHARS_MAX) {
        Some(_) => shown + "…",
        None => shown,
    }
}

fn suggestion(unknown: &str, known: &[&str]) -> String {
    let near = known.iter().find(|known| is_near(known, unknown));
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here are {}", list(known)),
    }
}

pub(crate) fn list(words: &[&str]) -> String {
    words.join(", ")
}

/// Whether one word becomes the other by a change at one place: a letter or two too few, too many
/// or different between a common beginning and a common end.
fn is_near(a: &str, b: &str) -> bool {
    let prefix = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let (rest_a, rest_b) = (&a.as_bytes()[prefix..], &b.as_bytes()[prefix..]);
    let backwards = rest_a.iter().rev().zip(rest_b.iter().rev());
    let suffix = backwards.take_while(|(a, b)| a == b).count();
    prefix + suffix > 1 && rest_a.len().max(rest_b.len()) - suffix <= 2
}
