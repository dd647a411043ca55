//! What is sent and read: the fields that servers agree on, and those of some that help.
//!
//! Everything read is optional: a field that a server leaves out is a figure that is not told.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::args::Endpoint;
use crate::outcome::GateCost;
use crate::target::{Ask, Prompt};

/// What every request of a run has in common.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) model: String,
    pub(super) endpoint: Endpoint,
    pub(super) temperature: f64,
    /// Ask for the whole length, as vLLM, SGLang and Portcullis understand it.
    pub(super) ignore_eos: bool,
    /// Ask what the gate took, as Portcullis understands it.
    pub(super) gate_timings: bool,
    pub(super) extra: Map<String, Value>,
}

impl Template {
    pub(super) fn path(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Chat => "chat/completions",
            Endpoint::Completions => "completions",
        }
    }

    pub(super) fn body(&self, ask: &Ask) -> Value {
        let mut body = json!({
            "model": self.model,
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": self.temperature,
        });
        match (self.endpoint, &ask.prompt) {
            (Endpoint::Chat, Prompt::Text(text)) => {
                body["messages"] = json!([{"role": "user", "content": text}]);
            }
            // Only completions are asked with tokens.
            (_, Prompt::Tokens(tokens)) => body["prompt"] = json!(tokens),
            (Endpoint::Completions, Prompt::Text(text)) => body["prompt"] = json!(text),
        }
        let limit = match self.endpoint {
            Endpoint::Chat => "max_completion_tokens",
            Endpoint::Completions => "max_tokens",
        };
        body[limit] = json!(ask.output_tokens);
        if self.ignore_eos {
            body["ignore_eos"] = json!(true);
            body["min_tokens"] = json!(ask.output_tokens);
        }
        for (name, value) in &self.extra {
            body[name] = value.clone();
        }
        if self.gate_timings {
            body["admissibility"]["timings"] = json!(true);
        }
        body
    }
}

