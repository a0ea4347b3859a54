//! What is counted about rate limits. No label tells of a token.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use prometheus_client::registry::Registry;

use crate::metrics::OutcomeLabel;

/// Labels of the refusals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitedLabels {
    /// Name of the stream; one that exists, so that the number of series is bounded.
    pub stream: String,
    /// Which limit: `stream_events`, `stream_bytes`, `token_events`, `token_bytes`.
    pub reason: &'static str,
}

/// The metrics. Clones share the values.
#[derive(Debug, Clone, Default)]
pub struct RateMetrics {
    /// Requests refused by a limit.
    pub limited: Family<LimitedLabels, Counter>,
    /// Whether Redis answered the last time it was asked.
    pub shared_up: Gauge,
    /// Requests to Redis by outcome: `ok`, `timeout`, `error`, and `resting` for those that were spared it.
    pub shared: Family<OutcomeLabel, Counter>,
}

impl RateMetrics {
    /// Registers them, with the names' prefix already in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("rate_limited_requests", "Requests refused by rate limits", self.limited.clone());
        registry.register(
            "rate_limits_shared",
            "Whether Redis decides about rate limits: 1, or 0",
            self.shared_up.clone(),
        );
        registry.register("rate_limits_shared_requests", "Requests to Redis by outcome", self.shared.clone());
    }

    pub(super) fn asked(&self, outcome: &'static str) {
        self.shared.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
