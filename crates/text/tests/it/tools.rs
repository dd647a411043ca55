//! Tool calls: whatever way an answer is cut, the same is said and called.

use portcullis_text::{Piece, ToolFormat};
use proptest::prelude::*;

use crate::tool_law::{every_way, parser};

const HERMES: ToolFormat = ToolFormat::Hermes;
const LLAMA: ToolFormat = ToolFormat::Llama3;
const MISTRAL: ToolFormat = ToolFormat::Mistral;

#[track_caller]
fn expect(format: ToolFormat, text: &str, said: &str, calls: &[(&str, &str)]) {
    let (text, found) = every_way(&parser(format), text);
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(n, a)| (n.as_str(), a.as_str()))
        .collect();
    assert_eq!((text.as_str(), found.as_slice()), (said, calls));
}

const PARIS: &str = r#"{"city": "Paris {\"}"}"#;

#[test]
fn hermes() {
    let call = |arguments| {
        format!("<tool_call>\n{{\"name\": \"weather\", \"arguments\": {arguments}}}\n</tool_call>")
    };
    expect(HERMES, &call(PARIS), "", &[("weather", PARIS)]);
    let two = format!("Let me see. {}\n{}\n", call("{}"), call(PARIS));
    expect(
        HERMES,
        &two,
        "Let me see. ",
        &[("weather", "{}"), ("weather", PARIS)],
    );
    let behind = format!("{} Done.", call("{}"));
    expect(HERMES, &behind, " Done.", &[("weather", "{}")]);
    // The end tag is often forgotten at the end.
    let open = "<tool_call>{\"name\": \"time\", \"arguments\": {}}";
    expect(HERMES, open, "", &[("time", "{}")]);
}

