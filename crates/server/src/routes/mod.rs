//! Which path leads to which handler, and what surrounds them all.

mod api;
mod bindings;
mod embeddings;
mod inference;
mod keys;
mod life;
mod loading;
mod models;
mod openapi;
mod probes;
mod records;
mod rulesets;
mod signers;
mod tokens;
mod usage;

pub(crate) use loading::loading;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use serde_json::Value;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;

use crate::ask::{ChatRequest, CompletionRequest, MessagesRequest, ResponsesRequest};
use crate::auth::Permission;
use crate::error::ApiError;
use crate::middleware::{
    answer_panic, close_connection, count_answer, name_request, refuse_encodings, speak_anthropic,
};
use crate::state::AppState;
use crate::wire::admin::{
    BindingBody, KeyBody, KeyChangeFields, List, NewKeyBody, NewKeyFields, TargetFields,
};
use crate::wire::call::{CallFields, ConversationFields, ModelFields};
use crate::wire::chat::{ChatChunk, ChatCompletion, ChatFields};
use crate::wire::completion::{CompletionFields, TextCompletion};
use crate::wire::embedding::{EmbeddingFields, Embeddings};
use crate::wire::life::{EventBody, NewSignerFields, RegisteredBody, RuleSetBody, SignerBody};
use crate::wire::messages::{MessageBody, MessageEvent, MessagesFields, TokenCount};
use crate::wire::record::{
    ErasedBody, PublicKeyBody, RecordQuery, RecordsBody, TextBody, UsageQuery, UsageRowBody,
};
use crate::wire::responses::{ResponseBody, ResponseEvent, ResponsesFields};
use crate::wire::tokens::{DetokenizeFields, Detokenized, TokenizeFields, Tokenized};
use api::Api;
use models::Model;

/// A query, or what is wrong with it.
type Asked<T> = Result<Query<T>, QueryRejection>;

/// The whole server.
pub fn router(state: AppState) -> Router {
    let app = state.0;
    let (router, _) = api().into_parts();
    router
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(refuse_encodings))
        .layer(CatchPanicLayer::custom(answer_panic))
        // Before any handler: what a browser asks first comes without a key.
        .layer(option_layer(app.config.cors.layer()))
        .layer(from_fn_with_state(app.clone(), close_connection))
        .layer(from_fn_with_state(app.clone(), count_answer))
        // Outermost, so that errors of all others carry the request's name too.
        .layer(from_fn(name_request))
        .with_state(app)
}

/// Every route.
fn api() -> Api {
    conversations()
        .merge(messages())
        .merge(texts())
        .merge(models())
        .merge(probes())
        .merge(rulesets())
        .merge(signers())
        .merge(keys())
        .merge(records())
}

fn conversations() -> Api {
    Api::of("Inference")
        .post(
            "/v1/chat/completions",
            "Goes on with a conversation",
            inference::complete::<ChatRequest>,
            |it| {
                it.needs(Permission::Infer)
                    .takes_both::<CallFields, ChatFields>()
                    .gives::<ChatCompletion>()
                    .streams::<ChatChunk>()
            },
        )
        .post(
            "/v1/completions",
            "Goes on with a text",
            inference::complete::<CompletionRequest>,
            |it| {
                it.needs(Permission::Infer)
                    .takes_both::<CallFields, CompletionFields>()
                    .gives::<TextCompletion>()
                    .streams::<TextCompletion>()
            },
        )
        .post(
            "/v1/responses",
            "Goes on with a conversation, as OpenAI's newer clients ask for it",
            inference::complete::<ResponsesRequest>,
            |it| {
                it.needs(Permission::Infer)
                    .takes_both::<ConversationFields, ResponsesFields>()
                    .gives::<ResponseBody>()
                    .streams::<ResponseEvent>()
            },
        )
}

/// Errors of these have another form, and keys may come in another header.
fn messages() -> Api {
    Api::of("Inference")
        .post(
            "/v1/messages",
            "Goes on with a conversation, as Anthropic's clients ask for it",
            inference::complete::<MessagesRequest>,
            |it| {
                it.needs(Permission::Infer)
                    .takes_both::<ConversationFields, MessagesFields>()
                    .gives::<MessageBody>()
                    .streams::<MessageEvent>()
            },
        )
        .post(
            "/v1/messages/count_tokens",
            "Counts the tokens that a message would have as a prompt",
            inference::count_tokens,
            |it| {
                it.needs(Permission::Infer)
                    .takes_both::<ConversationFields, MessagesFields>()
                    .gives::<TokenCount>()
            },
        )
        .around(|router| router.layer(from_fn(speak_anthropic)))
}

