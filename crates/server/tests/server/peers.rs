//! Bugs that other servers had, as far as they need HTTP. The rest: `gate/tests/gate/peers.rs`.

use crate::common::{MODEL, Server, ruleset, say, with};
use serde_json::json;

/// aisix: checks were skipped under `stream: true`, and later made after the text was forwarded.
#[tokio::test]
async fn aisix_a_stream_is_judged_like_a_whole_answer_on_every_endpoint() {
    for (action, text) in [("redact", "a forbidden b"), ("reject", "forbidden")] {
        let server = Server::start().await;
        server.bind(&ruleset("enforce", action)).await;
        let chat = with(say(text), json!({"temperature": 0}));
        let prompt = format!("user: {text}\n=>");
        let plain = json!({"model": MODEL, "temperature": 0, "prompt": prompt});
        for (path, body) in [("/v1/chat/completions", chat), ("/v1/completions", plain)] {
            let whole = server.post(path, &body).await;
            let streamed = with(body, json!({"stream": true}));
            let streamed = server.post(path, &streamed).await;
            assert_eq!(whole.status, streamed.status, "{path}");
            assert!(!streamed.text.contains("forbidden fruit"), "{path}");
            if whole.status == 200 {
                let choice = &whole.json()["choices"][0];
                let content = choice["message"]["content"].as_str();
                let content = content.or(choice["text"].as_str()).unwrap();
                assert_eq!(streamed.streamed_text(0), content, "{path}");
                assert!(!content.contains("forbidden"), "{path}: {content}");
            }
        }
    }
}

/// ik_llama: usage was miscounted after a roll-back. What was thrown away is named apart.
#[tokio::test]
async fn ik_llama_usage_counts_what_was_thrown_away_apart() {
    let server = Server::start().await;
    server.bind(&ruleset("enforce", "resample")).await;
    for stream in [false, true] {
        let options = json!({"seed": 3, "temperature": 0, "stream": stream,
                             "stream_options": {"include_usage": true}});
        let options = match stream {
            true => options,
            false => json!({"seed": 3, "temperature": 0}),
        };
        let answer = server.chat(&with(say("say forbidden now"), options)).await;
        let usage = match stream {
            true => answer.chunks().pop().unwrap()["usage"].clone(),
            false => answer.json()["usage"].clone(),
        };
        let of = |name: &str| usage[name].as_u64().unwrap();
        assert_eq!(
            of("total_tokens"),
            of("prompt_tokens") + of("completion_tokens"),
            "{usage}"
        );
        let discarded = &usage["completion_tokens_details"]["discarded_tokens"];
        assert!(discarded.as_u64().unwrap() > 0, "{usage}");
    }
}
