//! Text to tokens for encoders such as BERT, which read a text as a whole.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use portcullis_types::TokenId;
use tokenizers::ModelWrapper;
use tokenizers::tokenizer::{AddedVocabulary, Result as LibraryResult};

use crate::TextError;
use crate::tokenizer::{ControlTokens, TokenizerConfig, open, plain_vocabulary, run};

/// The tokenizer of an encoder. Cheap to clone.
///
/// Unlike [`Tokenizer`](crate::Tokenizer) it has no part in streaming, so that its decoder may be
/// one that needs the whole text, as WordPiece does.
#[derive(Clone)]
pub struct EncoderTokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    library: tokenizers::Tokenizer,
    /// The added vocabulary that recognises no control token: for what a user wrote.
    plain: AddedVocabulary,
    control: ControlTokens,
    /// Stands for what the vocabulary does not have.
    unknown: Option<TokenId>,
    /// Control tokens around every text.
    around: Around,
}

#[derive(Default)]
struct Around {
    before: Vec<TokenId>,
    behind: Vec<TokenId>,
}

impl EncoderTokenizer {
    /// Reads `tokenizer.json`, and `tokenizer_config.json` and `special_tokens_map.json` where
    /// they exist. What they say of cutting and filling up is left out.
    ///
    /// # Errors
    /// Names the file that is missing or malformed.
    pub fn load(dir: &Path) -> Result<Self, TextError> {
        let (library, config) = open(dir)?;
        let around = Around::written_by(&library).map_err(|error| TextError::Tokenizer {
            path: dir.join("tokenizer.json"),
            reason: error.to_string(),
        })?;
        let inner = Inner {
            plain: plain_vocabulary(&library),
            control: ControlTokens::new(&library),
            unknown: unknown(&library, &config),
            around,
            library,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The tokens of a text that a user sent, with the control tokens that the tokenizer's
    /// post-processor puts around a text; one in the text itself is plain text.
    ///
    /// # Errors
    /// When the vocabulary itself reads plain text as a control token, or the text cannot be
    /// encoded at all.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>, TextError> {
        let Inner {
            library,
            plain,
            control,
            unknown,
            around,
        } = &*self.inner;
        let ids = run(library, plain, text).map_err(TextError::encode)?;
        let is_control = |id: &&TokenId| control.contains(**id) && Some(**id) != *unknown;
        if let Some(&id) = ids.iter().find(is_control) {
            return Err(TextError::ControlTokenInText {
                token: library.id_to_token(id).unwrap_or_default(),
            });
        }
        let Around { before, behind } = around;
        Ok([before.as_slice(), &ids, behind].concat())
    }

    /// The text of tokens as near as the vocabulary tells it; ids that no token has are left out,
    /// and control tokens too if `skip_special`.
    ///
    /// # Errors
    /// The decoder of `tokenizer.json` fails.
    pub fn decode(&self, ids: &[TokenId], skip_special: bool) -> Result<String, TextError> {
        let text = self.inner.library.decode(ids, skip_special);
        text.map_err(TextError::encode)
    }
}

impl fmt::Debug for EncoderTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncoderTokenizer").finish_non_exhaustive()
    }
}

impl Around {
    /// What the post-processor puts before and behind a text.
    fn written_by(library: &tokenizers::Tokenizer) -> LibraryResult<Self> {
        let encoding = library.encode("a", true)?;
        let (ids, mask) = (encoding.get_ids(), encoding.get_special_tokens_mask());
        let is_written = |mask: &&u32| **mask == 1;
        let before = mask.iter().take_while(is_written).count();
        if before == ids.len() {
            return Ok(Self::default());
        }
        let behind = mask.iter().rev().take_while(is_written).count();
        Ok(Self {
            before: ids[..before].to_vec(),
            behind: ids[ids.len() - behind..].to_vec(),
        })
    }
}

/// What the model itself gives for unknown text, or else what the folder names so.
fn unknown(library: &tokenizers::Tokenizer, config: &TokenizerConfig) -> Option<TokenId> {
    let named = config.unk_token.as_ref().map(|token| token.as_str());
    let token = match library.get_model() {
        ModelWrapper::WordPiece(model) => Some(model.unk_token.as_str()),
        _ => named,
    };
    library.token_to_id(token?)
}
