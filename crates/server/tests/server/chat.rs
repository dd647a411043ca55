//! Answers of `/v1/chat/completions` and `/v1/completions`, whole and streamed.

use crate::common::{MODEL, NOW, Server, Setup, say, with};
use axum::http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn a_whole_answer_has_the_shape_of_openai() {
    let server = Server::start().await;
    let answer = server
        .chat(&with(say("Hello"), json!({"temperature": 0})))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut body = answer.json();
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    body["id"] = json!("chatcmpl-1");
    let expected = json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": NOW,
        "model": MODEL,
        "system_fingerprint": concat!("portcullis-", env!("CARGO_PKG_VERSION")),
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 14, "completion_tokens": 6, "total_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"discarded_tokens": 0},
        },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_stream_begins_with_the_role_and_ends_with_done() {
    let server = Server::start().await;
    let body = with(say("Hi"), json!({"temperature": 0, "stream": true}));
    let answer = server.chat(&body).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let chunks = answer.chunks();
    assert_eq!(
        chunks[0]["choices"],
        json!([{"index": 0, "delta": {"role": "assistant", "content": ""},
                "logprobs": null, "finish_reason": null}])
    );
    assert_eq!(answer.streamed_text(0), "Hi");
    assert_eq!(
        chunks.last().unwrap()["choices"],
        json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"}])
    );
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk")
    );
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    assert_eq!(answer.events().last(), Some(&"[DONE]"));
}

#[tokio::test]
async fn a_stream_tells_its_usage_in_a_chunk_of_its_own() {
    let server = Server::start().await;
    let options = json!({"stream": true, "stream_options": {"include_usage": true}, "n": 2,
                         "temperature": 0});
    let chunks = server.chat(&with(say("Hi"), options)).await.chunks();
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    // The prompt counts once, however many choices it has.
    assert_eq!(last["usage"]["prompt_tokens"], 11);
    assert_eq!(last["usage"]["completion_tokens"], 6);
    assert!(others.iter().all(|chunk| chunk["usage"] == Value::Null));
    assert!(
        others
            .iter()
            .all(|chunk| chunk.as_object().unwrap().contains_key("usage"))
    );
}

#[tokio::test]
async fn choices_are_numbered_and_each_ends_once() {
    let server = Server::start().await;
    let body = with(say("abc"), json!({"n": 3, "temperature": 0}));
    let whole = server.chat(&body).await.json();
    let texts: Vec<_> = whole["choices"].as_array().unwrap().iter().collect();
    assert_eq!(texts.len(), 3);
    for (index, choice) in texts.into_iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["message"]["content"], "abc");
    }
    let streamed = server.chat(&with(body, json!({"stream": true}))).await;
    for index in 0..3 {
        assert_eq!(streamed.streamed_text(index), "abc");
    }
    let ends = streamed.chunks();
    let ends = ends
        .iter()
        .filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop");
    assert_eq!(ends.count(), 3);
}

#[tokio::test]
async fn text_completions_take_every_form_of_prompt() {
    let server = Server::start().await;
    let tokens: Vec<u32> = "user: ok\n=>".bytes().map(u32::from).collect();
    for (prompt, texts) in [
        (json!("user: one\n=>"), vec!["one"]),
        (
            json!(["user: one\n=>", "user: two\n=>"]),
            vec!["one", "two"],
        ),
        (json!(tokens), vec!["ok"]),
        (json!([tokens, tokens]), vec!["ok", "ok"]),
    ] {
        let body = json!({"model": MODEL, "prompt": prompt, "temperature": 0});
        let whole = server.post("/v1/completions", &body).await;
        assert_eq!(whole.status, StatusCode::OK, "{}", whole.text);
        let choices = whole.json()["choices"].as_array().unwrap().clone();
        let found: Vec<_> = choices
            .iter()
            .map(|choice| choice["text"].as_str().unwrap())
            .collect();
        assert_eq!(found, texts);
        assert_eq!(whole.json()["object"], "text_completion");
        let streamed = server
            .post("/v1/completions", &with(body, json!({"stream": true})))
            .await;
        for (index, text) in (0..).zip(texts) {
            assert_eq!(streamed.streamed_text(index), text);
        }
        assert_eq!(streamed.events().last(), Some(&"[DONE]"));
    }
}

#[tokio::test]
async fn usage_sums_over_prompts() {
    let server = Server::start().await;
    let body = json!({"model": MODEL, "prompt": ["user: one\n=>", "user: three\n=>"], "n": 2,
                      "temperature": 0});
    let usage = server.post("/v1/completions", &body).await.json()["usage"].clone();
    assert_eq!(usage["prompt_tokens"], 12 + 14);
    assert_eq!(usage["completion_tokens"], 2 * 4 + 2 * 6);
}

