//! Good bodies, with every field that the server reads.

use serde_json::{Value, json};

use super::world::EMBEDDER;

/// The routes that read what a caller writes.
pub(crate) const PATHS: [&str; 8] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/tokenize",
    "/detokenize",
];

/// Each with the route that it is meant for.
pub(crate) fn bodies(model: &str) -> Vec<(&'static str, Value)> {
    let [
        chat,
        completions,
        responses,
        messages,
        count,
        embeddings,
        tokenize,
        detokenize,
    ] = PATHS;
    let mut all = vec![
        (
            tokenize,
            json!({"prompt": "hi", "return_token_strs": true, "add_special_tokens": true}),
        ),
        (tokenize, plain_chat()),
        (detokenize, json!({"tokens": [104, 105, 256]})),
        (embeddings, embedding()),
        (chat, plain_chat()),
        (chat, chat_with_tools()),
        (chat, chat_of_json()),
        (completions, completion()),
        (completions, completion_of_tokens()),
        (responses, response()),
        (messages, message()),
        (count, message()),
    ];
    for (path, body) in &mut all {
        body["model"] = match *path == embeddings {
            true => json!(EMBEDDER),
            false => json!(model),
        };
    }
    all
}

fn embedding() -> Value {
    json!({"input": ["the cat", [2, 63, 3]], "encoding_format": "base64", "dimensions": 2})
}

fn plain_chat() -> Value {
    json!({
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "hello"}]},
        ],
        "stream": true, "stream_options": {"include_usage": true}, "n": 2, "max_tokens": 9,
        "min_tokens": 2, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.1,
        "presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.1,
        "logit_bias": {"104": -5, "35": 2.5}, "seed": 7, "stop": ["x", "lo"],
        "stop_token_ids": [33], "ignore_eos": false, "priority": "realtime", "user": "u",
        "logprobs": true, "top_logprobs": 3,
        "admissibility": {"rulesets": ["none"], "retention": "short"},
    })
}

fn tool() -> Value {
    json!({
        "name": "rate", "description": "The rate of an account",
        "parameters": {
            "type": "object",
            "properties": {"account": {"enum": ["basic", "plus"]}, "n": {"type": "integer"}},
            "required": ["account"], "additionalProperties": false,
        },
    })
}

fn chat_with_tools() -> Value {
    let call = json!({"id": "call_1", "type": "function",
                      "function": {"name": "rate", "arguments": "{\"account\": \"plus\"}"}});
    let tools = json!([{"type": "function", "function": tool()}]);
    json!({
        "messages": [
            {"role": "user", "content": "the rate?"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "2%"},
            {"role": "user", "content":
                "<tool_call>\n{\"name\": \"rate\", \"arguments\": {\"account\": \"plus\"}}\n</tool_call>"},
        ],
        "tools": tools, "tool_choice": "required", "parallel_tool_calls": false,
        "max_completion_tokens": 60,
    })
}

fn chat_of_json() -> Value {
    let schema = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {
            "a": {"type": "array", "items": {"type": "number", "minimum": 0}, "maxItems": 3},
            "b": {"anyOf": [{"type": "string", "pattern": "^[a-z]+$"}, {"const": null}]},
        },
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}});
    json!({
        "messages": [{"role": "user", "content": "{\"a\": [1]}"}],
        "response_format": format, "max_tokens": 30, "stream": true,
    })
}

fn completion() -> Value {
    json!({
        "prompt": ["user: hi\n=>", "user: ho\n=>"], "max_tokens": 5, "echo": true, "logprobs": 2,
        "best_of": 1, "suffix": "", "n": 1, "stream": false,
    })
}

fn completion_of_tokens() -> Value {
    json!({"prompt": [[117, 58, 32, 120, 10, 61, 62], [1, 2, 256]], "max_tokens": 3, "stream": true})
}

fn response() -> Value {
    let mut tool = tool();
    tool["type"] = json!("function");
    json!({
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
            {"type": "function_call", "call_id": "c", "name": "rate", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "2%"},
            {"role": "user", "content": "thanks"},
        ],
        "instructions": "Be short.", "max_output_tokens": 20, "tools": [tool],
        "tool_choice": "auto", "parallel_tool_calls": true, "background": false,
        "text": {"format": {"type": "text"}}, "metadata": {"a": "b"}, "stream": true,
        "temperature": 0, "top_p": 1, "store": false,
    })
}

fn message() -> Value {
    let tool = json!({"name": "f", "input_schema": {"type": "object"}, "strict": true});
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": "done"});
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    json!({
        "max_tokens": 20, "stream": true, "stop_sequences": ["zz"],
        "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "…"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [result, {"type": "text", "text": "and?"}]},
        ],
        "tools": [tool], "output_config": {"format": format},
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
    })
}
