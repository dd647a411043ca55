//! `/v1/rulesets`: registering rule sets and signing them.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_gate::RuleSet;
use portcullis_sign::{Envelope, MEDIA_TYPE, Signature};
use portcullis_store::{NewRuleSet, NewSignature, Put, RuleSetName, Signer, StoredRuleSet};

use crate::auth::{Caller, Permission, authorise};
use crate::body;
use crate::error::ApiError;
use crate::state::App;
use crate::trust::{self, RULESET_TYPE, RuleSignatures};
use crate::wire::admin::List;
use crate::wire::life::{RegisteredBody, RuleSetBody};

/// The body is the file itself, or a DSSE envelope that holds it: its digest is that of its bytes.
pub(super) async fn register(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Json<RegisteredBody>), ApiError> {
    let caller = authorise(&app, request.headers(), Permission::WriteRules).await?;
    let envelope = read_envelope(&app, request).await?;
    let set = app
        .catalog
        .compile(envelope.unverified_payload().to_vec())
        .await?;
    put(&app, &caller, &set, &envelope).await
}

/// Another signature under a version that is there: the body is an envelope with the same bytes.
pub(super) async fn sign(
    State(app): State<App>,
    Path((name, version)): Path<(String, String)>,
    request: Request,
) -> Result<(StatusCode, Json<RegisteredBody>), ApiError> {
    let caller = authorise(&app, request.headers(), Permission::SignRules).await?;
    let stored = find(&app, &name, &version).await?;
    let envelope = read_envelope(&app, request).await?;
    if envelope.unverified_payload() != stored.source {
        let message = format!(
            "the envelope holds other bytes than {name}@{version}; sign what `portcullis rules \
             approve` fetches"
        );
        return Err(ApiError::bad_request(message).with_code("invalid_signature"));
    }
    let set = app.catalog.compile(stored.source).await?;
    put(&app, &caller, &set, &envelope).await
}

/// A file without signatures is an envelope without signatures.
async fn read_envelope(app: &App, request: Request) -> Result<Envelope, ApiError> {
    let kind = request.headers().get(CONTENT_TYPE);
    let is_envelope = kind.is_some_and(|kind| kind.as_bytes() == MEDIA_TYPE.as_bytes());
    let bytes = body::raw(app, request).await?;
    match is_envelope {
        true => Envelope::from_json(&bytes).map_err(|error| {
            ApiError::bad_request(error.to_string()).with_code("invalid_envelope")
        }),
        false => Ok(Envelope::new(RULESET_TYPE, bytes.into(), Vec::new())),
    }
}

async fn put(
    app: &App,
    caller: &Caller,
    set: &RuleSet,
    envelope: &Envelope,
) -> Result<(StatusCode, Json<RegisteredBody>), ApiError> {
    let name: RuleSetName = set
        .name()
        .parse()
        .map_err(|error| ApiError::name("ruleset", &error))?;
    let signers = app.store.list_signers().await?;
    let signatures = checked_signatures(app, &name, envelope, &signers)?;
    let new = NewRuleSet {
        name,
        version: set.version(),
        digest: set.digest().to_owned(),
        source: set.source().to_vec(),
        signatures,
    };
    let status = match app.store.put_ruleset(new, caller.act(app)).await? {
        Put::Added => StatusCode::CREATED,
        Put::Signed | Put::Unchanged => StatusCode::OK,
    };
    let stored = find(app, set.name(), &set.version().to_string()).await?;
    let about = RuleSetBody::new(stored, &signers);
    Ok((status, Json(RegisteredBody::new(about, set))))
}

/// Every signature must be one that counts here, or it would only seem to say something.
fn checked_signatures(
    app: &App,
    name: &RuleSetName,
    envelope: &Envelope,
    signers: &[Signer],
) -> Result<Vec<NewSignature>, ApiError> {
    if envelope.signatures().is_empty() {
        return match app.catalog.needed() {
            RuleSignatures::AllowUnsigned => Ok(Vec::new()),
            RuleSignatures::Author | RuleSignatures::AuthorAndApprover => Err(unsigned(name)),
        };
    }
    trust::signed_by(envelope, name, signers)
        .map_err(|error| ApiError::bad_request(error.to_string()).with_code("invalid_signature"))
}

fn unsigned(name: &RuleSetName) -> ApiError {
    let message = format!(
        "rule set {name} is not signed, and this server takes only signed ones: `portcullis rules \
         sign FILE --key KEY`, then push again; or let it start with rule_signatures = \
         \"allow_unsigned\""
    );
    ApiError::bad_request(message).with_code("unsigned_ruleset")
}

pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<List<RuleSetBody>>, ApiError> {
    authorise(&app, &headers, Permission::ReadRules).await?;
    Ok(Json(all(&app).await?.into_iter().collect()))
}

pub(super) async fn versions(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<List<RuleSetBody>>, ApiError> {
    authorise(&app, &headers, Permission::ReadRules).await?;
    let of_name = all(&app).await?.into_iter().filter(|set| set.name == name);
    let list: List<RuleSetBody> = of_name.collect();
    match list.data.is_empty() {
        true => Err(no_such_name(&name)),
        false => Ok(Json(list)),
    }
}

async fn all(app: &App) -> Result<Vec<RuleSetBody>, ApiError> {
    let signers = app.store.list_signers().await?;
    let all = app.store.list_rulesets().await?.into_iter();
    Ok(all.map(|set| RuleSetBody::new(set, &signers)).collect())
}

/// The file, byte for byte.
pub(super) async fn source(
    State(app): State<App>,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    authorise(&app, &headers, Permission::ReadRules).await?;
    let stored = find(&app, &name, &version).await?;
    Ok(([(CONTENT_TYPE, "application/yaml")], stored.source).into_response())
}

/// The file with its signatures.
pub(super) async fn envelope(
    State(app): State<App>,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    authorise(&app, &headers, Permission::ReadRules).await?;
    let stored = find(&app, &name, &version).await?;
    let signatures = stored.signatures.into_iter().map(|signature| Signature {
        key: Some(signature.signer.to_string()),
        bytes: signature.bytes,
    });
    let envelope = Envelope::new(RULESET_TYPE, stored.source, signatures.collect());
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], envelope.to_json()).into_response())
}

/// The version that a path names.
///
/// # Errors
/// 404.
pub(super) async fn find(app: &App, name: &str, version: &str) -> Result<StoredRuleSet, ApiError> {
    let missing = || {
        ApiError::not_found(format!(
            "there is no version {version:?} of a rule set {name:?}"
        ))
    };
    let (name, number) = match (name.parse(), version.parse()) {
        (Ok(name), Ok(number)) => (name, number),
        _ => return Err(missing()),
    };
    let found = app.store.ruleset(&name, Some(number)).await?;
    found.ok_or_else(missing)
}

pub(super) fn ruleset_name(name: &str) -> Result<RuleSetName, ApiError> {
    name.parse().map_err(|_| no_such_name(name))
}

fn no_such_name(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no rule set {name:?}"))
}
