//! Text to tokens and back, after the tokenizer files of a model folder.

mod config;
mod control;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use portcullis_types::{TokenBytes, TokenId};
use tokenizers::tokenizer::{
    AddedToken, AddedVocabulary, Model, OffsetType, PreTokenizer, Result as LibraryResult,
};

use config::TokenText;
pub(crate) use config::{TokenizerConfig, read_json, read_text};
pub(crate) use control::{ControlTokens, UnusedChars};

use crate::detokenizer::Detokenizer;
use crate::token_table::{Joining, Piece, TokenTable};
use crate::{RenderedPrompt, TextError};

/// The tokenizer of a model. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    /// Recognises control tokens in text: for what a template wrote.
    library: tokenizers::Tokenizer,
    /// The added vocabulary that does not: for what a user wrote.
    plain: AddedVocabulary,
    control: ControlTokens,
    /// Control tokens before every text that is not a rendered prompt.
    prefix: Vec<TokenId>,
    table: Arc<TokenTable>,
    bos: Option<NamedToken>,
    eos: Option<NamedToken>,
    unk: Option<NamedToken>,
    pad: Option<NamedToken>,
}

struct NamedToken {
    id: TokenId,
    text: String,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and `tokenizer_config.json` and `special_tokens_map.json` where
    /// they exist.
    ///
    /// # Errors
    /// Names the file that is missing, malformed, of an unsupported kind or at odds with another.
    pub fn load(dir: &Path) -> Result<Self, TextError> {
        let (library, config) = open(dir)?;
        let path = dir.join("tokenizer.json");
        let control = ControlTokens::new(&library);
        let table = TokenTable::new(&library, |id| control.contains(id)).map_err(|decoder| {
            TextError::UnsupportedDecoder {
                path: path.clone(),
                decoder: decoder.0,
            }
        })?;
        let required = |token: &Option<TokenText>, field| {
            let unknown = |token| TextError::UnknownSpecialToken {
                dir: dir.to_owned(),
                field,
                token,
            };
            named(&library, token).map_err(unknown)
        };
        let bos = required(&config.bos_token, "bos_token")?;
        let eos = required(&config.eos_token, "eos_token")?;
        let plain = plain_vocabulary(&library);
        let mut inner = Inner {
            unk: named(&library, &config.unk_token).unwrap_or(None),
            pad: named(&library, &config.pad_token).unwrap_or(None),
            prefix: Vec::new(),
            table: Arc::new(table),
            library,
            plain,
            control,
            bos,
            eos,
        };
        inner.prefix = inner
            .written_prefix(config.add_bos_token)
            .map_err(|error| TextError::Tokenizer {
                path,
                reason: error.to_string(),
            })?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The tokens of a text that a user sent: a control token in it is plain text.
    ///
    /// With `add_bos`, what the tokenizer's post-processor puts before a text comes first; what it
    /// would put behind is left out, since a completion goes on there.
    ///
    /// # Errors
    /// When the vocabulary itself reads plain text as a control token, or the text cannot be
    /// encoded at all.
    pub fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<TokenId>, TextError> {
        let inner = &self.inner;
        let ids = inner.run(&inner.plain, text).map_err(TextError::encode)?;
        inner.refuse_control(&ids)?;
        if !add_bos {
            return Ok(ids);
        }
        Ok(inner.prefix.iter().copied().chain(ids).collect())
    }

    /// The tokens of a text of the program's own, which may name control tokens; nothing is put
    /// before or behind.
    ///
    /// # Errors
    /// The text cannot be encoded.
    pub fn encode_own(&self, text: &str) -> Result<Vec<TokenId>, TextError> {
        let inner = &self.inner;
        inner
            .run(inner.library.get_added_vocabulary(), text)
            .map_err(TextError::encode)
    }

    /// The tokens of a prompt that a chat template rendered: the template's control tokens are
    /// recognised, those that messages quote are plain text. Nothing is put before or behind, the
    /// template having written all of it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_prompt(&self, prompt: &RenderedPrompt) -> Result<Vec<TokenId>, TextError> {
        if prompt.segments.iter().any(|segment| segment.plain) {
            return control::encode_quoting(&self.inner, prompt);
        }
        let inner = &self.inner;
        inner
            .run(inner.library.get_added_vocabulary(), &prompt.text())
            .map_err(TextError::encode)
    }

