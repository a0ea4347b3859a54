//! Arguments of `frazil dev`, and what they leave open.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::config::{AuthKind, AuthSection, CatalogSection, Properties, Secret};
use crate::exit::Failure;
use crate::reach::DEFAULT_DATA_DIR;
use crate::stream::PolicyArgs;
use crate::telemetry::LogFormat;
use crate::units::Span;

/// Arguments of `frazil dev`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  frazil dev
  frazil dev --data-dir /var/lib/frazil --listen 0.0.0.0:8080 --flush-interval 1s
  frazil dev --unknown-fields evolve --on-invalid dead-letter
  frazil dev --warehouse s3://lake/dev --s3-endpoint http://127.0.0.1:8333 --s3-path-style \\
      --s3-access-key-id ID --s3-secret-access-key SECRET
  frazil dev --catalog-uri https://catalog.example.com --warehouse lake --catalog-credential id:secret

It runs a real nats-server as a child (every message fsynced), the embedded Iceberg REST catalog, one proxy and one
writer, the same code as in a cluster. It prints one line `ready` on standard output when all is up. Ctrl-C drains:
what was accepted is committed. A second start on the same directory continues where it was.")]
pub(crate) struct DevArgs {
    /// Where everything is kept: log, catalog, warehouse, token
    #[arg(long, env = "FRAZIL_DATA_DIR", default_value = DEFAULT_DATA_DIR, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Address of the proxy; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    pub(crate) listen: SocketAddr,
    /// Address of the embedded catalog; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:8181", value_name = "HOST:PORT")]
    pub(crate) catalog_listen: SocketAddr,
    /// An additional address for /livez, /readyz and /metrics [default: only on --listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Where tables go: file:///absolute/directory or s3://bucket/prefix [default: DATA-DIR/warehouse]
    #[arg(long, value_name = "URI")]
    pub(crate) warehouse: Option<String>,
    /// Age at which events are committed to their tables
    #[arg(long, default_value = "5s", value_name = "TIME")]
    pub(crate) flush_interval: Span,
    /// Shards of the stream `default`, when it is made
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) shards: u32,
    /// nats-server binary [default: .tools/bin/nats-server of the project, or the one in PATH]
    #[arg(long, env = "FRAZIL_NATS_SERVER", value_name = "PATH")]
    pub(crate) nats_server: Option<PathBuf>,
    /// Address of the nats-server [default: 127.0.0.1 and a free port]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) nats_listen: Option<SocketAddr>,
    /// Form of log lines on standard error
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Settings of the stream `default`; they also change one that is there already
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) outside: OutsideArgs,
    #[command(flatten)]
    pub(crate) s3: S3Args,
}

/// An Iceberg REST catalog instead of the embedded one.
#[derive(Debug, Args)]
#[command(next_help_heading = "Outside catalog")]
pub(crate) struct OutsideArgs {
    /// Use this Iceberg REST catalog instead of the embedded one; --warehouse is then its name for a warehouse
    #[arg(long, value_name = "URL")]
    pub(crate) catalog_uri: Option<String>,
    /// Bearer token for it
    #[arg(long, env = "FRAZIL_CATALOG_TOKEN", hide_env_values = true, value_name = "TOKEN", requires = "catalog_uri")]
    pub(crate) catalog_token: Option<String>,
    /// OAuth2 client credentials for it, as id:secret
    #[arg(
        long,
        env = "FRAZIL_CATALOG_CREDENTIAL",
        hide_env_values = true,
        value_name = "ID:SECRET",
        requires = "catalog_uri",
        conflicts_with = "catalog_token"
    )]
    pub(crate) catalog_credential: Option<String>,
    /// Its OAuth2 token endpoint, if it is not the catalog's own
    #[arg(long, value_name = "URL", requires = "catalog_credential")]
    pub(crate) catalog_oauth2_uri: Option<String>,
}

