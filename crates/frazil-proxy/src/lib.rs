//! Accepts, authenticates, validates and admits events; answers only after JetStream has stored them.
//!
//! ```text
//!  POST /v1/streams/{stream}/events ─┐      http          decode, call, encode
//!  POST /data-plane/…/ingest ────────┤
//!  POST /v1/…/tables/{table}/metrics ┤      http          metrics reports of Iceberg clients
//!  gRPC Ingest, IngestStream ────────┘      grpc          the same, for messages and streams of them
//!                    ▼
//!   ingest   draining? ► auth ► permits ► body ► decompress ► split ► rates ► validate ─┐
//!            503         401    429       408    413          400     429     400       │
//!                        403              413    415                  404     503       ▼
//!                                                              lanes: which shard? key hash, or in turn
//!   GET /v1/receipts ► receipts ◄─ commit notices                   │
//!                         │                                         ▼  one lane per shard, one envelope in flight
//!                         ▼                                  lane   pack ► publish ► answer everybody in the pack
//!                    tables (cache) ─► Iceberg catalogs             │
//!                                                                   ▼
//!                                                           publish: JetStream (jetstream) or memory (tests)
//! ```
//!
//! # When is a request acknowledged?
//!
//! When the log has acknowledged the last message with events of the request, and never before. The proof is a
//! [`publish::Stored`], which only an implementation of the log can make. A request is accepted or refused as a whole.
//! If the log does not answer, the request ends as *outcome unknown* (`503`, type `outcome-unknown`): a retry with the
//! same `Idempotency-Key` is safe then, because the writer drops what it has seen. A request without events is
//! accepted without storing anything, and so has no receipt.
//!
//! # How is overload signalled?
//!
//! Early, and with `429` and `Retry-After`. Permits for requests and for bytes are taken before a body is read, without
//! waiting for them; a body whose size is not known reserves the largest size until it is. What was admitted holds its
//! permit until its answer, in the queue of a lane too, so memory is bounded by the permits. A log at its size limit is
//! `429` as well: the writers have to catch up. A catalog or log that cannot be reached is `503`.
//!
//! # What is absent on purpose
//!
//! - **State.** A proxy can be killed at any moment; no acknowledged event is lost by that. It keeps caches only.
//! - **The dedupe decision.** The proxy hashes keys and routes by them; the one writer of the shard decides, from the
//!   log alone, so that every replay decides alike.
//! - **Timers for packing.** While one message is being stored, the next one gathers.
//! - **Parquet, and Arrow past the edge.** Validation walks the JSON text by the same plan as the writer, without building
//!   columns. Arrow streams become JSON events where bodies are decoded (`body/arrow`), and nothing behind knows of them.
//! - **Queues that wait.** There is one queue per lane, bounded by the permits, and no other.

pub mod admission;
pub mod auth;
pub mod body;
pub mod config;
mod core;
pub mod error;
mod grpc;
mod http;
mod ingest;
pub mod jetstream;
mod lane;
mod lanes;
pub mod metrics;
pub mod publish;
pub mod rate;
mod receipts;
mod server;
pub mod tables;
mod validate;

use std::sync::Arc;

use axum::Router;
use frazil_iceberg::Catalogs;
use frazil_log::{Directory, Log};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{ConfigError, IcebergMetrics, ProxyConfig, TlsConfig};
pub use error::Rejection;
pub use rate::SharedLimits;
pub use server::DrainTimeout;
pub use server::tls::check_files as check_tls_files;

use crate::core::Core;
use jetstream::JetStream;
use metrics::Metrics;
use publish::EventLog;
use server::tls::Tls;
use tables::TableSource;

/// One proxy. Clones share it.
#[derive(Debug, Clone)]
pub struct Proxy {
    core: Arc<Core>,
}

impl Proxy {
    /// A proxy on a connected log, a loaded directory and connected catalogs. Registers its metrics; starts nothing.
    ///
    /// # Errors
    /// [`ConfigError`] for a setting out of bounds or TLS files that cannot be used.
    pub fn build(
        config: ProxyConfig,
        log: Log,
        directory: Directory,
        catalogs: Catalogs,
        registry: &mut Registry,
    ) -> Result<Self, ConfigError> {
        Self::with(config, Arc::new(JetStream::new(log)), directory, Arc::new(catalogs), registry)
    }

    /// A proxy on any log and any tables.
    ///
    /// # Errors
    /// [`ConfigError`] for a setting out of bounds or TLS files that cannot be used.
    pub fn with(
        config: ProxyConfig,
        log: Arc<dyn EventLog>,
        directory: Directory,
        tables: Arc<dyn TableSource>,
        registry: &mut Registry,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let tls = config.tls.as_ref().map(|tls| Tls::load(tls, registry)).transpose()?.map(Arc::new);
        let metrics = Metrics::register(registry);
        Ok(Self { core: Arc::new(Core::new(config, log, directory, tables, tls, metrics)) })
    }

    /// Looks for new TLS files now instead of at the end of the interval. Without TLS: nothing.
    pub async fn reload_tls(&self) {
        if let Some(tls) = &self.core.tls {
            Arc::clone(tls).reload().await;
        }
    }

    /// Every route, the administrative ones included. `registry` is what `/metrics` shows.
    pub fn router(&self, registry: Arc<Registry>) -> Router {
        http::router(&self.core, registry)
    }

    /// `/livez`, `/readyz` and `/metrics` alone, for a listener of their own.
    pub fn admin_router(&self, registry: Arc<Registry>) -> Router {
        http::admin_router(&self.core, registry)
    }

    /// Serves every route on `listener` until `cancel`, then drains.
    ///
    /// The drain makes `/readyz` fail first and answers new requests with `503`; what is in flight is finished, then
    /// connections are closed and the lanes end. Serve once: a drained proxy stays drained.
    ///
    /// # Errors
    /// [`DrainTimeout`] if something was left at the configured deadline. It was cut off; nothing acknowledged is lost.
    pub async fn serve(
        &self,
        listener: TcpListener,
        registry: Arc<Registry>,
        cancel: CancellationToken,
    ) -> Result<(), DrainTimeout> {
        server::serve(Arc::clone(&self.core), self.router(registry), listener, cancel).await
    }
}