#[tokio::test]
async fn a_text_completion_stops_after_sixteen_tokens_unless_told() {
    let server = Server::start().await;
    let body = json!({"model": MODEL, "prompt": "user: forever\n=>"});
    let answer = server.post("/v1/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["text"], "a".repeat(16));
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn stop_strings_and_limits_end_an_answer() {
    let server = Server::start().await;
    for (more, text, reason) in [
        (json!({"stop": "wo"}), "Hello ", "stop"),
        (json!({"stop": ["xx", "o w"]}), "Hell", "stop"),
        (json!({"stop_token_ids": [u32::from(b'o')]}), "Hell", "stop"),
        (json!({"max_tokens": 3}), "Hel", "length"),
        (
            json!({"max_completion_tokens": 2, "max_tokens": 3}),
            "He",
            "length",
        ),
    ] {
        let body = with(
            with(say("Hello world"), json!({"temperature": 0})),
            more.clone(),
        );
        let choice = server.chat(&body).await.json()["choices"][0].clone();
        assert_eq!(choice["message"]["content"], text, "{more}");
        assert_eq!(choice["finish_reason"], reason, "{more}");
    }
}

#[tokio::test]
async fn a_seed_repeats_an_answer_and_its_absence_does_not() {
    let server = Server::start().await;
    // At a quarter for each byte, two answers of forty bytes are hardly the same by chance.
    let long = say("a sentence of forty bytes, more or less.");
    let text = async |more: Value| {
        let body = with(with(long.clone(), json!({"max_tokens": 40})), more);
        server.chat(&body).await.json()["choices"][0]["message"]["content"].clone()
    };
    assert_eq!(
        text(json!({"seed": 7})).await,
        text(json!({"seed": 7})).await
    );
    assert_ne!(
        text(json!({"seed": 7})).await,
        text(json!({"seed": 8})).await
    );
    assert_ne!(text(json!({})).await, text(json!({})).await);
}

#[tokio::test]
async fn log_probabilities_stand_beside_their_tokens() {
    let server = Server::start().await;
    let greedy = with(
        say("né"),
        json!({"temperature": 0, "logprobs": true, "top_logprobs": 2}),
    );
    let whole = server.chat(&greedy).await.json();
    let content = whole["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap()
        .clone();
    let bytes: Vec<&Value> = content.iter().map(|entry| &entry["bytes"]).collect();
    // The token that ends the answer is not part of it.
    assert_eq!(bytes, [&json!([b'n']), &json!([0xc3]), &json!([0xa9])]);
    let first = &content[0];
    assert_eq!(first["token"], "n");
    assert!((first["logprob"].as_f64().unwrap() - 0.75f64.ln()).abs() < 1e-6);
    let top: Vec<&Value> = first["top_logprobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|top| &top["token"])
        .collect();
    assert_eq!(top, ["n", "#"]);

    let streamed = server
        .chat(&with(greedy, json!({"stream": true})))
        .await
        .chunks();
    let streamed: Vec<Value> = streamed
        .iter()
        .filter_map(|chunk| {
            chunk["choices"][0]["logprobs"]["content"]
                .as_array()
                .cloned()
        })
        .flatten()
        .collect();
    assert_eq!(streamed, content);
}

#[tokio::test]
async fn text_completions_list_log_probabilities() {
    let server = Server::start().await;
    let body = json!({"model": MODEL, "prompt": "user: ab\n=>", "temperature": 0, "logprobs": 1,
                      "max_tokens": 2});
    let whole = server.post("/v1/completions", &body).await.json();
    let lists = &whole["choices"][0]["logprobs"];
    assert_eq!(lists["tokens"], json!(["a", "b"]));
    assert_eq!(lists["text_offset"], json!([0, 1]));
    assert_eq!(
        lists["top_logprobs"][1]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["b"]
    );
    let streamed = server
        .post("/v1/completions", &with(body, json!({"stream": true})))
        .await;
    let offsets: Vec<Value> = streamed
        .chunks()
        .iter()
        .filter_map(|chunk| {
            chunk["choices"][0]["logprobs"]["text_offset"]
                .as_array()
                .cloned()
        })
        .flatten()
        .collect();
    assert_eq!(offsets, [json!(0), json!(1)]);
}

#[tokio::test]
async fn content_may_come_in_parts_and_developers_are_the_system() {
    let server = Server::start().await;
    let body = json!({"model": MODEL, "temperature": 0, "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": null},
        {"role": "user", "content": [{"type": "text", "text": "on"},
                                     {"type": "text", "text": "two"}]},
    ]});
    let answer = server.chat(&body).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "on\ntwo");
    let same = with(
        body,
        json!({"messages": [
        {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": ""},
        {"role": "user", "content": "on\ntwo"}]}),
    );
    let same = server.chat(&same).await.json();
    assert_eq!(
        answer["usage"]["prompt_tokens"],
        same["usage"]["prompt_tokens"]
    );
}

#[tokio::test]
async fn unknown_fields_are_accepted() {
    let server = Server::start().await;
    let body = with(
        say("x"),
        json!({"skip_special_tokens": true, "deep": [[[{"a": [1e10]}]]],
                                     "user": "someone", "priority": "batch"}),
    );
    assert_eq!(server.chat(&body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_failing_step_is_an_error_of_its_own_calls_only() {
    let server = Server::with(Setup {
        faulty: |step| step == 2,
        ..Setup::default()
    })
    .await;
    let failed = server.chat(&say("Hello")).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(failed.error()["type"], "server_error");
    let next = server
        .chat(&with(say("Hello"), json!({"temperature": 0})))
        .await
        .json();
    assert_eq!(next["choices"][0]["message"]["content"], "Hello");
}

#[tokio::test]
async fn a_failure_after_the_first_byte_is_an_event_and_done_still_comes() {
    let server = Server::with(Setup {
        faulty: |step| step == 4,
        ..Setup::default()
    })
    .await;
    let body = with(say("Hello"), json!({"stream": true, "temperature": 0}));
    let answer = server.chat(&body).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.streamed_text(0).is_empty());
    let events = answer.events();
    let [.., error, done] = events.as_slice() else {
        panic!("too few events: {events:?}")
    };
    assert!(error.starts_with(r#"{"error":{"message":"#), "{error}");
    assert_eq!(*done, "[DONE]");
}
