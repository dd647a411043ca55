//! An answer cut into what is said and what is called.

use std::sync::Arc;

use super::ToolFormat;
use super::call::{CallReader, Step};

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Something said.
    Text(String),
    /// A call begins.
    Call {
        /// Which call of the answer, from 0.
        index: usize,
        /// The tool.
        name: String,
    },
    /// More of a call's arguments: JSON as the model wrote it, to be joined.
    Arguments {
        /// Which call.
        index: usize,
        /// The next part.
        json: String,
    },
}

/// Finds the calls in one answer. What may yet become a call is held back, and nothing else.
#[derive(Clone, Debug)]
pub struct ToolParser {
    format: ToolFormat,
    /// The tools that may be called.
    offered: Arc<[String]>,
    state: State,
    /// Text that is not decided about.
    held: String,
    /// What announced a call that has not begun: text after all, if it does not.
    announced: String,
    calls: usize,
}

#[derive(Clone, Debug)]
enum State {
    /// At the beginning of an answer of a model that calls without a marker.
    Start,
    /// In what is said. `blank`: nothing but white space since the start or the last call.
    Text { blank: bool },
    /// Where a call must begin.
    Expecting,
    /// Behind a call.
    After,
    Reading {
        call: CallReader,
        /// Whether an object stands around the arguments.
        in_object: bool,
    },
}

/// Whether there is more to do with what has come.
type Goes = bool;

impl ToolParser {
    /// For an answer that may call any of `offered`.
    pub fn new(format: ToolFormat, offered: Arc<[String]>) -> Self {
        Self {
            format,
            offered,
            state: match format.marker() {
                Some(_) => State::Text { blank: true },
                None => State::Start,
            },
            held: String::new(),
            announced: String::new(),
            calls: 0,
        }
    }

    /// For an answer that goes on behind [`ToolFormat::opening`].
    #[must_use]
    pub fn opened(self) -> Self {
        Self {
            state: State::Expecting,
            ..self
        }
    }

    /// Calls that have begun.
    pub fn num_calls(&self) -> usize {
        self.calls
    }

