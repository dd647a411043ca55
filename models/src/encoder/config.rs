//! What a folder of sentence-transformers says: `config.json` of the encoder, and how its states
//! become one vector.

use std::path::{Path, PathBuf};

use candle_transformers::models::bert::{Config as BertConfig, HiddenAct, PositionEmbeddingType};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::ModelError;
use crate::mistakes::{Mistakes, read_object};

/// How the states of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The state of the first token, `[CLS]`.
    FirstToken,
    /// The mean over all tokens.
    Mean,
}

/// An embedding model's shape, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Numbers in a vector.
    pub hidden_size: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Heads: a divisor of `hidden_size`.
    pub num_heads: usize,
    /// Tokens that the model knows.
    pub vocab_size: usize,
    /// Positions that the model has.
    pub max_position: usize,
    /// Tokens of a text, at most, those included that the tokenizer adds.
    pub max_tokens: usize,
    /// How states become one vector.
    pub pooling: Pooling,
    /// Whether vectors have length 1.
    pub normalised: bool,
    pub(super) num_token_types: usize,
    pub(super) pad_token: u32,
    activation: HiddenAct,
    layer_norm_eps: f64,
}

impl EncoderConfig {
    /// Reads a folder. Without `modules.json` its texts are pooled by the mean and not normalised,
    /// as sentence-transformers does with such a folder.
    ///
    /// # Errors
    /// A file cannot be read, or asks for what is not done here: all mistakes of a file at once.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let encoder = read_encoder(dir)?;
        let modules = Modules::read(dir)?;
        let pooling = match &modules.pooling {
            Some(folder) => read_pooling(&dir.join(folder), encoder.hidden_size)?,
            None => Pooling::Mean,
        };
        check_prompts(dir)?;
        Ok(Self {
            max_tokens: read_max_tokens(dir, encoder.max_position)?,
            pooling,
            normalised: modules.normalise,
            ..encoder
        })
    }

    /// The same as candle-transformers has it.
    pub(super) fn bert(&self) -> BertConfig {
        BertConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_layers,
            num_attention_heads: self.num_heads,
            intermediate_size: self.intermediate_size,
            hidden_act: self.activation,
            max_position_embeddings: self.max_position,
            type_vocab_size: self.num_token_types,
            layer_norm_eps: self.layer_norm_eps,
            pad_token_id: self.pad_token as usize,
            position_embedding_type: PositionEmbeddingType::Absolute,
            // All tensors are there by the names that it asks for first.
            model_type: None,
            ..BertConfig::default()
        }
    }
}

fn read_encoder(dir: &Path) -> Result<EncoderConfig, ModelError> {
    let path = dir.join("config.json");
    let missing = || ModelError::NotAModel {
        path: dir.into(),
        what: "config.json",
    };
    let mut object = read(&path)?.ok_or_else(missing)?;
    let mut mistakes = Mistakes::default();
    let (object, it) = (&mut object, &mut mistakes);
    check_supported(object, it);
    let hidden_size = size(object, it, "hidden_size");
    let num_heads = size(object, it, "num_attention_heads");
    let max_position = size(object, it, "max_position_embeddings");
    let config = EncoderConfig {
        hidden_size,
        intermediate_size: size(object, it, "intermediate_size"),
        num_layers: size(object, it, "num_hidden_layers"),
        num_heads,
        vocab_size: size(object, it, "vocab_size"),
        max_position,
        max_tokens: max_position,
        pooling: Pooling::Mean,
        normalised: false,
        num_token_types: it.field(object, "type_vocab_size").unwrap_or(2),
        pad_token: it.field(object, "pad_token_id").unwrap_or(0),
        activation: activation(object, it),
        layer_norm_eps: it.field(object, "layer_norm_eps").unwrap_or(1e-12),
    };
    if !hidden_size.is_multiple_of(num_heads) {
        it.say(format!(
            "hidden_size {hidden_size} is no multiple of num_attention_heads {num_heads}"
        ));
    }
    mistakes.none_or(config, &path)
}

fn size(object: &mut Map<String, Value>, mistakes: &mut Mistakes, name: &str) -> usize {
    let value = mistakes.field(object, name);
    mistakes.require(name, value)
}

fn check_supported(object: &mut Map<String, Value>, mistakes: &mut Mistakes) {
    let kind: Option<String> = mistakes.field(object, "model_type");
    if kind.as_deref() != Some("bert") {
        let kind = kind.as_deref().unwrap_or("missing");
        mistakes.say(format!(
            "model_type is {kind}; embeddings are made by models of type bert"
        ));
    }
    if object.contains_key("auto_map") {
        mistakes.say("auto_map asks to run code that comes with the model, which is never done");
    }
    if object.contains_key("quantization_config") {
        mistakes.say("quantised weights are not supported; use a bf16, f16 or f32 checkpoint");
    }
    if mistakes.field(object, "is_decoder") == Some(true) {
        mistakes.say("is_decoder is true; embeddings are made by encoders");
    }
    let positions: Option<String> = mistakes.field(object, "position_embedding_type");
    if let Some(positions) = positions.filter(|kind| kind != "absolute") {
        mistakes.say(format!(
            "position_embedding_type {positions:?} is not supported; absolute is"
        ));
    }
}

