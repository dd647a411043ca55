//! One process writes a log.

use std::fs::{File, TryLockError};
use std::path::Path;

use tokio::time::{sleep, timeout};

use crate::sqlite::database::{RETRY_PAUSE, WAIT_MAX, create_dir, private_file};
use crate::sqlite::fault::unusable;
use crate::{StoreError, Unusable};

/// A file of its own: closing any handle of a database in this process would take SQLite's own
/// locks from it.
const LOCK_FILE: &str = "ledger.lock";

/// Held until it is dropped, or the process ends, however it does.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for whoever has it, but not for long.
    pub(super) async fn take(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join(LOCK_FILE);
        let taken = async {
            create_dir(data_dir)?;
            let file = private_file().create(true).open(&path)?;
            let locked = timeout(WAIT_MAX, lock(&file)).await;
            locked.map_err(|_| Unusable::Busy)??;
            Ok(Self { _file: file })
        };
        let taken: Result<Self, Unusable> = taken.await;
        taken.map_err(|reason| unusable(&path, "taking up the ledger", reason))
    }
}

async fn lock(file: &File) -> Result<(), Unusable> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => sleep(RETRY_PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}
