//! The grammars of calls: what an answer is where a call is forced, or where the arguments of a
//! tool are strict.

use serde_json::Value;

use super::ToolFormat;

/// What the masks allow, in Lark; the rules `json_0`, `json_1` and so on, which it leaves open, are
/// the arguments of the tools in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolForm {
    /// The grammar.
    pub lark: String,
    /// The control token behind which it holds; `None`: from the beginning.
    pub after: Option<&'static str>,
}

/// Whether an answer calls tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhetherToCall {
    /// It does; the prompt ends with [`ToolFormat::opening`].
    Must,
    /// As the model likes: something said, or calls.
    May,
    /// As the model likes: calls, or else the rule `answer`, which is left open.
    MayOrAnswer,
}

impl ToolFormat {
    /// The form of an answer that calls tools with these names, several of them if `parallel`.
    pub fn form(self, names: &[&str], parallel: bool, whether: WhetherToCall) -> ToolForm {
        let calls = self.calls(parallel);
        let start = match (self, whether) {
            (_, WhetherToCall::Must) => calls.to_owned(),
            (Self::Mistral, WhetherToCall::May) => calls.to_owned(),
            (Self::Mistral, WhetherToCall::MayOrAnswer) => "answer".to_owned(),
            (Self::Llama3, WhetherToCall::May) => format!("{calls} | SAID"),
            (Self::Llama3, WhetherToCall::MayOrAnswer) => format!("{calls} | answer"),
            (Self::Hermes, WhetherToCall::May) => {
                format!("(said \"\\n\" {calls})* SAID_LAST")
            }
            (Self::Hermes, WhetherToCall::MayOrAnswer) => {
                format!("\"<tool_call>\\n\" {calls} | answer")
            }
        };
        let is_behind_token = self == Self::Mistral && whether == WhetherToCall::May;
        ToolForm {
            lark: format!(
                "start: {start}\n{}\n{}",
                self.said(whether),
                each_call(self.arguments_key(), names)
            ),
            after: is_behind_token.then(|| self.opening()),
        }
    }

    /// Calls behind the opening.
    fn calls(self, parallel: bool) -> &'static str {
        match (self, parallel) {
            (Self::Hermes, false) => r#"call "\n</tool_call>""#,
            (Self::Hermes, true) => {
                r#"call ("\n</tool_call>\n<tool_call>\n" call)* "\n</tool_call>""#
            }
            (Self::Llama3, false) => "call",
            (Self::Llama3, true) => r#"call ("; " call)*"#,
            (Self::Mistral, false) => r#""[" call "]""#,
            (Self::Mistral, true) => r#""[" call (", " call)* "]""#,
        }
    }

    /// What is said where nothing is called.
    fn said(self, whether: WhetherToCall) -> &'static str {
        match (self, whether) {
            (Self::Llama3, WhetherToCall::May) => r"SAID: /(\s*[^\s{](?s:.*))?/",
            (Self::Hermes, WhetherToCall::May) => {
                r#"said[suffix="<tool_call>"]: /(?s:.*)/
SAID_LAST: /(?s:.*)/ & ~/(?s:.*)<tool_call>(?s:.*)/"#
            }
            _ => "",
        }
    }
}

/// The rule `call` and those below it.
fn each_call(key: &str, names: &[&str]) -> String {
    let numbered = names.iter().enumerate();
    let all: Vec<String> = numbered
        .clone()
        .map(|(tool, _)| format!("call_{tool}"))
        .collect();
    let calls = numbered.map(|(tool, name)| {
        let head = format!("{{\"name\": {}, \"{key}\": ", Value::from(*name));
        format!("call_{tool}: {} json_{tool} \"}}\"\n", Value::from(head))
    });
    format!("call: {}\n{}", all.join(" | "), calls.collect::<String>())
}
