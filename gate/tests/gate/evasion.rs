//! Ways to hide a phrase, and ways in which a gate can lose one.

use crate::stream::{enforce, run, run_with};

const PHRASE: &str = "phrases: [\"guaranteed return\"], action: reject";

fn characters(text: &str) -> Vec<&str> {
    let cuts = text.char_indices();
    cuts.map(|(at, c)| &text[at..at + c.len_utf8()]).collect()
}

/// `text` is refused, whole and letter by letter, and nothing of the phrase is out.
#[track_caller]
fn check_refused(rule: &str, text: &str) {
    let gate = enforce(&[rule]);
    for tokens in [vec![text], characters(text)] {
        let outcome = run(&gate, &tokens);
        assert!(outcome.refusal.is_some(), "{text:?} went through");
        assert!(
            "We offer a ".starts_with(&outcome.text),
            "{:?} is out",
            outcome.text
        );
    }
}

#[track_caller]
fn check_passes(rule: &str, text: &str) {
    for tokens in [vec![text], characters(text)] {
        let outcome = run(&enforce(&[rule]), &tokens);
        assert_eq!(outcome.refusal, None, "{text:?}");
        assert_eq!(outcome.text, text);
    }
}

#[test]
fn plain() {
    check_refused(PHRASE, "We offer a guaranteed return of 8%.");
    check_passes(PHRASE, "We offer a guaranteed retur");
    check_passes(PHRASE, "No return is guaranteed.");
}

#[test]
fn case_and_white_space() {
    check_refused(PHRASE, "We offer a GUARANTEED Return.");
    check_refused(PHRASE, "We offer a guaranteed  return.");
    check_refused(PHRASE, "We offer a guaranteed\n\nreturn.");
    check_refused(PHRASE, "We offer a guaranteed\r\nreturn.");
    check_refused(PHRASE, "We offer a guaranteed \u{00A0}\u{2003}return.");
    check_passes(PHRASE, "We offer a guaranteedreturn.");
}

#[test]
fn invisible_characters() {
    check_refused(
        PHRASE,
        "We offer a guar\u{200B}anteed re\u{2060}\u{FEFF}turn.",
    );
    check_refused(PHRASE, "We offer a guar\u{00AD}anteed return.");
    check_refused(PHRASE, "We offer a g\u{E0067}uaranteed\u{202E} return.");
    check_refused(PHRASE, "We offer a guaranteed\u{200B} \u{200B} return.");
}

#[test]
fn other_forms_of_letters() {
    check_refused(PHRASE, "We offer a ｇｕａｒａｎｔｅｅｄ ｒｅｔｕｒｎ.");
    check_refused(PHRASE, "We offer a 𝐠𝐮𝐚𝐫𝐚𝐧𝐭𝐞𝐞𝐝 𝓻𝓮𝓽𝓾𝓻𝓷.");
    check_refused(PHRASE, "We offer a guaranteed retu\u{0301}rn\u{0308}.");
    check_refused(PHRASE, "We offer a guaranteéd return.");
}

#[test]
fn look_alikes() {
    // Cyrillic а and е.
    check_refused(PHRASE, "We offer a gu\u{0430}rant\u{0435}ed return.");
    check_refused(PHRASE, "We offer a guaranteed retum.");
    let basic = "phrases: [\"guaranteed return\"], normalise: basic, action: reject";
    check_passes(basic, "We offer a gu\u{0430}ranteed return.");
}

#[test]
fn as_written_only_where_the_rule_says_so() {
    let raw = "phrases: [\"guaranteed return\"], normalise: none, action: reject";
    check_refused(raw, "We offer a guaranteed return.");
    check_passes(raw, "We offer a Guaranteed return.");
}

#[test]
fn whole_words() {
    let rule = "phrases: [\"cat\", \"$100\"], whole_word: true, action: reject";
    check_refused(rule, "We offer a cat.");
    check_refused(rule, "We offer a cat");
    check_refused(rule, "We offer a $100)");
    check_passes(rule, "concatenate cats $1000 category");
}