/// How an S3 warehouse is reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "S3 warehouse")]
pub(crate) struct S3Args {
    /// Endpoint of an S3-compatible store [default: AWS]
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL")]
    pub(crate) s3_endpoint: Option<String>,
    /// Region
    #[arg(long, env = "AWS_REGION", value_name = "REGION")]
    pub(crate) s3_region: Option<String>,
    /// Access key id
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide_env_values = true, value_name = "ID")]
    pub(crate) s3_access_key_id: Option<String>,
    /// Secret access key
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true, value_name = "SECRET")]
    pub(crate) s3_secret_access_key: Option<String>,
    /// Session token
    #[arg(long, env = "AWS_SESSION_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) s3_session_token: Option<String>,
    /// Put the bucket into the path (most stores other than AWS need it)
    #[arg(long)]
    pub(crate) s3_path_style: bool,
}

impl DevArgs {
    /// Refuses what cannot be obeyed.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let refuse = |text: String| Err(Failure::usage(anyhow!(text)));
        if self.flush_interval.0.is_zero() {
            return refuse("--flush-interval must be longer than 0s".to_owned());
        }
        if self.shards == 0 || self.shards > frazil_core::limits::SHARDS_MAX {
            return refuse(format!("--shards must be 1 to {}", frazil_core::limits::SHARDS_MAX));
        }
        if self.nats_listen.is_some_and(|address| !address.ip().is_loopback()) {
            return refuse("--nats-listen must be a loopback address: the log is not for outsiders".to_owned());
        }
        match (&self.outside.catalog_uri, self.warehouse.as_deref()) {
            (None, Some(uri)) if !uri.starts_with("file:///") && !uri.starts_with("s3://") => {
                refuse(format!("--warehouse {uri:?} must be file:///absolute/directory or s3://bucket/prefix"))
            }
            _ => Ok(()),
        }
    }

    /// FileIO properties of an S3 warehouse; none for a local one, whatever the environment says.
    pub(crate) fn storage_properties(&self) -> BTreeMap<String, String> {
        let S3Args { s3_endpoint, s3_region, s3_access_key_id, s3_secret_access_key, s3_session_token, s3_path_style } =
            &self.s3;
        let local = self.outside.catalog_uri.is_none() && !self.warehouse.as_deref().unwrap_or("").starts_with("s3://");
        if local {
            return BTreeMap::new();
        }
        let given = [
            ("s3.endpoint", s3_endpoint.as_ref()),
            ("s3.region", s3_region.as_ref()),
            ("s3.access-key-id", s3_access_key_id.as_ref()),
            ("s3.secret-access-key", s3_secret_access_key.as_ref()),
            ("s3.session-token", s3_session_token.as_ref()),
        ];
        let mut properties: BTreeMap<String, String> =
            given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.clone()))).collect();
        if *s3_path_style {
            properties.insert("s3.path-style-access".to_owned(), "true".to_owned());
        }
        properties
    }

    /// How proxy, writer and commands reach the catalog at `uri`.
    pub(crate) fn catalog_section(&self, uri: String) -> CatalogSection {
        let OutsideArgs { catalog_uri, catalog_token, catalog_credential, catalog_oauth2_uri } = &self.outside;
        let kind = match (catalog_token, catalog_credential) {
            (Some(_), _) => AuthKind::Bearer,
            (None, Some(_)) => AuthKind::OAuth2,
            (None, None) => AuthKind::None,
        };
        let auth = AuthSection {
            kind,
            token: catalog_token.clone().map(Secret::new),
            credential: catalog_credential.clone().map(Secret::new),
            oauth2_server_uri: catalog_oauth2_uri.clone(),
            ..AuthSection::default()
        };
        let warehouse = catalog_uri.as_ref().and(self.warehouse.clone());
        CatalogSection {
            uri,
            warehouse,
            auth,
            properties: Properties(self.storage_properties()),
            ..CatalogSection::default()
        }
    }
}
