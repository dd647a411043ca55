//! Where a log is read from: a data directory that one may read, or a running server.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use portcullis_ledger::{
    Hash, KeyKind, LogStore, RecordId, RecordProof, SignedCheckpoint, TilePath, Timestamp,
    TokenCounts, TrustedKeys, split_bundle,
};
use portcullis_server::RULESET_TYPE;
use portcullis_sign::{Envelope, PublicKey, Signature};
use portcullis_store::{
    DATABASE_FILE, RecordFilter, RecordSummary, Records, RuleSetName, SqliteLedger, SqliteStore,
    Store, prove_record,
};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use crate::api_client::{ApiClient, Refused};
use crate::args::audit::LogArgs;
use crate::env::Environment;

/// Entries that are read at once.
const CHUNK: u64 = 256;

/// A log that can be read.
pub(super) enum Source {
    Directory {
        ledger: SqliteLedger,
        store: Option<SqliteStore>,
    },
    Server(ApiClient),
}

/// A public key as the server tells of it.
#[derive(Deserialize)]
struct KeyInfo {
    signs: String,
    pem: String,
}

#[derive(Deserialize)]
struct Keys {
    data: Vec<KeyInfo>,
}

/// A signer of rule sets as the server tells of it.
#[derive(Deserialize)]
struct SignerInfo {
    public_key: String,
}

#[derive(Deserialize)]
struct Signers {
    data: Vec<SignerInfo>,
}

#[derive(Deserialize)]
struct Shown {
    proof: RecordProof,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Listed>,
}

/// A record in a list.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) key: Option<String>,
    pub(super) deployment: String,
    pub(super) rulesets: Vec<String>,
    pub(super) opened_at: Timestamp,
    pub(super) outcome: String,
    pub(super) attempts: u64,
    pub(super) usage: TokenCounts,
}

impl From<RecordSummary> for Listed {
    fn from(record: RecordSummary) -> Self {
        let outcome = record
            .closed
            .map_or("open", |(_, outcome, _)| outcome.as_str());
        Self {
            id: record.id.to_string(),
            key: record.key.map(|key| key.to_string()),
            deployment: record.deployment,
            rulesets: record.rulesets,
            opened_at: record.opened_at,
            outcome: outcome.to_owned(),
            attempts: record.attempts,
            usage: record.usage,
        }
    }
}

impl Source {
    /// `--data-dir` means the directory; otherwise a server is asked.
    pub(super) async fn find(args: &LogArgs, environment: &Environment) -> Result<Self> {
        match &args.data_dir {
            Some(dir) => Self::in_directory(dir).await,
            None => ApiClient::new(&args.server, environment).map(Self::Server),
        }
    }

    /// The log in a data directory, also while a server writes it.
    pub(super) async fn in_directory(dir: &Path) -> Result<Self> {
        let ledger = SqliteLedger::open_existing(dir).await?;
        // Without it there are records all the same, only the rule sets are missing.
        let store = match dir.join(DATABASE_FILE).exists() {
            true => Some(SqliteStore::open_existing(dir).await?),
            false => None,
        };
        Ok(Self::Directory { ledger, store })
    }

    /// The newest checkpoint, signed by a key of `pinned` or, where there is none, of those that
    /// come with the log; and the keys to verify the rest with.
    pub(super) async fn checkpoint(
        &self,
        pinned: &TrustedKeys,
    ) -> Result<(SignedCheckpoint, TrustedKeys)> {
        let note = match self {
            Self::Directory { ledger, .. } => ledger.tail().await?.checkpoint,
            Self::Server(client) => {
                let path = ["v1", "admissibility", "checkpoint"];
                let note = client.get_bytes(&path).await?;
                Some(String::from_utf8(note).context("the checkpoint is no text")?)
            }
        };
        let note = note.ok_or_else(|| anyhow!("the log has no checkpoint: no server wrote it"))?;
        let keys = pinned.or(&self.keys().await?);
        let checkpoint = SignedCheckpoint::read(&note, keys.of(KeyKind::Log))?;
        Ok((checkpoint, keys))
    }

    async fn keys(&self) -> Result<TrustedKeys> {
        let pems: Vec<(bool, String)> = match self {
            Self::Directory { ledger, .. } => {
                let keys = ledger.published_keys().await?.into_iter();
                keys.map(|key| (key.kind == KeyKind::Log, key.pem))
                    .collect()
            }
            Self::Server(client) => {
                let keys: Keys = client.get(&["v1", "admissibility", "keys"]).await?;
                let keys = keys.data.into_iter();
                keys.map(|key| (key.signs == KeyKind::Log.as_str(), key.pem))
                    .collect()
            }
        };
        let (mut record, mut log) = (Vec::new(), Vec::new());
        for (is_of_log, pem) in pems {
            let key = PublicKey::from_pem(&pem)?;
            if is_of_log { &mut log } else { &mut record }.push(key);
        }
        Ok(TrustedKeys::unpinned(record, log))
    }

    /// Hands every entry before `size` to `take`, in order.
    pub(super) async fn each_entry(
        &self,
        size: u64,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        for first in (0..size).step_by(CHUNK as usize) {
            let end = size.min(first + CHUNK);
            let entries = self.entries(first, end).await?;
            if entries.len() as u64 != end - first {
                bail!(
                    "the log ends before its checkpoint, at entry {}",
                    first + entries.len() as u64
                );
            }
            entries.iter().try_for_each(|entry| take(entry))?;
        }
        Ok(())
    }