fn activation(object: &mut Map<String, Value>, mistakes: &mut Mistakes) -> HiddenAct {
    let name: Option<String> = mistakes.field(object, "hidden_act");
    match name.as_deref().unwrap_or("gelu") {
        "gelu" => HiddenAct::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" => HiddenAct::GeluApproximate,
        "relu" => HiddenAct::Relu,
        other => {
            mistakes.say(format!(
                "hidden_act {other:?} is not supported; gelu, gelu_new, gelu_pytorch_tanh and \
                 relu are"
            ));
            HiddenAct::Gelu
        }
    }
}

/// What follows the encoder, as `modules.json` says.
#[derive(Default)]
struct Modules {
    /// The folder that says how.
    pooling: Option<PathBuf>,
    normalise: bool,
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Modules {
    fn read(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join("modules.json");
        let Some(bytes) = read_bytes(&path)? else {
            return Ok(Self::default());
        };
        let wrong = |mistake: String| ModelError::Config {
            path: path.clone(),
            mistakes: vec![mistake],
        };
        let list: Vec<Module> =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        Self::of(&list).map_err(wrong)
    }

    /// Their order is fixed: what comes behind a norm would undo it.
    fn of(list: &[Module]) -> Result<Self, String> {
        // The packages that they are in have moved; the names of the classes have not.
        let kinds: Vec<&str> = list
            .iter()
            .map(|module| module.kind.rsplit('.').next().unwrap_or_default())
            .collect();
        let normalise = match kinds.as_slice() {
            ["Transformer", "Pooling"] => false,
            ["Transformer", "Pooling", "Normalize"] => true,
            _ => {
                return Err(format!(
                    "the modules {} are not supported; Transformer, Pooling and, if vectors have \
                     length 1, Normalize are",
                    kinds.join(", ")
                ));
            }
        };
        let is_plain = |path: &str| Path::new(path).file_name().is_some_and(|name| name == path);
        match (&list[0].path, &list[1].path) {
            (encoder, pooling) if encoder.is_empty() && is_plain(pooling) => Ok(Self {
                pooling: Some(pooling.into()),
                normalise,
            }),
            (encoder, pooling) => Err(format!(
                "the encoder must be in the folder itself and the pooling in one below it, not \
                 {encoder:?} and {pooling:?}"
            )),
        }
    }
}

fn read_pooling(dir: &Path, hidden_size: usize) -> Result<Pooling, ModelError> {
    let path = dir.join("config.json");
    let missing = || ModelError::NotAModel {
        path: dir.into(),
        what: "config.json",
    };
    let mut object = read(&path)?.ok_or_else(missing)?;
    let mut mistakes = Mistakes::default();
    let width: Option<usize> = mistakes.field(&mut object, "word_embedding_dimension");
    if let Some(width) = width.filter(|width| *width != hidden_size) {
        mistakes.say(format!(
            "word_embedding_dimension {width} is not the hidden_size {hidden_size} of the encoder"
        ));
    }
    let modes = pooling_modes(&mut object);
    let pooling = match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cls" | "cls_token"] => Pooling::FirstToken,
        ["mean" | "mean_tokens"] => Pooling::Mean,
        _ => {
            mistakes.say(format!(
                "pooling {} is not supported; cls_token or mean_tokens is, alone",
                modes.join(", ")
            ));
            Pooling::Mean
        }
    };
    mistakes.none_or(pooling, &path)
}

/// Newer folders name one mode, older ones have a switch for each.
fn pooling_modes(object: &mut Map<String, Value>) -> Vec<String> {
    if let Some(Value::String(mode)) = object.remove("pooling_mode") {
        return vec![mode];
    }
    let is_on = |(name, value): (String, Value)| {
        let mode = name.strip_prefix("pooling_mode_")?.to_owned();
        (value == Value::Bool(true)).then_some(mode)
    };
    std::mem::take(object)
        .into_iter()
        .filter_map(is_on)
        .collect()
}

fn read_max_tokens(dir: &Path, max_position: usize) -> Result<usize, ModelError> {
    let path = dir.join("sentence_bert_config.json");
    let Some(mut object) = read(&path)? else {
        return Ok(max_position);
    };
    let mut mistakes = Mistakes::default();
    if mistakes.field(&mut object, "do_lower_case") == Some(true) {
        mistakes.say("do_lower_case is not supported; the tokenizer itself can lower the case");
    }
    let asked: Option<usize> = mistakes.field(&mut object, "max_seq_length");
    if asked == Some(0) {
        mistakes.say("max_seq_length is 0");
    }
    let max_tokens = asked.map_or(max_position, |asked| asked.min(max_position));
    mistakes.none_or(max_tokens, &path)
}

/// A text that is put before every other would be missing here.
fn check_prompts(dir: &Path) -> Result<(), ModelError> {
    let path = dir.join("config_sentence_transformers.json");
    let mut object = read(&path)?.unwrap_or_default();
    let mut mistakes = Mistakes::default();
    let name: Option<String> = mistakes.field(&mut object, "default_prompt_name");
    if let Some(name) = name {
        mistakes.say(format!(
            "default_prompt_name {name:?} is not supported: clients send texts with their prompt"
        ));
    }
    mistakes.none_or((), &path)
}

/// A JSON object, if the file is there.
fn read(path: &Path) -> Result<Option<Map<String, Value>>, ModelError> {
    let bytes = read_bytes(path)?;
    bytes.map(|bytes| read_object(path, &bytes)).transpose()
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, ModelError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Unreadable {
            path: path.into(),
            source,
        }),
    }
}