    /// The text of tokens. What is no UTF-8 becomes U+FFFD; ids that no token has are left out, and
    /// control tokens too if `skip_special`.
    pub fn decode(&self, ids: &[TokenId], skip_special: bool) -> String {
        let mut detokenizer = Detokenizer::new(Arc::clone(&self.inner.table), skip_special);
        let mut text: String = ids.iter().map(|&id| detokenizer.push(id)).collect();
        text.push_str(&detokenizer.finish());
        text
    }

    /// A detokenizer for one completion. Control tokens give no text.
    pub fn detokenizer(&self) -> Detokenizer {
        Detokenizer::new(Arc::clone(&self.inner.table), true)
    }

    /// One more than the highest token id. A model may have a larger vocabulary, padded.
    pub fn vocab_size(&self) -> usize {
        self.inner.table.len()
    }

    /// The id of a token as the vocabulary spells it, `Ġthe` or `▁the` or `<|eot_id|>`.
    pub fn token_id(&self, token: &str) -> Option<TokenId> {
        self.inner.library.token_to_id(token)
    }

    /// A token as the vocabulary spells it.
    pub fn token(&self, id: TokenId) -> Option<String> {
        self.inner.library.id_to_token(id)
    }

    /// The bytes that a token adds to a text in its middle; those of a control token are its name.
    /// Several tokens may be needed for one character.
    pub fn token_bytes(&self, id: TokenId) -> Option<Vec<u8>> {
        match (self.inner.table.piece(id)?, self.inner.table.joining()) {
            (Piece::Byte(byte), _) => Some(vec![byte]),
            (Piece::Text(bytes), Joining::Metaspace { space, .. }) => Some(
                String::from_utf8_lossy(bytes)
                    .replace(space, " ")
                    .into_bytes(),
            ),
            (Piece::Text(bytes), _) => Some(bytes.to_vec()),
        }
    }

    /// What a token adds to a completion, as [`detokenizer`](Self::detokenizer) has it; `None` for
    /// control tokens and ids that no token has.
    pub fn completion_bytes(&self, id: TokenId) -> Option<TokenBytes> {
        let inside = self.token_bytes(id).filter(|_| !self.is_special(id))?;
        let at_start = self.inner.table.bytes_at_start(id, &inside);
        Some(TokenBytes { at_start, inside })
    }

    /// Whether this is a control token.
    pub fn is_special(&self, id: TokenId) -> bool {
        self.inner.control.contains(id)
    }

    /// The token that begins a text, as text.
    pub fn bos_token(&self) -> Option<&str> {
        self.inner.bos.as_ref().map(|token| token.text.as_str())
    }

    /// The token that ends an answer, as text.
    pub fn eos_token(&self) -> Option<&str> {
        self.inner.eos.as_ref().map(|token| token.text.as_str())
    }

    /// The id of the token that begins a text.
    pub fn bos_token_id(&self) -> Option<TokenId> {
        self.inner.bos.as_ref().map(|token| token.id)
    }

    /// The id of the token that ends an answer. `generation_config.json` may name more.
    pub fn eos_token_id(&self) -> Option<TokenId> {
        self.inner.eos.as_ref().map(|token| token.id)
    }

    /// The tokens that templates know by name: (variable, text).
    pub(crate) fn named_tokens(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let inner = &self.inner;
        let tokens = [
            ("bos_token", &inner.bos),
            ("eos_token", &inner.eos),
            ("unk_token", &inner.unk),
            ("pad_token", &inner.pad),
        ];
        tokens
            .into_iter()
            .filter_map(|(name, token)| Some((name, token.as_ref()?.text.as_str())))
    }

    pub(crate) fn control(&self) -> &ControlTokens {
        &self.inner.control
    }

