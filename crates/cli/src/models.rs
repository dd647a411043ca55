//! `portcullis models`: describe a model, fetch one.

use anyhow::{Context, Result};
use bytesize::ByteSize;
use portcullis_models::BLOCK_TOKENS;
use serde::Serialize;

use crate::args::{ModelArgs, ModelsCommand};
use crate::config::Config;
use crate::env::Environment;
use crate::model::{Model, weight_bytes};
use crate::output::table;

/// Runs a subcommand.
///
/// # Errors
/// It could not be done.
pub(crate) fn run(command: &ModelsCommand, environment: &Environment) -> Result<()> {
    match command {
        ModelsCommand::Inspect(args) => inspect(args, environment),
        ModelsCommand::Pull(args) => pull(args, environment),
    }
}

/// What there is to know of a model before its weights are loaded.
#[derive(Debug, Serialize)]
pub(crate) struct Description {
    name: String,
    dir: String,
    architecture: String,
    num_layers: usize,
    hidden_size: usize,
    num_heads: usize,
    num_kv_heads: usize,
    num_experts: Option<usize>,
    vocab_size: usize,
    max_model_len: usize,
    saved_dtype: Option<&'static str>,
    weight_bytes: u64,
    kv_bytes_per_token: u64,
    chat_template: bool,
    end_tokens: Vec<u32>,
}

impl From<&Model> for Description {
    fn from(model: &Model) -> Self {
        let shape = &model.shape;
        Self {
            name: model.root.clone(),
            dir: model.dir.display().to_string(),
            architecture: format!("{:?}", shape.architecture),
            num_layers: shape.num_layers,
            hidden_size: shape.hidden_size,
            num_heads: shape.num_heads,
            num_kv_heads: shape.num_kv_heads,
            num_experts: shape.experts.map(|experts| experts.num_experts),
            vocab_size: shape.vocab_size,
            max_model_len: shape.max_position,
            saved_dtype: shape.saved_dtype.map(|dtype| dtype.as_str()),
            weight_bytes: weight_bytes(&model.dir),
            kv_bytes_per_token: model.kv_bytes_per_block() / BLOCK_TOKENS as u64,
            chat_template: model.template.is_some(),
            end_tokens: model.end_tokens(),
        }
    }
}

impl Description {
    fn as_text(&self) -> String {
        let heads = format!(
            "{} ({} for keys and values)",
            self.num_heads, self.num_kv_heads
        );
        let experts = self
            .num_experts
            .map_or("none".to_owned(), |experts| experts.to_string());
        let end_tokens: Vec<_> = self.end_tokens.iter().map(u32::to_string).collect();
        let template = if self.chat_template {
            "yes"
        } else {
            "none: chat completions are refused"
        };
        let rows = [
            ["name", &self.name],
            ["folder", &self.dir],
            ["architecture", &self.architecture],
            ["layers", &self.num_layers.to_string()],
            ["hidden size", &self.hidden_size.to_string()],
            ["heads", &heads],
            ["experts", &experts],
            ["vocabulary", &format!("{} tokens", self.vocab_size)],
            ["context", &format!("{} tokens", self.max_model_len)],
            [
                "weights",
                &format!(
                    "{}, {}",
                    ByteSize(self.weight_bytes),
                    self.saved_dtype.unwrap_or("dtype not said")
                ),
            ],
            [
                "KV cache",
                &format!("{} a token", ByteSize(self.kv_bytes_per_token)),
            ],
            ["chat template", template],
            ["end tokens", &end_tokens.join(", ")],
        ];
        table(["MODEL", ""], rows.map(|row| row.map(str::to_owned)), "")
    }
}

/// Looks at what is here: describing a model is no reason to fetch its weights.
fn inspect(args: &ModelArgs, environment: &Environment) -> Result<()> {
    let mut config = Config::load(&args.flags(), environment)?;
    config.hub.is_offline = true;
    let model = Model::find(&config).with_context(|| {
        format!(
            "cannot inspect {0}; `portcullis models pull {0}` fetches it from the hub",
            args.model
        )
    })?;
    show(args, &model)
}

fn pull(args: &ModelArgs, environment: &Environment) -> Result<()> {
    let config = Config::load(&args.flags(), environment)?;
    show(args, &Model::find(&config)?)
}

fn show(args: &ModelArgs, model: &Model) -> Result<()> {
    args.output
        .show(&Description::from(model), Description::as_text)
}
