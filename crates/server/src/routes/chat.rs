//! `POST /v1/chat/completions`. The path of a request, from top to bottom.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::answer::answer;
use crate::auth::{Permission, authorise};
use crate::body;
use crate::error::ApiError;
use crate::middleware::RequestId;
use crate::state::App;
use crate::validate::{ChatRequest, Origin};
use crate::vocabulary::for_model;

pub(super) async fn complete(
    State(app): State<App>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = authorise(&app, request.headers(), Permission::Infer).await?;
    let chat = ChatRequest::parse(&body::json(&app, request).await?)?;
    let named = chat.named_rulesets()?;
    let gate = app
        .catalog
        .gate_for(caller.key_id(), &app.model.deployment, &named)
        .await?;
    let gate = for_model(&app, gate).await?;
    let origin = Origin {
        request_id,
        tenant: caller.tenant(),
        key: caller.key_id().cloned(),
        gate,
    };
    let call = chat.validate(&app, origin).await?;
    answer(&app, call).await
}
