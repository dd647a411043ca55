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
/// Languages that a rule allows.
pub const LANGUAGES_MAX: usize = 64;
/// Tokens of the window of a `logits` rule.
pub const WINDOW_TOKENS_MAX: usize = 1_024;
/// Tokens or phrases whose probability one rule watches.
pub const WATCHED_TEXTS_MAX: usize = 64;
/// Tokens of a vocabulary that grammars are used with.
pub const VOCABULARY_MAX: usize = 1 << 20;
/// Bytes of a token that grammars may offer.
pub const TOKEN_BYTES_MAX: usize = 512;
/// Bytes of a JSON schema, a Lark grammar or the pattern of a grammar.
pub const GRAMMAR_BYTES_MAX: usize = 64 << 10;
/// Brackets within brackets of a JSON schema or a Lark grammar.
pub const GRAMMAR_NESTING_MAX: usize = 64;
/// Schemas of a JSON schema, or brackets and colons of a Lark grammar: compiling calls itself at
/// most so often.
pub const GRAMMAR_PARTS_MAX: usize = 5_000;
/// Stack on which a grammar is compiled, enough for `GRAMMAR_PARTS_MAX` calls in each other.
pub const GRAMMAR_STACK_BYTES: usize = 64 << 20;
/// Bytes of a message of the grammar library.
pub const GRAMMAR_MESSAGE_BYTES_MAX: usize = 300;
/// Symbols in the productions of a grammar.
pub const GRAMMAR_SYMBOLS_MAX: usize = 100_000;
/// What building the lexer of a grammar may cost, at about 50 a microsecond.
pub const GRAMMAR_COMPILE_FUEL: u64 = 500_000;
/// What the lexer may cost for one mask, at about 14 a microsecond.
pub const GRAMMAR_STEP_FUEL: u64 = 100_000;
/// Earley items for one mask, at about 20 a microsecond.
pub const GRAMMAR_STEP_ITEMS_MAX: usize = 50_000;
/// Earley items of one byte.
pub const GRAMMAR_ROW_ITEMS_MAX: usize = 5_000;
/// The largest `multipleOf`, and one over the smallest: the lexer counts remainders.
pub const GRAMMAR_MULTIPLE_MAX: f64 = 1e6;
/// States of the lexer of one sequence, at one to two kilobytes each.
pub const GRAMMAR_LEXER_STATES_MAX: usize = 10_000;
