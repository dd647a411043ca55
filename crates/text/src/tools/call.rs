//! One call, `{"name": …, "arguments": {…}}`, read while it arrives.

use serde_json::{Map, Value};

/// Bytes within which the name and the key of the arguments must have come; otherwise it is no call.
const HEAD_BYTES_MAX: usize = 1024;

/// What a piece of a call's text came to.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing yet.
    More,
    /// The call of a tool begins.
    Name(String),
    /// More of its arguments, in JSON as the model wrote it.
    Arguments(String),
    /// The call is whole; what follows it.
    Done(String),
    /// It is none: what was read.
    NoCall(String),
}

/// Reads one call. Its first character is `{`.
#[derive(Clone, Debug, Default)]
pub(super) struct CallReader {
    /// All that came.
    raw: String,
    stage: Stage,
    /// Bytes of `raw` that are dealt with.
    done: usize,
    braces: Braces,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The name and the key of the arguments are not known yet.
    #[default]
    Head,
    /// Name and arguments come in another order: the object is read to its end.
    Whole,
    /// Inside the arguments.
    Arguments,
    /// Behind them, inside the object around them.
    Tail,
}

impl CallReader {
    /// A call whose name has been read, in front of its arguments, with no object around them.
    pub(super) fn of_arguments() -> Self {
        Self {
            stage: Stage::Arguments,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.raw.push_str(text);
    }

    /// Whether its name is told.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.stage, Stage::Arguments | Stage::Tail)
    }

    pub(super) fn into_raw(self) -> String {
        self.raw
    }

    /// The next thing that is certain. `in_object`: whether an object stands around the arguments.
    pub(super) fn step(&mut self, is_offered: impl Fn(&str) -> bool, in_object: bool) -> Step {
        match self.stage {
            Stage::Head => self.read_head(is_offered),
            Stage::Whole => self.read_whole(is_offered),
            Stage::Arguments => self.read_arguments(in_object),
            Stage::Tail => self.read_tail(),
        }
    }

    fn read_head(&mut self, is_offered: impl Fn(&str) -> bool) -> Step {
        // However much has come at once, no more of it counts.
        let seen = self.raw.floor_char_boundary(HEAD_BYTES_MAX);
        match head(&self.raw[..seen]) {
            None if seen == self.raw.len() => Step::More,
            None => self.give_up(),
            Some(Head::NoCall) => self.give_up(),
            Some(Head::AnotherOrder) => {
                self.stage = Stage::Whole;
                self.read_whole(is_offered)
            }
            Some(Head::Named { name, .. }) if !is_offered(&name) => self.give_up(),
            Some(Head::Named { name, arguments_at }) => {
                self.stage = Stage::Arguments;
                self.done = arguments_at;
                Step::Name(name)
            }
        }
    }

    fn read_arguments(&mut self, in_object: bool) -> Step {
        let new = &self.raw[self.done..];
        let (end, is_closed) = match self.braces.close_of(new) {
            Some(end) => (end, true),
            None => (new.len(), false),
        };
        let arguments = new[..end].to_owned();
        self.done += end;
        if is_closed {
            self.stage = Stage::Tail;
            self.braces = match in_object {
                true => Braces::inside_one(),
                false => Braces::closed(),
            };
        }
        match arguments.is_empty() {
            true if is_closed => self.read_tail(),
            true => Step::More,
            false => Step::Arguments(arguments),
        }
    }

    fn read_tail(&mut self) -> Step {
        let rest = &self.raw[self.done..];
        match self.braces.close_of(rest) {
            Some(end) => Step::Done(rest[end..].to_owned()),
            None => {
                self.done = self.raw.len();
                Step::More
            }
        }
    }

    /// The name comes behind the arguments, or there are none.
    fn read_whole(&mut self, is_offered: impl Fn(&str) -> bool) -> Step {
        let Some(end) = self.braces.close_of(&self.raw[self.done..]) else {
            self.done = self.raw.len();
            return Step::More;
        };
        let end = self.done + end;
        match whole(&self.raw[..end]).filter(|(name, _)| is_offered(name)) {
            None => self.give_up(),
            Some((name, arguments)) => {
                let rest = &self.raw[end..];
                // As if they had come in order: the arguments, and the brace around them.
                *self = Self {
                    raw: format!("{arguments}}}{rest}"),
                    ..Self::of_arguments()
                };
                Step::Name(name)
            }
        }
    }

