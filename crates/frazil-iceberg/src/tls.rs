//! Whom to trust and who to be when talking TLS to a catalog and its store.
//!
//! Owns reading and checking the PEM files, and the words for what goes wrong in a handshake. Opens no connection.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, InvalidMessage, RootCertStore};

/// Files for TLS, PEM, read when a catalog is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Roots that are trusted beside the system's and the built-in ones, by the catalog's client and by its store's.
    pub ca: Option<PathBuf>,
    /// Certificate to show to the catalog, with the chain to its root. Goes with `key`.
    pub certificate: Option<PathBuf>,
    /// Key of `certificate`, not encrypted.
    pub key: Option<PathBuf>,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct TlsFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl TlsFileError {
    fn new(path: &Path, reason: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

impl ClientTls {
    /// Checks that the files can be used.
    ///
    /// # Errors
    /// [`TlsFileError`] for the first that cannot.
    pub fn check(&self) -> Result<(), TlsFileError> {
        self.roots().and_then(|_| self.identity()).map(drop)
    }

    /// Makes an HTTP client trust and show what these files say.
    ///
    /// # Errors
    /// [`TlsFileError`] for the first that cannot be used.
    pub fn apply(&self, mut client: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, TlsFileError> {
        for root in self.roots()?.for_http() {
            client = client.add_root_certificate(root);
        }
        Ok(match self.identity()? {
            Some(identity) => client.identity(identity),
            None => client,
        })
    }

    pub(crate) fn roots(&self) -> Result<Roots, TlsFileError> {
        self.ca.as_deref().map_or_else(|| Ok(Roots::default()), Roots::read)
    }

    /// The client certificate with its key, if there is one.
    pub(crate) fn identity(&self) -> Result<Option<reqwest::Identity>, TlsFileError> {
        let (certificate, key) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return Ok(None),
            (Some(alone), None) => return Err(TlsFileError::new(alone, "a certificate without its key")),
            (None, Some(alone)) => return Err(TlsFileError::new(alone, "a key without its certificate")),
        };
        let (chain_text, key_text) = (read(certificate)?, read(key)?);
        let chain = certificates(certificate, &chain_text)?;
        let private = PrivateKeyDer::from_pem_slice(&key_text).map_err(|_| {
            TlsFileError::new(key, "there is no usable PEM private key in it; an encrypted one cannot be used")
        })?;
        let provider = rustls::crypto::ring::default_provider();
        rustls::sign::CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsFileError::new(key, format!("the key does not belong to the certificate {}", certificate.display()))
            }
            other => TlsFileError::new(certificate, other),
        })?;
        let both = [&key_text[..], b"\n", &chain_text[..]].concat();
        reqwest::Identity::from_pem(&both).map(Some).map_err(|error| TlsFileError::new(certificate, error))
    }
}

/// Root certificates of one's own, as the clients of catalog and store want them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Roots(Arc<[(reqwest::Certificate, object_store::Certificate)]>);

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

impl Roots {
    /// Reads a file with one or more PEM certificates.
    ///
    /// # Errors
    /// [`TlsFileError`] if it cannot be read, or one of its certificates cannot be a root.
    pub fn read(path: &Path) -> Result<Self, TlsFileError> {
        let mut store = RootCertStore::empty();
        let root = |certificate: CertificateDer<'static>| {
            store.add(certificate.clone()).map_err(|error| TlsFileError::new(path, error))?;
            let for_http = reqwest::Certificate::from_der(&certificate);
            let for_store = object_store::Certificate::from_der(&certificate);
            Ok((
                for_http.map_err(|error| TlsFileError::new(path, error))?,
                for_store.map_err(|error| TlsFileError::new(path, error))?,
            ))
        };
        certificates(path, &read(path)?)?.into_iter().map(root).collect::<Result<_, _>>().map(Self)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn for_http(&self) -> impl Iterator<Item = reqwest::Certificate> {
        self.0.iter().map(|(root, _)| root.clone())
    }

    pub(crate) fn for_store(&self) -> impl Iterator<Item = object_store::Certificate> {
        self.0.iter().map(|(_, root)| root.clone())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    std::fs::read(path).map_err(|error| TlsFileError::new(path, error))
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsFileError::new(path, "there is no PEM certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsFileError::new(path, error)),
    }
}

/// What to do about an error, if TLS is its cause and something can be done on this side.
pub(crate) fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    use rustls::Error as E;
    match cause(error)? {
        // A bad signature is that of another authority with the same name, such as the one before.
        E::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Some("no known authority has signed the server's certificate; name one that has with tls_ca")
        }
        E::InvalidMessage(InvalidMessage::InvalidContentType) => Some("the server does not speak TLS at this address"),
        E::AlertReceived(AlertDescription::CertificateRequired) => {
            Some("the server wants a client certificate; see tls_certificate and tls_key")
        }
        E::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError,
        ) => Some("the server refuses the client certificate of tls_certificate"),
        _ => None,
    }
}

/// The TLS error at the bottom of another one and what to do about it, if there is one.
pub(crate) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let cause = cause(error)?;
    Some(match advice(error) {
        Some(advice) => format!("{cause} ({advice})"),
        None => cause.to_string(),
    })
}

/// The TLS error at the bottom of another one.
fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = error
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if found.is_some() {
            return found;
        }
        // An error inside an I/O error is no source of it, only its own source is.
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests;
