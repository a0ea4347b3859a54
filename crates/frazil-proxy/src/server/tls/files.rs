//! From PEM files to what rustls serves. Reads files and the clock; keeps nothing.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_cert::der::Decode;

use crate::config::TlsConfig;

/// Largest certificate or key file. Larger: it is not one.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// The protocols offered by ALPN (RFC 7301), the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable { role: Role, path: PathBuf, source: io::Error },
    #[error("{} is larger than {FILE_MAX_BYTES} bytes", .path.display())]
    TooLarge { role: Role, path: PathBuf },
    #[error("{}: {reason}", .path.display())]
    Unusable { role: Role, path: PathBuf, reason: String },
    #[error("the key {} does not belong to the certificate {}", .key.display(), .certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("{}: the certificate has expired", .path.display())]
    Expired { path: PathBuf },
}

/// Which of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Certificate,
    Key,
    ClientCa,
}

impl FileError {
    /// The setting at fault.
    pub(super) fn setting(&self) -> &'static str {
        match self {
            Self::Unreadable { role, .. } | Self::TooLarge { role, .. } | Self::Unusable { role, .. } => match role {
                Role::Certificate => "tls_certificate",
                Role::Key => "tls_key",
                Role::ClientCa => "tls_client_ca",
            },
            Self::Mismatch { .. } => "tls_key",
            Self::Expired { .. } => "tls_certificate",
        }
    }
}

/// The files as they were read, to see whether they have changed.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is a secret.
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl Contents {
    pub(super) fn read(config: &TlsConfig) -> Result<Self, FileError> {
        let client_ca = config.client_ca.as_deref();
        Ok(Self {
            certificate: read(Role::Certificate, &config.certificate)?,
            key: read(Role::Key, &config.key)?,
            client_ca: client_ca.map(|path| read(Role::ClientCa, path)).transpose()?,
        })
    }

    /// What these files mean; `config` says their names for messages.
    pub(super) fn identity(&self, config: &TlsConfig) -> Result<Identity, FileError> {
        let chain = certificates(Role::Certificate, &config.certificate, &self.certificate)?;
        let expires = first_expiry(&config.certificate, &chain)?;
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(Role::Certificate, &config.certificate, error))?;
        let builder = match (&self.client_ca, &config.client_ca) {
            (Some(text), Some(path)) => builder.with_client_cert_verifier(verifier(path, text)?),
            _ => builder.with_no_client_auth(),
        };
        let key = private_key(&config.key, &self.key)?;
        let mut server = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                FileError::Mismatch { certificate: config.certificate.clone(), key: config.key.clone() }
            }
            other => unusable(Role::Certificate, &config.certificate, other),
        })?;
        server.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        Ok(Identity { server: Arc::new(server), expires })
    }
}

/// A certificate with its key, ready to be served.
#[derive(Debug)]
pub(super) struct Identity {
    server: Arc<ServerConfig>,
    expires: i64,
}

impl Identity {
    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// When the first certificate of the chain expires, in seconds since the Unix epoch.
    pub(super) fn expires(&self) -> i64 {
        self.expires
    }

    pub(super) fn is_expired(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.expires <= seconds(now.as_secs())
    }
}

fn read(role: Role, path: &Path) -> Result<Vec<u8>, FileError> {
    let unreadable = |source| FileError::Unreadable { role, path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = Vec::new();
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(FileError::TooLarge { role, path: path.to_owned() });
    }
    Ok(text)
}

fn unusable(role: Role, path: &Path, reason: impl fmt::Display) -> FileError {
    FileError::Unusable { role, path: path.to_owned(), reason: reason.to_string() }
}

fn certificates(role: Role, path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(role, path, "there is no PEM certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(role, path, error)),
    }
}

fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, FileError> {
    use rustls::pki_types::pem::Error as Pem;
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        Pem::NoItemsFound => unusable(Role::Key, path, "there is no PEM private key in it, or it is encrypted"),
        other => unusable(Role::Key, path, other),
    })
}

fn verifier(path: &Path, text: &[u8]) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(Role::ClientCa, path, text)? {
        roots.add(certificate).map_err(|error| unusable(Role::ClientCa, path, error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| unusable(Role::ClientCa, path, error))
}

/// The chain is only as good as the first of its certificates to expire.
fn first_expiry(path: &Path, chain: &[CertificateDer<'_>]) -> Result<i64, FileError> {
    let mut first = i64::MAX;
    for certificate in chain {
        let parsed = x509_cert::Certificate::from_der(certificate)
            .map_err(|error| unusable(Role::Certificate, path, format!("not an X.509 certificate: {error}")))?;
        let end = parsed.tbs_certificate.validity.not_after.to_unix_duration();
        first = first.min(seconds(end.as_secs()));
    }
    Ok(first)
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
