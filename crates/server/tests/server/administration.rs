//! Keys, roles, rule sets and bindings over the wire.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use portcullis_store::{Role, Store};
use serde_json::{Value, json};

use crate::common::{Answer, MODEL, NOW, Server, ruleset, say};

#[tokio::test]
async fn each_route_asks_for_its_role() {
    let server = Server::start().await;
    let keys: Vec<(Role, String)> = {
        let mut keys = Vec::new();
        for role in Role::ALL {
            keys.push((role, server.key(role).await.1));
        }
        keys
    };
    for (method, path, allowed) in routes_and_roles() {
        for (role, key) in &keys {
            let answer = server
                .with_key(key, method.clone(), &path, String::new())
                .await;
            let forbidden = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(
                forbidden,
                !allowed.contains(role),
                "{method} {path} as {role}"
            );
        }
        let stranger = server
            .with_key("pk-unknown", method.clone(), &path, String::new())
            .await;
        assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        let request = Request::builder().method(method.clone()).uri(&path);
        let nobody = server.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(nobody.error()["code"], "invalid_api_key");
    }
}

/// No operation is there whose description says another role than its handler asks for, or whose
/// handler asks for none.
#[tokio::test]
async fn each_operation_asks_for_what_its_description_says() {
    let server = Server::with_records().await;
    let mut keys = Vec::new();
    for role in Role::ALL {
        keys.push((role, server.key(role).await.1));
    }
    let document = server.get("/openapi.json").await.json();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.replace("{version}", "1").replace(['{', '}'], "");
        for (method, operation) in operations.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let says = operation["description"].as_str().unwrap_or_default();
            let Some(roles) = says.strip_prefix("Takes a key: ") else {
                assert_eq!(operation["security"], Value::Null, "{method} {path}");
                continue;
            };
            asked += 1;
            for (role, key) in &keys {
                let may = roles.starts_with("any key") || roles.contains(&format!("`{role}`"));
                let answer = server.with_key(key, method.clone(), &path, String::new());
                let forbidden = answer.await.status == StatusCode::FORBIDDEN;
                assert_eq!(forbidden, !may, "{method} {path} as {role}");
            }
            let request = Request::builder().method(method.clone()).uri(&path);
            let nobody = server.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
    }
    assert!(asked > 35, "{asked}");
}