/// One event of a stream, of either endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    /// llama.cpp's.
    timings: Option<Timings>,
    /// Portcullis's.
    admissibility: Option<Admissibility>,
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    delta: Option<Delta>,
    text: Option<String>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<String>,
    /// What thinks aloud: DeepSeek, vLLM, SGLang; newer vLLM says `reasoning`.
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: Option<usize>,
    completion_tokens: Option<usize>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    discarded_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Timings {
    prompt_n: Option<usize>,
    predicted_n: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Admissibility {
    /// Roll-backs.
    attempts: u64,
    timings: Option<GateTimings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GateTimings {
    first_held_ms: f64,
    held_ms: f64,
    gate_ms: f64,
    rules: Vec<RuleTime>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuleTime {
    ruleset: String,
    rule: String,
    ms: f64,
}

impl Event {
    /// Whether any choice got text.
    pub(super) fn has_text(&self) -> bool {
        self.choices().any(Choice::has_text)
    }

    fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.choices.iter().flatten()
    }

    /// Tokens of prompt and completion so far, if told.
    pub(super) fn usage(&self) -> Option<(usize, usize)> {
        let told = |usage: &Usage| Some((usage.prompt_tokens?, usage.completion_tokens?));
        let timed = |timings: &Timings| Some((timings.prompt_n?, timings.predicted_n?));
        self.usage
            .as_ref()
            .and_then(told)
            .or_else(|| self.timings.as_ref().and_then(timed))
    }

    pub(super) fn finish_reason(&self) -> Option<&str> {
        self.choices()
            .find_map(|choice| choice.finish_reason.as_deref())
    }

    pub(super) fn error(&self) -> Option<String> {
        self.error.as_ref().map(error_text)
    }

    /// Adds what this event tells of the gate.
    pub(super) fn tell_gate(&self, gate: &mut Option<GateCost>) {
        if let Some(told) = &self.admissibility {
            let gate = gate.get_or_insert_default();
            gate.attempts = told.attempts + 1;
            if let Some(timings) = &told.timings {
                timings.tell(gate);
            }
        }
        let details = self.usage.as_ref();
        let discarded =
            details.and_then(|usage| usage.completion_tokens_details.as_ref()?.discarded_tokens);
        if let Some(discarded_tokens) = discarded {
            gate.get_or_insert_with(|| GateCost {
                attempts: 1,
                ..GateCost::default()
            })
            .discarded_tokens = discarded_tokens;
        }
    }
}

impl Choice {
    fn has_text(&self) -> bool {
        let is_some = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let delta = self.delta.as_ref();
        is_some(&self.text)
            || delta.is_some_and(|delta| {
                let texts = [
                    &delta.content,
                    &delta.reasoning_content,
                    &delta.reasoning,
                    &delta.refusal,
                ];
                let calls = delta.tool_calls.as_ref();
                texts.into_iter().any(is_some) || calls.is_some_and(|calls| !calls.is_empty())
            })
    }
}

impl GateTimings {
    fn tell(&self, gate: &mut GateCost) {
        gate.first_held = self.first_held_ms / 1e3;
        gate.held = self.held_ms / 1e3;
        gate.judged = self.gate_ms / 1e3;
        let rules = self.rules.iter();
        gate.rules = rules
            .map(|it| (format!("{}/{}", it.ruleset, it.rule), it.ms / 1e3))
            .collect::<BTreeMap<_, _>>();
    }
}

/// What an error body says, in short.
pub(super) fn error_text(body: &Value) -> String {
    let message = body.get("error").unwrap_or(body);
    let message = message.get("message").unwrap_or(message);
    let text = message
        .as_str()
        .map_or_else(|| message.to_string(), str::to_owned);
    shorten(&text)
}

/// At most a few lines of it, with nothing in it that a terminal would obey.
pub(super) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let plain = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(CHARS_MAX).collect();
    if text.trim().chars().count() > CHARS_MAX {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_body_has_what_was_asked_for_and_what_the_server_takes() {
        let mut template = Template {
            model: "m".into(),
            endpoint: Endpoint::Chat,
            temperature: 0.0,
            ignore_eos: true,
            gate_timings: true,
            extra: Map::from_iter([
                ("top_k".to_owned(), json!(1)),
                ("admissibility".to_owned(), json!({"rulesets": ["a"]})),
            ]),
        };
        let ask = Ask {
            prompt: Prompt::Text("hi".into()),
            input_tokens: 1,
            output_tokens: 7,
        };
        let body = template.body(&ask);
        assert_eq!(body["messages"][0]["content"], "hi");
        assert_eq!(
            (&body["max_completion_tokens"], &body["min_tokens"]),
            (&json!(7), &json!(7))
        );
        assert_eq!(body["top_k"], 1);
        assert_eq!(
            body["admissibility"],
            json!({"rulesets": ["a"], "timings": true})
        );
        template.endpoint = Endpoint::Completions;
        template.ignore_eos = false;
        let body = template.body(&ask);
        assert_eq!(
            (&body["prompt"], &body["max_tokens"]),
            (&json!("hi"), &json!(7))
        );
        assert!(body.get("ignore_eos").is_none() && body.get("messages").is_none());
    }

    #[test]
    fn text_is_found_in_every_spelling_and_nothing_else_is_text() {
        let check = |text: &str, expect: bool| assert_eq!(event(text).has_text(), expect, "{text}");
        check(r#"{"choices":[{"delta":{"content":"a"}}]}"#, true);
        check(r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#, true);
        check(
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
            true,
        );
        check(r#"{"choices":[{"text":"a"}]}"#, true);
        check(
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            false,
        );
        check(
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            false,
        );
        check(r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, false);
        check(r#"{"choices":null}"#, false);
    }

    #[test]
    fn counts_come_from_usage_or_from_llama_cpp() {
        let usage = event(r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#);
        assert_eq!(usage.usage(), Some((5, 7)));
        let timings = event(r#"{"choices":[],"timings":{"prompt_n":5,"predicted_n":7}}"#);
        assert_eq!(timings.usage(), Some((5, 7)));
        assert_eq!(event(r#"{"usage":null}"#).usage(), None);
    }

    #[test]
    fn the_gate_is_read_from_both_of_its_places() {
        let mut gate = None;
        event(r#"{"admissibility":{"attempts":2,"timings":{"held_ms":4,"rules":[{"ruleset":"a","rule":"b","ms":1}]}}}"#)
            .tell_gate(&mut gate);
        event(r#"{"usage":{"completion_tokens_details":{"discarded_tokens":9}}}"#)
            .tell_gate(&mut gate);
        let gate = gate.unwrap();
        assert_eq!((gate.attempts, gate.discarded_tokens), (3, 9));
        assert_eq!(gate.held, 0.004);
        assert_eq!(gate.rules["a/b"], 0.001);
    }

    #[test]
    fn errors_are_told_in_the_servers_words() {
        let check = |text: &str, expect: &str| {
            assert_eq!(error_text(&serde_json::from_str(text).unwrap()), expect);
        };
        check(r#"{"error":{"message":"no such\nmodel"}}"#, "no such model");
        check(r#"{"error":"plain"}"#, "plain");
        check(r#"{"detail":"odd"}"#, r#"{"detail":"odd"}"#);
    }
}
