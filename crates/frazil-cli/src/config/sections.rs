//! The keys of the configuration file with their types and defaults. Data only; nothing is opened or contacted.
//!
//! Every key has a default, so that one key alone (an environment variable) can be checked; what is required is said
//! by `check`.

mod audit;
mod catalogs;
mod nats;
mod object_storage;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use frazil_proxy::{ProxyConfig, TlsConfig};
use frazil_writer::config::Backoff;
use frazil_writer::{FlushPolicy, WriterConfig};
use serde::{Deserialize, Serialize};

pub(crate) use audit::AuditSection;
pub(crate) use catalogs::{AuthKind, AuthSection, CatalogSection};
pub(crate) use nats::NatsSection;
pub(crate) use object_storage::ObjectStorageSection;

use super::iceberg_metrics::{ForwardingSection, IcebergMetricsSection};
use super::rate_limits::RateLimitsSection;
use super::secret::{Properties, Secret};
use crate::telemetry::{DEFAULT_LEVEL, LogFormat};
use crate::units::{Size, Span};

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Catalog that two-part table names mean; may be left out if there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_catalog: Option<String>,
    pub(crate) telemetry: TelemetrySection,
    pub(crate) nats: NatsSection,
    pub(crate) proxy: ProxySection,
    pub(crate) writer: WriterSection,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) catalog: Option<EmbeddedSection>,
    pub(crate) object_storage: ObjectStorageSection,
    pub(crate) audit: AuditSection,
    pub(crate) catalogs: BTreeMap<String, CatalogSection>,
}

impl Config {
    pub(super) fn try_from_table(table: toml::Table) -> Result<Self, toml::de::Error> {
        Self::deserialize(toml::Value::Table(table))
    }

    /// Lays `[object_storage]` under the properties of every catalog.
    pub(super) fn lay_storage_under(&mut self) {
        let catalogs = self.catalogs.values_mut().map(|catalog| &mut catalog.properties);
        for properties in catalogs.chain(self.catalog.as_mut().map(|catalog| &mut catalog.properties)) {
            self.object_storage.lay_under(properties);
        }
    }

    /// The catalog that two-part names mean: the named one, or the only one.
    pub(crate) fn default_catalog(&self) -> Option<&str> {
        let only = || self.catalogs.keys().next().filter(|_| self.catalogs.len() == 1);
        self.default_catalog.as_ref().or_else(only).map(String::as_str)
    }
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TelemetrySection {
    pub(crate) format: LogFormat,
    /// Level or filter, such as `info` or `info,frazil_writer=debug`; `RUST_LOG` wins.
    pub(crate) level: String,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: DEFAULT_LEVEL.to_owned() }
    }
}

/// `[proxy]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProxySection {
    pub(crate) listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` are served without TLS, besides `listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// PEM files of the port; with them it speaks TLS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Roots for the certificates that clients then have to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// How often these files are looked at for a change.
    pub(crate) tls_reload_interval: Span,
    pub(crate) tls_max_handshakes: usize,
    /// Largest body after decompression. Larger: 413.
    pub(crate) body_max: Size,
    pub(crate) body_timeout: Span,
    pub(crate) header_timeout: Span,
    /// How long a client may leave what it is sent untaken.
    pub(crate) write_timeout: Span,
    /// How long an HTTP/2 connection may be without requests.
    pub(crate) idle_timeout: Span,
    /// How often an HTTP/2 client is asked for a sign of life, and how long it may take.
    pub(crate) ping_interval: Span,
    pub(crate) ping_timeout: Span,
    pub(crate) max_connections: usize,
    /// Requests in flight. More: 429.
    pub(crate) max_requests: usize,
    /// Bytes of bodies in flight. More: 429.
    pub(crate) max_in_flight: Size,
    pub(crate) publish_timeout: Span,
    pub(crate) publish_deadline: Span,
    pub(crate) heartbeat_after: Span,
    /// How old a cached table schema may be.
    pub(crate) table_ttl: Span,
    pub(crate) tables_max: usize,
    pub(crate) catalog_timeout: Span,
    pub(crate) wait_default: Span,
    pub(crate) wait_max: Span,
    pub(crate) poll_interval: Span,
    pub(crate) max_waiters: usize,
    /// Origins whose pages may send events, or `*`.
    pub(crate) cors_allowed_origins: Vec<String>,
    /// Requests of one gRPC stream that are read and not acknowledged.
    pub(crate) stream_window: u32,
    /// How long a gRPC stream may be silent.
    pub(crate) stream_idle_timeout: Span,
    /// Longest drain at the end.
    pub(crate) drain_timeout: Span,
    pub(crate) rate_limits: RateLimitsSection,
    pub(crate) iceberg_metrics: IcebergMetricsSection,
}