fn texts() -> Api {
    Api::of("Inference")
        .post(
            "/v1/embeddings",
            "Turns texts into vectors",
            embeddings::embed,
            |it| {
                it.needs(Permission::Infer)
                    .takes_both::<ModelFields, EmbeddingFields>()
                    .gives::<Embeddings>()
            },
        )
        .post(
            "/tokenize",
            "Turns a text or a conversation into tokens",
            tokens::tokenize,
            |it| {
                it.needs(Permission::Infer)
                    .takes::<TokenizeFields>()
                    .gives::<Tokenized>()
            },
        )
        .post(
            "/detokenize",
            "Turns tokens into text",
            tokens::detokenize,
            |it| {
                it.needs(Permission::Infer)
                    .takes::<DetokenizeFields>()
                    .gives::<Detokenized>()
            },
        )
}

fn models() -> Api {
    Api::of("Models")
        .get("/v1/models", "Lists what is served", models::list, |it| {
            it.needs(Permission::ListModels).gives::<List<Model>>()
        })
        .get(
            "/v1/models/{id}",
            "Tells of one model",
            models::show,
            |it| it.needs(Permission::ListModels).gives::<Model>(),
        )
}

fn probes() -> Api {
    Api::of("Operation")
        .get("/", "Greets", probes::greet, |it| {
            it.gives_raw("text/plain")
        })
        .get(
            "/live",
            "Tells that the process answers",
            probes::live,
            |it| it.gives::<Value>(),
        )
        .get(
            "/health",
            "Tells whether calls are taken and get on; 503 if not",
            probes::health,
            |it| it.gives::<Value>(),
        )
        .get("/metrics", "Tells Prometheus", probes::metrics, |it| {
            it.gives_raw("text/plain")
        })
        .get("/version", "Tells the version", probes::version, |it| {
            it.gives::<Value>()
        })
        .get(
            "/openapi.json",
            "Tells of all this",
            openapi::document,
            |it| it.gives::<Value>(),
        )
        .get("/docs", "Tells people of all this", openapi::page, |it| {
            it.gives_raw("text/html")
        })
}

fn rulesets() -> Api {
    const VERSION: &str = "/v1/rulesets/{name}/versions/{version}";
    const BINDINGS: &str = "/v1/rulesets/{name}/bindings";
    Api::of("Rule sets")
        .get(
            "/v1/rulesets",
            "Lists all versions of all rule sets",
            rulesets::list,
            |it| it.needs(Permission::ReadRules).gives::<List<RuleSetBody>>(),
        )
        .post(
            "/v1/rulesets",
            "Registers a version, as YAML or in a signed envelope",
            rulesets::register,
            |it| {
                it.needs(Permission::WriteRules)
                    .takes_raw("application/yaml")
                    .creates::<RegisteredBody>()
            },
        )
        .get(
            "/v1/rulesets/{name}",
            "Lists the versions of a rule set",
            rulesets::versions,
            |it| it.needs(Permission::ReadRules).gives::<List<RuleSetBody>>(),
        )
        .get(
            VERSION,
            "Gives a version as it was written",
            rulesets::source,
            |it| {
                it.needs(Permission::ReadRules)
                    .gives_raw("application/yaml")
            },
        )
        .get(
            &format!("{VERSION}/envelope"),
            "Gives a version with its signatures",
            rulesets::envelope,
            |it| it.needs(Permission::ReadRules).gives::<Value>(),
        )
        .post(
            &format!("{VERSION}/signatures"),
            "Adds signatures to a version",
            rulesets::sign,
            |it| {
                it.needs(Permission::SignRules)
                    .takes::<Value>()
                    .gives::<RegisteredBody>()
            },
        )
        .post(
            &format!("{VERSION}/activate"),
            "Makes a version the active one",
            life::activate,
            |it| it.needs(Permission::PutIntoForce).gives::<RuleSetBody>(),
        )
        .post(
            &format!("{VERSION}/retire"),
            "Ends a version for good",
            life::retire,
            |it| it.needs(Permission::PutIntoForce).gives::<RuleSetBody>(),
        )
        .get(
            BINDINGS,
            "Lists what a rule set is bound to",
            bindings::list,
            |it| it.needs(Permission::ReadRules).gives::<List<BindingBody>>(),
        )
        .post(
            BINDINGS,
            "Binds a rule set to a key or a deployment",
            bindings::bind,
            |it| {
                it.needs(Permission::PutIntoForce)
                    .takes::<TargetFields>()
                    .creates::<BindingBody>()
            },
        )
        .delete(BINDINGS, "Takes a binding away", bindings::unbind, |it| {
            it.needs(Permission::PutIntoForce)
                .asks::<TargetFields>()
                .gives_nothing()
        })
        .get(
            "/v1/rulesets/{name}/history",
            "Tells what happened to a rule set",
            life::history,
            |it| it.needs(Permission::ReadRules).gives::<List<EventBody>>(),
        )
}