#[test]
fn llama() {
    let one = r#"{"name": "weather", "parameters": {"city": "Rome"}}"#;
    expect(LLAMA, one, "", &[("weather", r#"{"city": "Rome"}"#)]);
    let two = format!("{one}; {one}");
    let rome = ("weather", r#"{"city": "Rome"}"#);
    expect(LLAMA, &two, "", &[rome, rome]);
    let typed = r#"{"type": "function", "name": "time", "parameters": {"a": [1]}}"#;
    expect(LLAMA, typed, "", &[("time", r#"{"a":[1]}"#)]);
}

#[test]
fn mistral() {
    let list = r#"[TOOL_CALLS] [{"name": "time", "arguments": {"a": "]"}}, {"name": "weather", "arguments": {}, "id": "123456789"}]"#;
    expect(
        MISTRAL,
        list,
        "",
        &[("time", r#"{"a": "]"}"#), ("weather", "{}")],
    );
    let newer = r#"Yes.[TOOL_CALLS]time[ARGS]{"a": 1}[TOOL_CALLS]weather{"b": {}}"#;
    expect(
        MISTRAL,
        newer,
        "Yes.",
        &[("time", r#"{"a": 1}"#), ("weather", r#"{"b": {}}"#)],
    );
}

#[test]
fn keys_may_come_in_another_order() {
    let text = r#"<tool_call>{"arguments": {"z": 1, "a": 2}, "name": "time"}</tool_call>"#;
    expect(HERMES, text, "", &[("time", r#"{"z":1,"a":2}"#)]);
    let wrapped =
        r#"{"type": "function", "function": {"name": "time", "arguments": "{\"a\": 1}"}}"#;
    expect(LLAMA, wrapped, "", &[("time", r#"{"a":1}"#)]);
    let none = r#"{"name": "time"}"#;
    expect(LLAMA, none, "", &[("time", "{}")]);
}

/// Nobody can be made to run a tool that they did not offer, and nothing that was said is lost.
#[test]
fn what_is_no_call_is_said() {
    for (format, text) in [
        (HERMES, "Plain."),
        (HERMES, "a <tool_cal"),
        (
            HERMES,
            "<tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call>",
        ),
        (HERMES, "<tool_call>no JSON</tool_call>"),
        (HERMES, "<tool_call>{\"name\": 7}"),
        (HERMES, "   "),
        (LLAMA, r#"{"colour": "red"}"#),
        (LLAMA, r#" {"name": "Anna", "age": 7}"#),
        (LLAMA, r#"Say {"name": "time", "parameters": {}}"#),
        (LLAMA, r#"{"name": "weather", "parameters": [1]}"#),
        (LLAMA, r#"{"na"#),
        (MISTRAL, "[TOOL_CALLS] nothing here"),
        (MISTRAL, "[TOOL_CALLS]rm[ARGS]{}"),
        (MISTRAL, "[1] and [TOOL"),
    ] {
        expect(format, text, text, &[]);
    }
}

/// However much came at once: what shows that one call is none must not swallow the next.
#[test]
fn a_call_may_follow_what_is_none() {
    let call = "<tool_call>{\"name\": \"time\", \"arguments\": {}}</tool_call>";
    for none in [
        "<tool_call>{[",
        "<tool_call>{\"a\": 1}",
        "<tool_call>{\"name\": \"rm\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"type\": 7}",
    ] {
        expect(HERMES, &format!("{none}{call}"), none, &[("time", "{}")]);
    }
    let (none, call) = ("[TOOL_CALLS]rm{}", "[TOOL_CALLS]time{}");
    expect(MISTRAL, &format!("{none}{call}"), none, &[("time", "{}")]);
}

#[test]
fn heads_and_names_are_bounded_however_they_are_cut() {
    let padded = |blanks| {
        format!(
            "{{{}\"name\": \"time\", \"parameters\": {{}}}}",
            " ".repeat(blanks)
        )
    };
    expect(LLAMA, &padded(900), "", &[("time", "{}")]);
    for blanks in [992, 993, 994, 1020, 1024, 2000] {
        every_way(&parser(LLAMA), &padded(blanks));
    }
    expect(LLAMA, &padded(2000), &padded(2000), &[]);
    for len in [255, 256, 257, 400] {
        let text = format!("[TOOL_CALLS]{}{{}}", "n".repeat(len));
        expect(MISTRAL, &text, &text, &[]);
        let blank = format!("[TOOL_CALLS]time{}{{}}", " ".repeat(len));
        every_way(&parser(MISTRAL), &blank);
    }
}

#[test]
fn arguments_are_given_as_they_come() {
    let mut parser = parser(LLAMA);
    assert_eq!(parser.push(r#"{"name": "weather", "param"#), []);
    let pieces = parser.push(r#"eters": {"city": "#);
    let [
        Piece::Call { index: 0, name },
        Piece::Arguments { index: 0, json },
    ] = &pieces[..]
    else {
        panic!("{pieces:?}");
    };
    assert_eq!((name.as_str(), json.as_str()), ("weather", r#"{"city": "#));
    // Cut off here: what came of the arguments stands.
    assert_eq!(parser.finish(), []);
    assert_eq!(parser.num_calls(), 1);
}

#[test]
fn a_forced_call_begins_behind_its_opening() {
    for (format, text) in [
        (
            HERMES,
            "{\"name\": \"time\", \"arguments\": {}}\n</tool_call>",
        ),
        (LLAMA, r#"{"name": "time", "parameters": {}}"#),
        (MISTRAL, r#"[{"name": "time", "arguments": {}}]"#),
    ] {
        let (said, calls) = every_way(&parser(format).opened(), text);
        assert_eq!((said.as_str(), calls.len()), ("", 1), "{format}");
    }
}

#[test]
fn templates_tell_their_format() {
    let of = ToolFormat::of_template;
    assert_eq!(of("{% if tools %}<tool_call>{% endif %}"), Some(HERMES));
    assert_eq!(of("{% if tools %}[TOOL_CALLS]{% endif %}"), Some(MISTRAL));
    let llama = r#"{%- if tools is not none %}{"name": function name, "parameters": dict}"#;
    assert_eq!(of(llama), Some(LLAMA));
    assert_eq!(of("{{ messages }}"), None);
}

fn soup() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "{",
        "}",
        "[",
        "]",
        ",",
        ";",
        " ",
        "\n",
        "\"",
        "\\",
        "\"name\"",
        ": ",
        "\"time\"",
        "time",
        "\"arguments\"",
        "\"parameters\"",
        "{\"name\": \"time\", \"arguments\": {\"a\": \"",
        "é",
        "<tool",
        "_call>",
    ]);
    prop::collection::vec(words, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_soup_reads_the_same_however_it_is_cut(text in soup(), format in 0..3usize, opened: bool) {
        let parser = parser(ToolFormat::ALL[format]);
        let parser = if opened { parser.opened() } else { parser };
        every_way(&parser, &text);
    }
}