#[test]
fn half_a_character_is_held_and_its_sample_never_shown() {
    let gate = enforce(&["phrases: [\"né\"], action: redact, with: \"#\""]);
    // The second token is the first byte of é, the third brings its text.
    let outcome = run(&gate, &["n", "", "é", "", "x"]);
    assert_eq!(outcome.pieces, ["", "", "#", "", "x"]);
    assert_eq!(outcome.samples, [3, 4]);
    assert_eq!(outcome.released_tokens, 5);
}

#[test]
fn unusual_tokens_count_in_bytes_not_in_canonical_tokens() {
    let text = "a guaranteed return";
    for size in 1..6 {
        let bytes: Vec<&str> = text
            .as_bytes()
            .chunks(size)
            .map(|c| std::str::from_utf8(c).unwrap())
            .collect();
        let mut tokens = Vec::new();
        for piece in &bytes {
            // Tokens without text between.
            tokens.extend([*piece, "", ""]);
        }
        let outcome = run(&enforce(&[PHRASE]), &tokens);
        assert!(outcome.refusal.is_some());
        assert!("a ".starts_with(&outcome.text));
    }
}

#[test]
fn held_text_is_checked_before_it_is_flushed_at_the_end() {
    let gate = enforce(&[PHRASE]);
    let refused = run(&gate, &["a ", "guaranteed", " return"]);
    assert!(refused.refusal.is_some());
    assert_eq!(refused.text, "a ");
    let flushed = run(&gate, &["a ", "guaranteed", " retur"]);
    assert_eq!(flushed.pieces, ["a ", "", "guaranteed retur"]);
    // The end comes with a token that has no text of its own.
    let refused = run(
        &enforce(&["regex: '(?-u:\\b)no$', action: reject"]),
        &["say ", "no", ""],
    );
    assert!(refused.refusal.is_some());
    assert_eq!(refused.text, "say ");
}

#[test]
fn the_end_of_input_counts_as_a_boundary() {
    let rule = "regex: '(?-u:\\b)AC-[0-9]{2}(?-u:\\b)', action: redact, with: \"#\"";
    let gate = enforce(&[rule]);
    assert_eq!(run(&gate, &["is AC-", "12"]).text, "is #");
    assert_eq!(run(&gate, &["is AC-", "12", "3"]).text, "is AC-123");
    assert_eq!(run(&gate, &["xAC-", "12"]).text, "xAC-12");
}

#[test]
fn what_came_before_a_roll_back_still_counts() {
    // After "x" is released, `\b` must know of it, also when what follows is drawn again.
    let gate = enforce(&[
        "regex: '(?-u:\\b)ab', action: reject",
        "phrases: [\"q\"], action: resample",
    ]);
    let mut state = gate.begin(false);
    let outcome = run_with(&mut state, &["x", "q", "."], |_, at| {
        ["x", "ab", "."][at].to_owned()
    });
    assert_eq!(outcome.resamples, [1]);
    assert_eq!(outcome.text, "xab.");
    // And `^` means the start of the completion, not that of the retry.
    let gate = enforce(&[
        "regex: '^ab', action: reject",
        "phrases: [\"q\"], action: resample",
    ]);
    let outcome = run_with(&mut gate.begin(false), &["x", "q", "."], |_, at| {
        ["x", "ab", "."][at].to_owned()
    });
    assert_eq!(outcome.text, "xab.");
}

#[test]
fn line_ends() {
    let gate = enforce(&["regex: '(?m)^secret$', action: redact, with: \"#\""]);
    assert_eq!(run(&gate, &["a\n", "secret", "\nb"]).text, "a\n#\nb");
    assert_eq!(run(&gate, &["a\r\nsecret\r\n"]).text, "a\r\nsecret\r\n");
    let gate = enforce(&["regex: '(?mR)^secret$', action: redact, with: \"#\""]);
    assert_eq!(
        run(&gate, &["a\r", "\nsecret", "\r", "\n"]).text,
        "a\r\n#\r\n"
    );
}

#[test]
fn sequences_know_nothing_of_each_other() {
    let gate = enforce(&[PHRASE]);
    let mut one = gate.begin(false);
    let mut other = gate.begin(false);
    let first = run_with(&mut one, &["guaranteed"], |_, _| unreachable!());
    let second = run_with(&mut other, &[" return"], |_, _| unreachable!());
    assert_eq!((first.refusal, second.refusal), (None, None));
}
