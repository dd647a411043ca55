//! What is told of a request while it goes its way: to the log, and to who collects traces.
//!
//! Names, numbers and ends. Never a prompt, an output or a key.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use portcullis_engine::{End, Timings};
use portcullis_ledger::RecordId;
use portcullis_store::DeploymentName;
use portcullis_types::{FinishReason, Usage};
use tracing::field::{Empty, display};
use tracing::{Span, debug, info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The span of a whole request. It is part of the trace that the caller names, if there is one.
pub(crate) fn request(id: &str, route: &str, headers: &HeaderMap) -> Span {
    let span = info_span!("request", id, route, status = Empty, trace_id = Empty);
    if let Some(parent) = traceparent(headers) {
        span.record("trace_id", display(parent.trace_id()));
        // Where nobody collects traces there is nothing to attach it to.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span
}

/// The span of a call from its submission until its last choice has ended.
pub(crate) fn generation(
    model: &DeploymentName,
    choices: usize,
    record: Option<&RecordId>,
) -> Span {
    info_span!(
        "generate",
        %model,
        choices,
        record_id = record.map(display),
        prompt_tokens = Empty,
        completion_tokens = Empty,
        discarded_tokens = Empty,
        finish_reason = Empty,
    )
}

/// Tells how a choice went: where its time was spent, and how it ended.
pub(crate) fn note_choice(span: &Span, choice: usize, end: &End, timings: &Timings) {
    let finish_reason = finish_reason(end);
    span.record("finish_reason", finish_reason);
    let first_token = timings.first_token.unwrap_or(timings.total);
    // Within the span rather than with it as parent: the JSON of a log lists the former alone.
    span.in_scope(|| {
        debug!(
            choice,
            finish_reason,
            queue_ms = ms(timings.queued),
            prefill_ms = ms(first_token.saturating_sub(timings.queued)),
            decode_ms = ms(timings.total.saturating_sub(first_token)),
            gate_ms = ms(timings.gate),
            "a choice ended"
        );
    });
}

/// Tells what a call came to.
pub(crate) fn note_call(span: &Span, usage: &Usage) {
    span.record("prompt_tokens", usage.prompt_tokens);
    span.record("completion_tokens", usage.completion_tokens);
    span.record("discarded_tokens", usage.discarded_tokens);
    span.in_scope(|| info!("ended"));
}

fn finish_reason(end: &End) -> &'static str {
    match end {
        End::Finished(FinishReason::Stop) => "stop",
        End::Finished(FinishReason::Length) => "length",
        End::Finished(FinishReason::ContentFilter) => "content_filter",
        End::Refused(_) => "refused",
        End::Cancelled => "cancelled",
        End::Failed(_) => "failed",
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The caller's span. Source: W3C Trace Context, section 3.2
fn traceparent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(only), None) = (values.next(), values.next()) else {
        return None;
    };
    let mut parts = only.to_str().ok()?.split('-');
    let [version, trace, span, flags] =
        [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    // Later versions may say more, ours may not; ff is none.
    let is_known = version == "00" && parts.next().is_none();
    let is_later = lower_hex(version, 2) && !matches!(version, "00" | "ff");
    let is_formed = lower_hex(trace, 32) && lower_hex(span, 16) && lower_hex(flags, 2);
    let parent = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    ((is_known || is_later) && is_formed && parent.is_valid()).then_some(parent)
}

fn lower_hex(text: &str, len: usize) -> bool {
    text.len() == len
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_over_if_it_is_well_formed() {
        let check = |values: &[&'static str], expect: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRACEPARENT, value.parse().unwrap());
            }
            let trace = traceparent(&headers).map(|parent| parent.trace_id().to_string());
            assert_eq!(trace.as_deref(), expect, "{values:?}");
        };
        let trace = Some("4bf92f3577b34da6a3ce929d0e0e4736");
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        check(&[good], trace);
        check(
            &["01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"],
            trace,
        );
        check(&[], None);
        check(&[good, good], None);
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            check(&[bad], None);
        }
    }
}
