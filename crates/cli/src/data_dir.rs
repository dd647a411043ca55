//! The data directory: keys, rule sets, bindings and the demo, for one server at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

const LOCK_FILE: &str = "server.lock";

/// A data directory that no other server uses while this value lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Locked; the operating system takes the lock back when the process ends, however it ends.
    _lock: File,
}

impl DataDir {
    /// Takes the directory for this server, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be written, or another server has it.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        make(path)?;
        let place = path.display();
        let mut lock = open_lock(path).with_context(|| {
            format!(
                "the data directory {place} cannot be written; check its permissions, or choose \
                 another with --data-dir"
            )
        })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another portcullis server{} uses the data directory {place}; stop it, or choose \
                 another with --data-dir",
                owner(&mut lock)
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error)
                    .with_context(|| format!("the data directory {place} cannot be locked"));
            }
        }
        note_owner(&mut lock)
            .with_context(|| format!("the data directory {place} cannot be written"))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the directory if it is not there, whoever uses it.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make(path: &Path) -> Result<()> {
    make_private_dir(path).with_context(|| {
        let place = path.display();
        format!("the data directory {place} cannot be made; choose another with --data-dir")
    })
}

/// Whether a server has the directory now.
///
/// # Errors
/// The lock file is there and cannot be opened.
pub(crate) fn is_in_use(path: &Path) -> io::Result<bool> {
    match File::open(path.join(LOCK_FILE)) {
        Ok(lock) => Ok(matches!(
            lock.try_lock_shared(),
            Err(TryLockError::WouldBlock)
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a directory, and those above it, that only this user can look into.
///
/// # Errors
/// The operating system's.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file that only this user can read, whole or not at all.
///
/// # Errors
/// The operating system's.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    // Under a name of its own, for another process may write the same.
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

fn open_lock(dir: &Path) -> io::Result<File> {
    let path = dir.join(LOCK_FILE);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn note_owner(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    write!(lock, "{}", std::process::id())
}

/// Which process wrote itself into the lock: a help, no more, so that any trouble leaves it out.
fn owner(lock: &mut File) -> String {
    let mut text = String::new();
    match lock
        .read_to_string(&mut text)
        .map(|_| text.trim().parse::<u32>())
    {
        Ok(Ok(id)) => format!(" (process {id})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/data");
        let first = DataDir::take(&path).unwrap();
        assert!(is_in_use(&path).unwrap());
        let message = DataDir::take(&path).unwrap_err().to_string();
        let who = format!("another portcullis server (process {})", std::process::id());
        assert!(
            message.starts_with(&who) && message.contains("--data-dir"),
            "{message}"
        );
        drop(first);
        assert!(!is_in_use(&path).unwrap());
        DataDir::take(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn private_files_are_for_this_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_private(&path, b"pk").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read(&path).unwrap(), b"pk");
    }
}
