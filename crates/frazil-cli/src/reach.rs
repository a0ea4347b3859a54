//! How commands reach the log and the catalogs: through a configuration file, or through a running `frazil dev`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use frazil_core::TableName;
use frazil_iceberg::rest::Secret as CatalogSecret;
use frazil_iceberg::{
    Auth, AwsKeys, CatalogError, Catalogs, ClientTls, RestCatalog, RestCatalogConfig, Roots, SigV4, TlsFileError,
};
use frazil_log::{Log, LogConfig, LogError};

use crate::config::{self, AuthKind, AuthSection, CatalogSection, Config, NatsSection};
use crate::dev::DevState;
use crate::exit::Failure;

/// Where a `frazil dev` keeps its state unless told otherwise.
pub(crate) const DEFAULT_DATA_DIR: &str = ".frazil";

/// Which installation a command means.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ReachArgs {
    /// Configuration file of the installation [default: the `frazil dev` of --data-dir]
    #[arg(long, env = "FRAZIL_CONFIG", value_name = "FILE", conflicts_with = "data_dir")]
    pub(crate) config: Option<PathBuf>,
    /// Data directory of a running `frazil dev` [default: ./.frazil]
    #[arg(long, env = "FRAZIL_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

impl ReachArgs {
    /// The configuration to reach the installation with.
    pub(crate) fn resolve(&self) -> Result<Config, Failure> {
        match &self.config {
            Some(path) => config::load(path).map_err(Failure::config),
            None => Ok(self.dev_state()?.config()),
        }
    }

    fn dev_state(&self) -> Result<DevState, Failure> {
        let given = self.data_dir.as_deref();
        let dir = given.unwrap_or(Path::new(DEFAULT_DATA_DIR));
        match DevState::read(dir).map_err(Failure::from)? {
            Some(state) => Ok(state),
            None => Err(Failure::usage(anyhow!(
                "no `frazil dev` is running on {}: start one, or say --data-dir DIR or --config FILE",
                dir.display()
            ))),
        }
    }
}

/// The log's own settings from the section.
pub(crate) fn log_config(section: &NatsSection, client: &str) -> LogConfig {
    let secret = |secret: &Option<config::Secret>| secret.as_ref().map(|text| frazil_log::Secret::new(text.reveal()));
    let mut log = LogConfig::new(section.servers.clone(), client);
    log.user = section.user.clone();
    log.password = secret(&section.password);
    log.token = secret(&section.token);
    log.credentials_file = section.credentials_file.clone();
    log.nkey = secret(&section.nkey);
    log.tls_ca = section.tls_ca.clone();
    log.tls_certificate = section.tls_certificate.clone();
    log.tls_key = section.tls_key.clone();
    log.tls_first = section.tls_first;
    log.request_timeout = section.request_timeout.0;
    log
}

/// The catalog client's own settings from the section.
pub(crate) fn catalog_config(section: &CatalogSection) -> RestCatalogConfig {
    let mut catalog = RestCatalogConfig::new(&section.uri);
    catalog.warehouse = section.warehouse.clone();
    catalog.tls = catalog_tls(section);
    catalog.auth = auth(&section.auth);
    catalog.headers = section.headers.iter().map(|(key, value)| (key.clone(), value.reveal().to_owned())).collect();
    catalog.properties = section.properties.0.clone();
    catalog.vended_credentials = section.vended_credentials;
    catalog.request_timeout = section.request_timeout.0;
    catalog
}

/// The files for TLS of a catalog and its store.
pub(crate) fn catalog_tls(section: &CatalogSection) -> ClientTls {
    ClientTls { ca: section.tls_ca.clone(), certificate: section.tls_certificate.clone(), key: section.tls_key.clone() }
}

/// The roots of a file, or none.
pub(crate) fn roots(file: Option<&Path>) -> Result<Roots, TlsFileError> {
    file.map_or_else(|| Ok(Roots::default()), Roots::read)
}

