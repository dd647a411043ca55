//! The tokens of a model as grammars see them: bytes.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
};

use llguidance::{
    ParserFactory,
    earley::SlicedBiasComputer,
    toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie},
};
use portcullis_types::{TokenBitSet, TokenBytes, TokenId};

use super::limits;
use crate::limits::{TOKEN_BYTES_MAX, VOCABULARY_MAX};

/// The tokens of a model, prepared for masks. Built once per model and shared.
///
/// A mask is computed over different byte strings, each once. Tokens with equal bytes are twins:
/// one stands in the trie for all of them. Where the tokenizer drops a space at the start of a
/// text, the bytes that are left stand in the trie too, under ids beyond the vocabulary.
pub struct Vocabulary {
    factory: ParserFactory,
    len: usize,
    end_tokens: Vec<TokenId>,
    inside: Names,
    at_start: Names,
}

/// Which id the trie knows a token by.
#[derive(Default)]
struct Names {
    /// Only tokens that have another name than their own id, lowest first; `None`: never allowed.
    renamed: Vec<(TokenId, Option<TokenId>)>,
}

/// A vocabulary that grammars cannot be used with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    /// A completion under a grammar could never end.
    #[error("the model names no end token, so that a completion under a grammar could never end")]
    NoEndToken,
    /// An end token that the vocabulary does not have.
    #[error("end token {token} is beyond the vocabulary of {len} tokens")]
    EndTokenUnknown {
        /// The end token.
        token: TokenId,
        /// Tokens of the vocabulary.
        len: usize,
    },
    /// More tokens than a mask can be computed over.
    #[error("a vocabulary of {len} tokens is beyond the {max} that grammars can be used with")]
    TooLarge {
        /// Tokens of the vocabulary.
        len: usize,
        /// The most there may be.
        max: usize,
    },
    /// The grammar library refuses.
    #[error("the vocabulary cannot be prepared for grammars: {0}")]
    Library(String),
}

impl Vocabulary {
    /// The vocabulary of `len` tokens; `bytes` tells what a token adds to a completion, `None` for
    /// control tokens and ids without a token. `end_tokens` are those of the model: a completion
    /// may end with any of them, exactly where its grammar accepts.
    ///
    /// # Errors
    /// No end token, one that is unknown, or too many tokens.
    pub fn new(
        len: usize,
        bytes: impl Fn(TokenId) -> Option<TokenBytes>,
        end_tokens: &[TokenId],
    ) -> Result<Self, VocabularyError> {
        check(len, end_tokens)?;
        let mut words = Words::default();
        let (mut inside, mut at_start) = (Names::default(), Names::default());
        let tokens: Vec<Option<TokenBytes>> = ids(len)
            .map(|token| bytes(token).filter(|_| !end_tokens.contains(&token)))
            .collect();
        for (token, bytes) in ids(len).zip(&tokens) {
            inside.name(token, words.add(bytes.as_ref().map(|b| &b.inside)));
        }
        for (token, bytes) in ids(len).zip(&tokens) {
            at_start.name(
                token,
                words.find_or_add(bytes.as_ref().map(|b| &b.at_start)),
            );
        }
        Ok(Self {
            factory: factory(&words.list, end_tokens)?,
            len,
            end_tokens: end_tokens.to_vec(),
            inside,
            at_start,
        })
    }

    /// One token for each byte and one that ends: what a grammar is tried on before a model is
    /// known. Made once: it never changes.
    pub(super) fn of_bytes() -> Arc<Self> {
        static BYTES: LazyLock<Arc<Vocabulary>> = LazyLock::new(|| {
            let bytes = Vocabulary::new_of_bytes();
            Arc::new(bytes.expect("257 tokens and an end token are a vocabulary"))
        });
        Arc::clone(&BYTES)
    }

    fn new_of_bytes() -> Result<Self, VocabularyError> {
        let end = TokenId::from(u8::MAX) + 1;
        let bytes = |token| {
            let byte = vec![u8::try_from(token).ok()?];
            Some(TokenBytes {
                at_start: byte.clone(),
                inside: byte,
            })
        };
        Self::new(end as usize + 1, bytes, &[end])
    }

    /// One more than the highest token.
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary has an end token")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The tokens that add exactly `text`, inside a completion.
    pub(crate) fn tokens_of(&self, text: &str) -> Vec<TokenId> {
        let trie = self.factory.tok_env().tok_trie();
        let name = trie.token_id(text.as_bytes());
        name.map_or_else(Vec::new, |name| self.named(name))
    }

    /// The longest tokens that `phrase` begins with.
    pub(crate) fn first_tokens_of(&self, phrase: &str) -> Vec<TokenId> {
        let trie = self.factory.tok_env().tok_trie();
        match trie.prefix_token_id(phrase.as_bytes()) {
            (_, 0) => Vec::new(),
            (name, _) => self.named(name),
        }
    }

