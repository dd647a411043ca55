//! Every route that generates. The path of a request, from top to bottom.

use axum::extract::{Request, State};
use axum::response::Response;
use axum::{Extension, Json};

use tracing::{Instrument, info_span};

use crate::answer::{answer, refuse};
use crate::ask::{self, MessagesRequest};
use crate::auth::{Permission, authorise};
use crate::body;
use crate::error::ApiError;
use crate::limits::admit;
use crate::middleware::RequestId;
use crate::rules;
use crate::state::App;
use crate::validate::{InferenceRequest, NotSubmitted, Origin};
use crate::vocabulary::for_model;
use crate::wire::messages::TokenCount;

pub(super) async fn complete<R: InferenceRequest>(
    State(app): State<App>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = authorise(&app, request.headers(), Permission::Infer).await?;
    let mut place = admit(&app, &caller).await?;
    let body = body::json(&app, request).await?;
    let wanted = R::parse(&body)?;
    let named = rules::named(wanted.admissibility())?;
    let held = app
        .catalog
        .held_for(caller.key_id(), &app.model.deployment, &named)
        .await?;
    let origin = Origin {
        request_id,
        tenant: caller.tenant(),
        key: caller.key_id().cloned(),
        gate: for_model(&app, held.gate).await?,
        signers: held.signers,
        body,
    };
    let validated = wanted.validate(&app, origin);
    match validated.instrument(info_span!("validate")).await {
        Ok(call) => {
            place.admit_prompts(&call.requests)?;
            answer(&app, call, place).await
        }
        Err(NotSubmitted::Invalid(error)) => Err(error),
        Err(NotSubmitted::Refused(call)) => Err(refuse(&app, *call).await),
    }
}

/// `POST /v1/messages/count_tokens`: what a call would have as a prompt. Nothing is generated.
pub(super) async fn count_tokens(
    State(app): State<App>,
    request: Request,
) -> Result<Json<TokenCount>, ApiError> {
    authorise(&app, request.headers(), Permission::Infer).await?;
    let body = body::json(&app, request).await?;
    let wanted = MessagesRequest::parse(&body)?;
    let input_tokens = ask::count(&app, wanted).await?;
    Ok(Json(TokenCount { input_tokens }))
}
