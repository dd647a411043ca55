//! Each format's grammar takes what a model of that format writes, and nothing else.

use futures::FutureExt;
use portcullis_gate::Vocabulary;
use portcullis_types::TokenBytes;

use super::*;

const HERMES: ToolFormat = ToolFormat::Hermes;
const LLAMA: ToolFormat = ToolFormat::Llama3;
const MISTRAL: ToolFormat = ToolFormat::Mistral;

/// One token a byte, and one that ends.
fn vocabulary() -> Arc<Vocabulary> {
    let bytes = |token: TokenId| {
        let byte = u8::try_from(token).ok()?;
        Some(TokenBytes {
            at_start: vec![byte],
            inside: vec![byte],
        })
    };
    Arc::new(Vocabulary::new(257, bytes, &[256]).expect("bytes are a vocabulary"))
}

struct Form(Arc<CompiledGrammar>);

impl Form {
    /// Of the tools `a`, which takes a number `n`, and `b`, which takes nothing; an answer in words
    /// is `true`.
    fn of(format: ToolFormat, parallel: bool, whether: WhetherToCall) -> Self {
        let mut form = format.form(&["a", "b"], parallel, whether);
        let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
        let number = json!({"type": "object", "properties": {"n": {"type": "integer"}},
                            "required": ["n"], "additionalProperties": false});
        let mut schemas = vec![number, nothing];
        if whether == WhetherToCall::MayOrAnswer {
            form.lark.push_str("answer: json_2\n");
            schemas.push(json!({"const": true}));
        }
        let grammar = Grammar::form(&form.lark, &schemas).expect("the schemas are enforced");
        Self(grammar.compile(&vocabulary()).expect("the grammar is one"))
    }

    #[track_caller]
    fn takes(&self, text: &str) -> &Self {
        assert!(self.accepts(text), "{text:?} is not taken");
        self
    }

    #[track_caller]
    fn refuses(&self, text: &str) -> &Self {
        assert!(!self.accepts(text), "{text:?} is taken");
        self
    }

    fn accepts(&self, text: &str) -> bool {
        let tokens: Vec<TokenId> = text.bytes().map(TokenId::from).collect();
        self.0.begin().is_accepting_after(&tokens)
    }
}

const A: &str = r#"{"name": "a", "arguments": {"n": 7}}"#;
const B: &str = r#"{"name": "b", "arguments": {}}"#;
const LLAMA_A: &str = r#"{"name": "a", "parameters": {"n": 7}}"#;

#[test]
fn hermes() {
    let must = Form::of(HERMES, true, WhetherToCall::Must);
    let one = format!("{A}\n</tool_call>");
    must.takes(&one)
        .takes(&format!(
            "{A}\n</tool_call>\n<tool_call>\n{B}\n</tool_call>"
        ))
        .refuses(A)
        .refuses("no")
        .refuses("")
        .refuses("{\"name\": \"a\", \"arguments\": {\"n\": \"x\"}}\n</tool_call>")
        .refuses("{\"name\": \"c\", \"arguments\": {}}\n</tool_call>");
    Form::of(HERMES, false, WhetherToCall::Must)
        .takes(&one)
        .refuses(&format!(
            "{A}\n</tool_call>\n<tool_call>\n{B}\n</tool_call>"
        ));
    Form::of(HERMES, true, WhetherToCall::May)
        .takes("Anything: {\"name\": 1}.")
        .takes("")
        .takes(&format!("First.\n<tool_call>\n{one}"))
        .takes(&format!("<tool_call>\n{one} and then"))
        .refuses("<tool_call>\n{\"name\": \"a\", \"arguments\": {}}\n</tool_call>")
        .refuses("Well, <tool_call> is a word");
    Form::of(HERMES, true, WhetherToCall::MayOrAnswer)
        .takes("true")
        .takes(&format!("<tool_call>\n{one}"))
        .refuses("false")
        .refuses("Anything");
}

#[test]
fn llama() {
    Form::of(LLAMA, true, WhetherToCall::Must)
        .takes(LLAMA_A)
        .takes(&format!("{LLAMA_A}; {LLAMA_A}"))
        .refuses(A)
        .refuses("no");
    Form::of(LLAMA, true, WhetherToCall::May)
        .takes(LLAMA_A)
        .takes("Anything {")
        .takes("")
        .refuses("{\"name\": \"a\", \"parameters\": {}}")
        .refuses(" {}");
    Form::of(LLAMA, true, WhetherToCall::MayOrAnswer)
        .takes("true")
        .takes(LLAMA_A)
        .refuses("no");
}

#[test]
fn mistral() {
    let must = Form::of(MISTRAL, true, WhetherToCall::Must);
    must.takes(&format!("[{A}]"))
        .takes(&format!("[{A}, {B}]"))
        .refuses(A)
        .refuses("[]");
    Form::of(MISTRAL, false, WhetherToCall::Must)
        .takes(&format!("[{B}]"))
        .refuses(&format!("[{A}, {B}]"));
    let may = MISTRAL.form(&["a"], true, WhetherToCall::May);
    assert_eq!(may.after, Some("[TOOL_CALLS]"));
    Form::of(MISTRAL, true, WhetherToCall::May)
        .takes(&format!("[{A}]"))
        .refuses("no");
}

/// A name is text in a grammar, whatever stands in it.
#[test]
fn names_are_quoted() {
    let form = HERMES.form(&["a.b-c"], false, WhetherToCall::Must);
    let grammar = Grammar::form(&form.lark, &[json!({"type": "object"})]);
    let grammar = grammar.and_then(|grammar| grammar.compile(&vocabulary()));
    let form = Form(grammar.expect("the grammar is one"));
    form.takes("{\"name\": \"a.b-c\", \"arguments\": {}}\n</tool_call>")
        .refuses("{\"name\": \"aXb-c\", \"arguments\": {}}\n</tool_call>");
}

#[test]
fn schemas_of_any_draft_are_held_and_closed() {
    let inner = json!({"type": "object", "properties": {"b": {"type": "null"}}});
    let schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
                        "properties": {"a": inner}, "required": ["a"]});
    let closed = checked(schema, "x").expect("the draft does not matter");
    assert_eq!(closed["additionalProperties"], false);
    assert_eq!(closed["properties"]["a"]["additionalProperties"], false);
    assert_eq!(closed.get("$schema"), None);
    for open in [
        json!({"type": "object"}),
        json!({"properties": {}, "additionalProperties": {"type": "string"}}),
        json!({"properties": {}, "allOf": [{"type": "object"}]}),
    ] {
        assert_eq!(checked(open.clone(), "x").ok(), Some(open));
    }
    // What is no schema is left alone.
    let value = json!({"const": {"properties": {}}});
    assert_eq!(checked(value.clone(), "x").ok(), Some(value));
}

#[tokio::test]
async fn who_has_no_schema_waits_for_nobody() {
    let forms = FormCache::default();
    let json = AnswerText::Json {
        schema: json!({}),
        param: "schema",
    };
    let turn = |text| forms.turn(None, text).now_or_never();
    let mut taken: Vec<_> = (0..FORMS_AT_ONCE).map(|_| turn(&json).flatten()).collect();
    assert!(taken.iter().all(Option::is_some));
    assert!(turn(&json).is_none(), "all turns are taken");
    let free = turn(&AnswerText::Free);
    assert!(
        free.expect("it does not wait").is_none(),
        "nor does it take one"
    );
    taken.pop();
    assert!(turn(&json).flatten().is_some(), "one came free");
}
