//! Past text, read line by line: only one line is ever in memory.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::path::Path;

use portcullis_gate::Side;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::args::authoring::Format;

/// Bytes of a line; a chat that is longer is not read.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// A line of a transcript.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    pub(super) texts: Result<Vec<Text>, Unread>,
}

/// One text that rules look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// Where it stands in its line: `messages[2].content`.
    pub(super) part: String,
    pub(super) side: Side,
    pub(super) text: String,
}

/// Why a line was not read.
#[derive(Debug, Error)]
pub(super) enum Unread {
    #[error("is longer than {} MiB", LINE_BYTES_MAX >> 20)]
    TooLong,
    #[error("is not UTF-8")]
    NotUtf8,
    #[error("is no chat: {0}")]
    NotAChat(serde_json::Error),
    #[error("has none of `messages`, `prompt`, `completion` and `choices`")]
    NoText,
}

/// The lines of a transcript that are not blank.
pub(super) struct Transcript<R> {
    reader: R,
    format: Format,
    /// Who wrote a text without a role.
    side: Side,
    number: usize,
    buffer: Vec<u8>,
}

/// How the transcript at `path` is written, by its name.
pub(super) fn format_of(path: &Path) -> Format {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("jsonl" | "ndjson") => Format::Jsonl,
        _ => Format::Lines,
    }
}

impl<R: BufRead> Transcript<R> {
    pub(super) fn new(reader: R, format: Format, side: Side) -> Self {
        Self {
            reader,
            format,
            side,
            number: 0,
            buffer: Vec::new(),
        }
    }

    /// Fills the buffer with the next line, or as much of it as is too much; `false` at the end.
    fn read_line(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let mut bounded = self.reader.by_ref().take(LINE_BYTES_MAX + 1);
        let read = bounded.read_until(b'\n', &mut self.buffer)?;
        if self.is_too_long() {
            self.reader.skip_until(b'\n')?;
        }
        Ok(read > 0)
    }

    fn is_too_long(&self) -> bool {
        self.buffer.len() as u64 > LINE_BYTES_MAX && !self.buffer.ends_with(b"\n")
    }

    fn texts(&self) -> Result<Vec<Text>, Unread> {
        if self.is_too_long() {
            return Err(Unread::TooLong);
        }
        let line = str::from_utf8(&self.buffer).map_err(|_| Unread::NotUtf8)?;
        let line = line.trim_end_matches(['\r', '\n']);
        match self.format {
            Format::Lines => Ok(vec![Text::new("line", self.side, line)]),
            Format::Jsonl => read_json(line.trim(), self.side),
        }
    }

    fn is_blank(&self) -> bool {
        self.buffer.trim_ascii().is_empty()
    }
}

impl<R: BufRead> Iterator for Transcript<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read_line() {
                Ok(true) => self.number += 1,
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
            if self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
                self.buffer.drain(..BYTE_ORDER_MARK.len());
            }
            if !self.is_blank() {
                let number = self.number;
                let texts = self.texts();
                return Some(Ok(Line { number, texts }));
            }
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

impl Text {
    fn new(part: impl Into<String>, side: Side, text: impl Into<String>) -> Self {
        Self {
            part: part.into(),
            side,
            text: text.into(),
        }
    }
}

fn read_json(line: &str, side: Side) -> Result<Vec<Text>, Unread> {
    let mut texts = Vec::new();
    if line.starts_with('"') {
        let text: String = serde_json::from_str(line).map_err(Unread::NotAChat)?;
        texts.push(Text::new("line", side, text));
    } else if line.starts_with('[') {
        let messages: Vec<Message> = serde_json::from_str(line).map_err(Unread::NotAChat)?;
        add_messages("", &messages, &mut texts);
    } else {
        let call: Call = serde_json::from_str(line).map_err(Unread::NotAChat)?;
        call.add(&mut texts)?;
    }
    Ok(texts)
}

