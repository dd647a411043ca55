//! The engine of a configuration: weights, KV cache, the thread.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use portcullis_engine::{Clock, EngineConfig, EngineHandle, EngineThread};
use portcullis_models::Decoder;
use portcullis_runner::{CandleRunner, DeviceChoice, GraphLimits, RunnerOptions};
use portcullis_scheduler::SchedulerConfig;

use crate::config::{Config, EngineLimits};
use crate::kv_plan::{self, KvPlan};
use crate::machine::Machine;
use crate::model::Model;

/// A call that has waited for so many steps goes before those of the next class.
const AGEING_STEPS: u64 = 256;
/// Sequences that are shorter than this serve nobody.
const FEW_TOKENS: usize = 512;
/// Pieces of text that wait for a slow reader before they are merged.
const STREAM_BUFFER: usize = 64;

/// An engine on its thread.
pub(crate) struct Running {
    pub(crate) engine: EngineHandle,
    pub(crate) thread: EngineThread,
    /// Prompt and completion of one sequence, at most.
    pub(crate) max_model_len: usize,
}

/// Loads the weights, plans the cache and starts the engine's thread.
///
/// # Errors
/// The weights cannot be loaded, or there is no memory for a cache beside them.
pub(crate) fn start(config: &Config, model: &Model, clock: &Arc<dyn Clock>) -> Result<Running> {
    // Before the weights: what was mistyped is known at once.
    model.check_len(&config.engine)?;
    let plan = |usual_bytes| model.plan_kv(&config.engine, usual_bytes);
    tracing::info!("loading {}: {}", model.root, model.summary());
    let (decoder, kv) = match config.model.device {
        DeviceChoice::Cpu => {
            // Before the weights as well: whether it fits.
            let kv = plan(kv_plan::usual_bytes(Machine::look()))?;
            (model.load_weights()?, kv)
        }
        DeviceChoice::Cuda(_) => {
            let decoder = model.load_weights()?;
            let free = free_beside_steps(&decoder, &config.engine)?;
            let for_graphs = for_graphs(config, model);
            let usual = kv_plan::usual_bytes_on_card(free, for_graphs);
            (decoder, plan(usual)?)
        }
    };
    tell(model, kv);
    let max_model_len = kv.max_model_len;
    let engine = EngineConfig {
        scheduler: SchedulerConfig {
            num_blocks: kv.num_blocks,
            max_batched_tokens: config.engine.max_batched_tokens,
            max_num_seqs: config.engine.max_num_seqs,
            max_model_len,
            ageing_steps: AGEING_STEPS,
        },
        max_waiting: config.engine.max_waiting,
        stream_buffer: STREAM_BUFFER,
        tokenizer: model.tokenizer.clone(),
        clock: Arc::clone(clock),
    };
    let options = RunnerOptions {
        graphs: config.engine.cuda_graphs.then_some(GraphLimits {
            rows_max: config.engine.max_num_seqs,
            context_max: max_model_len,
        }),
    };
    let (engine, thread) = EngineThread::start(engine, move || -> Result<CandleRunner> {
        let cache = decoder
            .new_cache(kv.num_blocks as usize)
            .context("no memory for the KV cache")?;
        Ok(CandleRunner::new(decoder, cache, options)?)
    })?;
    Ok(Running {
        engine,
        thread,
        max_model_len,
    })
}

fn tell(model: &Model, kv: KvPlan) {
    tracing::info!(
        "KV cache: {} in {} blocks, {} tokens",
        ByteSize(kv.bytes),
        kv.num_blocks,
        kv.tokens
    );
    let (len, most) = (kv.max_model_len, model.shape.max_position);
    let told = format!(
        "a sequence may have {len} tokens, of {most} that the model was made for; more with \
         --max-model-len and --kv-cache-memory"
    );
    match len {
        len if len >= most => {}
        len if len < FEW_TOKENS => tracing::warn!("{told}"),
        _ => tracing::info!("{told}"),
    }
}

/// What CUDA graphs are left, if there are to be any.
fn for_graphs(config: &Config, model: &Model) -> u64 {
    let limits = &config.engine;
    let tokens = limits.max_model_len.unwrap_or(model.shape.max_position);
    match limits.cuda_graphs {
        true => kv_plan::graph_bytes(&model.shape, limits.max_num_seqs, tokens),
        false => 0,
    }
}

/// What a card has free beside the weights and the largest step.
fn free_beside_steps(decoder: &Decoder, limits: &EngineLimits) -> Result<u64> {
    let flags = "lower --max-batched-tokens or --max-num-seqs, or take a smaller --dtype";
    portcullis_runner::warm_up(decoder, limits.max_batched_tokens, limits.max_num_seqs)
        .with_context(|| {
            format!("the card has no memory for a step beside the weights; {flags}")
        })?;
    let free = portcullis_runner::free_bytes(decoder.device())?;
    Ok(free.unwrap_or_default())
}
