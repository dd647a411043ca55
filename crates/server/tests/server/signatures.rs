//! Who signed, and what it is worth: nothing unsigned holds, and nothing changed behind the
//! server's back.

use axum::http::{Method, Request, StatusCode, header};
use portcullis_server::{RULESET_TYPE, RuleSignatures};
use portcullis_sign::{Envelope, MEDIA_TYPE, SecretKey};
use portcullis_store::{DATABASE_FILE, Role, Store};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::common::{Answer, MODEL, NOW, Server, Setup, ruleset, say, with};

/// A server that takes signed rule sets alone, and an admin to manage it.
struct Signed {
    server: Server,
    admin: String,
    caller: String,
}

const VERSION: &str = "/v1/rulesets/test-rules/versions/1";

impl Signed {
    async fn start(needed: RuleSignatures) -> Self {
        let mut setup = Setup::default();
        setup.config.rule_signatures = needed;
        let server = Server::with(setup).await;
        let (_, admin) = server.key(Role::Admin).await;
        let (_, caller) = server.key(Role::Inference).await;
        Self {
            server,
            admin,
            caller,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        self.server
            .with_key(&self.admin, method, path, body.to_string())
            .await
    }

    async fn post(&self, path: &str) -> Answer {
        self.call(Method::POST, path, json!({})).await
    }

    async fn trust(&self, key: &SecretKey, name: &str, role: &str) -> String {
        self.trust_for(key, name, role, json!(null)).await
    }

    async fn trust_for(&self, key: &SecretKey, name: &str, role: &str, only: Value) -> String {
        let fields = json!({"name": name, "role": role, "public_key": key.public().to_pem(),
                            "rulesets": only});
        let added = self.call(Method::POST, "/v1/signers", fields).await;
        assert_eq!(added.status, StatusCode::CREATED, "{}", added.text);
        added.json()["id"].as_str().unwrap().to_owned()
    }

    async fn push(&self, source: &str, by: &[&SecretKey]) -> Answer {
        self.send("/v1/rulesets", &envelope(source, by)).await
    }

    async fn send(&self, path: &str, envelope: &Envelope) -> Answer {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.admin))
            .header(header::CONTENT_TYPE, MEDIA_TYPE);
        let request = request.body(envelope.to_json().into()).unwrap();
        self.server.send(request).await
    }

    async fn bind(&self) {
        let path = "/v1/rulesets/test-rules/bindings";
        let bound = self
            .call(Method::POST, path, json!({"deployment": MODEL}))
            .await;
        assert_eq!(bound.status, StatusCode::CREATED, "{}", bound.text);
    }

    /// What a call that the rule set has nothing against is answered.
    async fn chat(&self) -> Answer {
        let body = with(say("Hello"), json!({"temperature": 0}));
        self.server
            .with_key(
                &self.caller,
                Method::POST,
                "/v1/chat/completions",
                body.to_string(),
            )
            .await
    }

    async fn assert_refused(&self) {
        let answer = self.chat().await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.error()["code"], "ruleset_unavailable");
    }

    /// The database, changed by somebody who is not the server.
    async fn tamper(&self, statements: &[&'static str]) {
        let file = self.server.dir.path().join(DATABASE_FILE);
        let options = SqliteConnectOptions::new()
            .filename(file)
            .foreign_keys(false);
        let mut database = options.connect().await.unwrap();
        for statement in statements {
            sqlx::query(*statement)
                .execute(&mut database)
                .await
                .unwrap();
        }
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn rules() -> String {
    ruleset("enforce", "redact")
}

fn envelope(source: &str, by: &[&SecretKey]) -> Envelope {
    let mut envelope = Envelope::new(RULESET_TYPE, source.into(), Vec::new());
    for key in by {
        envelope.sign(key);
    }
    envelope
}

#[tokio::test]
async fn unsigned_sets_are_refused_unless_allowed_in_so_many_words() {
    let signed = Signed::start(RuleSignatures::default()).await;
    let refused = signed.push(&rules(), &[]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.error()["code"], "unsigned_ruleset");
    let allowed = Signed::start(RuleSignatures::AllowUnsigned).await;
    assert_eq!(
        allowed.push(&rules(), &[]).await.status,
        StatusCode::CREATED
    );
    // Even there a signature that is there must be one that is known.
    let refused = allowed.push(&rules(), &[&key(1)]).await;
    assert_eq!(refused.error()["code"], "invalid_signature");
}

#[tokio::test]
async fn only_signatures_of_signers_are_taken_and_only_for_their_sets() {
    let signed = Signed::start(RuleSignatures::Author).await;
    let (ann, bob, eve) = (key(1), key(2), key(3));
    signed.trust(&ann, "Ann", "author").await;
    signed
        .trust_for(&bob, "Bob", "author", json!(["other-rules"]))
        .await;
    let code = async |by: &[&SecretKey]| {
        let answer = signed.push(&rules(), by).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert_eq!(answer.error()["code"], "invalid_signature");
        answer.error()["message"].as_str().unwrap().to_owned()
    };
    assert!(code(&[&eve]).await.contains("no trusted key"));
    assert!(code(&[&ann, &eve]).await.contains("not trusted here"));
    assert!(code(&[&bob]).await.contains("Bob may not sign"));
    let stale = Envelope::new(
        RULESET_TYPE,
        rules().replace("a test", "another").into(),
        envelope(&rules(), &[&ann]).signatures().to_vec(),
    );
    let answer = signed.send("/v1/rulesets", &stale).await;
    assert_eq!(answer.error()["code"], "invalid_signature");

    let pushed = signed.push(&rules(), &[&ann]).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.text);
    assert_eq!(pushed.json()["signatures"][0]["name"], "Ann");
    assert_eq!(pushed.json()["state"], "registered");
    let fetched = signed
        .call(Method::GET, &format!("{VERSION}/envelope"), json!(null))
        .await;
    assert_eq!(fetched.headers[header::CONTENT_TYPE], MEDIA_TYPE);
    let fetched = Envelope::from_json(fetched.text.as_bytes()).unwrap();
    assert_eq!(fetched, envelope(&rules(), &[&ann]));
}

#[tokio::test]
async fn author_and_approver_are_two_people() {
    let signed = Signed::start(RuleSignatures::AuthorAndApprover).await;
    let (ann, ann_too, bob) = (key(1), key(2), key(3));
    signed.trust(&ann, "Ann", "author").await;
    signed.trust(&ann_too, "Ann", "approver").await;
    signed.trust(&bob, "Bob", "approver").await;
    assert_eq!(
        signed.push(&rules(), &[&ann]).await.status,
        StatusCode::CREATED
    );
    let activate = format!("{VERSION}/activate");
    let refused = async || {
        let answer = signed.post(&activate).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
        assert_eq!(answer.error()["code"], "signature_missing");
        answer.error()["message"].as_str().unwrap().to_owned()
    };
    assert!(refused().await.contains("signature of an approver"));

    let sign = format!("{VERSION}/signatures");
    let other = envelope(&rules().replace("a test", "another"), &[&bob]);
    let answer = signed.send(&sign, &other).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    for (key, count) in [(&ann_too, 2), (&bob, 3)] {
        if count == 3 {
            assert!(refused().await.contains("other than Ann"));
        }
        let answer = signed.send(&sign, &envelope(&rules(), &[key])).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json()["signatures"].as_array().unwrap().len(), count);
    }
    assert_eq!(signed.post(&activate).await.json()["state"], "active");
    signed.bind().await;
    assert_eq!(signed.chat().await.status, StatusCode::OK);
}

