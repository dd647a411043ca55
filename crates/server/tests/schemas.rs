//! Thousands of schemas, no two of them the same: what is kept of them is bounded, and the last is
//! answered like the first.
//!
//! In a process of its own, so that memory is its own.

#[cfg(test)]
#[expect(dead_code, reason = "each test binary uses its part")]
#[path = "server/common.rs"]
mod common;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use axum::http::StatusCode;
    use serde_json::json;

    use crate::common::{Server, say, with};

    const SCHEMAS: usize = 2_500;
    /// How many are in use before memory is looked at.
    const WARM_UP: usize = 500;
    /// What the other two thousand may add. Each is compiled on a thread of its own, whose arena the
    /// allocator keeps; were the grammars kept, it would be many times as much.
    const GROWTH_KIB_MAX: i64 = 24 << 10;

    #[tokio::test]
    async fn what_is_kept_of_them_is_bounded() {
        let server = Server::start().await;
        let mut before = 0;
        // The quickest of the first and of the last tenth: what a machine does besides only adds.
        let (mut first, mut last) = (Duration::MAX, Duration::MAX);
        for number in 0..SCHEMAS {
            if number == WARM_UP {
                before = resident_kib();
            }
            let began = now();
            ask(&server, number).await;
            match number * 10 / SCHEMAS {
                0 => first = first.min(began.elapsed()),
                9 => last = last.min(began.elapsed()),
                _ => {}
            }
        }
        let grown = resident_kib() - before;
        assert!(
            grown < GROWTH_KIB_MAX,
            "{grown} KiB more than after {WARM_UP}"
        );
        assert!(
            last < first * 3,
            "of the last one takes {last:?}, of the first one took {first:?}"
        );
    }

    async fn ask(server: &Server, number: usize) {
        let property = format!("field_{number}");
        let schema = json!({
            "type": "object", "required": [property], "additionalProperties": false,
            "properties": {&property: {"enum": [number]}},
        });
        let format = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}});
        let said = format!("{{\"{property}\": {number}}}");
        let body = json!({"response_format": format, "temperature": 0});
        let answer = server.chat(&with(say(&said), body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let content = answer.json()["choices"][0]["message"]["content"].clone();
        assert_eq!(content, said);
    }

    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn now() -> Instant {
        Instant::now()
    }

    fn resident_kib() -> i64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse().unwrap()
    }
}
