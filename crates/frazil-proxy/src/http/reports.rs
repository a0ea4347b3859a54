//! The report-metrics endpoint of the Iceberg REST protocol: a metrics report becomes an event. Refusals have the
//! protocol's shape.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use frazil_core::metrics_report::ReportPath;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::dressed;
use super::openapi::METRICS;
use super::openapi::reports::MetricsReport;
use crate::core::Core;
use crate::error::Rejection;
use crate::ingest::{self, TableText, ingest};

/// Stores a metrics report of an Iceberg client.
///
/// It becomes one row of `iceberg_scan_report` or `iceberg_commit_report`.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/tables/{table}/metrics",
    operation_id = "reportMetrics",
    tag = METRICS,
    params(
        ("namespace" = String, Path, description = "Of the table reported about; levels are separated by U+001F"),
        ("table" = String, Path, description = "The table reported about"),
    ),
    request_body = MetricsReport,
    responses((status = 204, description = "The report is stored")),
)]
pub(super) async fn to_table(
    State(core): State<Arc<Core>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let Path((namespace, table)) = path.map_err(|rejection| malformed(&rejection))?;
    take(&core, None, &namespace, table, request).await
}

/// Stores a metrics report of an Iceberg client that uses a prefix.
///
/// The prefix is kept with the row.
#[utoipa::path(
    post,
    path = "/v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    operation_id = "reportMetricsWithPrefix",
    tag = METRICS,
    params(
        ("prefix" = String, Path, description = "The catalog's prefix"),
        ("namespace" = String, Path, description = "Of the table reported about; levels are separated by U+001F"),
        ("table" = String, Path, description = "The table reported about"),
    ),
    request_body = MetricsReport,
    responses((status = 204, description = "The report is stored")),
)]
pub(super) async fn to_table_of_prefix(
    State(core): State<Arc<Core>>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let Path((prefix, namespace, table)) = path.map_err(|rejection| malformed(&rejection))?;
    take(&core, Some(prefix), &namespace, table, request).await
}

async fn take(
    core: &Core,
    prefix: Option<String>,
    namespace: &str,
    table: String,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let stream = core.config.iceberg_metrics.as_ref().ok_or(Rejection::NoRoute)?.stream.to_string();
    let path = ReportPath::parse(prefix, namespace, table).map_err(Rejection::from)?;
    let (head, body) = request.into_parts();
    let request = ingest::Request { stream, table: TableText::Report(path), wait: None, headers: head.headers, body };
    ingest(core, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn malformed(rejection: &PathRejection) -> Rejection {
    Rejection::Malformed { name: "path", message: rejection.body_text() }
}

/// A refusal in the shape that Iceberg clients read.
#[derive(Debug)]
pub(super) struct Refusal(Rejection);

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self(rejection)
    }
}

/// Why a report was refused, as the Iceberg REST protocol has it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IcebergErrorResponse {
    error: IcebergError,
}

/// The error itself.
#[derive(Debug, Serialize, ToSchema)]
struct IcebergError {
    message: String,
    /// The name of an exception, as clients of the reference implementation know it.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status.
    code: u16,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(rejection) = self;
        let shape = rejection.shape();
        let verdict = rejection.verdicts().and_then(|verdicts| verdicts.listed.first());
        let message = match verdict {
            Some(verdict) => format!("{rejection}: {}", verdict.message),
            None => rejection.to_string(),
        };
        let error = IcebergError { message, kind: exception(shape.status), code: shape.status.as_u16() };
        dressed(&rejection, (shape.status, Json(IcebergErrorResponse { error })).into_response())
    }
}

fn exception(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "NotAuthorizedException",
        StatusCode::FORBIDDEN => "ForbiddenException",
        StatusCode::NOT_FOUND => "NotFoundException",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequestsException",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableException",
        status if status.is_client_error() => "BadRequestException",
        _ => "InternalServerError",
    }
}
