//! `/v1/responses`: an answer as items of output.

use axum::Json;
use axum::response::{IntoResponse, Response};
use portcullis_types::{Sample, Usage};
use serde_json::{Map, Value, json};

use super::{CalledTool, ChoiceText, Finish, Frame, Head, Shape};
use crate::error::ApiError;
use crate::ids::new_id;
use crate::tools::Part;
use crate::wire::call::Admissibility;
use crate::wire::responses::{
    CachedTokens, Incomplete, OutputItem, OutputText, OutputTokens, ResponseBody, ResponseError,
    ResponseUsage,
};

/// What the request said and the answer repeats.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) instructions: Option<String>,
    pub(crate) max_output_tokens: Option<usize>,
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) parallel_tool_calls: bool,
    pub(crate) text: Value,
    pub(crate) tool_choice: Value,
    pub(crate) tools: Vec<Value>,
    pub(crate) metadata: Map<String, Value>,
}

/// Tells an answer as events, or as one response.
pub(crate) struct ResponsesShape {
    head: Head,
    asked: Asked,
    /// Events so far: each has a number.
    events: u64,
    /// Items that are complete.
    done: Vec<OutputItem>,
    open: Option<Open>,
    finish: Finish,
    admissibility: Option<Admissibility>,
}

/// The item that is being told.
enum Open {
    Message { id: String, text: String },
    Call { id: String, call: CalledTool },
}

impl ResponsesShape {
    pub(crate) fn new(head: Head, asked: Asked) -> Self {
        Self {
            head,
            asked,
            events: 0,
            done: Vec::new(),
            open: None,
            finish: Finish::Stop,
            admissibility: None,
        }
    }

    /// The response, with what of it is complete.
    fn body(&self, status: &'static str) -> ResponseBody {
        let asked = self.asked.clone();
        ResponseBody {
            id: self.head.id.clone(),
            object: "response",
            created_at: self.head.created,
            status,
            background: false,
            error: None,
            incomplete_details: None,
            instructions: asked.instructions,
            max_output_tokens: asked.max_output_tokens,
            model: self.head.model.clone(),
            output: self.done.clone(),
            parallel_tool_calls: asked.parallel_tool_calls,
            previous_response_id: None,
            store: false,
            temperature: asked.temperature,
            text: asked.text,
            tool_choice: asked.tool_choice,
            tools: asked.tools,
            top_p: asked.top_p,
            truncation: "disabled",
            usage: None,
            metadata: asked.metadata,
            admissibility: None,
        }
    }

    /// The response at its end.
    fn ended(&self, usage: Usage) -> ResponseBody {
        let reason = match &self.finish {
            Finish::Length => Some("max_output_tokens"),
            Finish::ContentFilter => Some("content_filter"),
            Finish::Stop | Finish::StopString(_) | Finish::ToolCalls => None,
        };
        ResponseBody {
            incomplete_details: reason.map(|reason| Incomplete { reason }),
            usage: Some(usage.into()),
            admissibility: self.admissibility.clone(),
            ..self.body(status(&self.finish))
        }
    }

    fn event(&mut self, name: &'static str, mut body: Value) -> Frame {
        body["type"] = name.into();
        body["sequence_number"] = self.events.into();
        self.events += 1;
        Frame::named(name, &body)
    }

    /// An event about the item that is being told.
    fn item_event(&mut self, name: &'static str, mut body: Value) -> Frame {
        body["output_index"] = self.done.len().into();
        self.event(name, body)
    }

    fn part(&mut self, part: Part) -> Vec<Frame> {
        match part {
            Part::Text(text) => self.say(&text),
            Part::Call { id, name, .. } => self.begin_call(id, name),
            Part::Arguments { json, .. } => self.go_on_with_call(&json),
        }
    }

    fn say(&mut self, more: &str) -> Vec<Frame> {
        let mut frames = match self.open {
            Some(Open::Message { .. }) => Vec::new(),
            _ => self.begin_message(),
        };
        if let Some(Open::Message { id, text }) = &mut self.open {
            text.push_str(more);
            let body = json!({"item_id": id, "content_index": 0, "delta": more, "logprobs": []});
            frames.push(self.item_event("response.output_text.delta", body));
        }
        frames
    }

    fn begin_message(&mut self) -> Vec<Frame> {
        let mut frames = self.close("completed");
        let id = new_id("msg_");
        let item = OutputItem::Message {
            id: id.clone(),
            status: "in_progress",
            role: "assistant",
            content: Vec::new(),
        };
        frames.push(self.item_event("response.output_item.added", json!({"item": item})));
        let part = json!({"item_id": id, "content_index": 0, "part": OutputText::default()});
        frames.push(self.item_event("response.content_part.added", part));
        self.open = Some(Open::Message {
            id,
            text: String::new(),
        });
        frames
    }

    fn begin_call(&mut self, call_id: String, name: String) -> Vec<Frame> {
        let mut frames = self.close("completed");
        let call = CalledTool {
            id: call_id,
            name,
            arguments: String::new(),
        };
        let id = new_id("fc_");
        let item = call_item(id.clone(), call.clone(), "in_progress");
        frames.push(self.item_event("response.output_item.added", json!({"item": item})));
        self.open = Some(Open::Call { id, call });
        frames
    }

