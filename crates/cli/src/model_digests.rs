//! Which model is served, for records: digests of its files.
//!
//! A digest is what a hash tool gives in the model's folder, for configuration and weights:
//! `sha256sum *.safetensors *.safetensors.index.json config.json generation_config.json | sort -k 2 |
//! sha256sum`, with those files that are there; of an embedding model also `modules.json`,
//! `sentence_bert_config.json` and `*_Pooling/config.json`. Weights are large, so what was computed is kept in
//! the data directory for as long as a file has the same size and time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use portcullis_ledger::ModelDigests;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data_dir::write_private;

/// Known digests, in the data directory.
const CACHE_FILE: &str = "model-digests.json";

/// Files that decide how text becomes tokens.
const TOKENIZER_FILES: [&str; 7] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
];

/// Files that decide what is computed. Of a folder of sentence-transformers also those that say how
/// vectors are made, with `*_Pooling/config.json`.
const CONFIG_FILES: [&str; 4] = [
    "config.json",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
];

/// A file whose digest is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    bytes: u64,
    modified_ns: u64,
    sha256: String,
}

type Cache = BTreeMap<PathBuf, Known>;

/// The digests of a model in `dir`; `dummy` stands for weights that are made, not read.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn of_model(dir: &Path, dummy: Option<&str>, data_dir: &Path) -> Result<ModelDigests> {
    let cache_path = data_dir.join(CACHE_FILE);
    // A cache that cannot be read is made again.
    let cache = fs::read(&cache_path).ok();
    let mut cache: Cache = cache
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default();
    let files = model_files(dir, dummy.is_none())
        .and_then(|files| hash_all(&files, &cache))
        .with_context(|| format!("the files of the model in {} cannot be read", dir.display()))?;
    if files
        .iter()
        .any(|(path, known)| cache.get(path) != Some(known))
    {
        // Another model may be served beside this one.
        cache.retain(|path, _| path.exists());
        cache.extend(files.clone());
        let json = serde_json::to_vec_pretty(&cache)?;
        write_private(&cache_path, &json)
            .with_context(|| format!("{} cannot be written", cache_path.display()))?;
    }
    let (tokenizer, model): (Vec<_>, Vec<_>) = files
        .iter()
        .map(|(path, known)| (name_in(dir, path), known))
        .partition(|(name, _)| TOKENIZER_FILES.contains(&name.as_str()));
    Ok(ModelDigests {
        model_digest: manifest_digest(&model, dummy),
        tokenizer_digest: manifest_digest(&tokenizer, None),
        adapter_digest: None,
    })
}

fn model_files(dir: &Path, with_weights: bool) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = name_of(&path);
        let is_weights =
            name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
        let is_config = CONFIG_FILES.contains(&name.as_str());
        let pooling = path.join("config.json");
        if name.ends_with("_Pooling") && pooling.exists() {
            files.push(pooling);
        }
        if is_config || TOKENIZER_FILES.contains(&name.as_str()) || (is_weights && with_weights) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A file's name as a hash tool prints it in the model's folder.
fn name_in(dir: &Path, path: &Path) -> String {
    let name = path.strip_prefix(dir).unwrap_or(path);
    name.to_string_lossy().into_owned()
}

/// As many files at once as there are cores.
fn hash_all(files: &[PathBuf], cache: &Cache) -> io::Result<Cache> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = files.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let shares = files.chunks(share);
        let running: Vec<_> = shares
            .map(|share| scope.spawn(|| share.iter().map(|path| hash(path, cache)).collect()))
            .collect();
        let mut known = Cache::new();
        for worker in running {
            let hashed: io::Result<Vec<_>> = worker.join().unwrap_or_else(|_| {
                Err(io::Error::other("the thread that hashed them has panicked"))
            });
            known.extend(hashed?);
        }
        Ok(known)
    })
}

fn hash(path: &Path, cache: &Cache) -> io::Result<(PathBuf, Known)> {
    // Through the links of the hub's cache.
    let about = fs::metadata(path)?;
    let modified = about
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (bytes, modified_ns) = (about.len(), modified.as_nanos() as u64);
    let known = cache
        .get(path)
        .filter(|known| (known.bytes, known.modified_ns) == (bytes, modified_ns));
    let sha256 = match known {
        Some(known) => known.sha256.clone(),
        None => hash_bytes(path)?,
    };
    let known = Known {
        bytes,
        modified_ns,
        sha256,
    };
    Ok((path.to_owned(), known))
}

fn hash_bytes(path: &Path) -> io::Result<String> {
    let (mut file, mut digest) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// SHA-256 of what `sha256sum` prints for these files.
fn manifest_digest(files: &[(String, &Known)], dummy: Option<&str>) -> String {
    let mut digest = Sha256::new();
    for (name, Known { sha256, .. }) in files {
        digest.update(format!("{sha256}  {name}\n"));
    }
    if let Some(dummy) = dummy {
        digest.update(format!("{dummy}\n"));
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum_and_change_with_any_file() {
        let (model, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |name: &str, text: &str| fs::write(model.path().join(name), text).unwrap();
        for name in [
            "config.json",
            "b.safetensors",
            "a.safetensors",
            "tokenizer.json",
            "README.md",
        ] {
            write(name, name);
        }
        let digests = || of_model(model.path(), None, data.path()).unwrap();
        let first = digests();
        let script = "sha256sum a.safetensors b.safetensors config.json | sha256sum";
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(model.path())
            .output();
        let by_hand = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(first.model_digest, by_hand.split(' ').next().unwrap());
        assert_eq!(digests(), first, "from the cache");
        write("README.md", "anything");
        assert_eq!(digests(), first, "no part of the model");
        write("b.safetensors", "other weights");
        let other = digests();
        assert_ne!(other.model_digest, first.model_digest);
        assert_eq!(other.tokenizer_digest, first.tokenizer_digest);
        let dummy = of_model(model.path(), Some("dummy"), data.path()).unwrap();
        assert_ne!(dummy.model_digest, other.model_digest);
    }

    #[test]
    fn how_an_embedding_model_pools_is_part_of_it_and_two_models_share_the_cache() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = tempfile::tempdir().unwrap();
        for dir in [first.path(), second.path()] {
            fs::create_dir(dir.join("1_Pooling")).unwrap();
            for name in ["config.json", "modules.json", "1_Pooling/config.json"] {
                fs::write(dir.join(name), name).unwrap();
            }
        }
        let digest = |dir: &tempfile::TempDir| {
            let digests = of_model(dir.path(), None, data.path()).unwrap();
            digests.model_digest
        };
        let before = digest(&first);
        assert_eq!(digest(&second), before, "wherever it lies");
        fs::write(first.path().join("1_Pooling/config.json"), "cls").unwrap();
        assert_ne!(digest(&first), before);
        let cache = fs::read_to_string(data.path().join(CACHE_FILE)).unwrap();
        for dir in [&first, &second] {
            assert!(cache.contains(dir.path().to_str().unwrap()), "{cache}");
        }
    }
}
