//! `/v1/signers`: whose signatures count.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use portcullis_sign::PublicKey;
use portcullis_store::{NewSigner, SignerId};
use serde::Deserialize;

use crate::auth::{Permission, authorise};
use crate::body;
use crate::error::ApiError;
use crate::state::App;
use crate::wire;
use crate::wire::admin::List;
use crate::wire::life::{NewSignerFields, SignerBody};

pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<List<SignerBody>>, ApiError> {
    authorise(&app, &headers, Permission::ReadRules).await?;
    let signers = app.store.list_signers().await?;
    Ok(Json(signers.into_iter().map(SignerBody::from).collect()))
}

pub(super) async fn add(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Json<SignerBody>), ApiError> {
    authorise(&app, request.headers(), Permission::Administer).await?;
    let fields: NewSignerFields = wire::parse(&body::json(&app, request).await?)?;
    let signer = app
        .store
        .add_signer(new_signer(fields)?, (app.wall)())
        .await?;
    Ok((StatusCode::CREATED, Json(signer.into())))
}

fn new_signer(fields: NewSignerFields) -> Result<NewSigner, ApiError> {
    let key = PublicKey::from_pem(&fields.public_key)
        .map_err(|error| ApiError::invalid("public_key", error))?;
    if fields.rulesets.as_ref().is_some_and(Vec::is_empty) {
        let said = "name at least one rule set, or leave it out for all";
        return Err(ApiError::invalid("rulesets", said));
    }
    let id = key.id().as_str().parse();
    Ok(NewSigner {
        id: id.map_err(|error| ApiError::name("public_key", &error))?,
        name: fields.name,
        role: fields.role,
        rulesets: fields.rulesets,
        // In one spelling, without what stood around it.
        public_key: key.to_pem(),
    })
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    /// The key was in wrong hands: nothing it ever signed counts.
    #[serde(default)]
    distrust: bool,
}

pub(super) async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Result<Query<Revocation>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<SignerBody>, ApiError> {
    authorise(&app, &headers, Permission::Administer).await?;
    let Query(Revocation { distrust }) =
        query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let id: SignerId = id.parse().map_err(|error| ApiError::name("id", &error))?;
    let signer = app.store.revoke_signer(&id, distrust, (app.wall)()).await?;
    Ok(Json(signer.into()))
}