    fn go_on_with_call(&mut self, more: &str) -> Vec<Frame> {
        let Some(Open::Call { id, call }) = &mut self.open else {
            return Vec::new();
        };
        call.arguments.push_str(more);
        let body = json!({"item_id": id, "delta": more});
        vec![self.item_event("response.function_call_arguments.delta", body)]
    }

    /// Ends the item that is being told.
    fn close(&mut self, status: &'static str) -> Vec<Frame> {
        let (mut frames, item) = match self.open.take() {
            None => return Vec::new(),
            Some(Open::Message { id, text }) => self.close_message(id, text, status),
            Some(Open::Call { id, call }) => {
                let body = json!({"item_id": id, "name": call.name, "arguments": call.arguments});
                let done = self.item_event("response.function_call_arguments.done", body);
                (vec![done], call_item(id, call, status))
            }
        };
        frames.push(self.item_event("response.output_item.done", json!({"item": item})));
        self.done.push(item);
        frames
    }

    fn close_message(
        &mut self,
        id: String,
        text: String,
        status: &'static str,
    ) -> (Vec<Frame>, OutputItem) {
        let said = json!({"item_id": id, "content_index": 0, "text": text, "logprobs": []});
        let part = OutputText {
            text: text.clone(),
            ..OutputText::default()
        };
        let part = json!({"item_id": id, "content_index": 0, "part": part});
        let frames = vec![
            self.item_event("response.output_text.done", said),
            self.item_event("response.content_part.done", part),
        ];
        (frames, message_item(id, text, status))
    }
}

impl Shape for ResponsesShape {
    fn begin(&mut self, _choices: usize) -> Vec<Frame> {
        let body = json!({"response": self.body("in_progress")});
        vec![
            self.event("response.created", body.clone()),
            self.event("response.in_progress", body),
        ]
    }

    fn parts(&mut self, _choice: usize, parts: Vec<Part>, _samples: &[Sample]) -> Vec<Frame> {
        let parts = parts.into_iter();
        parts.flat_map(|part| self.part(part)).collect()
    }

    fn finish(
        &mut self,
        _choice: usize,
        finish: Finish,
        admissibility: Option<Admissibility>,
    ) -> Vec<Frame> {
        let status = status(&finish);
        self.finish = finish;
        self.admissibility = admissibility;
        self.close(status)
    }

    fn end(&mut self, usage: Usage) -> Vec<Frame> {
        let mut response = self.ended(usage);
        let name = match self.finish {
            Finish::Stop | Finish::StopString(_) | Finish::ToolCalls => "response.completed",
            Finish::Length => "response.incomplete",
            Finish::ContentFilter => {
                response.status = "failed";
                response.error = Some(refused_after_release());
                "response.failed"
            }
        };
        vec![self.event(name, json!({"response": response}))]
    }

    fn fail(&mut self, error: ApiError) -> Vec<Frame> {
        let mut frames = self.close("incomplete");
        let detail = error.body().error;
        let code = detail.code.map_or(detail.kind.to_owned(), Into::into);
        let response = ResponseBody {
            error: Some(ResponseError {
                code,
                message: detail.message,
            }),
            ..self.body("failed")
        };
        frames.push(self.event("response.failed", json!({"response": response})));
        frames
    }

    fn whole(
        mut self: Box<Self>,
        choices: Vec<ChoiceText>,
        usage: Usage,
        admissibility: Option<Admissibility>,
    ) -> Response {
        let choice = choices.into_iter().next().unwrap_or_default();
        let status = status(&choice.finish);
        self.finish = choice.finish;
        self.admissibility = admissibility;
        if !choice.text.is_empty() {
            let item = message_item(new_id("msg_"), choice.text, status);
            self.done.push(item);
        }
        let calls = choice.calls.into_iter();
        self.done
            .extend(calls.map(|call| call_item(new_id("fc_"), call, status)));
        Json(self.ended(usage)).into_response()
    }
}

/// Clients take a stream that ends incomplete by a filter for one that broke, and ask again: one
/// refusal would become six calls. This code they take for final.
fn refused_after_release() -> ResponseError {
    ResponseError {
        code: "invalid_prompt".to_owned(),
        message: "the rest of this answer was refused by a rule set; `admissibility` names it"
            .to_owned(),
    }
}

fn status(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopString(_) | Finish::ToolCalls => "completed",
        Finish::Length | Finish::ContentFilter => "incomplete",
    }
}

fn message_item(id: String, text: String, status: &'static str) -> OutputItem {
    OutputItem::Message {
        id,
        status,
        role: "assistant",
        content: vec![OutputText {
            text,
            ..OutputText::default()
        }],
    }
}

fn call_item(id: String, call: CalledTool, status: &'static str) -> OutputItem {
    OutputItem::FunctionCall {
        id,
        status,
        call_id: call.id,
        name: call.name,
        arguments: call.arguments,
    }
}

impl From<Usage> for ResponseUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: CachedTokens {
                cached_tokens: usage.cached_tokens,
            },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputTokens {
                reasoning_tokens: 0,
                discarded_tokens: usage.discarded_tokens,
            },
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
        }
    }
}
