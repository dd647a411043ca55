//! Sets of tokens, and what a token adds to a text.

use crate::TokenId;

const WORD_BITS: usize = u32::BITS as usize;

/// A set of tokens of a vocabulary, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBitSet {
    /// Bit `t % 32` of word `t / 32` is token `t`; bits from `len` on are 0.
    words: Vec<u32>,
    /// Tokens of the vocabulary.
    len: usize,
}

impl TokenBitSet {
    /// No token of a vocabulary of `len`.
    pub fn new(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(WORD_BITS)],
            len,
        }
    }

    /// The set whose bits are `words`, lowest token first; words that are missing are 0, and bits
    /// from `len` on are dropped.
    pub fn from_words(words: &[u32], len: usize) -> Self {
        let mut set = Self::new(len);
        for (word, &bits) in set.words.iter_mut().zip(words) {
            *word = bits;
        }
        if let Some(last) = set
            .words
            .last_mut()
            .filter(|_| !len.is_multiple_of(WORD_BITS))
        {
            *last &= (1 << (len % WORD_BITS)) - 1;
        }
        set
    }

    /// Tokens of the vocabulary. Tokens from here on are in no set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The bits, lowest token first.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Whether `token` is in the set.
    pub fn contains(&self, token: TokenId) -> bool {
        let (word, bit) = place(token);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Puts `token` in or takes it out; a token beyond the vocabulary stays out.
    pub fn set(&mut self, token: TokenId, contained: bool) {
        if token as usize >= self.len {
            return;
        }
        let (word, bit) = place(token);
        if contained {
            self.words[word] |= bit;
        } else {
            self.words[word] &= !bit;
        }
    }

    /// Keeps only what is in `other` too.
    pub fn intersect(&mut self, other: &Self) {
        for (index, word) in self.words.iter_mut().enumerate() {
            *word &= other.words.get(index).copied().unwrap_or(0);
        }
    }

    /// The tokens of the set, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = TokenId> {
        let words = self.words.iter().enumerate();
        words.flat_map(|(index, &word)| {
            let bits = (0..WORD_BITS).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| (index * WORD_BITS + bit) as TokenId)
        })
    }
}

fn place(token: TokenId) -> (usize, u32) {
    (
        token as usize / WORD_BITS,
        1 << (token as usize % WORD_BITS),
    )
}

/// The bytes that a token adds to a completion. They need not be whole characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBytes {
    /// As the first token that adds anything: some tokenizers drop a leading space there.
    pub at_start: Vec<u8>,
    /// Anywhere else.
    pub inside: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_beyond_the_vocabulary_are_dropped() {
        let set = TokenBitSet::from_words(&[0, u32::MAX, u32::MAX], 34);
        assert_eq!(set.iter().collect::<Vec<_>>(), [32, 33]);
        assert!(!set.contains(34) && !set.contains(1_000));
    }

    #[test]
    fn sets_of_different_vocabularies_intersect_in_the_smaller_one() {
        let mut large = TokenBitSet::from_words(&[0b110, 0b1], 64);
        large.intersect(&TokenBitSet::from_words(&[0b011], 32));
        assert_eq!(large.iter().collect::<Vec<_>>(), [1]);
        assert_eq!(large.len(), 64);
    }

    #[test]
    fn tokens_go_in_and_out() {
        let mut set = TokenBitSet::new(40);
        set.set(39, true);
        set.set(40, true);
        assert_eq!(set.iter().collect::<Vec<_>>(), [39]);
        set.set(39, false);
        assert!(set.is_empty());
    }
}
