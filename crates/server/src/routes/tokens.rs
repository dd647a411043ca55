//! `POST /tokenize` and `/detokenize`: what a call would hand to the model. No rule has a say:
//! callers learn nothing but what they sent, in other words.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use portcullis_text::{Message, Tokenizer};
use portcullis_types::TokenId;

use crate::ask::chat_messages;
use crate::auth::{Permission, authorise};
use crate::body;
use crate::error::ApiError;
use crate::params::required;
use crate::prompt::{encode_conversation, on_worker};
use crate::state::App;
use crate::tools::{ToolUse, ToolsAsked};
use crate::wire;
use crate::wire::tokens::{DetokenizeFields, Detokenized, TokenizeFields, Tokenized};

/// Tokens that are also spelled out, at most: a string takes many times the memory of its token.
const TOKEN_STRS_MAX: usize = 1 << 16;

pub(super) async fn tokenize(
    State(app): State<App>,
    request: Request,
) -> Result<Json<Tokenized>, ApiError> {
    let body = authorised_body(&app, request).await?;
    let fields: TokenizeFields = wire::parse(&body)?;
    check_model(&app, fields.model.as_deref())?;
    let with_strs = fields.return_token_strs.unwrap_or(false);
    let text = Text::of(&app, fields)?;
    let tokenized = on_worker(move || {
        let tokens = text.encode(&app)?;
        Ok(Tokenized {
            count: tokens.len(),
            max_model_len: app.model.max_model_len,
            token_strs: with_strs
                .then(|| spell(&app.tokenizer, &tokens))
                .transpose()?,
            tokens,
        })
    });
    Ok(Json(tokenized.await?))
}

pub(super) async fn detokenize(
    State(app): State<App>,
    request: Request,
) -> Result<Json<Detokenized>, ApiError> {
    let body = authorised_body(&app, request).await?;
    let fields: DetokenizeFields = wire::parse(&body)?;
    check_model(&app, fields.model.as_deref())?;
    let tokens = fields.tokens.ok_or_else(|| required("tokens"))?;
    let detokenized = on_worker(move || {
        check_tokens(&app.tokenizer, &tokens)?;
        Ok(Detokenized {
            prompt: app.tokenizer.decode(&tokens, false),
        })
    });
    Ok(Json(detokenized.await?))
}

async fn authorised_body(app: &App, request: Request) -> Result<Bytes, ApiError> {
    authorise(app, request.headers(), Permission::Infer).await?;
    body::json(app, request).await
}

fn check_model(app: &App, model: Option<&str>) -> Result<(), ApiError> {
    match model {
        Some(model) if model != app.model.deployment.as_str() => {
            Err(ApiError::no_such_model(model))
        }
        _ => Ok(()),
    }
}

/// What is to be turned into tokens.
enum Text {
    Plain {
        prompt: String,
        add_special_tokens: bool,
    },
    Chat {
        messages: Vec<Message>,
        tools: Option<ToolUse>,
        add_generation_prompt: bool,
    },
}

impl Text {
    fn of(app: &App, fields: TokenizeFields) -> Result<Self, ApiError> {
        match (&fields.prompt, &fields.messages) {
            (Some(_), Some(_)) => {
                let said = "is only allowed without messages";
                return Err(ApiError::invalid("prompt", said));
            }
            (None, None) => return Err(required("prompt")),
            (None, Some(_)) => check_chat(&fields)?,
            (Some(_), None) => {}
        }
        match fields.prompt {
            Some(prompt) => Ok(Self::Plain {
                prompt,
                add_special_tokens: fields.add_special_tokens.unwrap_or(true),
            }),
            None => Ok(Self::Chat {
                messages: chat_messages(fields.messages)?,
                tools: ToolsAsked::of_chat(fields.tools, None, None)?.for_model(app)?,
                add_generation_prompt: fields.add_generation_prompt.unwrap_or(true),
            }),
        }
    }

    /// As a call would; also here nothing in a text becomes a control token.
    fn encode(self, app: &App) -> Result<Vec<TokenId>, ApiError> {
        match self {
            Self::Plain {
                prompt,
                add_special_tokens,
            } => Ok(app.tokenizer.encode(&prompt, add_special_tokens)?),
            Self::Chat {
                messages,
                tools,
                add_generation_prompt,
            } => encode_conversation(app, messages, tools.as_ref(), add_generation_prompt),
        }
    }
}

/// What clients of this API may send with messages and this server cannot do.
fn check_chat(fields: &TokenizeFields) -> Result<(), ApiError> {
    let refused = [
        (
            fields.add_special_tokens == Some(true),
            "add_special_tokens",
            "is not possible with messages: the chat template writes all control tokens",
        ),
        (
            fields.continue_final_message == Some(true),
            "continue_final_message",
            "is not supported yet",
        ),
        (
            fields.chat_template.is_some(),
            "chat_template",
            "is never taken from a request; the model's own is used",
        ),
    ];
    match refused.into_iter().find(|(is_asked, ..)| *is_asked) {
        Some((_, param, said)) => Err(ApiError::not_built(param, said)),
        None => Ok(()),
    }
}

fn spell(tokenizer: &Tokenizer, tokens: &[TokenId]) -> Result<Vec<String>, ApiError> {
    if tokens.len() > TOKEN_STRS_MAX {
        let said = format!(
            "is possible for {TOKEN_STRS_MAX} tokens; these are {}",
            tokens.len()
        );
        return Err(ApiError::invalid("return_token_strs", said));
    }
    let spelled = tokens.iter().map(|&id| tokenizer.token(id));
    Ok(spelled.map(Option::unwrap_or_default).collect())
}

fn check_tokens(tokenizer: &Tokenizer, tokens: &[TokenId]) -> Result<(), ApiError> {
    let unknown = |id: &&TokenId| tokenizer.token(**id).is_none();
    match tokens.iter().find(unknown) {
        Some(id) => {
            let said = format!("{id} is no token of this model");
            Err(ApiError::invalid("tokens", said))
        }
        None => Ok(()),
    }
}