    async fn entries(&self, first: u64, end: u64) -> Result<Vec<Vec<u8>>> {
        match self {
            Self::Directory { ledger, .. } => Ok(ledger.entries(first, end).await?),
            Self::Server(client) => {
                let path = TilePath::bundle_of(first, end).context("chunks are bundles")?;
                let bytes = tile(client, path).await?;
                let entries = split_bundle(&bytes).context("the server sent a broken bundle")?;
                Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
            }
        }
    }

    /// Hashes of the log's tree, by their indexes, as a log of `size` has them.
    pub(super) async fn hashes(&self, indexes: &[u64], size: u64) -> Result<Vec<Hash>> {
        match self {
            Self::Directory { ledger, .. } => Ok(ledger.hashes(indexes).await?),
            Self::Server(client) => {
                let mut hashes = Vec::new();
                for &index in indexes {
                    let missing = || anyhow!("the log is too small for hash {index}");
                    let path = TilePath::holding(index, size).ok_or_else(missing)?;
                    let bytes = tile(client, path).await?;
                    let hash = path.hash_in(&bytes, index);
                    hashes.push(hash.context("the server sent a broken tile")?);
                }
                Ok(hashes)
            }
        }
    }

    /// A rule set as it was registered, with its signatures; `None` if it is not there.
    pub(super) async fn ruleset(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<(Vec<u8>, Envelope)>> {
        match self {
            Self::Directory { store: None, .. } => Ok(None),
            Self::Directory {
                store: Some(store), ..
            } => {
                let name: RuleSetName = name.parse()?;
                let found = store.ruleset(&name, Some(version)).await?;
                Ok(found.map(|stored| {
                    let signatures = stored.signatures.into_iter().map(|it| Signature {
                        key: Some(it.signer.to_string()),
                        bytes: it.bytes,
                    });
                    let source = stored.source;
                    let envelope =
                        Envelope::new(RULESET_TYPE, source.clone(), signatures.collect());
                    (source, envelope)
                }))
            }
            Self::Server(client) => {
                let version = version.to_string();
                let path = ["v1", "rulesets", name, "versions", &version, "envelope"];
                match client.get_bytes(&path).await {
                    Ok(json) => {
                        let envelope = Envelope::from_json(&json)?;
                        Ok(Some((envelope.unverified_payload().to_vec(), envelope)))
                    }
                    Err(error) if is_not_found(&error) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// The keys of all who may sign rule sets, or once could.
    pub(super) async fn signers(&self) -> Result<Vec<PublicKey>> {
        let pems: Vec<String> = match self {
            Self::Directory { store: None, .. } => Vec::new(),
            Self::Directory {
                store: Some(store), ..
            } => {
                let signers = store.list_signers().await?.into_iter();
                signers.map(|signer| signer.public_key).collect()
            }
            Self::Server(client) => {
                let signers: Signers = client.get(&["v1", "signers"]).await?;
                let signers = signers.data.into_iter();
                signers.map(|signer| signer.public_key).collect()
            }
        };
        let keys = pems.iter().map(|pem| Ok(PublicKey::from_pem(pem)?));
        keys.collect()
    }

    /// One record with its proofs.
    pub(super) async fn record(&self, id: &RecordId) -> Result<RecordProof> {
        match self {
            Self::Directory { ledger, .. } => {
                let summary = Records::record(ledger, id).await?;
                let summary = summary.ok_or_else(|| anyhow!("there is no record {id}"))?;
                // Read after it, so that the record is under it.
                let (checkpoint, _) = self.checkpoint(&TrustedKeys::default()).await?;
                let proof = prove_record(ledger, &checkpoint, &summary).await?;
                proof.context("the log does not have what its index says; verify it")
            }
            Self::Server(client) => {
                let path = ["v1", "admissibility", "records", id.as_str()];
                let shown: Shown = client.get(&path).await?;
                Ok(shown.proof)
            }
        }
    }

    /// The newest records, as the server tells of them.
    pub(super) async fn newest(&self, limit: u32) -> Result<Vec<Listed>> {
        match self {
            Self::Directory { ledger, .. } => {
                let filter = RecordFilter::default();
                let page = ledger.list_records(&filter, None, limit).await?;
                Ok(page.records.into_iter().map(Listed::from).collect())
            }
            Self::Server(client) => {
                let path = ["v1", "admissibility", "records"];
                let page: Page = client.find(&path, &[("limit", limit.to_string())]).await?;
                Ok(page.data)
            }
        }
    }
}

async fn tile(client: &ApiClient, path: TilePath) -> Result<Vec<u8>> {
    let path = path.to_string();
    let segments: Vec<_> = ["v1", "admissibility"]
        .into_iter()
        .chain(path.split('/'))
        .collect();
    client.get_bytes(&segments).await
}

fn is_not_found(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.status == StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    /// What the server signs is what the ledger verifies.
    #[test]
    fn rule_sets_are_of_one_type() {
        assert_eq!(
            portcullis_server::RULESET_TYPE,
            portcullis_ledger::RULESET_TYPE
        );
    }
}