    fn give_up(&mut self) -> Step {
        Step::NoCall(std::mem::take(&mut self.raw))
    }
}

/// What an object begins with.
#[derive(Debug, PartialEq)]
enum Head {
    /// `{"name": "…", "arguments": ` and then `{` at this byte.
    Named {
        name: String,
        arguments_at: usize,
    },
    /// It may be a call, but its keys come in another order.
    AnotherOrder,
    NoCall,
}

/// `None` where too little has come to tell.
fn head(raw: &str) -> Option<Head> {
    let mut cursor = Cursor { rest: raw };
    cursor.take('{')?;
    match cursor.string()?.as_deref() {
        Some("name") => {}
        Some("arguments" | "parameters" | "type" | "function" | "id") => {
            return Some(Head::AnotherOrder);
        }
        _ => return Some(Head::NoCall),
    }
    if !cursor.take(':')? {
        return Some(Head::NoCall);
    }
    let Some(name) = cursor.string()? else {
        return Some(Head::NoCall);
    };
    if !cursor.take(',')? {
        return Some(Head::AnotherOrder);
    }
    if !matches!(
        cursor.string()?.as_deref(),
        Some("arguments" | "parameters")
    ) {
        return Some(Head::AnotherOrder);
    }
    let is_object = cursor.take(':')? && cursor.peek()? == '{';
    Some(match is_object {
        true => Head::Named {
            name,
            arguments_at: raw.len() - cursor.rest.len(),
        },
        false => Head::AnotherOrder,
    })
}

/// Walks over the beginning of a JSON text; `None` where it ends too early.
struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    /// The next character that is no white space.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    /// Whether the next character is `wanted`, which is then taken.
    fn take(&mut self, wanted: char) -> Option<bool> {
        let is_it = self.peek()? == wanted;
        if is_it {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        Some(is_it)
    }

    /// The string that comes next; the inner `None` if it is something else.
    fn string(&mut self) -> Option<Option<String>> {
        if self.peek()? != '"' {
            return Some(None);
        }
        let end = string_end(self.rest)?;
        let (string, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(serde_json::from_str(string).ok())
    }
}

/// Behind the closing quotation mark of the string that `text` begins with.
fn string_end(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Name and arguments of a whole call.
fn whole(text: &str) -> Option<(String, String)> {
    let object: Map<String, Value> = serde_json::from_str(text).ok()?;
    // `{"type": "function", "function": {…}}`, as it is on the wire.
    let call = match object.get("function") {
        Some(Value::Object(function)) => function,
        _ => &object,
    };
    let name = call.get("name").or_else(|| call.get("function"))?;
    let arguments = call.get("arguments").or_else(|| call.get("parameters"));
    let arguments = match arguments {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(json)) => {
            let object: Map<String, Value> = serde_json::from_str(json).ok()?;
            Value::Object(object).to_string()
        }
        Some(object @ Value::Object(_)) => object.to_string(),
        Some(_) => return None,
    };
    Some((name.as_str()?.to_owned(), arguments))
}

/// Finds the brace that closes an object.
#[derive(Clone, Copy, Debug, Default)]
struct Braces {
    depth: u32,
    has_opened: bool,
    in_string: bool,
    is_escaped: bool,
}

impl Braces {
    fn inside_one() -> Self {
        Self {
            depth: 1,
            has_opened: true,
            ..Self::default()
        }
    }

    fn closed() -> Self {
        Self {
            has_opened: true,
            ..Self::default()
        }
    }

    /// Reads on in `text`: behind the brace that closes the object, if it is there.
    fn close_of(&mut self, text: &str) -> Option<usize> {
        if self.has_opened && self.depth == 0 {
            return Some(0);
        }
        let closes = text.bytes().position(|byte| self.is_closed_by(byte));
        closes.map(|at| at + 1)
    }

    fn is_closed_by(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.in_string => self.is_escaped = true,
            b'"' => self.in_string = !self.in_string,
            b'{' | b'[' if !self.in_string => {
                self.depth = self.depth.saturating_add(1);
                self.has_opened = true;
            }
            b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.has_opened && self.depth == 0
    }
}