/// What an endpoint passes over is not in its description.
#[tokio::test]
async fn no_operation_describes_fields_that_it_passes_over() {
    let document = Server::start().await.get("/openapi.json").await.json();
    let schemas = &document["components"]["schemas"];
    let fields = |path: &str| {
        let body = &document["paths"][path]["post"]["requestBody"]["content"];
        let parts = body["application/json"]["schema"]["allOf"]
            .as_array()
            .unwrap();
        let names = parts.iter().flat_map(|part| {
            let name = part["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
            schemas[name]["properties"].as_object().unwrap().keys()
        });
        names.map(String::as_str).collect::<Vec<_>>()
    };
    assert!(fields("/v1/chat/completions").contains(&"response_format"));
    for path in ["/v1/responses", "/v1/messages"] {
        let fields = fields(path);
        assert!(
            fields.contains(&"temperature") && !fields.contains(&"n"),
            "{fields:?}"
        );
        assert!(!fields.contains(&"response_format"), "{fields:?}");
    }
    let mut fields = fields("/v1/embeddings");
    fields.sort_unstable();
    let expect = [
        "admissibility",
        "dimensions",
        "encoding_format",
        "input",
        "model",
        "user",
    ];
    assert_eq!(fields, expect);
}

fn routes_and_roles() -> Vec<(Method, String, &'static [Role])> {
    use Role::{Admin, Approver, Auditor, Author, Inference};
    let rules = "/v1/rulesets";
    let bindings = "/v1/rulesets/none/bindings";
    let version = "/v1/rulesets/none/versions/1";
    let readers: &[Role] = &[Author, Approver, Auditor, Admin];
    vec![
        (
            Method::POST,
            "/v1/chat/completions".into(),
            &[Inference, Admin],
        ),
        (Method::POST, "/v1/completions".into(), &[Inference, Admin]),
        (
            Method::GET,
            "/v1/models".into(),
            &[Inference, Author, Approver, Auditor, Admin],
        ),
        (Method::GET, rules.into(), readers),
        (Method::POST, rules.into(), &[Author, Admin]),
        (Method::GET, version.into(), readers),
        (Method::GET, format!("{version}/envelope"), readers),
        (
            Method::POST,
            format!("{version}/signatures"),
            &[Author, Approver, Admin],
        ),
        (
            Method::POST,
            format!("{version}/activate"),
            &[Approver, Admin],
        ),
        (
            Method::POST,
            format!("{version}/retire"),
            &[Approver, Admin],
        ),
        (Method::GET, "/v1/rulesets/none/history".into(), readers),
        (Method::GET, bindings.into(), readers),
        (Method::POST, bindings.into(), &[Approver, Admin]),
        (Method::DELETE, bindings.into(), &[Approver, Admin]),
        (Method::GET, "/v1/signers".into(), readers),
        (Method::POST, "/v1/signers".into(), &[Admin]),
        (Method::DELETE, "/v1/signers/none".into(), &[Admin]),
        (Method::GET, "/v1/keys".into(), &[Admin]),
        (Method::POST, "/v1/keys".into(), &[Admin]),
        (Method::PATCH, "/v1/keys/none".into(), &[Admin]),
        (Method::DELETE, "/v1/keys/none".into(), &[Admin]),
    ]
}

#[tokio::test]
async fn inference_is_open_until_the_first_key_and_administration_never() {
    let server = Server::start().await;
    let status = async || server.chat(&say("x")).await.status;
    assert_eq!(status().await, StatusCode::OK);
    // Clients send some key in any case.
    let path = "/v1/chat/completions";
    let any = server
        .with_key("EMPTY", Method::POST, path, say("x").to_string())
        .await;
    assert_eq!(any.status, StatusCode::OK);
    for path in ["/v1/keys", "/v1/rulesets"] {
        assert_eq!(server.get(path).await.status, StatusCode::UNAUTHORIZED);
    }
    let (key, secret) = server.key(Role::Inference).await;
    assert_eq!(status().await, StatusCode::UNAUTHORIZED);
    let known = server
        .with_key(&secret, Method::POST, path, say("x").to_string())
        .await;
    assert_eq!(known.status, StatusCode::OK);
    // A revoked key is still a key: the door does not open again.
    server.store.revoke_key(&key.id, true, NOW).await.unwrap();
    assert_eq!(status().await, StatusCode::UNAUTHORIZED);
    let revoked = server
        .with_key(&secret, Method::POST, path, say("x").to_string())
        .await;
    assert_eq!(revoked.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_server_may_be_closed_from_the_start() {
    let mut setup = crate::common::Setup::default();
    setup.config.open_on_loopback = false;
    let server = Server::with(setup).await;
    assert_eq!(
        server.chat(&say("x")).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let server = Server::start().await;
    let (_, admin) = server.key(Role::Admin).await;
    let call = async |method, path: &str, body: Value| {
        server
            .with_key(&admin, method, path, body.to_string())
            .await
    };
    let made = call(
        Method::POST,
        "/v1/keys",
        json!({"name": "app", "role": "inference"}),
    )
    .await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.json();
    let (id, secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(
        made,
        json!({"object": "key", "id": id, "name": "app", "role": "inference", "created": NOW,
               "revoked": null, "expires_at": null, "requests_per_minute": null,
               "tokens_per_minute": null, "tokens_per_day": null, "max_concurrent_requests": null,
               "key": secret})
    );
    let models = server
        .with_key(secret, Method::GET, "/v1/models", String::new())
        .await;
    assert_eq!(models.status, StatusCode::OK);

    let list = call(Method::GET, "/v1/keys", json!(null)).await;
    assert!(!list.text.contains(secret), "a list must not show secrets");
    let listed = list.json()["data"].as_array().unwrap().clone();
    assert_eq!(listed.iter().filter(|key| key["id"] == id).count(), 1);

    let gone = call(Method::DELETE, &format!("/v1/keys/{id}"), json!(null))
        .await
        .json();
    assert_eq!(
        gone,
        json!({"id": id, "object": "key", "deleted": true, "revoked": NOW})
    );
    let models = server
        .with_key(secret, Method::GET, "/v1/models", String::new())
        .await;
    assert_eq!(models.status, StatusCode::UNAUTHORIZED);

    for (body, param) in [
        (json!({"name": "app", "role": "king"}), "role"),
        (json!({"name": "a\u{1b}[31m", "role": "admin"}), "name"),
    ] {
        let refused = call(Method::POST, "/v1/keys", body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
        assert_eq!(refused.error()["param"], param);
    }
    let unknown = call(Method::DELETE, "/v1/keys/key_0000000000000000", json!(null)).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let malformed = call(Method::DELETE, "/v1/keys/..%2f..", json!(null)).await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn limits_are_set_when_a_key_is_made_and_changed_one_by_one() {
    let server = Server::start().await;
    let (_, admin) = server.key(Role::Admin).await;
    let call = async |method, path: &str, body: Value| {
        server
            .with_key(&admin, method, path, body.to_string())
            .await
    };
    let fields = json!({"name": "app", "role": "inference", "expires_at": NOW + 1,
                        "requests_per_minute": 1, "tokens_per_minute": 2, "tokens_per_day": 3,
                        "max_concurrent_requests": 4});
    let made = call(Method::POST, "/v1/keys", fields).await.json();
    let path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    let of = |key: &Value| {
        [
            "expires_at",
            "requests_per_minute",
            "tokens_per_minute",
            "tokens_per_day",
            "max_concurrent_requests",
        ]
        .map(|name| key[name].clone())
    };
    assert_eq!(of(&made), [NOW + 1, 1, 2, 3, 4].map(Value::from));

    let body = json!({"expires_at": null, "tokens_per_minute": 20, "tokens_per_day": null});
    let changed = call(Method::PATCH, &path, body).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let expected = [json!(null), json!(1), json!(20), json!(null), json!(4)];
    assert_eq!(of(&changed.json()), expected);
    let list = call(Method::GET, "/v1/keys", json!(null)).await.json();
    assert_eq!(of(&list["data"][1]), expected);
    assert_eq!(of(&list["data"][0]), [(); 5].map(|()| json!(null)));

    for (param, value) in [
        ("expires_at", json!(NOW)),
        ("expires_at", json!(NOW * 1000)),
        ("expires_at", json!("2027-01-01")),
        ("requests_per_minute", json!(0)),
        ("tokens_per_minute", json!(-1)),
        ("tokens_per_day", json!(1.5)),
        ("max_concurrent_requests", json!("4")),
    ] {
        let new = json!({"name": "app", "role": "inference", param: value});
        for refused in [
            call(Method::POST, "/v1/keys", new).await,
            call(Method::PATCH, &path, json!({param: value})).await,
        ] {
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{param} {value}");
            assert_eq!(refused.error()["param"], param, "{}", refused.text);
        }
    }
    // Misspelt, it would limit nothing.
    let misspelt = call(Method::PATCH, &path, json!({"requests_per_min": 1})).await;
    assert_eq!(misspelt.status, StatusCode::BAD_REQUEST);
    let list = call(Method::GET, "/v1/keys", json!(null)).await.json();
    assert_eq!(of(&list["data"][1]), expected, "nothing of this changed it");

    call(Method::DELETE, &path, json!(null)).await;
    let late = call(Method::PATCH, &path, json!({"tokens_per_day": 1})).await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert_eq!(late.error()["code"], "revoked");
}

#[tokio::test]
async fn the_last_admin_key_goes_only_on_purpose() {
    let server = Server::start().await;
    let (key, admin) = server.key(Role::Admin).await;
    let delete = async |query: &str| {
        let path = format!("/v1/keys/{}{query}", key.id);
        server
            .with_key(&admin, Method::DELETE, &path, String::new())
            .await
    };
    let refused = delete("").await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    assert_eq!(refused.error()["code"], "last_admin");
    let message = refused.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("?force=true"), "{message}");
    let misspelt = delete("?forced=true").await;
    assert_eq!(misspelt.status, StatusCode::BAD_REQUEST);
    assert_eq!(delete("?force=true").await.status, StatusCode::OK);
    assert_eq!(delete("").await.status, StatusCode::UNAUTHORIZED);
}

async fn register(server: &Server, key: &str, source: &str) -> Answer {
    let request = Request::post("/v1/rulesets")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/yaml");
    server
        .send(request.body(source.to_owned().into()).unwrap())
        .await
}

#[tokio::test]
async fn rule_sets_are_registered_byte_for_byte_and_never_change() {
    let server = Server::start().await;
    let (_, author) = server.key(Role::Author).await;
    let source = ruleset("enforce", "reject");
    let made = register(&server, &author, &source).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    assert_eq!(made["name"], "test-rules");
    assert_eq!(
        (&made["mode"], &made["rules"]),
        (&json!("enforce"), &json!(1))
    );
    let digest = made["digest"].as_str().unwrap();
    assert!(digest.starts_with("sha256:") && digest.len() == 71);

    assert_eq!(
        register(&server, &author, &source).await.status,
        StatusCode::OK
    );
    let changed = register(&server, &author, &source.replace("a test", "another")).await;
    assert_eq!(changed.status, StatusCode::CONFLICT);
    assert_eq!(changed.error()["code"], "version_exists");

    let get = async |path: &str| {
        server
            .with_key(&author, Method::GET, path, String::new())
            .await
    };
    let stored = get("/v1/rulesets/test-rules/versions/1").await;
    assert_eq!(stored.text, source);
    assert_eq!(stored.headers[header::CONTENT_TYPE], "application/yaml");
    let expected = json!({"object": "list", "data": [
        {"object": "ruleset", "name": "test-rules", "version": 1, "digest": digest,
         "state": "registered", "signatures": [], "created": NOW}]});
    assert_eq!(get("/v1/rulesets").await.json(), expected);
    assert_eq!(get("/v1/rulesets/test-rules").await.json(), expected);
    for missing in [
        "/v1/rulesets/none",
        "/v1/rulesets/test-rules/versions/2",
        "/v1/rulesets/test-rules/versions/x",
        "/v1/rulesets/..%2f/versions/1",
    ] {
        assert_eq!(
            get(missing).await.status,
            StatusCode::NOT_FOUND,
            "{missing}"
        );
    }
}

#[tokio::test]
async fn mistakes_in_a_rule_set_come_all_at_once_with_their_places() {
    let server = Server::start().await;
    let (_, author) = server.key(Role::Author).await;
    let bad = ruleset("sometimes", "explode");
    let answer = register(&server, &author, &bad).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let error = answer.error();
    assert_eq!(error["code"], "invalid_ruleset");
    let mistakes = error["diagnostics"].as_array().unwrap();
    assert!(mistakes.len() >= 2, "{mistakes:?}");
    assert_eq!(mistakes[0]["line"], 3);
    assert!(
        mistakes
            .iter()
            .all(|mistake| mistake["mend"].as_str().is_some())
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("line 3, column ")
    );
}

#[tokio::test]
async fn bindings_are_made_listed_and_taken_away() {
    let server = Server::start().await;
    let (_, admin) = server.key(Role::Admin).await;
    let (user, secret) = server.key(Role::Inference).await;
    register(&server, &admin, &ruleset("enforce", "reject")).await;
    let path = "/v1/rulesets/test-rules/bindings";
    let call = async |method, path: &str, body: Value| {
        server
            .with_key(&admin, method, path, body.to_string())
            .await
    };
    let chat = async || {
        let body = say("forbidden").to_string();
        server
            .with_key(&secret, Method::POST, "/v1/chat/completions", body)
            .await
            .status
    };
    assert_eq!(chat().await, StatusCode::OK);
    let early = call(Method::POST, path, json!({"key": user.id, "version": 1})).await;
    assert_eq!(early.status, StatusCode::CONFLICT, "{}", early.text);
    assert_eq!(early.error()["code"], "not_activated");
    let activate = "/v1/rulesets/test-rules/versions/1/activate";
    let active = call(Method::POST, activate, json!(null)).await.json();
    assert_eq!(active["state"], "active");
    let bound = call(Method::POST, path, json!({"key": user.id, "version": 1})).await;
    assert_eq!(bound.status, StatusCode::CREATED);
    let binding = json!({"object": "binding", "ruleset": "test-rules", "version": 1,
                         "observe": false, "key": user.id, "deployment": null,
                         "created": NOW});
    assert_eq!(bound.json(), binding);
    let to_deployment = call(Method::POST, path, json!({"deployment": MODEL}))
        .await
        .json();
    assert_eq!(to_deployment["version"], Value::Null);
    let listed = call(Method::GET, path, json!(null)).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);

    assert_eq!(
        call(
            Method::DELETE,
            &format!("{path}?key={}", user.id),
            json!(null)
        )
        .await
        .status,
        StatusCode::NO_CONTENT
    );
    let deployment = format!("{path}?deployment={MODEL}");
    let delete = async || call(Method::DELETE, &deployment, json!(null)).await.status;
    assert_eq!(delete().await, StatusCode::NO_CONTENT);
    assert_eq!(delete().await, StatusCode::NOT_FOUND);
    assert_eq!(chat().await, StatusCode::OK);
}

#[tokio::test]
async fn a_binding_needs_one_target_and_a_rule_set_that_is_there() {
    let server = Server::start().await;
    let (_, admin) = server.key(Role::Admin).await;
    let (user, _) = server.key(Role::Inference).await;
    register(&server, &admin, &ruleset("enforce", "reject")).await;
    let path = "/v1/rulesets/test-rules/bindings";
    for (path, body, status) in [
        (path, json!({}), StatusCode::BAD_REQUEST),
        (
            path,
            json!({"key": user.id, "deployment": MODEL}),
            StatusCode::BAD_REQUEST,
        ),
        (path, json!({"key": "mine"}), StatusCode::BAD_REQUEST),
        (
            path,
            json!({"deployment": MODEL, "version": 9}),
            StatusCode::NOT_FOUND,
        ),
        (
            path,
            json!({"key": "key_0000000000000000"}),
            StatusCode::NOT_FOUND,
        ),
        (
            "/v1/rulesets/none/bindings",
            json!({"deployment": MODEL}),
            StatusCode::NOT_FOUND,
        ),
    ] {
        let answer = server
            .with_key(&admin, Method::POST, path, body.to_string())
            .await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
    }
}
