//! What is counted about TLS. Registered only by a proxy that speaks it. Decides nothing.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::{ByReason, OutcomeLabel, ReasonLabel};

#[derive(Debug, Clone, Default)]
pub(super) struct TlsMetrics {
    /// When the first certificate of the chain in force expires, in seconds since the Unix epoch.
    pub(super) certificate_expiry: Gauge,
    handshakes: Gauge,
    failures: ByReason,
    reloads: Family<OutcomeLabel, prometheus_client::metrics::counter::Counter>,
}

impl TlsMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        let registry = registry.sub_registry_with_prefix("frazil_proxy_tls");
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate in force expires, as a Unix time",
            m.certificate_expiry,
        );
        registry.register("handshakes_in_flight", "Handshakes that have begun and not ended", m.handshakes);
        registry.register("handshake_failures", "Connections that ended in their handshake by reason", m.failures);
        registry.register("reloads", "New certificate files by outcome", m.reloads);
        // So that both series are there before the first of them is needed.
        for outcome in [LOADED, REFUSED] {
            let _ = metrics.reloads.get_or_create(&OutcomeLabel { outcome });
        }
        metrics
    }

    pub(super) fn failed(&self, reason: &'static str) {
        self.failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(super) fn reloaded(&self, in_force: bool) {
        let outcome = if in_force { LOADED } else { REFUSED };
        self.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a handshake for as long as the value lives.
    pub(super) fn handshake(&self) -> InFlight {
        self.handshakes.inc();
        InFlight(self.handshakes.clone())
    }
}

const LOADED: &str = "loaded";
const REFUSED: &str = "refused";

#[derive(Debug)]
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