    /// Where control tokens would be recognised in a text.
    pub(crate) fn control_spans(&self, text: &str) -> Vec<control::Span> {
        self.inner.control_spans(text)
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn run(&self, added: &AddedVocabulary, text: &str) -> LibraryResult<Vec<TokenId>> {
        run(&self.library, added, text)
    }

    /// What the post-processor puts before a text, or the beginning-of-sequence token where it puts
    /// nothing but the configuration asks for one.
    fn written_prefix(&self, add_bos_token: Option<bool>) -> LibraryResult<Vec<TokenId>> {
        let encoding = self.library.encode("a", true)?;
        let written = encoding
            .get_ids()
            .iter()
            .zip(encoding.get_special_tokens_mask());
        let prefix: Vec<_> = written
            .take_while(|(_, mask)| **mask == 1)
            .map(|(id, _)| *id)
            .collect();
        if prefix.is_empty() && add_bos_token == Some(true) {
            return Ok(self.bos.iter().map(|token| token.id).collect());
        }
        Ok(prefix)
    }

    /// No control token may come out of plain text. That the text is unknown to the vocabulary is
    /// no control.
    fn refuse_control(&self, ids: &[TokenId]) -> Result<(), TextError> {
        let unknown = self.unk.as_ref().map(|token| token.id);
        let control = |id: &&TokenId| self.control.contains(**id) && Some(**id) != unknown;
        match ids.iter().find(control) {
            None => Ok(()),
            Some(&id) => Err(TextError::ControlTokenInText {
                token: self.library.id_to_token(id).unwrap_or_default(),
            }),
        }
    }
}

/// The library's tokenizer of a folder, made one for serving, and what stands beside it.
pub(crate) fn open(dir: &Path) -> Result<(tokenizers::Tokenizer, TokenizerConfig), TextError> {
    let config = TokenizerConfig::load(dir)?;
    let path = dir.join("tokenizer.json");
    let json = std::fs::read(&path).map_err(|source| TextError::Read {
        path: path.clone(),
        source,
    })?;
    let invalid = |error: tokenizers::Error| TextError::Tokenizer {
        path,
        reason: error.to_string(),
    };
    let mut library = tokenizers::Tokenizer::from_bytes(&json).map_err(invalid.clone())?;
    settle(&mut library, &config).map_err(invalid)?;
    Ok((library, config))
}

/// The added vocabulary that recognises no control token in a text.
pub(crate) fn plain_vocabulary(library: &tokenizers::Tokenizer) -> AddedVocabulary {
    let mut plain = library.get_added_vocabulary().clone();
    plain.set_encode_special_tokens(true);
    plain
}

/// What the library's `encode` does, with a choice of added vocabulary. That is why it is spelled
/// out: the library knows one vocabulary a tokenizer, and a second tokenizer would hold the whole
/// model twice.
pub(crate) fn run(
    library: &tokenizers::Tokenizer,
    added: &AddedVocabulary,
    text: &str,
) -> LibraryResult<Vec<TokenId>> {
    let mut pieces = added.extract_and_normalize(library.get_normalizer(), text);
    if let Some(pre_tokenizer) = library.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut pieces)?;
    }
    pieces.tokenize(|piece| library.get_model().tokenize(piece.get()))?;
    let encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
    Ok(encoding.get_ids().to_vec())
}

/// Makes the library's tokenizer one for serving: it neither cuts nor pads, and what the folder
/// declares to be special is.
fn settle(library: &mut tokenizers::Tokenizer, config: &TokenizerConfig) -> LibraryResult<()> {
    library.with_truncation(None)?;
    library.with_padding(None);
    let mut declared = Vec::new();
    for text in config.special_tokens() {
        if let Some(id) = library.token_to_id(text) {
            let known = library
                .get_added_vocabulary()
                .get_added_tokens_decoder()
                .get(&id);
            let token = known
                .cloned()
                .unwrap_or_else(|| AddedToken::from(text, true));
            declared.push(token.special(true));
        }
    }
    library.add_special_tokens(declared)?;
    Ok(())
}

/// The token with its id; the error is the text of a token that the vocabulary does not have.
fn named(
    library: &tokenizers::Tokenizer,
    token: &Option<TokenText>,
) -> Result<Option<NamedToken>, String> {
    let Some(token) = token else {
        return Ok(None);
    };
    let text = token.as_str().to_owned();
    match library.token_to_id(&text) {
        Some(id) => Ok(Some(NamedToken { id, text })),
        None => Err(text),
    }
}
