//! Where a decoder's tensors come from: memory-mapped safetensors, or random numbers of the same
//! shapes.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

use crate::ModelError;

/// A source of named tensors, all of one dtype on one device.
pub(crate) struct Weights {
    source: Source,
    dtype: DType,
    device: Device,
}

enum Source {
    Files {
        dir: PathBuf,
        files: Vec<(PathBuf, MmapedSafetensors)>,
        index: HashMap<String, usize>,
    },
    /// Random values; the state makes every tensor different and every run the same.
    Dummy { seed: u64 },
}

/// The format's own bound on the header.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// Standard deviation of dummy weights: that of a freshly initialised model.
const DUMMY_STD: f32 = 0.02;

impl Weights {
    /// Maps the safetensors files of a folder.
    ///
    /// # Errors
    /// There are none, one does not hold together, or they are of a form that is not loaded.
    pub(crate) fn open(dir: &Path, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        let mut files = Vec::new();
        let mut index = HashMap::new();
        for path in weight_files(dir)? {
            let file = map(&path)?;
            for (name, _) in file.tensors() {
                if index.insert(name.clone(), files.len()).is_some() {
                    let reason = format!("tensor {name} is in more than one file");
                    return Err(ModelError::BrokenWeights { path, reason });
                }
            }
            files.push((path, file));
        }
        let source = Source::Files {
            dir: dir.into(),
            files,
            index,
        };
        Ok(Self {
            source,
            dtype,
            device: device.clone(),
        })
    }

    /// Random weights, for measuring a shape without its checkpoint.
    pub(crate) fn dummy(seed: u64, dtype: DType, device: &Device) -> Self {
        Self {
            source: Source::Dummy { seed },
            dtype,
            device: device.clone(),
        }
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        match &self.source {
            Source::Dummy { .. } => true,
            Source::Files { index, .. } => index.contains_key(name),
        }
    }

    /// A tensor that must be there with this shape.
    pub(crate) fn get(&self, name: &str, expected: &[usize]) -> Result<Tensor, ModelError> {
        match &self.source {
            Source::Dummy { seed } => self.random(*seed, name, expected),
            Source::Files { dir, files, index } => {
                let missing = || ModelError::MissingTensor {
                    path: dir.clone(),
                    tensor: name.into(),
                    expected: expected.into(),
                };
                let (path, file) = index
                    .get(name)
                    .map(|&file| &files[file])
                    .ok_or_else(missing)?;
                check_tensor(path, file, name, expected)?;
                Ok(file.load(name, &self.device)?.to_dtype(self.dtype)?)
            }
        }
    }

    fn random(&self, seed: u64, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        // A norm of about one keeps activations finite through any number of layers.
        let centre = if name.ends_with("norm.weight") {
            1f32
        } else {
            0.0
        };
        let mut state = name.bytes().fold(seed, |h, b| mix(h ^ u64::from(b)));
        if !self.device.is_cpu() {
            // Billions of them: where they are needed, rather than sent there.
            self.device.set_seed(state)?;
            return Ok(Tensor::randn(centre, DUMMY_STD, shape, &self.device)?.to_dtype(self.dtype)?);
        }
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| {
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                centre + DUMMY_STD * nearly_normal(mix(state))
            })
            .collect();
        Ok(Tensor::from_vec(values, shape, &self.device)?.to_dtype(self.dtype)?)
    }
}

/// Shape and dtype, before anything of it is read.
fn check_tensor(
    path: &Path,
    file: &MmapedSafetensors,
    name: &str,
    expected: &[usize],
) -> Result<(), ModelError> {
    let tensor = file.get(name)?;
    let dtype = DType::try_from(tensor.dtype());
    if !matches!(dtype, Ok(DType::F32 | DType::F16 | DType::BF16)) {
        return Err(ModelError::UnsupportedWeights {
            path: path.into(),
            reason: format!(
                "tensor {name} is {}; f32, f16 and bf16 are loaded",
                tensor.dtype()
            ),
        });
    }
    if tensor.shape() != expected {
        return Err(ModelError::MisshapenTensor {
            path: path.into(),
            tensor: name.into(),
            expected: expected.into(),
            found: tensor.shape().into(),
        });
    }
    Ok(())
}

