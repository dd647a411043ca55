//! What each token contributes to the text, derived once from vocabulary and decoder.
//!
//! A tokenizer's decoder is a little program over all tokens at once. The kinds that language
//! models use fall apart into a part that looks at one token, which is run here when the model is
//! loaded, and a part that joins the results, which the detokenizer runs as tokens arrive.

use std::collections::HashMap;

use portcullis_types::TokenId;
use serde::Deserialize;

/// The contribution of every token, and how contributions are joined.
#[derive(Debug)]
pub(crate) struct TokenTable {
    joining: Joining,
    strip: Option<StripStart>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

/// How contributions become text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Joining {
    /// All bytes one after another are UTF-8; what is not becomes U+FFFD, as
    /// `String::from_utf8_lossy` does it. Byte-level BPE.
    Bytes,
    /// Contributions are text, but for bytes that the vocabulary has no text for. A run of such
    /// bytes is UTF-8 as a whole, or else each of its bytes becomes U+FFFD. SentencePiece.
    Runs,
    /// Contributions are text with `space` where a space belongs; those of the first token are
    /// dropped if `drop_first`.
    Metaspace { space: char, drop_first: bool },
}

/// Up to `count` times `content` is taken from the beginning of the whole text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StripStart {
    pub(crate) content: char,
    pub(crate) count: usize,
}

impl StripStart {
    /// What is left of the beginning of a text.
    fn of<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let mut buffer = [0; 4];
        let content = self.content.encode_utf8(&mut buffer).as_bytes();
        (0..self.count).fold(text, |text, _| text.strip_prefix(content).unwrap_or(text))
    }
}

/// What one token contributes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    /// Text; under [`Joining::Bytes`] any bytes.
    Text(&'a [u8]),
    /// One byte of a run.
    Byte(u8),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    end: u32,
    kind: EntryKind,
    special: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum EntryKind {
    /// No token has this id.
    Absent,
    Text,
    Byte,
}

/// The decoder is of a kind that this crate does not know how to stream.
#[derive(Debug)]
pub(crate) struct UnsupportedDecoder(pub(crate) String);

impl TokenTable {
    /// The table of a tokenizer; `special` tells of an id whether it is a control token.
    pub(crate) fn new(
        tokenizer: &tokenizers::Tokenizer,
        special: impl Fn(TokenId) -> bool,
    ) -> Result<Self, UnsupportedDecoder> {
        let plan = DecoderPlan::of(tokenizer)?;
        let mut table = Self {
            joining: plan.joining,
            strip: plan.strip,
            entries: Vec::new(),
            bytes: Vec::new(),
        };
        let ids = tokenizer.get_vocab(true).into_values();
        let len = ids.max().map_or(0, |id| id + 1);
        let alphabet = ByteAlphabet::new();
        for id in 0..len {
            let piece = tokenizer.id_to_token(id);
            let piece = piece.map(|piece| plan.contribution(&piece, &alphabet));
            table.add(piece, special(id));
        }
        Ok(table)
    }

    /// One more than the highest id.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn joining(&self) -> Joining {
        self.joining
    }

    pub(crate) fn strip(&self) -> Option<StripStart> {
        self.strip
    }

    pub(crate) fn is_special(&self, id: TokenId) -> bool {
        self.entry(id).is_some_and(|entry| entry.special)
    }

    /// What a token contributes; `None` if there is no such token.
    pub(crate) fn piece(&self, id: TokenId) -> Option<Piece<'_>> {
        let entry = self.entry(id)?;
        let bytes = &self.bytes[entry.start as usize..entry.end as usize];
        match entry.kind {
            EntryKind::Absent => None,
            EntryKind::Text => Some(Piece::Text(bytes)),
            EntryKind::Byte => bytes.first().copied().map(Piece::Byte),
        }
    }

    /// What a token that adds the bytes `inside` in the middle of a text adds at its beginning.
    pub(crate) fn bytes_at_start(&self, id: TokenId, inside: &[u8]) -> Vec<u8> {
        match (self.joining, self.piece(id), self.strip) {
            (Joining::Metaspace { space, drop_first }, Some(Piece::Text(bytes)), _)
                if drop_first =>
            {
                let text = String::from_utf8_lossy(bytes).replace(space, "");
                text.into_bytes()
            }
            (_, _, Some(strip)) => strip.of(inside).to_vec(),
            _ => inside.to_vec(),
        }
    }

    fn entry(&self, id: TokenId) -> Option<&Entry> {
        self.entries.get(id as usize)
    }

    fn add(&mut self, contribution: Option<Contribution>, special: bool) {
        let start = self.bytes.len() as u32;
        let kind = match contribution {
            None => EntryKind::Absent,
            Some(Contribution::Byte(byte)) => {
                self.bytes.push(byte);
                EntryKind::Byte
            }
            Some(Contribution::Text(text)) => {
                self.bytes.extend(text);
                EntryKind::Text
            }
        };
        let end = self.bytes.len() as u32;
        self.entries.push(Entry {
            start,
            end,
            kind,
            special,
        });
    }
}

