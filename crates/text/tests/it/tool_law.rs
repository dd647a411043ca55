//! The law of tool calls: whatever way an answer is cut, the same is said and called.

use std::sync::Arc;

use portcullis_text::{Piece, ToolFormat, ToolParser};

/// What an answer came to: what is said, and each call.
pub(crate) type Answer = (String, Vec<(String, String)>);

const OFFERED: [&str; 2] = ["weather", "time"];

pub(crate) fn parser(format: ToolFormat) -> ToolParser {
    let offered: Arc<[String]> = OFFERED.map(str::to_owned).into();
    ToolParser::new(format, offered)
}

fn read<'a>(mut parser: ToolParser, parts: impl IntoIterator<Item = &'a str>) -> Answer {
    let mut pieces: Vec<Piece> = parts
        .into_iter()
        .flat_map(|part| parser.push(part))
        .collect();
    pieces.extend(parser.finish());
    let mut answer = Answer::default();
    for piece in pieces {
        match piece {
            Piece::Text(text) => answer.0.push_str(&text),
            Piece::Call { index, name } => {
                assert_eq!(index, answer.1.len());
                assert!(OFFERED.contains(&name.as_str()), "{name:?} was not offered");
                answer.1.push((name, String::new()));
            }
            Piece::Arguments { index, json } => {
                assert_eq!(index + 1, answer.1.len());
                answer.1[index].1.push_str(&json);
            }
        }
    }
    answer
}

/// The answer, the same for the text as a whole, in single characters, and cut anywhere in two. If it
/// calls nothing, all of it is said, but the blank around what announced a call.
pub(crate) fn every_way(parser: &ToolParser, text: &str) -> Answer {
    let whole = read(parser.clone(), [text]);
    let cuts = text.char_indices().map(|(at, _)| at);
    for (at, rest) in cuts.map(|at| text.split_at(at)) {
        assert_eq!(
            read(parser.clone(), [at, rest]),
            whole,
            "cut before {rest:?}"
        );
    }
    let single: Vec<String> = text.chars().map(String::from).collect();
    let single = single.iter().map(String::as_str);
    assert_eq!(read(parser.clone(), single), whole, "in characters");
    if whole.1.is_empty() {
        assert_eq!(whole.0.trim(), text.trim());
    }
    whole
}
