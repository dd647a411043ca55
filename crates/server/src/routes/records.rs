//! `/v1/admissibility`: records, and the log that they are in.
//!
//! Below this path lies the log as C2SP tlog-tiles has it: `checkpoint`, `tile/…`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_ledger::{RecordId, RecordProof, TilePath, bundle};
use portcullis_store::{KeyId, RecordSummary, Records, prove_record};

use super::Asked;
use crate::auth::{Permission, authorise};
use crate::error::ApiError;
use crate::record::Ledger;
use crate::state::App;
use crate::wire::admin::List;
use crate::wire::record::{
    ErasedBody, PublicKeyBody, RecordBody, RecordQuery, RecordsBody, TextBody,
};

/// Records of one page when nobody asks for another number.
const PAGE_DEFAULT: u32 = 100;
/// Records of one page, at most.
const PAGE_MAX: u32 = 1_000;

pub(super) async fn list(
    State(app): State<App>,
    query: Asked<RecordQuery>,
    headers: HeaderMap,
) -> Result<Json<RecordsBody>, ApiError> {
    authorise(&app, &headers, Permission::ReadRecords).await?;
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let said = format!("must be between 1 and {PAGE_MAX}");
        return Err(ApiError::invalid("limit", said));
    }
    let (filter, after) = (query.filter()?, query.cursor());
    let page = ledger(&app)?
        .records
        .list_records(&filter, after, limit)
        .await?;
    Ok(Json(page.into()))
}

/// The envelopes of a record with the proofs that the log has them.
pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<RecordBody<RecordProof>>, ApiError> {
    authorise(&app, &headers, Permission::ReadRecords).await?;
    let ledger = ledger(&app)?;
    let summary = find(ledger, &id).await?;
    let checkpoint = ledger.recorder.checkpoint();
    let proof = prove_record(&*ledger.records, &checkpoint, &summary).await?;
    Ok(Json(RecordBody::new(summary, proof.ok_or_else(broken)?)))
}

pub(super) async fn checkpoint(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    authorise(&app, &headers, Permission::ReadRecords).await?;
    let note = ledger(&app)?.recorder.checkpoint().note;
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, note).into_response())
}

pub(super) async fn tile(
    State(app): State<App>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    authorise(&app, &headers, Permission::ReadRecords).await?;
    let ledger = ledger(&app)?;
    let missing = || ApiError::not_found(format!("the log has no tile {path:?}"));
    let tile = TilePath::parse(&format!("tile/{path}")).ok_or_else(missing)?;
    if !tile.is_within(ledger.recorder.checkpoint().size) {
        return Err(missing());
    }
    let bytes = match tile.is_bundle() {
        true => entries(&*ledger.records, tile).await?,
        false => hashes(&*ledger.records, tile).await?,
    };
    // What a tile says never changes.
    let headers = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CACHE_CONTROL, "private, max-age=31536000, immutable"),
    ];
    Ok((headers, bytes).into_response())
}

async fn entries(records: &dyn Records, tile: TilePath) -> Result<Vec<u8>, ApiError> {
    let (first, end) = tile.entries();
    let entries = records.entries(first, end).await?;
    match entries.len() as u64 == end - first {
        true => Ok(bundle(entries.iter().map(Vec::as_slice))),
        false => Err(broken()),
    }
}

async fn hashes(records: &dyn Records, tile: TilePath) -> Result<Vec<u8>, ApiError> {
    let indexes = tile.hash_indexes();
    let hashes = records.hashes(&indexes).await?;
    match hashes.len() == indexes.len() {
        true => Ok(hashes.iter().flat_map(|hash| hash.0).collect()),
        false => Err(broken()),
    }
}

/// Public keys are for everybody who may read records; they are no secret.
pub(super) async fn keys(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<List<PublicKeyBody>>, ApiError> {
    authorise(&app, &headers, Permission::ReadRecords).await?;
    let ledger = ledger(&app)?;
    let origin = ledger.recorder.checkpoint().origin;
    let keys = ledger.records.published_keys().await?;
    let bodies = keys.into_iter().map(|key| PublicKeyBody::new(key, &origin));
    Ok(Json(bodies.collect()))
}

/// The text of a call, where texts are kept.
pub(super) async fn text(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<TextBody>, ApiError> {
    authorise(&app, &headers, Permission::ReadRecords).await?;
    let ledger = ledger(&app)?;
    let summary = find(ledger, &id).await?;
    let text = ledger.records.text(&summary.id).await?;
    let missing = || ApiError::not_found(format!("no text of {id} is kept, or it was erased"));
    Ok(Json(text.ok_or_else(missing)?.into()))
}

/// Erases text and salt of a record; the log stays as it is.
pub(super) async fn erase(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<ErasedBody>, ApiError> {
    authorise(&app, &headers, Permission::Administer).await?;
    let ledger = ledger(&app)?;
    let summary = find(ledger, &id).await?;
    let erased = ledger.records.erase_record(&summary.id).await?;
    if erased.held > 0 {
        let message = format!("{id} is under legal hold; take the hold back first");
        return Err(ApiError::conflict("legal_hold", message));
    }
    Ok(Json(erased.into()))
}

/// Erases text and salt of every record of an API key that is not under legal hold.
pub(super) async fn erase_key(
    State(app): State<App>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Json<ErasedBody>, ApiError> {
    authorise(&app, &headers, Permission::Administer).await?;
    let no_key = |_| ApiError::not_found(format!("there is no key {key:?}"));
    let key: KeyId = key.parse().map_err(no_key)?;
    let erased = ledger(&app)?.records.erase_key(&key).await?;
    Ok(Json(erased.into()))
}

pub(super) async fn hold(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    set_hold(&app, &id, &headers, true).await
}

pub(super) async fn release(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    set_hold(&app, &id, &headers, false).await
}

async fn set_hold(
    app: &App,
    id: &str,
    headers: &HeaderMap,
    hold: bool,
) -> Result<StatusCode, ApiError> {
    authorise(app, headers, Permission::Administer).await?;
    let records = &ledger(app)?.records;
    let id = RecordId::parse(id).ok_or_else(|| missing(id))?;
    match records.set_hold(&id, hold).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(missing(id.as_str())),
    }
}

async fn find(ledger: &Ledger, id: &str) -> Result<RecordSummary, ApiError> {
    let parsed = RecordId::parse(id).ok_or_else(|| missing(id))?;
    let found = ledger.records.record(&parsed).await?;
    found.ok_or_else(|| missing(id))
}

/// The ledger, if there is one.
///
/// # Errors
/// 404.
pub(super) fn ledger(app: &App) -> Result<&Ledger, ApiError> {
    app.ledger.as_ref().ok_or_else(|| {
        let said = "this server was started with records = \"off\"; it has no ledger";
        ApiError::not_found(said).with_code("no_ledger")
    })
}

fn missing(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no record {id:?}"))
}

/// What the index says is not in the log, or the other way round.
fn broken() -> ApiError {
    tracing::error!("the ledger does not hold what its index says; run `portcullis audit verify`");
    ApiError::internal("the server could not read its ledger; its log says why")
}
