//! `/v1/completions`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use portcullis_engine::PromptScore;
use portcullis_types::{Sample, Usage};

use super::{ChoiceText, FINGERPRINT, Finish, Frame, Head, Logprobs, Shape};
use crate::error::ApiError;
use crate::tools::Part;
use crate::wire::call::Admissibility;
use crate::wire::completion::{TextChoice, TextCompletion, TextLogprobs};

/// Tells an answer as chunks or as one completion: both have the same form.
pub(crate) struct TextShape {
    pub(crate) head: Head,
    pub(crate) logprobs: Logprobs,
    /// Whether a chunk with usage comes last; all others then say null.
    pub(crate) include_usage: bool,
    /// What each answer begins with.
    pub(crate) echo: Option<Echo>,
    /// Characters released, for each choice.
    pub(crate) offsets: Vec<usize>,
}

/// The prompts, which the answers are to repeat.
pub(crate) struct Echo {
    /// The text of each prompt.
    pub(crate) prompts: Vec<String>,
    pub(crate) choices_per_prompt: usize,
    /// Whether they come with log-probabilities, and so when these are known.
    pub(crate) has_scores: bool,
}

impl Echo {
    fn prompt_of(&self, choice: usize) -> &str {
        let prompt = self.prompts.get(choice / self.choices_per_prompt);
        prompt.map_or("", String::as_str)
    }
}

impl Shape for TextShape {
    fn begin(&mut self, choices: usize) -> Vec<Frame> {
        self.offsets = vec![0; choices];
        match &self.echo {
            Some(echo) if !echo.has_scores => (0..choices)
                .flat_map(|choice| self.prompt(choice, &[]))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn prompt(&mut self, choice: usize, scores: &[PromptScore]) -> Vec<Frame> {
        let Some(echo) = &self.echo else {
            return Vec::new();
        };
        let text = echo.prompt_of(choice).to_owned();
        let logprobs = echo.has_scores.then(|| self.logprobs.of_prompt(scores));
        self.offsets[choice] += text.chars().count();
        vec![self.frame(choice, text, logprobs)]
    }

    fn parts(&mut self, choice: usize, parts: Vec<Part>, samples: &[Sample]) -> Vec<Frame> {
        let text = said(parts);
        if text.is_empty() && !self.logprobs.has_any(samples) {
            return Vec::new();
        }
        let logprobs = self.logprobs.of_text(samples, self.offsets[choice]);
        self.offsets[choice] += text.chars().count();
        vec![self.frame(choice, text, logprobs)]
    }

    fn finish(
        &mut self,
        choice: usize,
        finish: Finish,
        admissibility: Option<Admissibility>,
    ) -> Vec<Frame> {
        let choices = vec![TextChoice {
            index: choice,
            text: String::new(),
            logprobs: None,
            finish_reason: Some(finish.as_str()),
        }];
        vec![Frame::unnamed(&TextCompletion {
            choices,
            admissibility,
            ..self.chunk()
        })]
    }

    fn end(&mut self, usage: Usage) -> Vec<Frame> {
        let usage = self.include_usage.then(|| {
            Frame::unnamed(&TextCompletion {
                usage: Some(Some(usage.into())),
                ..self.chunk()
            })
        });
        usage.into_iter().chain([Frame::done()]).collect()
    }

    fn fail(&mut self, error: ApiError) -> Vec<Frame> {
        vec![Frame::unnamed(&error.body()), Frame::done()]
    }

    fn whole(
        self: Box<Self>,
        choices: Vec<ChoiceText>,
        usage: Usage,
        admissibility: Option<Admissibility>,
    ) -> Response {
        let numbered = (0..).zip(choices);
        let choices = numbered.map(|(index, choice)| self.choice(index, choice));
        Json(TextCompletion {
            choices: choices.collect(),
            usage: Some(Some(usage.into())),
            admissibility,
            ..self.chunk()
        })
        .into_response()
    }
}

impl TextShape {
    fn frame(&self, choice: usize, text: String, logprobs: Option<TextLogprobs>) -> Frame {
        let choice = TextChoice {
            index: choice,
            text,
            logprobs,
            finish_reason: None,
        };
        Frame::unnamed(&TextCompletion {
            choices: vec![choice],
            ..self.chunk()
        })
    }

    fn chunk(&self) -> TextCompletion {
        TextCompletion {
            id: self.head.id.clone(),
            object: "text_completion",
            created: self.head.created,
            model: self.head.model.clone(),
            system_fingerprint: FINGERPRINT,
            choices: Vec::new(),
            usage: self.include_usage.then_some(None),
            admissibility: None,
        }
    }

    fn choice(&self, index: usize, choice: ChoiceText) -> TextChoice {
        let prompt = self.echo.as_ref().map(|echo| echo.prompt_of(index));
        let prompt = prompt.unwrap_or_default();
        let own = self
            .logprobs
            .of_text(&choice.samples, prompt.chars().count());
        let logprobs = own.map(|own| {
            let mut all = self.logprobs.of_prompt(&choice.prompt);
            all.append(own);
            all
        });
        TextChoice {
            index,
            text: format!("{prompt}{}", choice.text),
            logprobs,
            finish_reason: Some(choice.finish.as_str()),
        }
    }
}

/// A text completion calls nothing.
fn said(parts: Vec<Part>) -> String {
    let texts = parts.into_iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        Part::Call { .. } | Part::Arguments { .. } => None,
    });
    texts.collect()
}
