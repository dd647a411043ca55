//! Log lines on stderr, and spans to who collects traces. Prompts, answers and keys never go there.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogConfig, LogFormat};

/// How long the last spans may take to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends what is left when it is dropped.
#[must_use]
pub(crate) struct Logging {
    traces: Option<SdkTracerProvider>,
}

/// Begins to log, and to send spans if there is somewhere to send them.
///
/// # Errors
/// The directives or the endpoint are none; configuration has checked them.
pub(crate) fn start(config: &LogConfig) -> Result<Logging> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let traces = config.otlp_endpoint.as_deref().map(traces).transpose()?;
    let started = tracing_subscriber::registry()
        .with(lines(config.format).with_filter(filter))
        .with(traces.as_ref().map(spans))
        .try_init();
    started.map_err(|error| anyhow!("the log cannot be started: {error}"))?;
    Ok(Logging { traces })
}

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer();
    match format {
        // JSON escapes by itself.
        LogFormat::Json => lines.json().with_writer(io::stderr).boxed(),
        LogFormat::Text => {
            let is_coloured = io::stderr().is_terminal();
            let lines = lines.with_target(false).with_ansi(is_coloured);
            lines
                .with_writer(move || OneLine {
                    inner: io::stderr(),
                    is_coloured,
                })
                .boxed()
        }
    }
}

/// Writes each event as one line, whatever stands in it: who chooses a name cannot write a second
/// one, nor move the cursor of who reads.
struct OneLine<W> {
    inner: W,
    /// Escape sequences are our own; those in values are escaped where they are formatted.
    is_coloured: bool,
}

impl<W: Write> Write for OneLine<W> {
    /// `event` is a whole one with its line's end: that is how the formatter writes.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = match text.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (&*text, ""),
        };
        let mut escaped = String::with_capacity(text.len());
        for c in line.chars() {
            let is_ours = c == '\u{1b}' && self.is_coloured;
            match c.is_control() && !is_ours {
                true => escaped.extend(c.escape_default()),
                false => escaped.push(c),
            }
        }
        escaped.push_str(end);
        self.inner.write_all(escaped.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Sends spans in batches, from a thread of its own: no call waits for a collector.
fn traces(endpoint: &str) -> Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .build()
        .with_context(|| format!("cannot send spans to {endpoint}; is --otlp-endpoint right?"))?;
    let about = Resource::builder()
        .with_service_name("portcullis")
        .with_attribute(opentelemetry::KeyValue::new(
            "service.version",
            env!("CARGO_PKG_VERSION"),
        ));
    let traces = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(about.build());
    Ok(traces.build())
}

fn spans<S>(traces: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Ours alone: what sending them does must not be sent.
    let is_ours = |about: &Metadata<'_>| {
        *about.level() <= LevelFilter::DEBUG && about.target().starts_with("portcullis")
    };
    tracing_opentelemetry::layer()
        .with_tracer(traces.tracer("portcullis"))
        .with_filter(filter_fn(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_stands_in_it() {
        let check = |event: &str, is_coloured: bool, expect: &str| {
            let mut written = Vec::new();
            let inner = &mut written;
            OneLine { inner, is_coloured }
                .write_all(event.as_bytes())
                .unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), expect);
        };
        check("plain é\n", false, "plain é\n");
        check(
            "a\r\n2026-01-01 ERROR forged \u{1b}[31mred\u{7}\u{9b}2J\n",
            false,
            "a\\r\\n2026-01-01 ERROR forged \\u{1b}[31mred\\u{7}\\u{9b}2J\n",
        );
        check(
            "\u{1b}[2mINFO\u{1b}[0m a\nb\n",
            true,
            "\u{1b}[2mINFO\u{1b}[0m a\\nb\n",
        );
    }
}
