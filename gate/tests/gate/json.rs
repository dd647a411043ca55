//! Completions that a schema makes JSON: rules see what a reader will see, what is released stays
//! JSON, and what is cut off in the middle is no answer.

use std::sync::Arc;

use portcullis_gate::{
    Checkpoint, End, Gate, GateState, InputText, Quota, RuleSet, Verdict, Vocabulary,
};
use portcullis_types::{Sample, TokenBytes, TokenId};

const END: TokenId = 256;

/// One token for each byte.
fn vocabulary() -> Arc<Vocabulary> {
    let bytes = |token| {
        let byte = vec![u8::try_from(token).ok()?];
        Some(TokenBytes {
            at_start: byte.clone(),
            inside: byte,
        })
    };
    Arc::new(Vocabulary::new(257, bytes, &[END]).unwrap())
}

fn gate(schema_action: &str, mode: &str) -> Gate {
    let set = format!(
        "ruleset: test\nversion: 1\nmode: {mode}\nrules:\n\
         - {{id: shape, why: test, json_schema: {{type: object}}, action: {schema_action}}}\n\
         - {{id: card, why: test, pii: [payment_card], action: redact, with: 'a \"card\"'}}\n\
         tests:\n- {{rule: shape, should_pass: '{{\"a\": 1}}'}}\n\
         - {{rule: shape, should_fail: '{{\"a\": 1'}}\n- {{rule: card, should_pass: x}}\n"
    );
    let set = RuleSet::load(set.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    let gate = Gate::new([Arc::new(set)], Quota::default());
    assert!(gate.needs_model());
    gate.for_model(&vocabulary()).unwrap()
}

/// Writes `text` byte by byte, then the end; gives what came out, and whether it was refused.
fn write(state: &mut GateState, text: &str, end: End) -> (String, bool) {
    let mut out = String::new();
    let mut tokens: Vec<TokenId> = text.bytes().map(TokenId::from).collect();
    if end == End::Natural {
        tokens.push(END);
    }
    for (index, &token) in tokens.iter().enumerate() {
        let verdict = state.check(Checkpoint {
            sample: Sample::certain(token),
            text: if token == END {
                ""
            } else {
                &text[index..=index]
            },
            end: (index + 1 == tokens.len()).then_some(end),
        });
        match verdict {
            Verdict::Continue(admitted) => out += admitted.text(),
            Verdict::Reject(_) => return (out, true),
            other => panic!("{other:?}"),
        }
    }
    (out, false)
}

#[test]
fn a_redaction_leaves_json() {
    let text = r#"{"note": "it is 4111-1111-1111-1111.", "n": 4111111111111111, "b": [true, 12]}"#;
    let (out, refused) = write(
        &mut gate("reject", "enforce").begin(false),
        text,
        End::Natural,
    );
    assert!(!refused);
    assert_eq!(
        out,
        r#"{"note": "it is a \"card\".", "n": "a \"card\"", "b": [true, 12]}"#
    );
}

#[test]
fn escapes_hide_nothing() {
    let text = r#"{"n": "\u0034111\u00201111 1111 \u0031111"}"#;
    // The mask would not let a model write such escapes; the rules do not lean on that.
    let mut state = gate("reject", "enforce").begin(false);
    assert_eq!(
        write(&mut state, text, End::Natural).0,
        r#"{"n": "a \"card\""}"#
    );
}

#[test]
fn a_mask_allows_what_can_become_whole_and_nothing_else() {
    let mut state = gate("reject", "enforce").begin(false);
    let allowed = |state: &mut GateState, text: &str| {
        let tokens: Vec<TokenId> = text.bytes().map(TokenId::from).collect();
        state.mask_after(&tokens).allowed.expect("there is a mask")
    };
    assert!(allowed(&mut state, "").contains(u32::from(b'{')));
    assert!(!allowed(&mut state, "").contains(u32::from(b'x')));
    assert!(!allowed(&mut state, "{\"a\": ").contains(END));
    assert!(allowed(&mut state, "{\"a\": 1}").contains(END));
    // Asked again before: as after a roll-back.
    assert!(allowed(&mut state, "{\"a\"").contains(u32::from(b':')));
}

#[test]
fn what_is_cut_off_in_the_middle_is_no_answer() {
    let (_, refused) = write(
        &mut gate("reject", "enforce").begin(false),
        "{\"a\": [",
        End::Cut,
    );
    assert!(refused);
    let mut flagged = gate("flag", "enforce").begin(false);
    assert!(
        flagged.mask_after(&[]).allowed.is_none(),
        "a flag changes no draw"
    );
    assert!(!write(&mut flagged, "{\"a\": [", End::Cut).1);
    assert_eq!(flagged.report().findings_total, 1);
}

#[test]
fn an_observed_schema_masks_nothing() {
    let mut state = gate("reject", "observe").begin(false);
    assert!(state.mask_after(&[]).allowed.is_none());
    assert_eq!(
        write(&mut state, "no JSON", End::Natural),
        ("no JSON".to_owned(), false)
    );
    assert_eq!(state.report().findings_total, 1);
}

/// A server that forgot to prepare a gate for its model must not be an open one.
#[test]
fn a_grammar_without_a_model_is_satisfied_by_nothing() {
    let set = "ruleset: test\nversion: 1\nmode: enforce\nrules:\n\
               - {id: r, why: test, grammar: {regex: '[a-z]+'}, action: reject}\n\
               tests:\n- {rule: r, should_pass: abc}\n- {rule: r, should_fail: ab1}\n";
    let set = Arc::new(RuleSet::load(set.as_bytes()).unwrap());
    let unprepared = Gate::new([set.clone()], Quota::default());
    assert!(write(&mut unprepared.begin(false), "abc", End::Natural).1);
    let prepared = Gate::new([set], Quota::default())
        .for_model(&vocabulary())
        .unwrap();
    assert!(!write(&mut prepared.begin(false), "abc", End::Natural).1);
}

/// The arguments of a tool in a prompt: read as what they mean, and JSON to the end.
#[test]
fn json_in_a_prompt_is_read_as_what_it_means_and_stays_json() {
    let set = crate::stream::ruleset(
        "mode: enforce",
        &["pii: [payment_card], on: input, action: redact, with: 'a \"card\"'"],
    );
    let gate = Gate::new([set], Quota::NONE);
    for (text, expected) in [
        (
            r#"{"pay": "\u0034111111111111111!", "n": 1}"#,
            r#"{"pay": "a \"card\"!", "n": 1}"#,
        ),
        (r#"{"pay": 4111111111111111}"#, r#"{"pay": "a \"card\""}"#),
        (r#"{"4111111111111111": []}"#, r#"{"a \"card\"": []}"#),
    ] {
        let admitted = gate.check_input([InputText::Json(text.to_owned())]);
        let texts = admitted.map(|admitted| admitted.texts);
        assert_eq!(texts, Ok(vec![expected.to_owned()]));
    }
}

/// Where a set may not hold for as long as a number is, its beginning is out before its match: what
/// follows is hidden all the same, and the number stays one.
#[test]
fn of_a_number_whose_beginning_is_out_the_rest_is_hidden() {
    let set = "ruleset: test\nversion: 1\nmode: enforce\non_gate_error: flag\n\
               checkpoint: {max_hold_tokens: 4}\nrules:\n\
               - {id: shape, why: test, json_schema: {type: object}, action: resample}\n\
               - {id: sevens, why: test, regex: '7777', action: redact, with: x}\n\
               tests:\n- {rule: shape, should_pass: '{}'}\n- {rule: sevens, should_fail: '7777'}\n";
    let set = RuleSet::load(set.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    let gate = Gate::new([Arc::new(set)], Quota::default());
    let gate = gate.for_model(&vocabulary()).unwrap();
    for (text, expected) in [
        (r#"{"a": 1234567777}"#, r#"{"a": 1234560000}"#),
        (r#"{"a": 77771234567890}"#, r#"{"a": "x"}"#),
        (r#"{"a": 1234567}"#, r#"{"a": 1234567}"#),
    ] {
        let (out, refused) = write(&mut gate.begin(false), text, End::Natural);
        assert_eq!((out.as_str(), refused), (expected, false));
    }
}
