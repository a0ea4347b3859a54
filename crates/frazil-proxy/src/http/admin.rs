//! What operators and their machines ask: alive, ready, metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::core::Core;
use crate::error::Rejection;

/// `GET /livez`: the process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: requests would be taken now; if not, why.
pub(super) async fn readyz(State(core): State<Arc<Core>>) -> Response {
    let reasons = core.not_ready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": reasons.is_empty(), "reasons": reasons}))).into_response()
}

/// `GET /metrics`: everything registered, of whatever role runs in this process.
pub(super) async fn metrics(Extension(registry): Extension<Arc<Registry>>) -> Result<Response, Rejection> {
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| Rejection::Internal)?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}
