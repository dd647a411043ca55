//! YAML to a tree that keeps places and spellings.
//!
//! On the parser's events and not through serde, for three reasons: serde stops at the first
//! mistake, and a file is to show all of its mistakes at once; it would read `phrases: [007]` as a
//! number; and anchors, aliases and tags must be seen to be refused.

use std::collections::HashSet;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use crate::{
    diagnostic::{Diagnostics, Place},
    limits::{FILE_BYTES_MAX, NESTING_MAX, NODES_MAX},
};

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) value: Value,
    /// A scalar without quotes.
    pub(crate) plain: bool,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// As written, escapes resolved.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) at: Place,
    pub(crate) name: String,
}

impl Node {
    pub(crate) fn is_scalar(&self) -> bool {
        matches!(self.value, Value::Scalar(_))
    }
}

/// The one document of a file. What is not part of the format is reported and left out.
pub(crate) fn parse(source: &[u8], mistakes: &mut Diagnostics) -> Option<Node> {
    if source.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes", source.len());
        let mend = format!("a rule set has at most {FILE_BYTES_MAX}; split it into several");
        mistakes.push(Place::START, message, mend);
        return None;
    }
    let text = match std::str::from_utf8(source) {
        Ok(text) => text,
        Err(error) => {
            let at = place_after(&source[..error.valid_up_to()]);
            mistakes.push(at, "this byte is not UTF-8", "save the file as UTF-8");
            return None;
        }
    };
    let mut tree = Tree::default();
    for event in Parser::new_from_str_with_options(text, options()) {
        match event {
            Ok((event, span)) => tree.take(event, place(&span), mistakes)?,
            Err(error) => {
                let marker = error.marker();
                let at = Place {
                    line: marker.line(),
                    column: marker.col() + 1,
                };
                let message = format!("this is not YAML: {}", error.kind());
                mistakes.push(
                    at,
                    message,
                    "see https://yaml.org/spec/1.2.2 or quote the text",
                );
                return None;
            }
        }
    }
    if tree.root.is_none() {
        let mend = "begin with `ruleset: NAME`";
        mistakes.push(Place::START, "the file holds no rule set", mend);
    }
    tree.root
}

fn options() -> Options {
    let mut options = Options::default();
    options.disallow_directives = true;
    options.emit_unresolved_aliases = true;
    options
}

fn place(span: &Span) -> Place {
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn place_after(valid: &[u8]) -> Place {
    // Lines end as those of YAML do.
    let text = String::from_utf8_lossy(valid);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let last = text.rsplit('\n').next().unwrap_or_default();
    Place {
        line: text.matches('\n').count() + 1,
        column: last.chars().count() + 1,
    }
}

/// A tree under construction.
#[derive(Default)]
struct Tree {
    root: Option<Node>,
    open: Vec<Open>,
    nodes: usize,
}

struct Open {
    at: Place,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        key: Option<Key>,
        seen: HashSet<String>,
    },
}

impl Tree {
    /// Takes the next event; `None` where reading on makes no sense.
    fn take(&mut self, event: Event<'_>, at: Place, mistakes: &mut Diagnostics) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_extras(anchor, tag.is_some(), at, mistakes);
                self.add(scalar(&text, style, at), mistakes)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_extras(anchor, tag.is_some(), at, mistakes);
                self.open(at, OpenKind::List(Vec::new()), mistakes)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_extras(anchor, tag.is_some(), at, mistakes);
                let (entries, seen) = (Vec::new(), HashSet::new());
                let key = None;
                self.open(at, OpenKind::Map { entries, key, seen }, mistakes)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(mistakes),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let mend = "write the value out, so that the file reads in one direction";
                mistakes.push(at, "an alias (`*name`) is not allowed", mend);
                self.add(scalar("", ScalarStyle::Plain, at), mistakes)
            }
            _ => Some(()),
        }
    }

    fn open(&mut self, at: Place, kind: OpenKind, mistakes: &mut Diagnostics) -> Option<()> {
        if self.open.len() >= NESTING_MAX {
            let message = format!("more than {NESTING_MAX} levels of nesting");
            mistakes.push(at, message, "no part of a rule set is that deep");
            return None;
        }
        self.open.push(Open { at, kind });
        Some(())
    }

    fn close(&mut self, mistakes: &mut Diagnostics) -> Option<()> {
        let Open { at, kind } = self.open.pop()?;
        let value = match kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map { entries, .. } => Value::Map(entries),
        };
        let plain = false;
        self.add(Node { at, value, plain }, mistakes)
    }

    fn add(&mut self, node: Node, mistakes: &mut Diagnostics) -> Option<()> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("more than {NODES_MAX} values");
            mistakes.push(node.at, message, "split the rule set into several");
            return None;
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map { entries, key, seen }) => match key.take() {
                Some(key) if seen.insert(key.name.clone()) => entries.push((key, node)),
                Some(key) => {
                    let message = format!("the key `{}` is given twice", key.name);
                    mistakes.push(key.at, message, "keep one of the two");
                }
                None => *key = Some(as_key(node, mistakes)?),
            },
            None if self.root.is_none() => self.root = Some(node),
            None => {
                let message = "a second document begins here";
                mistakes.push(node.at, message, "one file holds one rule set: split it");
                return None;
            }
        }
        Some(())
    }
}

fn scalar(text: &str, style: ScalarStyle, at: Place) -> Node {
    let plain = style == ScalarStyle::Plain;
    let null = plain && matches!(text, "~" | "null");
    let text = if null { "" } else { text };
    Node {
        at,
        value: Value::Scalar(text.to_owned()),
        plain,
    }
}

fn as_key(node: Node, mistakes: &mut Diagnostics) -> Option<Key> {
    if let Value::Scalar(name) = node.value {
        return Some(Key { at: node.at, name });
    }
    mistakes.push(
        node.at,
        "a list or map cannot be a key",
        "write `key: value`",
    );
    None
}

fn refuse_extras(anchor: usize, tagged: bool, at: Place, mistakes: &mut Diagnostics) {
    if anchor > 0 {
        let mend = "write the value out where it is needed";
        mistakes.push(at, "an anchor (`&name`) is not allowed", mend);
    }
    if tagged {
        mistakes.push(at, "a tag (`!name`) is not allowed", "leave it out");
    }
}
