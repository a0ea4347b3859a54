//! How to reach a catalog, and how the catalog's own configuration changes that. Pure; sends nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::names::{self, Separator};
use super::wire::CatalogConfig;
use crate::sigv4::{self, SignError, Signer};
use crate::tls::ClientTls;

/// What signatures are for unless said otherwise: an API behind Amazon's gateway.
const DEFAULT_SERVICE: &str = "execute-api";

/// A string that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How requests are authenticated.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// A token that does not expire, or that somebody else replaces.
    Bearer(Secret),
    /// OAuth2 client credentials: the token is fetched, renewed before it expires, and renewed once after a 401.
    OAuth2ClientCredentials {
        /// `id:secret`, or only a secret.
        credential: Secret,
        /// Token endpoint; `None` for the catalog's own `/v1/oauth/tokens`.
        oauth2_server_uri: Option<String>,
        /// Requested scope; `None` for `catalog`.
        scope: Option<String>,
    },
    /// AWS Signature Version 4 on every request.
    SigV4(SigV4),
}

/// How requests are signed for AWS, or for a gateway that authenticates as AWS does.
#[derive(Clone, Debug, Default)]
pub struct SigV4 {
    /// Region that signatures are for; `None` for the one that the environment names.
    pub region: Option<String>,
    /// Service that signatures are for; `None` for `execute-api`, as in Iceberg's own clients.
    pub service: Option<String>,
    /// Keys; `None` for those that the environment hands out, as for S3.
    pub keys: Option<AwsKeys>,
}

/// An access key of AWS.
#[derive(Clone, Debug)]
pub struct AwsKeys {
    /// Its id.
    pub access_key_id: Secret,
    /// Its secret.
    pub secret_access_key: Secret,
    /// The token of a temporary one.
    pub session_token: Option<Secret>,
}

impl SigV4 {
    pub(super) fn signer(&self) -> Result<Signer, SignError> {
        let keys = self.keys.as_ref().map(|keys| sigv4::Keys {
            id: keys.access_key_id.expose(),
            secret: keys.secret_access_key.expose(),
            session_token: keys.session_token.as_ref().map(Secret::expose),
        });
        let region = self.region.clone().or_else(sigv4::region_of_environment);
        let region = region.ok_or_else(|| SignError::Settings("say the region, or set AWS_REGION".to_owned()))?;
        Signer::new(sigv4::source(keys), &region, self.service.as_deref().unwrap_or(DEFAULT_SERVICE))
    }
}

/// Retries of requests that may be sent twice.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// Wait before the second try; doubles with each, with jitter.
    pub base: Duration,
    /// Longest wait, also for a `Retry-After`.
    pub max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 5, base: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

impl RetryPolicy {
    /// The wait after failed try number `attempt` (from 0): between half and all of the doubled base.
    pub(crate) fn wait(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let full = self.base.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(self.max);
        let jittered = full.mul_f64(rand::random_range(0.5..=1.0));
        jittered.max(retry_after.unwrap_or_default().min(self.max))
    }
}

/// Attempts of one call of [`append`](super::RestCatalog::append); each loads the table and sends at most one commit.
#[derive(Clone, Copy, Debug)]
pub struct CommitPolicy {
    /// Bounds and spaces the attempts.
    pub retry: RetryPolicy,
}

impl Default for CommitPolicy {
    fn default() -> Self {
        let retry = RetryPolicy { attempts: 10, base: Duration::from_millis(50), max: Duration::from_secs(5) };
        Self { retry }
    }
}

/// How to reach a catalog.
#[derive(Clone)]
pub struct RestCatalogConfig {
    /// Root of the REST API, without `/v1`.
    pub uri: String,
    /// The warehouse asked for, if the catalog has several.
    pub warehouse: Option<String>,
    /// Roots and client certificate.
    pub tls: ClientTls,
    /// Authentication.
    pub auth: Auth,
    /// Headers for every request to the catalog.
    pub headers: BTreeMap<String, String>,
    /// FileIO properties (`s3.…`); they win over what the catalog vends, credentials as one group.
    pub properties: BTreeMap<String, String>,
    /// Ask for vended credentials (`X-Iceberg-Access-Delegation: vended-credentials`).
    pub vended_credentials: bool,
    /// Whole request, answer included.
    pub request_timeout: Duration,
    /// Connection set-up.
    pub connect_timeout: Duration,
    /// Retries of reading requests.
    pub retry: RetryPolicy,
    /// Attempts of a fenced append.
    pub commit: CommitPolicy,
}

impl fmt::Debug for RestCatalogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and properties hold secrets.
        f.debug_struct("RestCatalogConfig")
            .field("uri", &self.uri)
            .field("warehouse", &self.warehouse)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

impl RestCatalogConfig {
    /// Defaults for a catalog at `uri`: no authentication, 60 s per request, 5 s to connect.
    #[must_use]
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            warehouse: None,
            tls: ClientTls::default(),
            auth: Auth::None,
            headers: BTreeMap::new(),
            properties: BTreeMap::new(),
            vended_credentials: false,
            request_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            retry: RetryPolicy::default(),
            commit: CommitPolicy::default(),
        }
    }

    pub(super) fn config_url(&self) -> String {
        let query: Vec<_> = self.warehouse.iter().map(|warehouse| ("warehouse", warehouse.clone())).collect();
        names::with_query(&format!("{}/v1/config", self.root()), &query)
    }

    pub(super) fn root(&self) -> &str {
        let uri = self.uri.trim_end_matches('/');
        uri.strip_suffix("/v1").unwrap_or(uri)
    }

    /// Lays the catalog's defaults under, and its overrides over, what the user configured.
    pub(super) fn merge(&self, server: CatalogConfig) -> Merged {
        let user = self.properties.clone();
        let merged =
            |key: &str| server.overrides.get(key).or_else(|| user.get(key)).or_else(|| server.defaults.get(key));
        let root = match server.overrides.get("uri").or_else(|| server.defaults.get("uri")) {
            Some(uri) => Self::new(uri.clone()).root().to_owned(),
            None => self.root().to_owned(),
        };
        let base = match merged("prefix").map(|prefix| prefix.trim_matches('/')).filter(|prefix| !prefix.is_empty()) {
            // A prefix is one or more path segments, given as they stand in the path.
            Some(prefix) => format!("{root}/v1/{prefix}"),
            None => format!("{root}/v1"),
        };
        let separator = merged("namespace-separator").map(|text| Separator::from_property(text)).unwrap_or_default();
        let mut all = server.defaults.clone();
        all.extend(user.clone());
        all.extend(server.overrides.clone());
        let headers =
            all.iter().filter_map(|(key, value)| Some((key.strip_prefix("header.")?.to_owned(), value.clone())));
        Merged {
            base,
            separator,
            headers: headers.collect(),
            defaults: server.defaults,
            user,
            overrides: server.overrides,
        }
    }
}

/// The configuration in force.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) base: String,
    pub(super) separator: Separator,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) user: BTreeMap<String, String>,
    pub(super) overrides: BTreeMap<String, String>,
}
