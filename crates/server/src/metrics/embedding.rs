//! What the embedding model does, under names of our own.

use std::fmt;

use portcullis_engine::{EmbeddingHandle, EmbeddingStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::encode;
use crate::config::ServedEmbedder;

type Row = (&'static str, &'static str, fn(&EmbeddingStatus) -> u64);

const GAUGES: [Row; 2] = [
    (
        "portcullis_embedding_running",
        "Calls for embeddings under way",
        |s| s.calls,
    ),
    (
        "portcullis_embedding_running_tokens",
        "Tokens of calls for embeddings under way",
        |s| s.tokens,
    ),
];

/// Names without `_total`, which the format appends.
const COUNTERS: [Row; 5] = [
    (
        "portcullis_embedding_batches",
        "Batches of texts that were computed",
        |s| s.batches_total,
    ),
    (
        "portcullis_embedding_texts",
        "Texts in these batches",
        |s| s.texts_total,
    ),
    (
        "portcullis_embedding_tokens",
        "Tokens in these batches, without padding",
        |s| s.tokens_total,
    ),
    (
        "portcullis_embedding_finished",
        "Calls for embeddings that were answered",
        |s| s.finished_total,
    ),
    (
        "portcullis_embedding_failed",
        "Calls for embeddings that could not be computed",
        |s| s.failed_total,
    ),
];

/// Registers the counters of the embedding model.
pub(super) fn register(registry: &mut Registry, embedder: &ServedEmbedder) {
    let labels = ("model_name".into(), embedder.deployment.to_string().into());
    let labelled = registry.sub_registry_with_label(labels);
    labelled.register_collector(Box::new(EmbeddingCollector(embedder.handle.clone())));
}

/// Reads the counters at each scrape.
#[derive(Debug)]
struct EmbeddingCollector(EmbeddingHandle);

impl Collector for EmbeddingCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let status = self.0.status();
        for (name, help, read) in GAUGES {
            encode(&mut encoder, name, help, &ConstGauge::new(read(&status)))?;
        }
        for (name, help, read) in COUNTERS {
            encode(&mut encoder, name, help, &ConstCounter::new(read(&status)))?;
        }
        Ok(())
    }
}
