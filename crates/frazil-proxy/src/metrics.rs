//! What the proxy counts. Names follow Prometheus; units are in the names. Decides nothing.

use frazil_core::metrics_report::ReportKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::rate::RateMetrics;

/// Labels of the request counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's pattern, not the path, so that the number of series is bounded.
    pub route: String,
    /// HTTP status.
    pub status: u16,
    /// IOMETE code.
    pub code: String,
}

/// One label, `reason`, out of a fixed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// Machine code.
    pub reason: &'static str,
}

/// One label, `outcome`, out of a fixed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// Machine code.
    pub outcome: &'static str,
}

/// One label, `type`: a kind of metrics reports.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReportLabel {
    /// `scan-report` or `commit-report`.
    pub r#type: &'static str,
}

/// A counter with the label `reason`.
pub type ByReason = Family<ReasonLabel, Counter>;

/// Every metric of the proxy. Clones share the values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Answers by route, status and code.
    pub requests: Family<RequestLabels, Counter>,
    /// Events acknowledged.
    pub events_accepted: Counter,
    /// NDJSON bytes of events acknowledged.
    pub bytes_accepted: Counter,
    /// Invalid events of refused requests, by reason.
    pub events_rejected: ByReason,
    /// Invalid events of accepted requests, by reason: dead letters, unless their tables are altered in time.
    pub events_invalid: ByReason,
    /// Metrics reports of Iceberg clients that were acknowledged, by type. They are among the events, too.
    pub iceberg_reports: Family<ReportLabel, Counter>,
    /// Requests in flight.
    pub requests_in_flight: Gauge,
    /// Bytes of bodies in flight.
    pub bytes_in_flight: Gauge,
    /// Bound of the requests in flight.
    pub requests_limit: Gauge,
    /// Bound of the bytes in flight.
    pub bytes_limit: Gauge,
    /// Seconds from the first attempt to publish an envelope until its acknowledgement.
    pub publish_seconds: Histogram,
    /// Attempts to publish by outcome.
    pub publish_attempts: Family<OutcomeLabel, Counter>,
    /// Producers given up because of an unknown outcome.
    pub producer_rotations: Counter,
    /// Sections per stored envelope.
    pub pack_sections: Histogram,
    /// Payload bytes per stored envelope.
    pub pack_bytes: Histogram,
    /// Lanes that are open.
    pub lanes: Gauge,
    /// Loads of tables from catalogs by outcome.
    pub table_loads: Family<OutcomeLabel, Counter>,
    /// Tables created.
    pub tables_created: Counter,
    /// Requests that wait for a commit.
    pub waiters: Gauge,
    /// Connections open.
    pub connections: Gauge,
    /// Connections ended because of their clients, by reason.
    pub connections_cut: ByReason,
    /// Requests refused for lack of room, by the bound that was reached.
    pub overloads: ByReason,
    /// Rate limits.
    pub rates: RateMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            events_accepted: Counter::default(),
            bytes_accepted: Counter::default(),
            events_rejected: Family::default(),
            events_invalid: Family::default(),
            iceberg_reports: Family::default(),
            requests_in_flight: Gauge::default(),
            bytes_in_flight: Gauge::default(),
            requests_limit: Gauge::default(),
            bytes_limit: Gauge::default(),
            publish_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            publish_attempts: Family::default(),
            producer_rotations: Counter::default(),
            pack_sections: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            pack_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 9)),
            lanes: Gauge::default(),
            table_loads: Family::default(),
            tables_created: Counter::default(),
            waiters: Gauge::default(),
            connections: Gauge::default(),
            connections_cut: Family::default(),
            overloads: Family::default(),
            rates: RateMetrics::default(),
        }
    }
}

impl Metrics {
    /// Makes the metrics and registers them as `frazil_proxy_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        let registry = registry.sub_registry_with_prefix("frazil_proxy");
        registry.register("requests", "Answers by route, status and code", m.requests);
        registry.register("events_accepted", "Events acknowledged", m.events_accepted);
        registry.register("bytes_accepted", "NDJSON bytes of events acknowledged", m.bytes_accepted);
        registry.register("events_rejected", "Invalid events of refused requests by reason", m.events_rejected);
        registry.register("events_invalid", "Invalid events of accepted requests by reason", m.events_invalid);
        registry.register("iceberg_reports", "Metrics reports acknowledged by type", m.iceberg_reports);
        registry.register("in_flight_requests", "Requests in flight", m.requests_in_flight);
        registry.register("in_flight_bytes", "Bytes of bodies in flight", m.bytes_in_flight);
        registry.register("permits_requests", "Bound of the requests in flight", m.requests_limit);
        registry.register("permits_bytes", "Bound of the bytes in flight", m.bytes_limit);
        registry.register("publish_seconds", "Seconds until an envelope is acknowledged", m.publish_seconds);
        registry.register("publish_attempts", "Attempts to publish by outcome", m.publish_attempts);
        registry.register("producer_rotations", "Producers given up after an unknown outcome", m.producer_rotations);
        registry.register("pack_sections", "Sections per stored envelope", m.pack_sections);
        registry.register("pack_bytes", "Payload bytes per stored envelope", m.pack_bytes);
        registry.register("lanes", "Lanes that are open", m.lanes);
        registry.register("table_loads", "Loads of tables from catalogs by outcome", m.table_loads);
        registry.register("tables_created", "Tables created", m.tables_created);
        registry.register("waiters", "Requests that wait for a commit", m.waiters);
        registry.register("connections", "Connections open", m.connections);
        registry.register("connections_cut", "Connections ended because of their clients", m.connections_cut);
        registry.register("overloads", "Requests refused for lack of room by bound", m.overloads);
        m.rates.register(registry);
        metrics
    }

    /// Counts one attempt to publish.
    pub fn publish_attempt(&self, outcome: &'static str) {
        self.publish_attempts.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts one metrics report that was acknowledged.
    pub fn iceberg_report(&self, kind: ReportKind) {
        self.iceberg_reports.get_or_create(&ReportLabel { r#type: kind.report_type() }).inc();
    }

    /// Counts one connection that was ended because of its client.
    pub fn connection_cut(&self, reason: &'static str) {
        self.connections_cut.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts one request refused for lack of room.
    pub fn overload(&self, reason: &'static str) {
        self.overloads.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts one load of a table.
    pub fn table_load(&self, outcome: &'static str) {
        self.table_loads.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
