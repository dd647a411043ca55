//! A state follows what is drawn, forward and back.

use std::sync::Arc;

use portcullis_gate::{Grammar, GrammarFault, Vocabulary, VocabularyError, allowed_by_all};
use portcullis_types::{TokenBytes, TokenId};
use proptest::prelude::*;

use crate::vocabularies::{Random, Tokens};

fn tokens_of(text: &str) -> Vec<TokenId> {
    text.bytes().map(TokenId::from).collect()
}

/// Text that the bytes of `allowed` spell, each one character, and how many end tokens there are.
fn check_allowed(grammar: &Grammar, completion: &str, expected: &str, ends: usize) {
    let tokens = Tokens::of_bytes();
    let mut state = grammar.compile(&tokens.vocabulary).unwrap().begin();
    let allowed = state.allowed_after(&tokens_of(completion));
    let (end, text): (Vec<_>, Vec<_>) = allowed.iter().partition(|&t| tokens.is_end(t));
    let text: Vec<u8> = text.into_iter().map(|t| t as u8).collect();
    assert_eq!(
        String::from_utf8_lossy(&text),
        expected,
        "after {completion:?}"
    );
    assert_eq!(end.len(), ends, "after {completion:?}");
    assert_eq!(state.is_accepting_after(&tokens_of(completion)), ends > 0);
}