fn auth(section: &AuthSection) -> Auth {
    let secret = |secret: &Option<config::Secret>| secret.as_ref().map(|text| CatalogSecret::new(text.reveal()));
    let keys = || {
        let (access_key_id, secret_access_key) =
            secret(&section.access_key_id).zip(secret(&section.secret_access_key))?;
        Some(AwsKeys { access_key_id, secret_access_key, session_token: secret(&section.session_token) })
    };
    match (section.kind, secret(&section.token), secret(&section.credential)) {
        (AuthKind::Bearer, Some(token), _) => Auth::Bearer(token),
        (AuthKind::OAuth2, _, Some(credential)) => Auth::OAuth2ClientCredentials {
            credential,
            oauth2_server_uri: section.oauth2_server_uri.clone(),
            scope: section.scope.clone(),
        },
        (AuthKind::SigV4, ..) => {
            Auth::SigV4(SigV4 { region: section.region.clone(), service: section.service.clone(), keys: keys() })
        }
        // The check of the configuration rules out a kind without its secret.
        (AuthKind::None | AuthKind::Bearer | AuthKind::OAuth2, _, _) => Auth::None,
    }
}

/// Connects to the log for a client command.
pub(crate) async fn log(config: &Config) -> anyhow::Result<Log> {
    connect_log(&config.nats, "frazil").await
}

/// Connects to the log under the name `client`.
pub(crate) async fn connect_log(section: &NatsSection, client: &str) -> anyhow::Result<Log> {
    let log = Log::connect(&log_config(section, client)).await;
    let shown = || section.servers.iter().map(|server| config::mask_address(server)).collect::<Vec<_>>().join(", ");
    log.with_context(|| format!("cannot reach the log at {}", shown()))
}

/// Whether what could not be reached may be reached later, without a change of settings.
pub(crate) fn may_come_up(error: &anyhow::Error) -> bool {
    let log = error.downcast_ref::<LogError>().is_some_and(|error| matches!(error, LogError::Unavailable { .. }));
    log || error.downcast_ref::<CatalogError>().is_some_and(CatalogError::is_retryable)
}

/// Connects to every configured catalog.
pub(crate) async fn catalogs(config: &Config) -> anyhow::Result<Catalogs> {
    let default = config.default_catalog().context("no catalog is configured: add a [catalogs.<name>] section")?;
    let mut by_name = BTreeMap::new();
    for (name, section) in &config.catalogs {
        let catalog = RestCatalog::connect(catalog_config(section)).await;
        let catalog = catalog
            .with_context(|| format!("cannot reach catalog {name} at {}", config::mask_address(&section.uri)))?;
        by_name.insert(name.clone(), catalog);
    }
    Ok(Catalogs::new(default, by_name))
}

/// Connects only to the catalog of `table`.
pub(crate) async fn catalog_of(config: &Config, table: &TableName) -> anyhow::Result<RestCatalog> {
    let name = table.catalog();
    let section = config.catalogs.get(name).with_context(|| {
        let known: Vec<_> = config.catalogs.keys().map(String::as_str).collect();
        format!("there is no catalog {name}; configured are: {}", known.join(", "))
    })?;
    let catalog = RestCatalog::connect(catalog_config(section)).await;
    catalog.with_context(|| format!("cannot reach catalog {name} at {}", config::mask_address(&section.uri)))
}

/// Parses a table name; two parts mean the default catalog.
pub(crate) fn table_name(config: &Config, text: &str) -> Result<TableName, Failure> {
    let default = config.default_catalog().unwrap_or("frazil");
    TableName::parse(text, default).map_err(Failure::usage)
}

/// Microseconds since the Unix epoch, now.
pub(crate) fn now_micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// Microseconds since the Unix epoch after `span`; saturates.
pub(crate) fn micros_after(now: i64, span: Duration) -> i64 {
    now.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
}

/// A time as people read it, UTC.
pub(crate) fn show_micros(micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(micros)
        .map_or_else(|| micros.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}
