//! `[catalogs.<name>]`: Iceberg REST catalogs and how to reach them and their files. Data only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

use crate::config::secret::{Properties, Secret, mask_address};
use crate::units::Span;

/// `[catalogs.<name>]`: an Iceberg REST catalog.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CatalogSection {
    /// Root of the REST API. Required.
    #[serde(serialize_with = "masked_address")]
    pub(crate) uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warehouse: Option<String>,
    /// Ask the catalog for credentials to the tables' files.
    pub(crate) vended_credentials: bool,
    pub(crate) request_timeout: Span,
    /// Roots that are trusted beside the system's, for the catalog and its store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Certificate to show to the catalog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) auth: AuthSection,
    /// Headers for every request.
    pub(crate) headers: BTreeMap<String, Secret>,
    /// FileIO properties (`s3.endpoint`, …).
    pub(crate) properties: Properties,
    /// The same, each value in a file.
    pub(crate) property_files: BTreeMap<String, PathBuf>,
}

fn masked_address<S: Serializer>(address: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&mask_address(address))
}

impl Default for CatalogSection {
    fn default() -> Self {
        Self {
            uri: String::new(),
            warehouse: None,
            vended_credentials: false,
            request_timeout: Span::secs(60),
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            auth: AuthSection::default(),
            headers: BTreeMap::new(),
            properties: Properties::default(),
            property_files: BTreeMap::new(),
        }
    }
}

/// How requests to a catalog are authenticated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AuthKind {
    #[default]
    None,
    /// A fixed token: `token` or `token_file`.
    Bearer,
    /// Client credentials: `credential` (`id:secret`) or `credential_file`, `oauth2_server_uri`, `scope`.
    OAuth2,
    /// AWS Signature Version 4: `region`, `service`, and keys unless the environment has them.
    SigV4,
}

/// `[catalogs.<name>.auth]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuthSection {
    pub(crate) kind: AuthKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oauth2_server_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    /// Region that signatures are for; else the one of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// Service that signatures are for; else `execute-api`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_key_id: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_key_id_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_access_key: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_access_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_token: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_token_file: Option<PathBuf>,
}
