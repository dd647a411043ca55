//! TLS at the door: a certificate and its key from two files, read again when they change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at. What has changed is read when it has rested for as long, so
/// that a new certificate waits for its key.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and a root, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// A certificate with its key, and where they come from; cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
    /// The files that were read last, whether they could be used or not.
    read: Mutex<Stamps>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no certificate in the file.
    #[error("{}: holds no certificate; it must be PEM, with a line -----BEGIN CERTIFICATE-----", .0.display())]
    NoCertificate(PathBuf),
    /// There is no private key in the file.
    #[error("{}: holds no private key; it must be PEM without a passphrase, with a line -----BEGIN PRIVATE KEY-----", .0.display())]
    NoKey(PathBuf),
    /// The two do not belong together, or are of a kind that TLS does not use.
    #[error("{} and {} cannot be used together: {error}", files.cert.display(), files.key.display())]
    Unusable {
        /// Which ones.
        files: Box<TlsFiles>,
        /// Why.
        error: rustls::Error,
    },
}

impl Tls {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// They cannot be read or do not belong together.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let read = Stamps::of(&files);
        let current = server_config(&files)?;
        Ok(Self(Arc::new(Shared {
            files,
            current: RwLock::new(current),
            read: Mutex::new(read),
        })))
    }

    /// Reads both files again. What cannot be used changes nothing, and is told in the log.
    pub fn reload(&self) {
        let Shared {
            files,
            current,
            read,
        } = &*self.0;
        *read.lock().unwrap_or_else(PoisonError::into_inner) = Stamps::of(files);
        let cert = files.cert.display();
        match server_config(files) {
            Ok(new) => {
                *current.write().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!(%cert, "a new certificate is in use");
            }
            Err(error) => tracing::error!(
                "{error}; the certificate from before stays in use: put a pair that fits in place, \
                 it is read within seconds"
            ),
        }
    }

    /// Reads the files again whenever they have changed.
    pub(crate) async fn follow_files(self) {
        let mut before = self.last_read();
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            ticks.tick().await;
            let now = Stamps::of(&self.0.files);
            let has_changed = now != self.last_read();
            if has_changed && now == before {
                self.reload();
            }
            before = now;
        }
    }

    /// `None`: the other side does not speak TLS, or not as we do.
    pub(crate) async fn shake_hands(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current());
        match acceptor.accept(stream).await {
            Ok(stream) => Some(stream),
            Err(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
        }
    }

    fn current(&self) -> Arc<ServerConfig> {
        let current = self.0.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    fn last_read(&self) -> Stamps {
        *self.0.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = (chain(&files.cert)?, key(&files.key)?);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| TlsError::Unusable {
        files: Box::new(files.clone()),
        error,
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&pem).collect();
    chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| TlsError::NoCertificate(path.to_owned()))
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(&read(path)?);
    key.map_err(|_| TlsError::NoKey(path.to_owned()))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Unreadable {
        path: path.to_owned(),
        error,
    })
}

/// Tells one state of the files from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamps([Option<(SystemTime, u64)>; 2]);

impl Stamps {
    /// When each was changed, and how long it is; `None` where there is none.
    fn of(files: &TlsFiles) -> Self {
        let stamp = |path| {
            let data = fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        Self([&files.cert, &files.key].map(stamp))
    }
}
