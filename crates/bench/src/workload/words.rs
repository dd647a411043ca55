//! Made-up prompts of a given number of tokens, out of common words.

use futures::{StreamExt, stream};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::stream as random_stream;
use crate::target::{Ask, Prompt};

/// How often a prompt is counted again before its length is left as it is.
const TRIES: usize = 12;
/// Prompts that are counted at once.
const COUNTED_AT_ONCE: usize = 16;

/// Knows how many tokens a text will be. A server's `/tokenize` does, and a tokenizer in this
/// process.
pub trait Ruler: Sync {
    /// Tokens of a prompt that says `text`, with what a template adds; `None` if only the
    /// estimate is known.
    fn count(&self, text: &str) -> impl Future<Output = Option<usize>> + Send;

    /// Tokens of `text` alone.
    fn count_plain(&self, text: &str) -> impl Future<Output = Option<usize>> + Send;

    /// Tokens that a template adds, and tokens of a word.
    fn estimate(&self) -> (f64, f64);
}

/// Common English words: one token each for most vocabularies.
pub const WORDS: &[&str] = &[
    "a",
    "about",
    "after",
    "again",
    "air",
    "all",
    "along",
    "also",
    "an",
    "and",
    "animal",
    "another",
    "any",
    "are",
    "around",
    "as",
    "ask",
    "at",
    "away",
    "back",
    "be",
    "because",
    "been",
    "before",
    "below",
    "between",
    "big",
    "book",
    "both",
    "boy",
    "but",
    "by",
    "call",
    "came",
    "can",
    "change",
    "city",
    "close",
    "come",
    "could",
    "country",
    "cut",
    "day",
    "did",
    "different",
    "do",
    "does",
    "down",
    "each",
    "earth",
    "eat",
    "end",
    "even",
    "every",
    "example",
    "eye",
    "face",
    "family",
    "far",
    "father",
    "few",
    "find",
    "first",
    "follow",
    "food",
    "for",
    "form",
    "found",
    "four",
    "from",
    "get",
    "girl",
    "give",
    "go",
    "good",
    "great",
    "group",
    "grow",
    "had",
    "hand",
    "hard",
    "has",
    "have",
    "he",
    "head",
    "hear",
    "help",
    "her",
    "here",
    "high",
    "him",
    "his",
    "home",
    "house",
    "how",
    "idea",
    "if",
    "important",
    "in",
    "into",
    "is",
    "it",
    "its",
    "just",
    "keep",
    "kind",
    "know",
    "land",
    "large",
    "last",
    "later",
    "learn",
    "leave",
    "left",
    "let",
    "letter",
    "life",
    "light",
    "like",
    "line",
    "list",
    "little",
    "live",
    "long",
    "look",
    "made",
    "make",
    "man",
    "many",
    "may",
    "me",
    "mean",
    "might",
    "mile",
    "more",
    "most",
    "mother",
    "mountain",
    "move",
    "much",
    "must",
    "my",
    "name",
    "near",
    "need",
    "never",
    "new",
    "next",
    "night",
    "no",
    "not",
    "now",
    "number",
    "of",
    "off",
    "often",
    "old",
    "on",
    "once",
    "one",
    "only",
    "open",
    "or",
    "other",
    "our",
    "out",
    "over",
    "own",
    "page",
    "paper",
    "part",
    "people",
    "picture",
    "place",
    "plant",
    "play",
    "point",
    "put",
    "question",
    "quick",
    "read",
    "really",
    "right",
    "river",
    "run",
    "said",
    "same",
    "saw",
    "say",
    "school",
    "sea",
    "second",
    "see",
    "sentence",
    "set",
    "she",
    "should",
    "show",
    "side",
    "small",
    "so",
    "some",
    "song",
    "soon",
    "sound",
    "spell",
    "start",
    "state",
    "still",
    "stop",
    "story",
    "study",
    "such",
    "take",
    "talk",
    "tell",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "thing",
    "think",
    "this",
    "those",
    "thought",
    "three",
    "through",
    "time",
    "to",
    "together",
    "too",
    "took",
    "tree",
    "try",
    "turn",
    "two",
    "under",
    "until",
    "up",
    "us",
    "use",
    "very",
    "walk",
    "want",
    "was",
    "watch",
    "water",
    "way",
    "we",
    "well",
    "went",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "white",
    "who",
    "why",
    "will",
    "with",
    "without",
    "word",
    "work",
    "world",
    "would",
    "write",
    "year",
    "you",
    "young",
    "your",
];

