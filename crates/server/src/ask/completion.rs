//! `/v1/completions`.

use portcullis_types::TokenId;

use crate::error::ApiError;
use crate::form::{AnswerText, answer_form};
use crate::params::{check_common, check_completion, check_prompt_count, required};
use crate::prompt::{admit_prompt, encode_prompts, on_worker};
use crate::shape::{Echo, Head, Logprobs, TextShape};
use crate::state::App;
use crate::tools::AnswerReader;
use crate::validate::{
    Call, Draft, InferenceRequest, MaxTokens, NotSubmitted, Origin, Prepared, Telling,
};
use crate::wire;
use crate::wire::call::{AdmissibilityFields, CallFields};
use crate::wire::completion::CompletionFields;

/// `max_tokens` of a text completion that does not say, as in OpenAI's API.
const DEFAULT_COMPLETION_TOKENS: usize = 16;

/// A parsed body.
pub(crate) struct CompletionRequest {
    common: CallFields,
    own: CompletionFields,
}

impl InferenceRequest for CompletionRequest {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self {
            common: wire::parse(body)?,
            own: wire::parse(body)?,
        })
    }

    fn admissibility(&self) -> Option<&AdmissibilityFields> {
        self.common.admissibility.as_ref()
    }

    async fn validate(self, app: &App, origin: Origin) -> Result<Call, NotSubmitted> {
        let Self { mut common, own } = self;
        check_common(app, &common)?;
        check_completion(&own, &common)?;
        let choices = common.n.unwrap_or(1);
        let prompt = own.prompt.ok_or_else(|| required("prompt"))?;
        check_prompt_count(app, &prompt, choices)?;
        let (include_usage, num_prompts) = (common.include_usage(), prompt.len());
        let text = AnswerText::of_chat(common.response_format.take())?;
        let max_tokens = common.max_tokens.unwrap_or(DEFAULT_COMPLETION_TOKENS);
        let max_tokens = MaxTokens::asked(Some(max_tokens)).blaming("prompt");
        let path = "/v1/completions";
        let mut draft = Draft::new(app, path, common, origin, own.logprobs, max_tokens)?;
        let is_echo = own.echo.unwrap_or(false);
        let scores = own.logprobs.filter(|_| is_echo);
        draft.score_prompt(scores);
        let (worker, gate) = (app.clone(), draft.gate().clone());
        let turn = app.forms.turn(None, &text).await;
        let prepared = on_worker(move || {
            let _turn = turn;
            let read = |tokens: &[TokenId]| Ok(worker.tokenizer.decode(tokens, false));
            let (prompt, input) = admit_prompt(read, &gate, prompt)?;
            Ok(Prepared {
                prompts: encode_prompts(&worker, prompt)?,
                input,
                form: answer_form(&worker, None, &text)?,
            })
        })
        .await;
        let prompts = prepared
            .as_ref()
            .map_or(&[][..], |it| it.prompts.as_slice());
        let echo = is_echo.then(|| Echo {
            prompts: texts(app, prompts),
            choices_per_prompt: choices as usize,
            has_scores: scores.is_some(),
        });
        let telling = Telling {
            shape: Box::new(TextShape {
                head: Head::new(app, "cmpl-"),
                logprobs: Logprobs::new(app, own.logprobs.is_some(), Vec::new()),
                include_usage,
                echo,
                offsets: Vec::new(),
            }),
            reader: AnswerReader::default(),
        };
        draft.into_call(app, prepared, num_prompts, telling)
    }
}

/// What was sent, as the model sees it; without the control token that begins every text.
fn texts(app: &App, prompts: &[Vec<TokenId>]) -> Vec<String> {
    let read = |prompt: &Vec<TokenId>| app.tokenizer.decode(prompt, true);
    prompts.iter().map(read).collect()
}
