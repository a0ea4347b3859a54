//! What every handler shares: settings, the view of streams and tokens, tables, lanes, receipts, permits.

use std::sync::Arc;

use frazil_log::Directory;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::config::ProxyConfig;
use crate::error::Rejection;
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::publish::EventLog;
use crate::rate::Rates;
use crate::receipts::Receipts;
use crate::server::tls::Tls;
use crate::tables::{TableSource, Tables};

/// The shared state of one proxy.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Arc<ProxyConfig>,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) directory: Directory,
    pub(crate) tables: Tables,
    pub(crate) lanes: Lanes,
    pub(crate) receipts: Receipts,
    pub(crate) admission: Admission,
    pub(crate) rates: Rates,
    pub(crate) metrics: Metrics,
    /// TLS of the port; without it, plain TCP.
    pub(crate) tls: Option<Arc<Tls>>,
    /// A latch: cancelled when the drain begins, and for good.
    pub(crate) draining: CancellationToken,
    /// Streams of requests and connections that serve several; the server awaits them.
    pub(crate) tasks: TaskTracker,
}

impl Core {
    pub(crate) fn new(
        config: ProxyConfig,
        log: Arc<dyn EventLog>,
        directory: Directory,
        tables: Arc<dyn TableSource>,
        tls: Option<Arc<Tls>>,
        metrics: Metrics,
    ) -> Self {
        let config = Arc::new(config);
        let shared = || (Arc::clone(&log), Arc::clone(&config), metrics.clone());
        let (lane_log, lane_config, lane_metrics) = shared();
        let (receipt_log, receipt_config, receipt_metrics) = shared();
        Self {
            tables: Tables::new(Arc::clone(&tables), Arc::clone(&config), metrics.clone()),
            lanes: Lanes::new(lane_log, lane_config, lane_metrics),
            receipts: Receipts::new(receipt_log, tables, receipt_config, receipt_metrics),
            admission: Admission::new(config.max_requests, config.max_in_flight_bytes, metrics.clone()),
            rates: Rates::new(config.shared_limits.as_ref(), metrics.rates.clone()),
            tls,
            draining: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
            log,
            directory,
            metrics,
        }
    }

    /// Refuses every request once the drain has begun.
    ///
    /// # Errors
    /// `503`.
    pub(crate) fn refuse_if_draining(&self) -> Result<(), Rejection> {
        if self.draining.is_cancelled() { Err(Rejection::Draining) } else { Ok(()) }
    }

    /// What keeps the proxy from taking requests; nothing if it is ready.
    pub(crate) fn not_ready(&self) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if self.draining.is_cancelled() {
            reasons.push("draining");
        }
        if !self.log.is_connected() {
            reasons.push("log not connected");
        }
        reasons
    }

    /// What an operator should know although requests are taken.
    pub(crate) fn notes(&self) -> Vec<String> {
        let tls = self.tls.iter().filter_map(|tls| tls.note());
        tls.chain(self.admission.notes()).chain(self.lanes.notes()).collect()
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}