/// The database is edited while the server runs, before it has loaded the set and after.
#[tokio::test]
async fn bytes_that_were_changed_in_the_database_are_not_loaded() {
    const OPEN: &str = "DROP TRIGGER rulesets_never_change";
    const EDIT: &str = "UPDATE rulesets SET source = CAST(replace(CAST(source AS TEXT), \
                        'forbidden', 'permitted') AS BLOB)";
    // The digest of the bytes as they are after the edit.
    let changed = rules().replace("forbidden", "permitted");
    let changed = portcullis_gate::RuleSet::load(changed.as_bytes()).unwrap();
    let redigest: &'static str =
        format!("UPDATE rulesets SET digest = '{}'", changed.digest()).leak();
    for (warm, digest_too) in [(false, false), (false, true), (true, false), (true, true)] {
        let signed = Signed::start(RuleSignatures::Author).await;
        signed.trust(&key(1), "Ann", "author").await;
        signed.push(&rules(), &[&key(1)]).await;
        signed.post(&format!("{VERSION}/activate")).await;
        signed.bind().await;
        if warm {
            assert_eq!(signed.chat().await.status, StatusCode::OK);
        }
        signed.tamper(&[OPEN, EDIT]).await;
        if digest_too {
            signed.tamper(&[redigest]).await;
        }
        signed.assert_refused().await;
    }
}

