//! Settings of a connection as the client wants them: who we are, whom we trust. Also what a refusal means.
//!
//! The files for TLS are checked here for their messages, and read again by the client for every connection.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_nats::rustls::crypto::ring;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::sign::CertifiedKey;
use async_nats::rustls::{self, RootCertStore};
use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions};

use super::LogConfig;
use crate::error::LogError;

impl LogConfig {
    /// Checks that the files that are named can be used.
    ///
    /// # Errors
    /// [`LogError::Config`] for the first that cannot.
    pub fn check(&self) -> Result<(), LogError> {
        if let Some(path) = &self.tls_ca {
            let mut store = RootCertStore::empty();
            for root in certificates("tls_ca", path)? {
                store.add(root).map_err(|error| unusable("tls_ca", path, error))?;
            }
        }
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => check_identity(certificate, key)?,
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => {
                return Err(LogError::Config("tls_certificate and tls_key go together".to_owned()));
            }
        }
        if let Some(seed) = &self.nkey {
            let wrong = |error| LogError::Config(format!("nkey: not the seed of an nkey: {error}"));
            nkeys::KeyPair::from_seed(seed.reveal().trim()).map_err(wrong)?;
        }
        if let Some(path) = &self.credentials_file {
            let text = String::from_utf8(read("credentials_file", path)?)
                .map_err(|error| unusable("credentials_file", path, error))?;
            ConnectOptions::with_credentials(&text).map_err(|error| unusable("credentials_file", path, error))?;
        }
        Ok(())
    }
}

fn check_identity(certificate: &Path, key: &Path) -> Result<(), LogError> {
    let chain = certificates("tls_certificate", certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&read("tls_key", key)?).map_err(|_| {
        unusable("tls_key", key, "there is no usable PEM private key in it; an encrypted one cannot be used")
    })?;
    let pair = CertifiedKey::from_der(chain, private, &ring::default_provider());
    pair.map(drop).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            unusable("tls_key", key, format!("the key does not belong to the certificate {}", certificate.display()))
        }
        other => unusable("tls_certificate", certificate, other),
    })
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, LogError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(setting, path)?).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(setting, path, "there is no PEM certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(setting, path, error)),
    }
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>, LogError> {
    std::fs::read(path).map_err(|error| unusable(setting, path, error))
}

fn unusable(setting: &str, path: &Path, reason: impl Display) -> LogError {
    LogError::Config(format!("{setting} {}: {reason}", path.display()))
}

pub(super) async fn options(config: &LogConfig) -> Result<ConnectOptions, LogError> {
    let options = ConnectOptions::new()
        .name(&config.name)
        .request_timeout(Some(config.request_timeout))
        .connection_timeout(config.request_timeout)
        // A dead peer is noticed after two missed answers.
        .ping_interval(Duration::from_secs(5))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| Duration::from_millis(50 << attempts.min(6)).min(Duration::from_secs(2)));
    Ok(tls(config, login(config, options).await?))
}

async fn login(config: &LogConfig, mut options: ConnectOptions) -> Result<ConnectOptions, LogError> {
    match (&config.user, &config.password) {
        (Some(user), Some(password)) => {
            options = options.user_and_password(user.clone(), password.reveal().to_owned());
        }
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => {
            return Err(LogError::Config("user and password go together".to_owned()));
        }
    }
    if let Some(token) = &config.token {
        options = options.token(token.reveal().to_owned());
    }
    if let Some(seed) = &config.nkey {
        options = options.nkey(seed.reveal().trim().to_owned());
    }
    if let Some(path) = &config.credentials_file {
        options = options.credentials_file(path).await.map_err(|error| unusable("credentials_file", path, error))?;
    }
    Ok(options)
}

fn tls(config: &LogConfig, mut options: ConnectOptions) -> ConnectOptions {
    if let Some(path) = &config.tls_ca {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    if let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) {
        options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    if config.tls_first {
        options = options.tls_first();
    }
    options
}

/// What it means that there is no connection.
pub(super) fn refine(error: ConnectError) -> LogError {
    // The client reports a failed handshake as it does a broken connection.
    if let Some(handshake) = handshake_error(&error) {
        return LogError::refused("connect", Handshake::new(handshake));
    }
    match error.kind() {
        ConnectErrorKind::ServerParse => LogError::Config(error.to_string()),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Tls => {
            LogError::refused("connect", error)
        }
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            LogError::unavailable("connect", error)
        }
    }
}

/// A handshake that failed, in words that say where to look.
#[derive(Debug, thiserror::Error)]
#[error("{advice}")]
struct Handshake {
    advice: &'static str,
    source: rustls::Error,
}

impl Handshake {
    fn new(source: rustls::Error) -> Self {
        use rustls::{AlertDescription, CertificateError, Error as E, InvalidMessage};
        let advice = match &source {
            // A bad signature is that of another authority with the same name, such as the one before.
            E::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                "no known authority has signed the server's certificate, name one that has with tls_ca"
            }
            E::InvalidCertificate(_) => "the server's certificate is not accepted",
            E::AlertReceived(AlertDescription::CertificateRequired) => {
                "the server wants a client certificate, see tls_certificate and tls_key"
            }
            E::AlertReceived(_) => "the server refuses the handshake, most likely the client certificate",
            E::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "the server does not begin with TLS, see tls_first"
            }
            _ => "no TLS with the server",
        };
        Self { advice, source }
    }
}

fn handshake_error(error: &ConnectError) -> Option<rustls::Error> {
    let io = error.source()?.downcast_ref::<io::Error>()?;
    io.get_ref()?.downcast_ref::<rustls::Error>().cloned()
}