impl Default for ProxySection {
    fn default() -> Self {
        let (of, tls) = (ProxyConfig::default(), TlsConfig::new("", ""));
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: None,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            tls_reload_interval: Span(tls.reload_interval),
            tls_max_handshakes: tls.max_handshakes,
            body_max: Size(of.body_max_bytes as u64),
            body_timeout: Span(of.body_timeout),
            header_timeout: Span(of.header_timeout),
            write_timeout: Span(of.write_timeout),
            idle_timeout: Span(of.idle_timeout),
            ping_interval: Span(of.ping_interval),
            ping_timeout: Span(of.ping_timeout),
            max_connections: of.max_connections,
            max_requests: of.max_requests,
            max_in_flight: Size(of.max_in_flight_bytes as u64),
            publish_timeout: Span(of.publish_timeout),
            publish_deadline: Span(of.publish_deadline),
            heartbeat_after: Span(of.heartbeat_after),
            table_ttl: Span(of.table_ttl),
            tables_max: of.tables_max,
            catalog_timeout: Span(of.catalog_timeout),
            wait_default: Span(of.wait_default),
            wait_max: Span(of.wait_max),
            poll_interval: Span(of.poll_interval),
            max_waiters: of.max_waiters,
            cors_allowed_origins: of.cors_allowed_origins,
            stream_window: of.stream_window,
            stream_idle_timeout: Span(of.stream_idle_timeout),
            drain_timeout: Span(of.drain_deadline),
            rate_limits: RateLimitsSection::default(),
            iceberg_metrics: IcebergMetricsSection::default(),
        }
    }
}

impl ProxySection {
    /// TLS of the port, if both of its files are named.
    pub(crate) fn tls(&self) -> Option<TlsConfig> {
        let (certificate, key) = self.tls_certificate.as_ref().zip(self.tls_key.as_ref())?;
        Some(TlsConfig {
            client_ca: self.tls_client_ca.clone(),
            reload_interval: self.tls_reload_interval.0,
            max_handshakes: self.tls_max_handshakes,
            ..TlsConfig::new(certificate, key)
        })
    }

    /// The proxy's own settings.
    pub(crate) fn settings(&self) -> ProxyConfig {
        ProxyConfig {
            tls: self.tls(),
            body_max_bytes: saturated(self.body_max),
            body_timeout: self.body_timeout.0,
            header_timeout: self.header_timeout.0,
            write_timeout: self.write_timeout.0,
            idle_timeout: self.idle_timeout.0,
            ping_interval: self.ping_interval.0,
            ping_timeout: self.ping_timeout.0,
            max_connections: self.max_connections,
            max_requests: self.max_requests,
            max_in_flight_bytes: saturated(self.max_in_flight),
            publish_timeout: self.publish_timeout.0,
            publish_deadline: self.publish_deadline.0,
            heartbeat_after: self.heartbeat_after.0,
            table_ttl: self.table_ttl.0,
            tables_max: self.tables_max,
            catalog_timeout: self.catalog_timeout.0,
            wait_default: self.wait_default.0,
            wait_max: self.wait_max.0,
            poll_interval: self.poll_interval.0,
            max_waiters: self.max_waiters,
            cors_allowed_origins: self.cors_allowed_origins.clone(),
            stream_window: self.stream_window,
            stream_idle_timeout: self.stream_idle_timeout.0,
            drain_deadline: self.drain_timeout.0,
            shared_limits: self.rate_limits.settings(),
            iceberg_metrics: self.iceberg_metrics.settings(),
        }
    }
}