/// An older version in the place of the one in force: its bytes, its digest and its signatures are
/// right, and it says itself that it is another.
#[tokio::test]
async fn an_older_version_in_the_place_of_another_is_not_loaded() {
    const REPLAY: [&str; 4] = [
        "DROP TRIGGER rulesets_never_change",
        "DROP TRIGGER ruleset_signatures_never_change",
        "UPDATE rulesets SET (digest, source) = (SELECT digest, source FROM rulesets \
         WHERE version = 1) WHERE version = 2",
        "UPDATE ruleset_signatures SET signature = (SELECT signature FROM ruleset_signatures \
         WHERE version = 1) WHERE version = 2",
    ];
    let signed = Signed::start(RuleSignatures::Author).await;
    signed.trust(&key(1), "Ann", "author").await;
    let second = rules().replace("version: 1", "version: 2");
    signed.push(&rules(), &[&key(1)]).await;
    signed.push(&second, &[&key(1)]).await;
    signed
        .post("/v1/rulesets/test-rules/versions/2/activate")
        .await;
    signed.bind().await;
    assert_eq!(signed.chat().await.status, StatusCode::OK);
    signed.tamper(&REPLAY).await;
    signed.assert_refused().await;
}

#[tokio::test]
async fn signatures_and_keys_that_were_changed_in_the_database_count_for_nothing() {
    for tampering in [
        // Another signature in place of the right one.
        [
            "DROP TRIGGER ruleset_signatures_never_change",
            "UPDATE ruleset_signatures SET signature = zeroblob(64)",
        ],
        // The signature is gone.
        [
            "DROP TRIGGER ruleset_signatures_never_go",
            "DELETE FROM ruleset_signatures",
        ],
        // The key of the signer is another's.
        [
            "DROP TRIGGER signers_keep_their_key",
            "UPDATE signers SET public_key = (SELECT public_key FROM signers WHERE name = 'Eve') \
             WHERE name = 'Ann'",
        ],
        // The signer is gone.
        [
            "DROP TRIGGER signers_never_go",
            "DELETE FROM signers WHERE name = 'Ann'",
        ],
    ] {
        let signed = Signed::start(RuleSignatures::Author).await;
        signed.trust(&key(1), "Ann", "author").await;
        signed
            .trust_for(&key(2), "Eve", "author", json!(["her-own"]))
            .await;
        signed.push(&rules(), &[&key(1)]).await;
        signed.post(&format!("{VERSION}/activate")).await;
        signed.bind().await;
        signed.tamper(&tampering).await;
        signed.assert_refused().await;
    }
}

/// No signature at all is allowed here; one that does not match is not.
#[tokio::test]
async fn a_wrong_signature_is_refused_where_none_is_needed() {
    let signed = Signed::start(RuleSignatures::AllowUnsigned).await;
    signed.trust(&key(1), "Ann", "author").await;
    signed.push(&rules(), &[&key(1)]).await;
    signed.post(&format!("{VERSION}/activate")).await;
    signed.bind().await;
    assert_eq!(signed.chat().await.status, StatusCode::OK);
    let tampering = [
        "DROP TRIGGER ruleset_signatures_never_change",
        "UPDATE ruleset_signatures SET signature = zeroblob(64)",
    ];
    signed.tamper(&tampering).await;
    signed.assert_refused().await;
}

