//! `/openapi.json`: it tells of every route, and what it says of answers is so.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};

use crate::common::{Answer, Server, say, with};

async fn document(server: &Server) -> Value {
    let answer = server.get("/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    answer.json()
}

/// Path, method and what is said of it.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&'_ String, &'_ Value)| -> Vec<(String, String)> {
        let methods = methods.as_object().unwrap().keys();
        methods
            .map(|method| (path.clone(), method.clone()))
            .collect()
    };
    let names = paths.iter().flat_map(of_path);
    names
        .map(|(path, method)| {
            let (path, methods) = paths.get_key_value(&path).unwrap();
            let (method, it) = methods.as_object().unwrap().get_key_value(&method).unwrap();
            (path.as_str(), method.as_str(), it)
        })
        .collect()
}

#[tokio::test]
async fn every_operation_is_there_and_has_a_name_of_its_own() {
    let server = Server::start().await;
    let document = document(&server).await;
    assert_eq!(document["openapi"], "3.1.0");
    let operations = operations(&document);
    let ids: BTreeSet<&str> = operations
        .iter()
        .map(|(.., it)| it["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), operations.len());
    assert!(operations.len() > 40, "{}", operations.len());
    for (path, method, _) in operations {
        let path = path.replace(['{', '}'], "");
        let request = Request::builder().method(&*method.to_uppercase()).uri(path);
        let answer = server.send(request.body(Body::empty()).unwrap()).await;
        assert_ne!(
            answer.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{}",
            answer.text
        );
        assert!(!answer.text.contains("unknown_url"), "{}", answer.text);
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| walk(field, found));
            }
            Value::Array(list) => list.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let document = document(&Server::start().await).await;
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

/// Management routes and models ask for a key; probes do not.
#[tokio::test]
async fn it_tells_who_may() {
    let document = document(&Server::start().await).await;
    let security = |path: &str, method: &str| document["paths"][path][method]["security"].clone();
    assert_eq!(security("/v1/keys", "post"), json!([{"key": []}]));
    assert_eq!(
        security("/v1/chat/completions", "post"),
        json!([{"key": []}, {}])
    );
    assert_eq!(security("/health", "get"), Value::Null);
}

/// The fields of a body, as far as objects are named.
fn check(document: &Value, schema: &Value, body: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let named = document.pointer(&reference[1..]).unwrap();
        return check(document, named, body, at);
    }
    if let (Some(fields), Some(body)) = (schema["properties"].as_object(), body.as_object()) {
        for (name, value) in body {
            let field = fields
                .get(name)
                .unwrap_or_else(|| panic!("{at}.{name} is not told of"));
            check(document, field, value, &format!("{at}.{name}"));
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            assert!(
                body.contains_key(name),
                "{at}.{name} is not there: {body:?}"
            );
        }
    }
    if let (Some(items), Some(list)) = (schema.get("items"), body.as_array()) {
        for item in list {
            check(document, items, item, &format!("{at}[]"));
        }
    }
}

#[tokio::test]
async fn answers_are_as_it_says() {
    let server = Server::start().await;
    let document = document(&server).await;
    let told = |path: &str, method: &str, status: &str, answer: &Answer| {
        let content = &document["paths"][path][method]["responses"][status]["content"];
        let schema = &content["application/json"]["schema"];
        assert!(schema.is_object(), "{path} {status}");
        check(&document, schema, &answer.json(), path);
    };
    let path = "/v1/chat/completions";
    let body = with(
        say("hello"),
        json!({"logprobs": true, "top_logprobs": 2, "temperature": 0}),
    );
    told(path, "post", "200", &server.chat(&body).await);
    told(path, "post", "default", &server.chat(&json!({})).await);
    told("/v1/models", "get", "200", &server.get("/v1/models").await);
    let body = json!({"model": "parrot", "input": "hello"});
    let answer = server.post("/v1/responses", &body).await;
    told("/v1/responses", "post", "200", &answer);
}

#[tokio::test]
async fn a_page_is_for_people_and_asks_nobody_else() {
    let server = Server::start().await;
    let page = server.get("/docs").await;
    assert!(page.text.contains("<title>"));
    assert!(
        !page.text.contains("https://"),
        "nothing comes from elsewhere"
    );
    assert!(page.headers.contains_key(header::CONTENT_SECURITY_POLICY));
}