fn signers() -> Api {
    Api::of("Signers")
        .get(
            "/v1/signers",
            "Lists whose signatures are known",
            signers::list,
            |it| it.needs(Permission::ReadRules).gives::<List<SignerBody>>(),
        )
        .post("/v1/signers", "Adds a signer", signers::add, |it| {
            it.needs(Permission::Administer)
                .takes::<NewSignerFields>()
                .creates::<SignerBody>()
        })
        .delete(
            "/v1/signers/{id}",
            "Revokes a signer",
            signers::revoke,
            |it| {
                it.needs(Permission::Administer)
                    .asks::<signers::Revocation>()
                    .gives::<SignerBody>()
            },
        )
}

fn keys() -> Api {
    Api::of("Keys")
        .get(
            "/v1/keys",
            "Lists the keys, without their secrets",
            keys::list,
            |it| it.needs(Permission::Administer).gives::<List<KeyBody>>(),
        )
        .post("/v1/keys", "Makes a key", keys::create, |it| {
            it.needs(Permission::Administer)
                .takes::<NewKeyFields>()
                .creates::<NewKeyBody>()
        })
        .patch(
            "/v1/keys/{id}",
            "Changes the expiry and the limits of a key",
            keys::update,
            |it| {
                it.needs(Permission::Administer)
                    .takes::<KeyChangeFields>()
                    .gives::<KeyBody>()
            },
        )
        .delete("/v1/keys/{id}", "Revokes a key", keys::revoke, |it| {
            it.needs(Permission::Administer)
                .asks::<keys::Revocation>()
                .gives::<KeyBody>()
        })
}

fn records() -> Api {
    const RECORD: &str = "/v1/admissibility/records/{id}";
    Api::of("Records")
        .get(
            "/v1/admissibility/records",
            "Lists records of calls, the latest first",
            records::list,
            |it| {
                it.needs(Permission::ReadRecords)
                    .asks::<RecordQuery>()
                    .gives::<RecordsBody>()
            },
        )
        .get(
            RECORD,
            "Gives a record with its proof",
            records::show,
            |it| it.needs(Permission::ReadRecords).gives::<Value>(),
        )
        .get(
            &format!("{RECORD}/text"),
            "Gives the text of a call, where it is kept",
            records::text,
            |it| it.needs(Permission::ReadRecords).gives::<TextBody>(),
        )
        .delete(
            &format!("{RECORD}/text"),
            "Erases the text of a call",
            records::erase,
            |it| it.needs(Permission::Administer).gives::<ErasedBody>(),
        )
        .put(
            &format!("{RECORD}/hold"),
            "Keeps the text of a call from being erased",
            records::hold,
            |it| it.needs(Permission::Administer).gives_nothing(),
        )
        .delete(
            &format!("{RECORD}/hold"),
            "Ends such a hold",
            records::release,
            |it| it.needs(Permission::Administer).gives_nothing(),
        )
        .delete(
            "/v1/admissibility/texts/{key}",
            "Erases the texts of all calls of a key",
            records::erase_key,
            |it| it.needs(Permission::Administer).gives::<ErasedBody>(),
        )
        .get(
            "/v1/admissibility/keys",
            "Lists the public keys that records are verified with",
            records::keys,
            |it| {
                it.needs(Permission::ReadRecords)
                    .gives::<List<PublicKeyBody>>()
            },
        )
        .get(
            "/v1/admissibility/checkpoint",
            "Gives the signed head of the log",
            records::checkpoint,
            |it| it.needs(Permission::ReadRecords).gives_raw("text/plain"),
        )
        .get(
            "/v1/admissibility/tile/{*path}",
            "Gives a tile of the log",
            records::tile,
            |it| {
                it.needs(Permission::ReadRecords)
                    .gives_raw("application/octet-stream")
            },
        )
        .get(
            "/v1/usage",
            "Tells what was used, by key, model and day",
            usage::list,
            |it| {
                it.needs(Permission::ReadRecords)
                    .asks::<UsageQuery>()
                    .gives::<List<UsageRowBody>>()
            },
        )
}

async fn no_route(request: Request) -> ApiError {
    ApiError::not_found(format!(
        "there is no {} {}",
        request.method(),
        request.uri().path()
    ))
    .with_code("unknown_url")
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!(
        "{} is not possible on {}; the Allow header says what is",
        request.method(),
        request.uri().path()
    );
    ApiError::with_status(StatusCode::METHOD_NOT_ALLOWED, message).with_code("method_not_allowed")
}
