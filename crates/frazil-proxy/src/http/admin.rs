//! What operators and their machines ask: alive, ready, metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::openapi::{OPERATIONS, Readiness};
use crate::core::Core;
use crate::error::Rejection;

/// Whether the process answers.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "livez",
    tag = OPERATIONS,
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")),
)]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether requests would be taken now; if not, why.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = OPERATIONS,
    responses(
        (status = 200, description = "They would", body = Readiness),
        (status = 503, description = "They would not", body = Readiness),
    ),
)]
pub(super) async fn readyz(State(core): State<Arc<Core>>) -> Response {
    let reasons = core.not_ready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: reasons.is_empty(), reasons, notes: core.notes() })).into_response()
}

/// Metrics of whatever roles run in this process, as OpenMetrics text.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = OPERATIONS,
    responses((
        status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"
    )),
)]
pub(super) async fn metrics(Extension(registry): Extension<Arc<Registry>>) -> Result<Response, Rejection> {
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| Rejection::Internal)?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}