    /// A token and its twins.
    fn named(&self, name: TokenId) -> Vec<TokenId> {
        let twins = self.inside.renamed.iter();
        let twins = twins.filter(|(_, known)| *known == Some(name));
        let itself = Some(name).filter(|&token| self.inside.get(token) == Some(token));
        let known = itself.filter(|token| (*token as usize) < self.len);
        known
            .into_iter()
            .chain(twins.map(|(token, _)| *token))
            .collect()
    }

    /// Whether a completion may end with `token`.
    pub(super) fn is_end(&self, token: TokenId) -> bool {
        self.end_tokens.contains(&token)
    }

    /// The end tokens alone.
    pub(super) fn end_set(&self) -> TokenBitSet {
        let mut set = TokenBitSet::new(self.len);
        self.end_tokens.iter().for_each(|&end| set.set(end, true));
        set
    }

    /// What the trie knows `token` by, as number `position` of a completion.
    pub(super) fn name(&self, token: TokenId, position: usize) -> Option<TokenId> {
        let known = Some(token).filter(|&token| (token as usize) < self.len);
        known.and_then(|token| self.names(position).get(token))
    }

    /// The tokens behind a mask over the trie.
    pub(super) fn tokens(&self, mask: &SimpleVob, position: usize) -> TokenBitSet {
        let mut set = TokenBitSet::from_words(mask.as_slice(), self.len);
        for &(token, name) in &self.names(position).renamed {
            set.set(token, name.is_some_and(|name| mask.is_allowed(name)));
        }
        // They have no bytes and therefore no name; the library sets them where it accepts.
        for &end in &self.end_tokens {
            set.set(end, mask.is_allowed(end));
        }
        set
    }

    pub(super) fn factory(&self) -> &ParserFactory {
        &self.factory
    }

    fn names(&self, position: usize) -> &Names {
        if position == 0 {
            &self.at_start
        } else {
            &self.inside
        }
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary")
            .field("len", &self.len)
            .field("end_tokens", &self.end_tokens)
            .finish_non_exhaustive()
    }
}

impl Names {
    fn name(&mut self, token: TokenId, name: Option<TokenId>) {
        if name != Some(token) {
            self.renamed.push((token, name));
        }
    }

    fn get(&self, token: TokenId) -> Option<TokenId> {
        match self.renamed.binary_search_by_key(&token, |(t, _)| *t) {
            Ok(index) => self.renamed[index].1,
            Err(_) => Some(token),
        }
    }
}

/// The byte strings of the trie, each once, by id; empty where an id has none.
#[derive(Default)]
struct Words {
    list: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, TokenId>,
}

impl Words {
    /// Adds the next id; answers the id under which its bytes are known.
    fn add(&mut self, bytes: Option<&Vec<u8>>) -> Option<TokenId> {
        let id = to_id(self.list.len());
        let known = usable(bytes).map(|bytes| *self.ids.entry(bytes.clone()).or_insert(id));
        let word = usable(bytes).filter(|_| known == Some(id));
        self.list.push(word.cloned().unwrap_or_default());
        known
    }

    fn find_or_add(&mut self, bytes: Option<&Vec<u8>>) -> Option<TokenId> {
        let bytes = usable(bytes)?;
        match self.ids.get(bytes) {
            Some(&id) => Some(id),
            None => self.add(Some(bytes)),
        }
    }
}

/// Bytes that may stand in the trie. Without any, a token would be allowed for ever and say
/// nothing; 0xFF is in no text, and to the library it means a control token.
fn usable(bytes: Option<&Vec<u8>>) -> Option<&Vec<u8>> {
    bytes.filter(|b| !b.is_empty() && b.len() <= TOKEN_BYTES_MAX && !b.contains(&u8::MAX))
}

fn check(len: usize, end_tokens: &[TokenId]) -> Result<(), VocabularyError> {
    if len > VOCABULARY_MAX {
        let max = VOCABULARY_MAX;
        return Err(VocabularyError::TooLarge { len, max });
    }
    if end_tokens.is_empty() {
        return Err(VocabularyError::NoEndToken);
    }
    match end_tokens.iter().find(|&&token| token as usize >= len) {
        Some(&token) => Err(VocabularyError::EndTokenUnknown { token, len }),
        None => Ok(()),
    }
}

fn factory(words: &[Vec<u8>], end_tokens: &[TokenId]) -> Result<ParserFactory, VocabularyError> {
    let info = TokRxInfo::new(to_id(words.len()), end_tokens[0]);
    let trie = TokTrie::from(&info, words).with_eos_tokens(end_tokens);
    // Not canonical: the model chooses how to cut a forced text into tokens.
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
        .map_err(|error| VocabularyError::Library(error.to_string()))?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(factory)
}

fn ids(len: usize) -> impl Iterator<Item = TokenId> {
    0..to_id(len)
}

/// Twice the largest vocabulary is far below `u32::MAX`.
fn to_id(index: usize) -> TokenId {
    TokenId::try_from(index).expect("a vocabulary has at most VOCABULARY_MAX tokens")
}