/// SplitMix64's finaliser.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The sum of four uniforms, centred and scaled to variance 1: cheap, and never far out.
fn nearly_normal(bits: u64) -> f32 {
    let sum: u32 = (0..4).map(|i| (bits >> (16 * i)) as u32 & 0xFFFF).sum();
    (sum as f32 / 65_536.0 - 2.0) * 3f32.sqrt()
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// One file, or the shards that the index names.
pub(crate) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let single = dir.join("model.safetensors");
    let index = dir.join("model.safetensors.index.json");
    if single.exists() {
        return Ok(vec![single]);
    }
    if !index.exists() {
        return Err(no_weights(dir));
    }
    let bytes = std::fs::read(&index).map_err(|source| ModelError::Unreadable {
        path: index.clone(),
        source,
    })?;
    let parsed: Index = serde_json::from_slice(&bytes).map_err(|e| ModelError::Config {
        path: index.clone(),
        mistakes: vec![e.to_string()],
    })?;
    let mut names: Vec<String> = parsed.weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    let shard = |name: String| {
        // A name with a folder in it could point anywhere.
        let is_plain = Path::new(&name)
            .file_name()
            .is_some_and(|n| n == name.as_str());
        if is_plain {
            Ok(dir.join(name))
        } else {
            Err(name)
        }
    };
    names
        .into_iter()
        .map(shard)
        .collect::<Result<_, String>>()
        .map_err(|name| ModelError::Config {
            path: index,
            mistakes: vec![format!("shard {name:?} is not a plain file name")],
        })
}

fn no_weights(dir: &Path) -> ModelError {
    let is_pickle = |path: &PathBuf| {
        path.extension()
            .is_some_and(|e| e == "bin" || e == "pt" || e == "pth" || e == "pkl")
    };
    let files = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    match files.into_iter().find(is_pickle) {
        Some(path) => ModelError::UnsupportedWeights {
            path,
            reason: "pickle files can run code and are never loaded; convert them to safetensors"
                .into(),
        },
        None => ModelError::NotAModel {
            path: dir.into(),
            what: "model.safetensors",
        },
    }
}

fn map(path: &Path) -> Result<MmapedSafetensors, ModelError> {
    let unreadable = |source| ModelError::Unreadable {
        path: path.into(),
        source,
    };
    // Opened first, so that a file that cannot be read is told from one that is broken.
    let mut file = File::open(path).map_err(unreadable)?;
    let file_len = file.metadata().map_err(unreadable)?.len();
    // SAFETY: the mapping is valid as long as nobody truncates the file while it is open. That is
    // the operator's promise: model folders are not rewritten under a running server.
    #[expect(unsafe_code, reason = "memory-mapping a file")]
    let mapped = unsafe { MmapedSafetensors::new(path) };
    mapped.map_err(|error| ModelError::BrokenWeights {
        path: path.into(),
        reason: truncation(&mut file, file_len).unwrap_or_else(|| {
            // The path is said already.
            error.to_string().replace(&format!("path: {path:?} "), "")
        }),
    })
}

/// The file starts with the length of its header, which says where the last tensor ends: whether
/// that is beyond the file's own end, as after a download that broke off.
fn truncation(file: &mut File, file_len: u64) -> Option<String> {
    let mut prefix = [0; 8];
    if file.read_exact(&mut prefix).is_err() {
        return Some(format!("{file_len} bytes are no header; fetch it again"));
    }
    let header_len = u64::from_le_bytes(prefix);
    if header_len > HEADER_BYTES_MAX {
        return Some(format!(
            "a header of {header_len} bytes, above the {HEADER_BYTES_MAX} that are read"
        ));
    }
    let mut header = Vec::new();
    file.take(header_len).read_to_end(&mut header).ok()?;
    let expected = match serde_json::from_slice::<HashMap<String, Value>>(&header) {
        Ok(tensors) => (8 + header_len).saturating_add(tensors.values().filter_map(end).max()?),
        Err(_) => 8 + header_len,
    };
    (expected > file_len).then(|| {
        format!("truncated: {file_len} bytes, where its header asks for {expected}; fetch it again")
    })
}

/// Where a tensor ends behind the header.
fn end(tensor: &Value) -> Option<u64> {
    tensor.get("data_offsets")?.get(1)?.as_u64()
}