/// Makes prompts of the lengths asked for.
pub(super) struct Composer<'a, R> {
    ruler: &'a R,
    pub(super) seed: u64,
    is_exact: bool,
    base: f64,
    per_word: f64,
}

impl<'a, R: Ruler> Composer<'a, R> {
    pub(super) async fn new(ruler: &'a R, seed: u64) -> Self {
        let (mut base, mut per_word) = ruler.estimate();
        let text = WORDS.join(" ");
        let counts = (ruler.count(&text).await, ruler.count_plain(&text).await);
        if let (Some(with_template), Some(plain)) = counts {
            base = with_template.saturating_sub(plain) as f64;
            per_word = plain as f64 / WORDS.len() as f64;
        }
        Self {
            ruler,
            seed,
            is_exact: counts.0.is_some(),
            base,
            per_word,
        }
    }

    /// What to tell of lengths that are not exact.
    pub(super) fn note(&self) -> Option<String> {
        let told = "the server has no /tokenize: prompts have about the tokens asked for, and \
                    input tokens are what its usage says";
        (!self.is_exact).then(|| told.to_owned())
    }

    /// Tokens of a text: counted, or by its words.
    pub(super) async fn tokens(&self, text: &str) -> usize {
        match self.ruler.count_plain(text).await {
            Some(count) => count,
            None => self.tokens_of_words(text.split_whitespace().count()),
        }
    }

    fn tokens_of_words(&self, words: usize) -> usize {
        (words as f64 * self.per_word).round() as usize
    }

    /// How many words have about so many tokens.
    pub(super) fn words_of(&self, tokens: usize) -> usize {
        (tokens as f64 / self.per_word).round() as usize
    }

    /// About so many tokens of random words.
    pub(super) fn some_words(&self, tokens: usize, rng: &mut impl Rng) -> Vec<&'static str> {
        let count = self.words_of(tokens);
        let word = || WORDS.choose(rng).copied();
        std::iter::repeat_with(word).flatten().take(count).collect()
    }

    /// Makes a prompt for each beginning and each length of prompt and answer.
    pub(super) async fn compose_all(
        &self,
        begun: impl Iterator<Item = (Vec<&'static str>, (usize, usize))>,
    ) -> Vec<Ask> {
        let asks = begun
            .enumerate()
            .map(|(index, (prefix, size))| self.compose(index, prefix, size));
        stream::iter(asks).buffered(COUNTED_AT_ONCE).collect().await
    }

    /// A prompt that begins with `prefix` and has `input` tokens; more if the prefix has more.
    async fn compose(
        &self,
        index: usize,
        prefix: Vec<&'static str>,
        (input, output): (usize, usize),
    ) -> Ask {
        let mut rng = random_stream(self.seed, index as u64);
        let kept = prefix.len().max(1);
        let mut words = prefix;
        let missing = input as f64 - self.base - words.len() as f64 * self.per_word;
        words.extend(self.some_words(missing.max(1.0) as usize, &mut rng));
        let mut text = words.join(" ");
        for _ in 0..TRIES {
            let Some(counted) = self.ruler.count(&text).await else {
                break;
            };
            if counted == input || (counted > input && words.len() <= kept) {
                break;
            }
            if counted < input {
                // Whole words overshoot; the last few tokens are the shortest word.
                let missing = input - counted;
                match missing {
                    1..=3 => words.extend(vec!["a"; missing]),
                    _ => words.extend(self.some_words(missing, &mut rng)),
                }
            } else {
                let many = ((counted - input) as f64 / self.per_word).ceil() as usize;
                words.truncate(words.len().saturating_sub(many).max(kept));
            }
            text = words.join(" ");
        }
        Ask {
            prompt: Prompt::Text(text),
            input_tokens: input,
            output_tokens: output,
        }
    }
}