/// A call, its answer, or both, in one of the forms in which they are kept.
#[derive(Deserialize)]
struct Call {
    messages: Option<Vec<Message>>,
    prompt: Option<Prompt>,
    completion: Option<String>,
    choices: Option<Vec<Choice>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Message>,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    role: Option<String>,
    content: Option<Content>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// An image or a sound has no text.
#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Deserialize)]
struct ToolCall {
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<Value>,
}

impl Call {
    fn add(&self, texts: &mut Vec<Text>) -> Result<(), Unread> {
        let Self {
            messages,
            prompt,
            completion,
            choices,
        } = self;
        if let (None, None, None, None) = (messages, prompt, completion, choices) {
            return Err(Unread::NoText);
        }
        match prompt {
            Some(Prompt::One(text)) => texts.push(Text::new("prompt", Side::Input, text)),
            Some(Prompt::Several(several)) => texts.extend(
                several
                    .iter()
                    .enumerate()
                    .map(|(i, text)| Text::new(format!("prompt[{i}]"), Side::Input, text)),
            ),
            None => {}
        }
        add_messages("messages", messages.as_deref().unwrap_or_default(), texts);
        if let Some(text) = completion {
            texts.push(Text::new("completion", Side::Output, text));
        }
        for (i, choice) in choices.iter().flatten().enumerate() {
            choice.add(&format!("choices[{i}]"), texts);
        }
        Ok(())
    }
}

impl Choice {
    fn add(&self, at: &str, texts: &mut Vec<Text>) {
        if let Some(text) = &self.text {
            texts.push(Text::new(format!("{at}.text"), Side::Output, text));
        }
        if let Some(message) = &self.message {
            message.add(&format!("{at}.message"), Side::Output, texts);
        }
    }
}

fn add_messages(list: &str, messages: &[Message], texts: &mut Vec<Text>) {
    for (i, message) in messages.iter().enumerate() {
        let side = match message.role.as_deref() {
            Some("assistant") => Side::Output,
            _ => Side::Input,
        };
        message.add(&format!("{list}[{i}]"), side, texts);
    }
}

impl Message {
    /// Every channel on which a text may stand.
    fn add(&self, at: &str, side: Side, texts: &mut Vec<Text>) {
        let mut add = |part: String, text: Cow<'_, str>| {
            texts.push(Text::new(format!("{at}.{part}"), side, text));
        };
        match &self.content {
            Some(Content::Text(text)) => add("content".to_owned(), text.into()),
            Some(Content::Parts(parts)) => {
                for (i, part) in parts.iter().enumerate() {
                    part.text
                        .iter()
                        .for_each(|text| add(format!("content[{i}]"), text.into()));
                }
            }
            None => {}
        }
        if let Some(text) = &self.reasoning_content {
            add("reasoning_content".to_owned(), text.into());
        }
        if let Some(text) = &self.refusal {
            add("refusal".to_owned(), text.into());
        }
        for (i, call) in self.tool_calls.iter().flatten().enumerate() {
            let Some(Function { name, arguments }) = &call.function else {
                continue;
            };
            if let Some(name) = name {
                add(format!("tool_calls[{i}].name"), name.into());
            }
            match arguments {
                Some(Value::String(text)) => {
                    add(format!("tool_calls[{i}].arguments"), text.into());
                }
                Some(value) => add(
                    format!("tool_calls[{i}].arguments"),
                    value.to_string().into(),
                ),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: Format, file: &str, expected: &[(usize, &str, Side, &str)]) {
        let lines = Transcript::new(file.as_bytes(), format, Side::Output);
        let mut found = Vec::new();
        for line in lines {
            let Line { number, texts } = line.unwrap();
            let texts = texts.unwrap().into_iter();
            found.extend(texts.map(|text| (number, text.part, text.side, text.text)));
        }
        let expected = expected
            .iter()
            .map(|(number, part, side, text)| (*number, part.to_string(), *side, text.to_string()));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[test]
    fn every_channel_of_a_chat_is_a_text() {
        check(
            Format::Jsonl,
            concat!(
                r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "#,
                r#"[{"type": "text", "text": "u"}, {"type": "image_url", "image_url": {}}]}, "#,
                r#"{"role": "assistant", "content": null, "reasoning": "r", "tool_calls": "#,
                r#"[{"function": {"name": "n", "arguments": "{}"}}, "#,
                r#"{"function": {"arguments": {"a": 1}}}]}]}"#,
            ),
            &[
                (1, "messages[0].content", Side::Input, "s"),
                (1, "messages[1].content[0]", Side::Input, "u"),
                (1, "messages[2].reasoning_content", Side::Output, "r"),
                (1, "messages[2].tool_calls[0].name", Side::Output, "n"),
                (1, "messages[2].tool_calls[0].arguments", Side::Output, "{}"),
                (
                    1,
                    "messages[2].tool_calls[1].arguments",
                    Side::Output,
                    "{\"a\":1}",
                ),
            ],
        );
    }

    #[test]
    fn calls_lists_and_texts_are_read_too() {
        check(
            Format::Jsonl,
            "\u{FEFF}{\"prompt\": \"p\", \"completion\": \"c\"}\r\n\n\
             {\"prompt\": [\"p\", \"q\"], \"choices\": [{\"text\": \"t\"}, {\"message\": \
             {\"role\": \"assistant\", \"content\": \"m\"}}]}\n\
             [{\"role\": \"user\", \"content\": \"u\"}]\n \"a text\" \n",
            &[
                (1, "prompt", Side::Input, "p"),
                (1, "completion", Side::Output, "c"),
                (3, "prompt[0]", Side::Input, "p"),
                (3, "prompt[1]", Side::Input, "q"),
                (3, "choices[0].text", Side::Output, "t"),
                (3, "choices[1].message.content", Side::Output, "m"),
                (4, "[0].content", Side::Input, "u"),
                (5, "line", Side::Output, "a text"),
            ],
        );
        check(
            Format::Lines,
            "one\r\n\n{\"two\"\nlast",
            &[
                (1, "line", Side::Output, "one"),
                (3, "line", Side::Output, "{\"two\""),
                (4, "line", Side::Output, "last"),
            ],
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_says_why_and_the_next_is_read() {
        let mut file = b"{\"messages\": 1}\n{\"question\": \"q\"}\n\xFF\n".to_vec();
        file.extend(vec![b'a'; LINE_BYTES_MAX as usize + 1]);
        file.extend(b"aa\n\"good\"\n");
        let lines: Vec<Line> = Transcript::new(&file[..], Format::Jsonl, Side::Output)
            .collect::<io::Result<_>>()
            .unwrap();
        let reasons = lines.iter().map(|line| match &line.texts {
            Ok(texts) => texts[0].text.clone(),
            Err(unread) => unread.to_string(),
        });
        let reasons: Vec<String> = reasons.collect();
        assert!(
            reasons[0].starts_with("is no chat: invalid type"),
            "{reasons:?}"
        );
        assert_eq!(
            reasons[1..],
            [
                "has none of `messages`, `prompt`, `completion` and `choices`",
                "is not UTF-8",
                "is longer than 16 MiB",
                "good"
            ]
        );
        assert_eq!(lines[4].number, 5);
    }
}
