//! Metrics reports of clients on their way to a proxy: taken at once, kept in a bounded queue, counted whatever becomes of
//! them. The answer to a client never waits for the proxy.

mod forward;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderValue;
use bytes::Bytes;
use frazil_iceberg::ClientTls;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::config::OpenError;
use crate::names::TableKey;
pub(crate) use forward::Forwarder;

/// Reports that wait at most, unless configured otherwise. More: dropped and counted.
pub const REPORT_QUEUE: usize = 1000;

/// Bytes of the reports that wait at most. More: dropped and counted.
const QUEUE_MAX_BYTES: usize = 16 << 20;

/// The proxy to which metrics reports are forwarded.
#[derive(Clone)]
pub struct ReportForwarding {
    /// Its URL, `http://` or `https://`.
    pub url: String,
    /// A token that may write to the stream and the tables of reports.
    pub token: String,
    /// Whom to trust, if the URL is `https://`.
    pub tls: ClientTls,
    /// Reports that wait at most, at least 1.
    pub queue: usize,
}

impl fmt::Debug for ReportForwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("ReportForwarding").field("url", &self.url).field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// Where reports go.
pub(crate) struct Reports {
    queue: Option<Queue>,
    metrics: ReportMetrics,
}

struct Queue {
    sender: mpsc::Sender<Waiting>,
    bytes: Arc<Semaphore>,
    /// Whether reports are being dropped, so that it is said once.
    full: AtomicBool,
    /// Whoever serves the catalog takes it.
    forwarder: Mutex<Option<Forwarder>>,
}

/// A report that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) table: TableKey,
    pub(crate) body: Bytes,
    pub(crate) encoding: Option<HeaderValue>,
    _room: OwnedSemaphorePermit,
}

impl Reports {
    /// Reports go to a proxy, or nowhere. `catalog` is the prefix by which the proxy learns where they come from.
    ///
    /// # Errors
    /// [`OpenError::Forwarding`] for an address or TLS files that cannot be used.
    pub(crate) fn new(forwarding: Option<&ReportForwarding>, catalog: &str) -> Result<Self, OpenError> {
        let metrics = ReportMetrics::default();
        let Some(forwarding) = forwarding else { return Ok(Self { queue: None, metrics }) };
        let (sender, receiver) = mpsc::channel(forwarding.queue.max(1));
        let forwarder = Forwarder::new(forwarding, catalog, receiver, metrics.clone())?;
        let queue = Queue {
            sender,
            bytes: Arc::new(Semaphore::new(QUEUE_MAX_BYTES)),
            full: AtomicBool::new(false),
            forwarder: Mutex::new(Some(forwarder)),
        };
        Ok(Self { queue: Some(queue), metrics })
    }

    /// Takes a report. It is forwarded later, if there is room and a proxy to forward it to.
    pub(crate) fn offer(&self, table: TableKey, body: Bytes, encoding: Option<HeaderValue>) {
        let Some(queue) = &self.queue else {
            tracing::debug!(%table, report = %String::from_utf8_lossy(&body), "metrics report, not forwarded");
            return self.metrics.count(ReportOutcome::Ignored);
        };
        let about = table.to_string();
        if queue.push(table, body, encoding) {
            return;
        }
        self.metrics.count(ReportOutcome::Dropped);
        if !queue.full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                table = about,
                "no room for more metrics reports: they are dropped until the proxy takes some"
            );
        }
    }

    /// Who forwards the reports; nobody if there is no proxy, or if somebody has it already.
    pub(crate) fn take_forwarder(&self) -> Option<Forwarder> {
        self.queue.as_ref()?.forwarder.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn metrics(&self) -> &ReportMetrics {
        &self.metrics
    }
}

impl Queue {
    /// Whether there was room.
    fn push(&self, table: TableKey, body: Bytes, encoding: Option<HeaderValue>) -> bool {
        let bytes = u32::try_from(body.len()).ok();
        let Some(room) = bytes.and_then(|bytes| Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()) else {
            return false;
        };
        let empty = self.sender.capacity() == self.sender.max_capacity();
        let pushed = self.sender.try_send(Waiting { table, body, encoding, _room: room }).is_ok();
        if pushed && empty {
            self.full.store(false, Ordering::Relaxed);
        }
        pushed
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportOutcome {
    /// The proxy has stored it.
    Forwarded,
    /// The proxy will not have it.
    Refused,
    /// There was no room, or no time left at the end.
    Dropped,
    /// There is no proxy to forward it to.
    Ignored,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// What is counted. Clones share the values.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReportMetrics {
    reports: Family<OutcomeLabel, Counter>,
}

impl ReportMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("frazil_catalog");
        registry.register("metrics_reports", "Metrics reports of clients by outcome", self.reports.clone());
    }

    pub(crate) fn count(&self, outcome: ReportOutcome) {
        self.count_many(outcome, 1);
    }

    pub(crate) fn count_many(&self, outcome: ReportOutcome, reports: usize) {
        let outcome = match outcome {
            ReportOutcome::Forwarded => "forwarded",
            ReportOutcome::Refused => "refused",
            ReportOutcome::Dropped => "dropped",
            ReportOutcome::Ignored => "ignored",
        };
        self.reports.get_or_create(&OutcomeLabel { outcome }).inc_by(reports as u64);
    }
}
