//! `POST /v1/embeddings`. The path of a request, from top to bottom.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::answer::refuse;
use crate::auth::{Permission, authorise};
use crate::body;
use crate::embeddings::{EmbeddingRequest, answer};
use crate::error::ApiError;
use crate::limits::admit;
use crate::middleware::RequestId;
use crate::state::App;
use crate::validate::{NotSubmitted, Origin};

pub(super) async fn embed(
    State(app): State<App>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = authorise(&app, request.headers(), Permission::Infer).await?;
    let mut place = admit(&app, &caller).await?;
    let body = body::json(&app, request).await?;
    let wanted = EmbeddingRequest::parse(&app, &body)?;
    let held = app
        .catalog
        .held_for(
            caller.key_id(),
            wanted.deployment(),
            &wanted.named_rulesets()?,
        )
        .await?;
    let origin = Origin {
        request_id,
        tenant: caller.tenant(),
        key: caller.key_id().cloned(),
        // Of its rules only those on prompts have a say: no token is drawn.
        gate: held.gate,
        signers: held.signers,
        body,
    };
    match wanted.validate(&app, origin).await {
        Ok(call) => {
            place.admit_tokens(call.num_tokens())?;
            answer(&app, call, place).await
        }
        Err(NotSubmitted::Invalid(error)) => Err(error),
        Err(NotSubmitted::Refused(call)) => Err(refuse(&app, *call).await),
    }
}