/// People leave: what was in force stays, what was not cannot come. Keys are stolen: nothing stays.
#[tokio::test]
async fn what_a_revoked_signer_signed_stays_in_force_unless_it_is_distrusted() {
    let signed = Signed::start(RuleSignatures::Author).await;
    let id = signed.trust(&key(1), "Ann", "author").await;
    let second = rules().replace("version: 1", "version: 2");
    for source in [&rules(), &second] {
        let pushed = signed.push(source, &[&key(1)]).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.text);
    }
    signed.post(&format!("{VERSION}/activate")).await;
    signed.bind().await;
    let revoke = async |query: &str| {
        let path = format!("/v1/signers/{id}{query}");
        let revoked = signed.call(Method::DELETE, &path, json!(null)).await;
        assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text);
        revoked.json()
    };
    assert_eq!(revoke("").await["revoked"], NOW);
    assert_eq!(signed.chat().await.status, StatusCode::OK);

    let late = signed
        .post("/v1/rulesets/test-rules/versions/2/activate")
        .await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.text);
    let third = rules().replace("version: 1", "version: 3");
    let refused = signed.push(&third, &[&key(1)]).await;
    assert_eq!(refused.error()["code"], "invalid_signature");

    assert_eq!(revoke("?distrust=true").await["distrusted"], true);
    signed.assert_refused().await;
    let listed = signed
        .call(Method::GET, "/v1/signers", json!(null))
        .await
        .json();
    assert_eq!(listed["data"][0]["id"], id, "never forgotten");
    let again = json!({"name": "Ann", "role": "author", "public_key": key(1).public().to_pem()});
    let again = signed.call(Method::POST, "/v1/signers", again).await;
    assert_eq!(again.error()["code"], "signer_exists");
}

/// More is asked for than when the set was activated: it is not loaded until it has it.
#[tokio::test]
async fn a_set_with_too_few_signatures_is_not_loaded_whatever_its_state() {
    let signed = Signed::start(RuleSignatures::Author).await;
    let (name, version) = signed.server.register(&rules()).await;
    let act = crate::common::ACT;
    signed
        .server
        .store
        .activate(&name, version, act)
        .await
        .unwrap();
    let target = portcullis_store::BindingTarget::Deployment(MODEL.parse().unwrap());
    signed.server.bind_to(&name, None, target).await;
    signed.assert_refused().await;
    signed.trust(&key(1), "Ann", "author").await;
    let sign = format!("{VERSION}/signatures");
    let answer = signed.send(&sign, &envelope(&rules(), &[&key(1)])).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(signed.chat().await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_key_and_no_envelope_is_told() {
    let signed = Signed::start(RuleSignatures::Author).await;
    for (field, value) in [
        ("public_key", json!("-----BEGIN")),
        ("role", json!("king")),
        ("name", json!("a\nb")),
        ("rulesets", json!([])),
    ] {
        let mut fields = json!({"name": "Ann", "role": "author",
                                "public_key": key(1).public().to_pem()});
        fields[field] = value;
        let answer = signed.call(Method::POST, "/v1/signers", fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert_eq!(answer.error()["param"], field, "{}", answer.text);
    }
    let request = Request::post("/v1/rulesets")
        .header(header::AUTHORIZATION, format!("Bearer {}", signed.admin))
        .header(header::CONTENT_TYPE, MEDIA_TYPE);
    let answer = signed.server.send(request.body("{}".into()).unwrap()).await;
    assert_eq!(answer.error()["code"], "invalid_envelope");
    let other_type = Envelope::new("text/plain", rules().into(), vec![key(1).sign("x", b"")]);
    let answer = signed.send("/v1/rulesets", &other_type).await;
    assert_eq!(answer.error()["code"], "invalid_signature");
    for path in ["/v1/signers/none", "/v1/signers/..%2f"] {
        let answer = signed.call(Method::DELETE, path, json!(null)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
    }
    let unknown = format!("/v1/signers/{}", "0".repeat(64));
    let answer = signed.call(Method::DELETE, &unknown, json!(null)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
