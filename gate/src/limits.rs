//! Every bound of the gate, in one place.

/// Bytes of a rule-set file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Nesting of a rule-set file.
pub const NESTING_MAX: usize = 32;
/// Values in a rule-set file.
pub const NODES_MAX: usize = 50_000;
/// Mistakes reported for one file; a note says when there are more.
pub const DIAGNOSTICS_MAX: usize = 50;
/// Bytes of the name of a set or the id of a rule.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of `why` or `with`.
pub const NOTE_BYTES_MAX: usize = 500;
/// Rules of a set.
pub const RULES_MAX: usize = 500;
/// Phrases of a set, all rules together.
pub const PHRASES_MAX: usize = 5_000;
/// Bytes of a phrase.
pub const PHRASE_BYTES_MAX: usize = 256;
/// Bytes of a regular expression.
pub const REGEX_BYTES_MAX: usize = 1_024;
/// Bytes of the longest match of a pattern, which is also the largest `max_span`: a place of the
/// text costs at most so many automaton steps.
pub const SPAN_BYTES_MAX: usize = 1_024;
/// Embedded tests of a set.
pub const TESTS_MAX: usize = 1_000;
/// Bytes of an embedded test.
pub const TEST_BYTES_MAX: usize = 512;
/// Bytes that all embedded tests make the gate read: every split of each is tried, so each takes
/// the square of its length.
pub const TEST_READS_MAX: usize = 16 << 20;
/// Bytes of the NFA of one automaton while it is built.
pub const NFA_BYTES_MAX: usize = 4 << 20;
/// Bytes of one automaton.
pub const DFA_BYTES_MAX: usize = 8 << 20;
/// Bytes of all automata of a set together.
pub const SET_BYTES_MAX: usize = 32 << 20;
/// Bytes of scratch memory while one automaton is built.
pub const DETERMINISE_BYTES_MAX: usize = 32 << 20;
/// Attempts at one place, and the largest `max_attempts`.
pub const ATTEMPTS_MAX: u32 = 64;
/// The largest `max_hold_tokens`.
pub const HOLD_TOKENS_MAX: usize = 4_096;
/// Findings kept in a report.
pub const FINDINGS_MAX: usize = 64;
/// Bytes of the source of a grammar or JSON schema.
pub const GRAMMAR_BYTES_MAX: usize = 64 << 10;
/// Languages that a rule allows.
pub const LANGUAGES_MAX: usize = 64;
/// Tokens of the window of a `logits` rule.
pub const WINDOW_TOKENS_MAX: usize = 1_024;
/// Tokens or phrases whose probability one rule watches.
pub const WATCHED_TEXTS_MAX: usize = 64;