    /// Takes more of the answer; gives what is certain.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let mut pieces = Pieces::default();
        self.held.push_str(text);
        while self.advance(&mut pieces) {}
        pieces.list
    }

    /// The answer is over. A call that was cut off keeps what came of its arguments; one whose name
    /// had not come is text.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Pieces::default();
        let held = std::mem::take(&mut self.held);
        let announced = std::mem::take(&mut self.announced);
        match std::mem::replace(&mut self.state, State::Text { blank: true }) {
            State::Text { blank } if blank && self.calls > 0 => {}
            State::After => {}
            State::Start | State::Text { .. } => pieces.say(&held),
            State::Expecting => pieces.say(&(announced + &held)),
            State::Reading { call, .. } if call.has_begun() => {}
            State::Reading { call, .. } => pieces.say(&(announced + &call.into_raw())),
        }
        pieces.list
    }

    fn advance(&mut self, pieces: &mut Pieces) -> Goes {
        match &self.state {
            State::Start => self.start(),
            State::Text { blank } => self.say(*blank, pieces),
            State::Expecting => self.expect_call(pieces),
            State::After => self.go_on(),
            State::Reading { .. } => self.read(pieces),
        }
    }

    fn start(&mut self) -> Goes {
        match self.held.trim_start().chars().next() {
            None => false,
            Some('{') => self.go_to(State::Expecting),
            Some(_) => self.go_to(State::Text { blank: false }),
        }
    }

    /// Releases text up to a marker, or to what may become one.
    fn say(&mut self, blank: bool, pieces: &mut Pieces) -> Goes {
        let Some(marker) = self.format.marker() else {
            pieces.say(&std::mem::take(&mut self.held));
            return false;
        };
        let (end, is_found) = match self.held.find(marker) {
            Some(at) => (at, true),
            None => (self.held.len() - overlap(&self.held, marker), false),
        };
        // Around calls stands white space that nobody said.
        let is_blank = blank && self.held[..end].trim_start().is_empty();
        if is_blank && !is_found {
            return false;
        }
        let said: String = self.held.drain(..end).collect();
        if !is_blank {
            pieces.say(&said);
            self.state = State::Text { blank: false };
        }
        if is_found {
            self.announced = self.held.drain(..marker.len()).collect();
            self.state = State::Expecting;
        }
        is_found
    }

    /// Takes what stands in front of a call.
    fn expect_call(&mut self, pieces: &mut Pieces) -> Goes {
        let is_list = self.format == ToolFormat::Mistral;
        let is_before = |c: char| c.is_whitespace() || (is_list && c == '[');
        let skipped = self.held.len() - self.held.trim_start_matches(is_before).len();
        self.announced.extend(self.held.drain(..skipped));
        match self.held.chars().next() {
            None => false,
            Some('{') => self.read_on(CallReader::default(), true),
            Some(_) if is_list => self.expect_name(pieces),
            Some(_) => self.take_back(pieces),
        }
    }

    /// `name[ARGS]{…}`
    fn expect_name(&mut self, pieces: &mut Pieces) -> Goes {
        const NAME_BYTES_MAX: usize = 256;
        const ARGS: &str = "[ARGS]";
        let end = self.held.find(['[', '{']).unwrap_or(self.held.len());
        if end > NAME_BYTES_MAX {
            return self.take_back(pieces);
        }
        if end == self.held.len() {
            return false;
        }
        let (name, rest) = self.held.split_at(end);
        let arguments = rest.strip_prefix(ARGS).unwrap_or(rest).trim_start();
        let is_partial = rest.len() < ARGS.len() && ARGS.starts_with(rest);
        match arguments.chars().next() {
            _ if is_partial => false,
            None => false,
            Some('{') if self.offered.iter().any(|tool| tool == name.trim()) => {
                // As if it had been written in the other way.
                let name = serde_json::Value::from(name.trim());
                self.held = format!("{{\"name\": {name}, \"arguments\": {arguments}");
                self.read_on(CallReader::default(), false)
            }
            Some(_) => self.take_back(pieces),
        }
    }

    /// It is no call: what announced it was said.
    fn take_back(&mut self, pieces: &mut Pieces) -> Goes {
        pieces.say(&std::mem::take(&mut self.announced));
        self.go_to(State::Text { blank: false })
    }

    fn read_on(&mut self, call: CallReader, in_object: bool) -> Goes {
        self.go_to(State::Reading { call, in_object })
    }

    fn read(&mut self, pieces: &mut Pieces) -> Goes {
        let State::Reading { call, in_object } = &mut self.state else {
            return false;
        };
        call.push(&std::mem::take(&mut self.held));
        let offered = &self.offered;
        match call.step(|name| offered.iter().any(|tool| tool == name), *in_object) {
            Step::More => false,
            Step::Name(name) => {
                self.announced.clear();
                self.calls += 1;
                pieces.call(self.calls - 1, name);
                true
            }
            Step::Arguments(json) => {
                pieces.arguments(self.calls - 1, &json);
                true
            }
            Step::Done(rest) => {
                self.held = rest;
                self.go_to(State::After)
            }
            Step::NoCall(raw) => {
                // A call may yet begin in it: more may have come at once than showed that this is none.
                self.held = raw;
                self.take_back(pieces)
            }
        }
    }

    /// Behind a call: another one, the end of the calls, or text.
    fn go_on(&mut self) -> Goes {
        let spaces = self.held.len() - self.held.trim_start().len();
        self.held.drain(..spaces);
        let Some(next) = self.held.chars().next() else {
            return false;
        };
        match (self.format, next) {
            (ToolFormat::Hermes, _) => self.close("</tool_call>"),
            (ToolFormat::Mistral, ']') => self.close("]"),
            (ToolFormat::Mistral, ',') | (ToolFormat::Llama3, ';' | ',') => {
                self.held.drain(..1);
                self.go_to(State::Expecting)
            }
            (ToolFormat::Llama3, '{') => self.go_to(State::Expecting),
            _ => self.go_to(State::Text { blank: true }),
        }
    }

    fn close(&mut self, end: &str) -> Goes {
        if self.held.len() < end.len() && end.starts_with(&self.held) {
            return false;
        }
        if self.held.starts_with(end) {
            self.held.drain(..end.len());
        }
        self.go_to(State::Text { blank: true })
    }

    fn go_to(&mut self, state: State) -> Goes {
        self.state = state;
        true
    }
}

/// Bytes at the end of `text` that `marker` begins with.
fn overlap(text: &str, marker: &str) -> usize {
    let lengths = (1..marker.len()).rev();
    lengths
        .filter(|&length| marker.is_char_boundary(length))
        .find(|&length| text.ends_with(&marker[..length]))
        .unwrap_or(0)
}

/// Pieces, neighbours of one kind joined.
#[derive(Default)]
struct Pieces {
    list: Vec<Piece>,
}

impl Pieces {
    fn say(&mut self, said: &str) {
        match self.list.last_mut() {
            Some(Piece::Text(text)) => text.push_str(said),
            _ if said.is_empty() => {}
            _ => self.list.push(Piece::Text(said.to_owned())),
        }
    }

    fn call(&mut self, index: usize, name: String) {
        self.list.push(Piece::Call { index, name });
    }

    fn arguments(&mut self, index: usize, more: &str) {
        match self.list.last_mut() {
            Some(Piece::Arguments { json, .. }) => json.push_str(more),
            _ => self.list.push(Piece::Arguments {
                index,
                json: more.to_owned(),
            }),
        }
    }
}
