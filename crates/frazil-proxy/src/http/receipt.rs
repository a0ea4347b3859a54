//! `GET /v1/receipts/{receipt}`: how far the events of a request have come.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use frazil_core::receipt::Receipt;
use serde::{Deserialize, Serialize};

use super::answer;
use super::wait;
use crate::auth;
use crate::core::{Core, now_micros};
use crate::error::Rejection;
use crate::receipts::Progressed;

#[derive(Debug, Default, Deserialize)]
struct ReceiptQuery {
    wait: Option<String>,
    timeout: Option<String>,
}

#[derive(Serialize)]
struct ReceiptState {
    #[serde(flatten)]
    state: answer::State,
    table: String,
}

/// The route's handler.
pub(super) async fn get(
    State(core): State<Arc<Core>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Rejection> {
    core.refuse_if_draining()?;
    let malformed = |name, message: String| Rejection::Malformed { name, message };
    let caller = auth::authenticate(request.headers(), &core.directory, now_micros())?;
    let Path(text) = path.map_err(|_| Rejection::NoRoute)?;
    let receipt: Receipt = text.parse().map_err(|error| malformed("receipt", format!("{error}")))?;
    caller.stream(&core.directory, receipt.shard.stream.as_str())?;
    caller.may_insert(&receipt.table)?;
    let Query(query) =
        Query::<ReceiptQuery>::try_from_uri(request.uri()).map_err(|error| malformed("query", error.to_string()))?;
    let wait = wait::parse(query.wait.as_deref(), query.timeout.as_deref(), &core.config)?;
    let mut progressed = core.receipts.look_up(&receipt).await?;
    if let (Progressed::Stored, Some(timeout)) = (progressed, wait) {
        progressed = core.receipts.wait(&receipt, timeout, &core.draining).await?;
    }
    Ok(Json(ReceiptState { state: progressed.into(), table: receipt.table.to_string() }).into_response())
}