/// `[writer]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WriterSection {
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    pub(crate) admin_listen: SocketAddr,
    /// Age at which an open batch is committed.
    pub(crate) flush_interval: Span,
    /// Rows at which an open batch is committed.
    pub(crate) flush_rows: usize,
    /// Size of the column data at which an open batch is committed.
    pub(crate) flush_size: Size,
    /// Budget of everything between the log and the tables.
    pub(crate) memory: Size,
    /// What each shard's reader may hold beyond the budget.
    pub(crate) read_ahead: Size,
    /// Most tables that store files or commit at the same time.
    pub(crate) concurrent_flushes: usize,
    /// How old a loaded table may be before the next batch.
    pub(crate) table_refresh: Span,
    pub(crate) idle_after: Span,
    pub(crate) progress_interval: Span,
    pub(crate) purge_interval: Span,
    pub(crate) backoff_first: Span,
    pub(crate) backoff_longest: Span,
    /// Longest drain at the end.
    pub(crate) drain_timeout: Span,
}

impl Default for WriterSection {
    fn default() -> Self {
        let of = WriterConfig::new(0, 1);
        Self {
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            flush_interval: Span(of.flush.max_age),
            flush_rows: of.flush.max_rows,
            flush_size: Size(of.flush.max_bytes as u64),
            memory: Size(of.memory_bytes as u64),
            read_ahead: Size(of.read_ahead_bytes as u64),
            concurrent_flushes: of.concurrent_flushes,
            table_refresh: Span(of.table_refresh),
            idle_after: Span(of.idle_after),
            progress_interval: Span(of.progress_interval),
            purge_interval: Span(of.purge_interval),
            backoff_first: Span(of.backoff.first),
            backoff_longest: Span(of.backoff.longest),
            drain_timeout: Span(of.drain_deadline),
        }
    }
}

impl WriterSection {
    /// The writer's own settings, for writer `ordinal` of `replicas`.
    pub(crate) fn settings(&self, ordinal: u32, replicas: u32) -> WriterConfig {
        WriterConfig {
            flush: FlushPolicy {
                max_age: self.flush_interval.0,
                max_rows: self.flush_rows,
                max_bytes: saturated(self.flush_size),
            },
            memory_bytes: saturated(self.memory),
            read_ahead_bytes: saturated(self.read_ahead),
            concurrent_flushes: self.concurrent_flushes,
            table_refresh: self.table_refresh.0,
            idle_after: self.idle_after.0,
            progress_interval: self.progress_interval.0,
            purge_interval: self.purge_interval.0,
            backoff: Backoff { first: self.backoff_first.0, longest: self.backoff_longest.0 },
            drain_deadline: self.drain_timeout.0,
            ..WriterConfig::new(ordinal, replicas)
        }
    }
}

/// A size beyond the address space is refused later, by the bound it passes.
fn saturated(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// `[catalog]`: the embedded catalog, served by `frazil catalog`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EmbeddedSection {
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    /// The SQLite file. Required.
    pub(crate) database: PathBuf,
    /// `file:///absolute/directory` or `s3://bucket/prefix`. Required.
    pub(crate) warehouse: String,
    pub(crate) name: String,
    /// When set, clients must send it as their bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// Roots that are trusted beside the system's when the warehouse is reached by https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_ca: Option<PathBuf>,
    pub(crate) properties: Properties,
    pub(crate) property_files: BTreeMap<String, PathBuf>,
    pub(crate) drain_timeout: Span,
    pub(crate) iceberg_metrics: ForwardingSection,
}

impl Default for EmbeddedSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8181)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 8182)),
            database: PathBuf::new(),
            warehouse: String::new(),
            name: "frazil".to_owned(),
            token: None,
            token_file: None,
            tls_ca: None,
            properties: Properties::default(),
            property_files: BTreeMap::new(),
            drain_timeout: Span::secs(10),
            iceberg_metrics: ForwardingSection::default(),
        }
    }
}
