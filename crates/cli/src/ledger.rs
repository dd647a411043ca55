//! The ledger of a server: its log, the keys that sign, what it says of the server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use portcullis_ledger::{
    KeyKind, LogStore, ModelDigests, RecordKeys, Recorder, RecorderConfig, Started, Timestamp,
};
use portcullis_server::Ledger;
use portcullis_sign::{PublicKey, SecretKey};
use portcullis_store::{DeploymentName, PublishedKey, Records, SqliteLedger};

use crate::config::{Config, KeySource, LedgerConfig};
use crate::data_dir::{make_private_dir, write_private};

/// Private keys, in the data directory.
const KEYS_DIR: &str = "keys";

/// Calls that may be on record as open at once, at most; far above what the engine takes.
const MAX_OPEN: usize = 1 << 16;

/// Opens the ledger, and closes the records that a crash left open; `None` where the configuration
/// says that nothing is recorded.
///
/// # Errors
/// A key cannot be read or made, or the log cannot be written or is not the one that was signed.
pub(crate) async fn open(
    config: &Config,
    deployment: &DeploymentName,
    digests: ModelDigests,
    engine_build: String,
) -> Result<Option<Ledger>> {
    if !config.ledger.is_on {
        tracing::warn!("records are off: calls are answered without a record");
        return Ok(None);
    }
    let records = Arc::new(SqliteLedger::open(&config.data_dir).await?);
    let is_new = records.tail().await?.size == 0;
    let keys = keys(&config.ledger, &config.data_dir, is_new)?;
    let published = published(&keys);
    let about = Started {
        deployment: deployment.to_string(),
        digests,
        engine_build,
        ..Started::default()
    };
    let recorder = RecorderConfig {
        earlier_log_keys: log_keys(&*records).await?,
        keys,
        started: about.clone(),
        max_open: MAX_OPEN,
        clock: Arc::new(now),
    };
    let (recorder, crashed) = Recorder::start(Arc::clone(&records) as _, recorder).await?;
    for key in published {
        records.publish_key(key).await?;
    }
    if crashed > 0 {
        tracing::warn!(
            calls = crashed,
            "calls that a crash cut off are on record as crashed"
        );
    }
    Ok(Some(Ledger {
        recorder,
        records,
        about,
        texts: config.ledger.texts.clone(),
        prices: config.ledger.prices,
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "records are dated, and the recorder never goes back"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn keys(config: &LedgerConfig, data_dir: &Path, is_new: bool) -> Result<RecordKeys> {
    Ok(RecordKeys {
        record: key(&config.record_key, KeyKind::Record, data_dir, is_new)?,
        log: key(&config.log_key, KeyKind::Log, data_dir, is_new)?,
    })
}

fn key(source: &KeySource, kind: KeyKind, data_dir: &Path, is_new: bool) -> Result<SecretKey> {
    match source {
        KeySource::Pem(pem) => Ok(SecretKey::from_pem(pem)?),
        KeySource::File(path) => read(path),
        KeySource::Own => {
            let path = own_key(data_dir, kind);
            match path.exists() {
                true => read(&path),
                false if is_new => make(&path),
                // A folder that is not mounted must not look like a rotation.
                false => bail!(
                    "the log has entries and its key {} is missing; bring it back, or make new \
                     keys with `portcullis audit rotate --data-dir {}`",
                    path.display(),
                    data_dir.display()
                ),
            }
        }
    }
}

/// Where a key is that the server has made.
pub(crate) fn own_key(data_dir: &Path, kind: KeyKind) -> PathBuf {
    data_dir
        .join(KEYS_DIR)
        .join(format!("{}.key", kind.as_str()))
}

fn read(path: &Path) -> Result<SecretKey> {
    let place = path.display();
    let pem =
        fs::read_to_string(path).with_context(|| format!("the key {place} cannot be read"))?;
    SecretKey::from_pem(&pem).with_context(|| format!("the key {place} cannot be used"))
}

/// Makes a key that is not there yet.
///
/// # Errors
/// The data directory cannot be written.
pub(crate) fn make(path: &Path) -> Result<SecretKey> {
    let key = SecretKey::generate()?;
    let write = || {
        make_private_dir(path.parent().unwrap_or(Path::new(".")))?;
        write_private(path, key.to_pem().as_bytes())
    };
    write().with_context(|| format!("the key {} cannot be made", path.display()))?;
    Ok(key)
}

/// Public keys are kept for good, so that what they signed can be verified after a rotation.
fn published(keys: &RecordKeys) -> [PublishedKey; 2] {
    [(KeyKind::Record, &keys.record), (KeyKind::Log, &keys.log)].map(|(kind, key)| {
        let public = key.public();
        PublishedKey {
            id: public.id().to_string(),
            kind,
            pem: public.to_pem(),
            since: Timestamp::from(now()),
        }
    })
}

async fn log_keys(records: &dyn Records) -> Result<Vec<PublicKey>> {
    let keys = records.published_keys().await?.into_iter();
    let of_log = keys.filter(|key| key.kind == KeyKind::Log);
    of_log
        .map(|key| Ok(PublicKey::from_pem(&key.pem)?))
        .collect()
}
