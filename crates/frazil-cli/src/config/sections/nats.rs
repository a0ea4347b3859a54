//! `[nats]`: where the log is and how to log in. Data only.

use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

use crate::config::secret::{Secret, mask_address};
use crate::units::Span;

/// `[nats]`: the log.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NatsSection {
    #[serde(serialize_with = "masked_addresses")]
    pub(crate) servers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credentials_file: Option<PathBuf>,
    /// Seed of an nkey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nkey: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nkey_file: Option<PathBuf>,
    /// Roots in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Certificate to show to the servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    /// TLS before the first byte of the protocol, for servers with `handshake_first`.
    pub(crate) tls_first: bool,
    pub(crate) request_timeout: Span,
    /// Copies of the control bucket (definitions, tokens, progress): 1, 3 or 5.
    pub(crate) control_replicas: u32,
}

impl Default for NatsSection {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            user: None,
            password: None,
            password_file: None,
            token: None,
            token_file: None,
            credentials_file: None,
            nkey: None,
            nkey_file: None,
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            tls_first: false,
            request_timeout: Span::secs(5),
            control_replicas: 1,
        }
    }
}

fn masked_addresses<S: Serializer>(addresses: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(addresses.iter().map(|address| mask_address(address)))
}
