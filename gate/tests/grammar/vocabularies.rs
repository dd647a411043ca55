//! Vocabularies to try grammars on, and walks through their masks.

use std::sync::Arc;

use portcullis_gate::{Grammar, Vocabulary, allowed_by_all};
use portcullis_types::{TokenBitSet, TokenBytes, TokenId};

/// A vocabulary with the bytes of its tokens.
pub(crate) struct Tokens {
    pub(crate) vocabulary: Arc<Vocabulary>,
    bytes: Vec<Option<TokenBytes>>,
}

impl Tokens {
    pub(crate) fn new(bytes: Vec<Option<TokenBytes>>, ends: &[TokenId]) -> Self {
        let of = |token: TokenId| bytes[token as usize].clone();
        let vocabulary = Vocabulary::new(bytes.len(), of, ends).unwrap();
        Self {
            vocabulary: Arc::new(vocabulary),
            bytes,
        }
    }

    /// Tokens that add the same everywhere, then two end tokens.
    fn plain(words: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let words = words.into_iter().map(|word| TokenBytes {
            at_start: word.clone(),
            inside: word,
        });
        let mut bytes: Vec<_> = words.map(Some).collect();
        let end = bytes.len() as TokenId;
        bytes.extend([None, None]);
        Self::new(bytes, &[end, end + 1])
    }

    pub(crate) fn of_bytes() -> Self {
        Self::plain((0..=u8::MAX).map(|byte| vec![byte]))
    }

    /// Bytes, and merges of random neighbours as byte-pair encoding makes them; some bytes twice.
    pub(crate) fn merged(random: &mut Random, len: usize) -> Self {
        const SEED: &[u8] = "{\"name\": \"Zoë 日本\", \"tags\": [true, -12.5e3, null]} {}[]\"\",: \n abc 0123456789 é👋".as_bytes();
        let mut words: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
        words.extend(SEED.iter().map(|&byte| vec![byte]));
        while words.len() < len {
            let merged = if random.below(2) == 0 {
                let start = random.below(SEED.len());
                let len = 1 + random.below(6);
                SEED[start..(start + len).min(SEED.len())].to_vec()
            } else {
                [random.pick(&words).clone(), random.pick(&words).clone()].concat()
            };
            words.push(merged);
        }
        Self::plain(words)
    }

    /// As SentencePiece has it: a leading space of the whole text is dropped.
    pub(crate) fn dropping_first_space() -> Self {
        let words = (0..=u8::MAX).map(|byte| vec![byte]);
        let spaced = ["{", "\"", "a", "{\"", "Ja", ""].map(|word| format!(" {word}").into_bytes());
        let words = words.chain(spaced).map(|inside| TokenBytes {
            at_start: inside.strip_prefix(b" ").unwrap_or(&inside).to_vec(),
            inside,
        });
        let mut bytes: Vec<_> = words.map(Some).collect();
        bytes.push(None);
        let end = bytes.len() as TokenId - 1;
        Self::new(bytes, &[end])
    }

    /// The bytes of the completion `tokens`; an end token adds none.
    pub(crate) fn text(&self, tokens: &[TokenId]) -> Vec<u8> {
        let mut text = Vec::new();
        for &token in tokens {
            if let Some(bytes) = &self.bytes[token as usize] {
                let at_start = text.is_empty();
                text.extend(if at_start {
                    &bytes.at_start
                } else {
                    &bytes.inside
                });
            }
        }
        text
    }

    pub(crate) fn is_end(&self, token: TokenId) -> bool {
        self.bytes[token as usize].is_none()
    }

    /// Draws uniformly from the masks of all `grammars` until an end token, which is taken as soon
    /// as it is allowed from `patience` tokens on; `None` if nothing is left to draw.
    pub(crate) fn walk(
        &self,
        grammars: &[&Grammar],
        random: &mut Random,
        patience: usize,
        tamper: impl Fn(&mut TokenBitSet),
    ) -> Option<Vec<u8>> {
        let states = grammars
            .iter()
            .map(|g| g.compile(&self.vocabulary).unwrap().begin());
        let mut states: Vec<_> = states.collect();
        let mut drawn = Vec::new();
        while drawn.len() < 5_000 {
            let allowed = allowed_by_all(&mut states, &drawn).unwrap();
            let mut allowed = Arc::unwrap_or_clone(allowed);
            tamper(&mut allowed);
            let mut choices: Vec<TokenId> = allowed.iter().collect();
            let ends = choices.iter().copied().filter(|&token| self.is_end(token));
            let ends: Vec<_> = ends.collect();
            if drawn.len() >= patience && !ends.is_empty() {
                choices = ends;
            }
            let token = *choices.get(random.below(choices.len().max(1)))?;
            drawn.push(token);
            if self.is_end(token) {
                return Some(self.text(&drawn));
            }
        }
        None
    }
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}