#[test]
fn every_end_token_is_allowed_exactly_where_the_grammar_accepts() {
    let grammar = Grammar::regex("a(bc?)?").unwrap();
    check_allowed(&grammar, "", "a", 0);
    check_allowed(&grammar, "a", "b", 2);
    check_allowed(&grammar, "ab", "c", 2);
    check_allowed(&grammar, "abc", "", 2);
    let optional = Grammar::regex("a*").unwrap();
    check_allowed(&optional, "", "a", 2);
    let schema = Grammar::json_schema(r#"{"const": true}"#).unwrap();
    check_allowed(&schema, "", "t", 0);
    check_allowed(&schema, "tru", "e", 0);
    check_allowed(&schema, "true", "", 2);
}

#[test]
fn after_an_end_token_only_end_tokens_follow() {
    let tokens = Tokens::of_bytes();
    let grammar = Grammar::regex("a+").unwrap();
    let mut state = grammar.compile(&tokens.vocabulary).unwrap().begin();
    let ended = [b'a'.into(), 256];
    assert_eq!(
        state.allowed_after(&ended).iter().collect::<Vec<_>>(),
        [256, 257]
    );
    assert!(state.is_accepting_after(&ended));
    // Nothing was lost: the text before it goes on.
    let text = state.allowed_after(&ended[..1]);
    assert_eq!(text.iter().collect::<Vec<_>>(), [b'a'.into(), 256, 257]);
}

/// A character of two bytes, cut between its tokens.
#[test]
fn half_a_character_waits_for_its_other_half() {
    let tokens = Tokens::of_bytes();
    let grammar = Grammar::regex("é|ü").unwrap();
    let mut state = grammar.compile(&tokens.vocabulary).unwrap().begin();
    assert_eq!(state.allowed_after(&[]).iter().collect::<Vec<_>>(), [0xC3]);
    assert_eq!(
        state.allowed_after(&[0xC3]).iter().collect::<Vec<_>>(),
        [0xA9, 0xBC]
    );
    assert!(!state.is_accepting_after(&[0xC3]));
    assert!(state.is_accepting_after(&[0xC3, 0xA9]));
}

#[test]
fn a_token_that_was_not_allowed_is_a_fault_until_it_is_taken_back() {
    let tokens = Tokens::of_bytes();
    let grammar = Grammar::regex("ab?").unwrap();
    let mut state = grammar.compile(&tokens.vocabulary).unwrap().begin();
    for wrong in [tokens_of("ax"), tokens_of("axb"), vec![b'a'.into(), 9_999]] {
        assert!(state.allowed_after(&wrong).is_empty());
        assert!(!state.is_accepting_after(&wrong));
        assert!(matches!(
            state.fault(),
            Some(GrammarFault::NotAllowed { .. })
        ));
        assert!(state.is_accepting_after(&tokens_of("ab")));
        assert_eq!(state.fault(), None);
    }
}

#[test]
fn two_grammars_with_nothing_in_common_allow_nothing() {
    let tokens = Tokens::of_bytes();
    let grammars = ["ab", "ac"].map(|pattern| Grammar::regex(pattern).unwrap());
    let mut states = grammars.map(|g| g.compile(&tokens.vocabulary).unwrap().begin());
    let first = allowed_by_all(&mut states, &[]).unwrap();
    assert_eq!(first.iter().collect::<Vec<_>>(), [TokenId::from(b'a')]);
    assert!(
        allowed_by_all(&mut states, &tokens_of("a"))
            .unwrap()
            .is_empty()
    );
    assert_eq!(allowed_by_all(&mut [], &tokens_of("a")), None);
}

#[test]
fn a_space_that_the_text_drops_is_no_space_to_the_grammar() {
    let tokens = Tokens::dropping_first_space();
    let grammar = Grammar::regex("a a").unwrap();
    let mut state = grammar.compile(&tokens.vocabulary).unwrap().begin();
    let spaced: TokenId = 256 + 2;
    let letter: TokenId = b'a'.into();
    assert_eq!(tokens.text(&[spaced]), b"a");
    assert_eq!(
        state.allowed_after(&[]).iter().collect::<Vec<_>>(),
        [letter, spaced]
    );
    for first in [letter, spaced] {
        let space: TokenId = b' '.into();
        // The bare space has a twin: the token " " of a space alone.
        let allowed = state.allowed_after(&[first]);
        assert_eq!(allowed.iter().collect::<Vec<_>>(), [space, spaced, 256 + 5]);
        assert!(state.is_accepting_after(&[first, spaced]));
    }
}

#[test]
fn vocabularies_that_no_completion_could_end_in_are_refused() {
    let letter = |_| {
        Some(TokenBytes {
            at_start: vec![b'a'],
            inside: vec![b'a'],
        })
    };
    let refused = |ends: &[TokenId]| Vocabulary::new(3, letter, ends).unwrap_err();
    assert_eq!(refused(&[]), VocabularyError::NoEndToken);
    assert_eq!(
        refused(&[2, 3]),
        VocabularyError::EndTokenUnknown { token: 3, len: 3 }
    );
    let len = (1 << 20) + 1;
    assert!(matches!(
        Vocabulary::new(len, letter, &[0]),
        Err(VocabularyError::TooLarge { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Wherever a state has been before, and however far it went back, it allows what a fresh one
    /// allows.
    #[test]
    fn going_back_equals_never_having_gone(seed: u64) {
        let random = &mut Random(seed);
        let tokens = Tokens::merged(random, 600);
        let grammars = [
            Grammar::json_schema(r#"{"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}}"#),
            Grammar::regex("(ab?[cd]{1,4} ?)+\\."),
            Grammar::lark("start: pair+\npair: NAME \"=\" value \";\"\nvalue: NAME | \"(\" pair* \")\"\nNAME: /[a-e]+/\n%ignore / /"),
        ];
        for grammar in grammars {
            let compiled = grammar.unwrap().compile(&tokens.vocabulary).unwrap();
            let mut state = compiled.begin();
            let mut drawn: Vec<TokenId> = Vec::new();
            for _ in 0..60 {
                if random.below(5) == 0 {
                    drawn.truncate(random.below(drawn.len() + 1));
                }
                let allowed = state.allowed_after(&drawn);
                let mut fresh = compiled.begin();
                prop_assert_eq!(&allowed, &fresh.allowed_after(&drawn));
                prop_assert_eq!(state.is_accepting_after(&drawn), fresh.is_accepting_after(&drawn));
                let choices: Vec<TokenId> = allowed.iter().collect();
                drawn.push(*random.pick(&choices));
            }
        }
    }
}

/// One process serves one model: the first vocabulary's grammar is compiled once.
#[test]
fn a_grammar_is_compiled_once_for_the_model() {
    let grammar = Grammar::regex("a").unwrap();
    let [model, other] = [Tokens::of_bytes(), Tokens::of_bytes()];
    let first = grammar.compile(&model.vocabulary).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &grammar.compile(&model.vocabulary).unwrap()
    ));
    assert!(!Arc::ptr_eq(
        &first,
        &grammar.compile(&other.vocabulary).unwrap()
    ));
}
