//! `GET /v1/receipts/{receipt}`: how far the events of a request have come.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use frazil_core::TableName;
use frazil_core::receipt::Receipt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::openapi::RECEIPTS;
use super::{answer, wait};
use crate::auth;
use crate::core::{Core, now_micros};
use crate::error::Rejection;
use crate::receipts::Progressed;

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ReceiptQuery {
    /// `committed` waits until the rows are visible; `stored` does not wait
    #[param(pattern = "^(stored|committed)$", example = "committed")]
    wait: Option<String>,
    /// How long to wait at most, such as `30s`, `500ms` or `2m`
    #[param(pattern = "^[0-9]{1,9}(ms|s|m)?$", example = "30s")]
    timeout: Option<String>,
}

/// How far the events of a request have come.
#[derive(Serialize, ToSchema)]
struct ReceiptState {
    #[serde(flatten)]
    state: answer::State,
    table: String,
}

/// How far the events of a request have come.
#[utoipa::path(
    get,
    path = "/v1/receipts/{receipt}",
    operation_id = "getReceipt",
    tag = RECEIPTS,
    params(("receipt" = String, Path, description = "The receipt"), ReceiptQuery),
    responses((status = 200, description = "Stored or committed", body = ReceiptState)),
)]
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
    if !belongs_to_stream(&core, &receipt) {
        caller.may_insert(&receipt.table)?;
    }
    let Query(query) =
        Query::<ReceiptQuery>::try_from_uri(request.uri()).map_err(|error| malformed("query", error.to_string()))?;
    let wait = wait::parse(query.wait.as_deref(), query.timeout.as_deref(), &core.config)?;
    let mut progressed = core.receipts.look_up(&receipt).await?;
    if let (Progressed::Stored, Some(timeout)) = (progressed, wait) {
        progressed = core.receipts.wait(&receipt, timeout, &core.draining).await?;
    }
    Ok(Json(ReceiptState { state: progressed.into(), table: receipt.table.to_string() }).into_response())
}

/// Whether a receipt is of events without a table, which whoever may send to the stream may ask for.
fn belongs_to_stream(core: &Core, receipt: &Receipt) -> bool {
    let catalog = core.tables.source().default_catalog();
    TableName::catch_all(catalog, &receipt.shard.stream).is_ok_and(|catch_all| catch_all == receipt.table)
}
