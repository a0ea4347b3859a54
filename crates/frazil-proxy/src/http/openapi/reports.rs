//! Metrics reports as the document describes them: bodies and headers.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Ref, RefOr};

use super::events::common_headers;
use super::refusals::{self, Dialect};

/// What the client measured: a scan that was planned, or a snapshot that was committed. More fields and metrics may come;
/// they are kept.
#[derive(Debug, ToSchema)]
#[schema(example = json!({
    "report-type": "commit-report", "table-name": "lake.web.clicks", "snapshot-id": 1, "sequence-number": 1,
    "operation": "append", "metrics": {"attempts": {"unit": "count", "value": 1}}
}))]
#[serde(untagged)]
#[expect(dead_code, reason = "describes a shape")]
pub(in crate::http) enum MetricsReport {
    Scan(ScanReport),
    Commit(CommitReport),
}

/// A scan that was planned.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes a shape")]
pub(in crate::http) struct ScanReport {
    #[schema(pattern = "^scan-report$", example = "scan-report")]
    report_type: String,
    table_name: String,
    snapshot_id: i64,
    /// An expression.
    #[schema(example = true)]
    filter: Value,
    schema_id: i32,
    projected_field_ids: Vec<i32>,
    projected_field_names: Vec<String>,
    metrics: BTreeMap<String, Metric>,
    metadata: Option<BTreeMap<String, String>>,
}

/// A snapshot that was committed.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes a shape")]
pub(in crate::http) struct CommitReport {
    #[schema(pattern = "^commit-report$", example = "commit-report")]
    report_type: String,
    table_name: String,
    snapshot_id: i64,
    sequence_number: i64,
    operation: String,
    metrics: BTreeMap<String, Metric>,
    metadata: Option<BTreeMap<String, String>>,
}

/// What was measured.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes a shape")]
pub(in crate::http) enum Metric {
    Counter(CounterResult),
    Timer(TimerResult),
}

/// A number of things or bytes.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a shape")]
pub(in crate::http) struct CounterResult {
    unit: String,
    value: i64,
}

/// A time.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes a shape")]
pub(in crate::http) struct TimerResult {
    #[schema(pattern = "^(nanoseconds|microseconds|milliseconds|seconds|minutes|hours|days)$")]
    time_unit: String,
    count: i64,
    total_duration: i64,
}

/// Adds the headers and the refusals.
pub(super) fn add(operation: &mut Operation) {
    operation.parameters.get_or_insert_default().extend(common_headers().into_iter().map(RefOr::T));
    refusals::add(
        operation,
        true,
        &Dialect { media: "application/json", body: Ref::from_schema_name("IcebergErrorResponse") },
    );
}