enum Contribution {
    Text(Vec<u8>),
    Byte(u8),
}

/// A decoder, understood.
#[derive(Debug, PartialEq)]
struct DecoderPlan {
    joining: Joining,
    replace: Vec<(String, String)>,
    byte_fallback: bool,
    strip: Option<StripStart>,
}

impl DecoderPlan {
    fn of(tokenizer: &tokenizers::Tokenizer) -> Result<Self, UnsupportedDecoder> {
        let Some(decoder) = tokenizer.get_decoder() else {
            return Err(UnsupportedDecoder("none at all".to_owned()));
        };
        let json = serde_json::to_string(decoder).unwrap_or_default();
        let steps = serde_json::from_str(&json).ok().map(Step::flatten);
        steps
            .and_then(|steps| Self::from_steps(&steps))
            .ok_or(UnsupportedDecoder(json))
    }

    fn from_steps(steps: &[Step]) -> Option<Self> {
        match steps {
            [Step::ByteLevel] | [Step::ByteLevel, Step::Fuse] => Some(Self::joined(Joining::Bytes)),
            [
                Step::Metaspace {
                    replacement,
                    prepend_scheme,
                },
            ] => Some(Self::joined(Joining::Metaspace {
                space: *replacement,
                drop_first: prepend_scheme != "never",
            })),
            _ => Self::sentence_piece(steps),
        }
    }

    /// `Replace* ByteFallback? (Fuse Strip?)?`, as Llama 2, Mistral and Gemma have it.
    fn sentence_piece(steps: &[Step]) -> Option<Self> {
        let mut plan = Self::joined(Joining::Runs);
        let mut steps = steps;
        while let [
            Step::Replace {
                pattern: Pattern::String(from),
                content,
            },
            rest @ ..,
        ] = steps
        {
            plan.replace.push((from.clone(), content.clone()));
            steps = rest;
        }
        if let [Step::ByteFallback, rest @ ..] = steps {
            plan.byte_fallback = true;
            steps = rest;
        }
        match steps {
            [] | [Step::Fuse] => Some(plan),
            [
                Step::Fuse,
                Step::Strip {
                    content,
                    start,
                    stop: 0,
                },
            ] => {
                plan.strip = Some(StripStart {
                    content: *content,
                    count: *start,
                });
                Some(plan)
            }
            _ => None,
        }
    }

    fn joined(joining: Joining) -> Self {
        Self {
            joining,
            replace: Vec::new(),
            byte_fallback: false,
            strip: None,
        }
    }

    fn contribution(&self, piece: &str, alphabet: &ByteAlphabet) -> Contribution {
        if self.joining == Joining::Bytes {
            return Contribution::Text(alphabet.bytes(piece));
        }
        let mut text = piece.to_owned();
        for (from, to) in &self.replace {
            text = text.replace(from, to);
        }
        match fallback_byte(&text).filter(|_| self.byte_fallback) {
            Some(byte) => Contribution::Byte(byte),
            None => Contribution::Text(text.into_bytes()),
        }
    }
}

/// The byte that a token such as `<0xE4>` stands for.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let digits = Some(digits).filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// A step of a decoder, in the words of `tokenizer.json`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Step {
    ByteLevel,
    Metaspace {
        replacement: char,
        prepend_scheme: String,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    ByteFallback,
    Fuse,
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    Sequence {
        decoders: Vec<Step>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
enum Pattern {
    String(String),
    Regex(#[expect(dead_code, reason = "not supported: named so that it is told apart")] String),
}

impl Step {
    fn flatten(self) -> Vec<Step> {
        match self {
            Self::Sequence { decoders } => decoders.into_iter().flat_map(Self::flatten).collect(),
            step => vec![step],
        }
    }
}

/// The alphabet in which byte-level BPE spells bytes: printable Latin-1 stands for itself, every
/// other byte for a character from U+0100 on, in order. Source: GPT-2, `bytes_to_unicode`.
struct ByteAlphabet(HashMap<char, u8>);

impl ByteAlphabet {
    fn new() -> Self {
        let mut spare = '\u{100}'..;
        let spelled = (0..=u8::MAX).map(|byte| match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => (char::from(byte), byte),
            _ => (spare.next().expect("an open range of characters"), byte),
        });
        Self(spelled.collect())
    }

    /// The bytes that a token spells; a token with any other character is its own text, as added
    /// tokens are.
    fn bytes(&self, token: &str) -> Vec<u8> {
        let spelled: Option<Vec<u8>> = token.chars().map(|c| self.0.get(&c).copied()).collect();
        spelled.unwrap_or_else(|| token.as_bytes().to_vec())
    }
}
