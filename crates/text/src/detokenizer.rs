//! Tokens to text, one token at a time.

use std::sync::Arc;

use portcullis_types::TokenId;

use crate::token_table::{Joining, Piece, TokenTable};

/// Turns tokens into text as they arrive.
///
/// The pieces, joined and with [`finish`](Self::finish) at the end, are what
/// [`Tokenizer::decode`](crate::Tokenizer::decode) makes of all tokens. A piece holds whole
/// characters only. Cheap to clone, so that a state can be kept to roll back to.
///
/// With byte fallback (SentencePiece), one bad byte spoils its whole run of byte tokens; the run
/// is therefore held until it ends. With byte-level BPE at most three bytes are held.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    table: Arc<TokenTable>,
    skip_special: bool,
    /// Control tokens that are seen all the same.
    shown: Arc<[TokenId]>,
    /// Bytes that are no character yet, or a run of byte tokens that has not ended.
    pending: Vec<u8>,
    /// Whether a token has contributed already.
    started: bool,
    /// How many characters may still be taken from the beginning of the text.
    strip_left: usize,
}

impl Detokenizer {
    pub(crate) fn new(table: Arc<TokenTable>, skip_special: bool) -> Self {
        Self {
            skip_special,
            shown: Arc::default(),
            pending: Vec::new(),
            started: false,
            strip_left: table.strip().map_or(0, |strip| strip.count),
            table,
        }
    }

    /// Gives these control tokens as the text that they are named by.
    #[must_use]
    pub fn showing(self, tokens: Arc<[TokenId]>) -> Self {
        Self {
            shown: tokens,
            ..self
        }
    }

    /// The text that is certain once `token` has come: empty for a control token, an unknown one,
    /// and in the middle of a character.
    pub fn push(&mut self, token: TokenId) -> String {
        let mut text = String::new();
        self.push_onto(token, &mut text);
        text
    }

    /// What is still held, with U+FFFD for what is no character. The detokenizer is then empty.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        let pending = std::mem::take(&mut self.pending);
        match self.table.joining() {
            Joining::Bytes => text.push_str(&String::from_utf8_lossy(&pending)),
            Joining::Runs | Joining::Metaspace { .. } => push_run(&pending, &mut text),
        }
        self.strip_start(&mut text);
        text
    }

    fn push_onto(&mut self, token: TokenId, text: &mut String) {
        if self.skip_special && self.table.is_special(token) && !self.shown.contains(&token) {
            return;
        }
        let table = Arc::clone(&self.table);
        let Some(piece) = table.piece(token) else {
            return;
        };
        match (table.joining(), piece) {
            (Joining::Bytes, Piece::Text(bytes)) => {
                self.pending.extend_from_slice(bytes);
                drain_characters(&mut self.pending, text);
            }
            (_, Piece::Byte(byte)) => self.pending.push(byte),
            (Joining::Runs, Piece::Text(bytes)) => {
                push_run(&std::mem::take(&mut self.pending), text);
                text.push_str(&String::from_utf8_lossy(bytes));
            }
            (Joining::Metaspace { space, drop_first }, Piece::Text(bytes)) => {
                let with = if drop_first && !self.started { "" } else { " " };
                text.push_str(&String::from_utf8_lossy(bytes).replace(space, with));
            }
        }
        self.started = true;
        self.strip_start(text);
    }

    fn strip_start(&mut self, text: &mut String) {
        let Some(strip) = self.table.strip().filter(|_| self.strip_left > 0) else {
            return;
        };
        let leading = text.chars().take_while(|&c| c == strip.content);
        let count = leading.take(self.strip_left).count();
        text.drain(..count * strip.content.len_utf8());
        self.strip_left = if text.is_empty() {
            self.strip_left - count
        } else {
            0
        };
    }
}

/// Moves whole characters from `pending` to `text`, and U+FFFD for bytes that cannot become one,
/// exactly as `String::from_utf8_lossy` would on the whole. What may still become one stays.
fn drain_characters(pending: &mut Vec<u8>, text: &mut String) {
    let mut done = 0;
    while let Err(error) = std::str::from_utf8(&pending[done..]) {
        let valid = done + error.valid_up_to();
        text.push_str(&String::from_utf8_lossy(&pending[done..valid]));
        done = valid;
        let Some(bad) = error.error_len() else {
            pending.drain(..done);
            return;
        };
        text.push(char::REPLACEMENT_CHARACTER);
        done += bad;
    }
    text.push_str(&String::from_utf8_lossy(&pending[done..]));
    pending.clear();
}

/// A run of byte tokens is UTF-8 as a whole, or one U+FFFD a byte.
fn push_run(run: &[u8], text: &mut String) {
    match std::str::from_utf8(run) {
        Ok(valid) => text.push_str(valid),
        Err(_) => text.extend(run.iter().map(|_| char::REPLACEMENT_CHARACTER)),
    }
}
