//! Control tokens: where they are, and how a prompt is encoded that quotes some as plain text.

use std::collections::HashSet;
use std::ops::Range;

use portcullis_types::TokenId;
use tokenizers::tokenizer::{AddedToken, OffsetReferential, OffsetType};

use super::Inner;
use crate::{RenderedPrompt, TextError};

/// The control tokens of a tokenizer.
#[derive(Debug)]
pub(crate) struct ControlTokens {
    ids: HashSet<TokenId>,
    /// The first and last characters of their texts: a text without any of these spells none.
    borders: Vec<char>,
    /// Some are recognised after normalisation only, so that other characters may turn into
    /// borders.
    normalized: bool,
}

/// A control token in a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    /// Bytes of the text.
    pub(crate) range: Range<usize>,
    pub(crate) id: TokenId,
}

impl ControlTokens {
    pub(crate) fn new(library: &tokenizers::Tokenizer) -> Self {
        let added = library.get_added_vocabulary().get_added_tokens_decoder();
        let special: Vec<_> = added.iter().filter(|(_, token)| token.special).collect();
        let ends = |token: &AddedToken| {
            let content = &token.content;
            [content.chars().next(), content.chars().next_back()]
                .into_iter()
                .flatten()
        };
        let mut borders: Vec<_> = special
            .iter()
            .flat_map(|(_, token)| ends(token).collect::<Vec<_>>())
            .collect();
        borders.sort_unstable();
        borders.dedup();
        Self {
            ids: special.iter().map(|(id, _)| **id).collect(),
            borders,
            normalized: library.get_normalizer().is_some()
                && special.iter().any(|(_, token)| token.normalized),
        }
    }

    pub(crate) fn contains(&self, id: TokenId) -> bool {
        self.ids.contains(&id)
    }

    /// Whether a character can be the first or last of a control token. Without such a character a
    /// text holds no control token, and completes none.
    pub(crate) fn is_border(&self, c: char) -> bool {
        self.borders.contains(&c) || (self.normalized && !c.is_ascii() && !c.is_whitespace())
    }
}

impl Inner {
    pub(super) fn control_spans(&self, text: &str) -> Vec<Span> {
        let added = self.library.get_added_vocabulary();
        let pieces = added.extract_and_normalize(self.library.get_normalizer(), text);
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let spans = pieces.into_iter().filter_map(|(_, (start, end), tokens)| {
            let id = tokens.as_ref()?.first()?.id;
            self.control.contains(id).then_some(Span {
                range: start..end,
                id,
            })
        });
        spans.collect()
    }
}

/// Encodes a prompt, some of whose segments are plain text.
///
/// The template's control tokens are looked for with the plain segments out of sight. Then each is
/// replaced by a mark, a character that the text does not have, and the whole is encoded as plain
/// text in which the mark alone is a token. So the text between two control tokens is tokenized
/// in one go, as if nothing in it were quoted, and only the marks become control tokens.
pub(super) fn encode_quoting(
    inner: &Inner,
    prompt: &RenderedPrompt,
) -> Result<Vec<TokenId>, TextError> {
    let mut unused = UnusedChars::default();
    unused.exclude(&prompt.text());
    let (Some(hole), Some(mark)) = (unused.next(), unused.next()) else {
        return Err(TextError::encode("it uses every private-use character"));
    };
    let skeleton = prompt.with_holes(hole);
    let spans = inner.control_spans(&skeleton);
    let marked = fill_holes(&with_marks(&skeleton, &spans, mark), hole, prompt);

    let mark = AddedToken::from(mark, false).normalized(false);
    let mut added = inner.plain.clone();
    let model = inner.library.get_model();
    added
        .add_tokens([mark.clone()], model, inner.library.get_normalizer())
        .map_err(TextError::encode)?;
    let mark = added.token_to_id(&mark.content, model);
    let mut ids = inner.run(&added, &marked).map_err(TextError::encode)?;
    inner.refuse_control(&ids)?;

    let marks = ids.iter_mut().filter(|id| Some(**id) == mark);
    let mut written = spans.iter();
    for place in marks {
        let span = written
            .next()
            .ok_or_else(|| TextError::encode("a mark too many"))?;
        *place = span.id;
    }
    match written.next() {
        None => Ok(ids),
        Some(_) => Err(TextError::encode(
            "a control token of the template was lost",
        )),
    }
}

fn with_marks(text: &str, spans: &[Span], mark: char) -> String {
    let mut marked = String::with_capacity(text.len());
    let mut end = 0;
    for span in spans {
        marked.push_str(&text[end..span.range.start]);
        marked.push(mark);
        end = span.range.end;
    }
    marked.push_str(&text[end..]);
    marked
}

fn fill_holes(text: &str, hole: char, prompt: &RenderedPrompt) -> String {
    let mut parts = text.split(hole);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    let plain = prompt.segments.iter().filter(|segment| segment.plain);
    for (part, segment) in parts.zip(plain) {
        filled.push_str(&segment.text);
        filled.push_str(part);
    }
    filled
}

/// Private-use characters that given texts do not have, in a fixed order.
///
/// Nothing changes such a character: it has no case, is no whitespace and cannot be cut in two.
#[derive(Clone)]
pub(crate) struct UnusedChars {
    used: HashSet<char>,
    rest: std::iter::Rev<std::ops::RangeInclusive<char>>,
}

impl UnusedChars {
    const PLANE_16: std::ops::RangeInclusive<char> = '\u{100000}'..='\u{10FFFD}';

    /// Leaves out those that a text has, as they are or as JSON escapes them.
    pub(crate) fn exclude(&mut self, text: &str) {
        // U+100000 and above begin with this byte; hardly any text has it.
        if text.as_bytes().contains(&0xF4) {
            self.used
                .extend(text.chars().filter(|c| Self::PLANE_16.contains(c)));
        }
        self.used.extend(escaped_pairs(text));
    }
}

/// The characters that a text has as `\udbff\udffd`: two escapes, the halves of UTF-16.
fn escaped_pairs(text: &str) -> impl Iterator<Item = char> {
    let unit = |escape: &str| u16::from_str_radix(escape.strip_prefix("\\u")?, 16).ok();
    text.match_indices("\\ud").filter_map(move |(at, _)| {
        let halves = [
            unit(text.get(at..at + 6)?)?,
            unit(text.get(at + 6..at + 12)?)?,
        ];
        char::decode_utf16(halves).next()?.ok()
    })
}

impl Default for UnusedChars {
    fn default() -> Self {
        Self {
            used: HashSet::new(),
            rest: Self::PLANE_16.rev(),
        }
    }
}

impl Iterator for UnusedChars {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        self.rest.by_ref().find(|c| !self.used.contains(c))
    }
}
