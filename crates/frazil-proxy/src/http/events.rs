//! The routes that take events: Frazil's own, with or without a table in the path, and the IOMETE dialect.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::openapi::EVENTS;
use super::{answer, wait};
use crate::core::Core;
use crate::error::Rejection;
use crate::ingest::{self, TableText, ingest};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// The table, `namespace.table` or `catalog.namespace.table`; comes before the header `table`
    table: Option<String>,
    /// `committed` answers when the rows are visible
    #[param(pattern = "^(stored|committed)$", example = "committed")]
    wait: Option<String>,
    /// How long to wait at most, such as `30s`, `500ms` or `2m`; longer is no failure
    #[param(pattern = "^[0-9]{1,9}(ms|s|m)?$", example = "30s")]
    timeout: Option<String>,
}

/// Stores events.
///
/// Their table is that of the query, else of the header, else of the stream's routing rule, else its default table.
#[utoipa::path(
    post,
    path = "/v1/streams/{stream}/events",
    operation_id = "sendEvents",
    tag = EVENTS,
    params(("stream" = String, Path, description = "Name of the stream"), EventsQuery),
    responses((status = 200, description = "Every event is stored", body = answer::Success)),
)]
pub(super) async fn native(
    State(core): State<Arc<Core>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Rejection> {
    let Path(stream) = path.map_err(|_| Rejection::NoRoute)?;
    take(&core, stream, None, request).await
}

/// Stores events for one table.
#[utoipa::path(
    post,
    path = "/v1/streams/{stream}/tables/{table}/events",
    operation_id = "sendEventsToTable",
    tag = EVENTS,
    params(
        ("stream" = String, Path, description = "Name of the stream"),
        ("table" = String, Path, description = "The table, `namespace.table` or `catalog.namespace.table`"),
        EventsQuery,
    ),
    responses((status = 200, description = "Every event is stored", body = answer::Success)),
)]
pub(super) async fn to_table(
    State(core): State<Arc<Core>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Rejection> {
    let Path((stream, table)) = path.map_err(|_| Rejection::NoRoute)?;
    take(&core, stream, Some(table), request).await
}

/// The table in the path comes before the one in the query, and that before a header.
async fn take(core: &Core, stream: String, table: Option<String>, request: Request) -> Result<Response, Rejection> {
    let query = query(&request)?;
    let wait = wait::parse(query.wait.as_deref(), query.timeout.as_deref(), &core.config)?;
    let (head, body) = request.into_parts();
    let named = match table.or(query.table) {
        Some(table) => Some(table),
        None => header(&head.headers, "Frazil-Table")?.or(header(&head.headers, "table")?),
    };
    let request = ingest::Request { stream, table: TableText::Native(named), wait, headers: head.headers, body };
    Ok(answer::accepted(&ingest(core, request).await?, None))
}

/// Stores events, in the dialect of IOMETE's event stream.
///
/// The namespace tells IOMETE's clusters apart and has no meaning here.
#[utoipa::path(
    post,
    path = "/data-plane/{namespace}/event-stream/{stream}/ingest",
    operation_id = "ingest",
    tag = EVENTS,
    params(
        ("namespace" = String, Path, description = "Not interpreted"),
        ("stream" = String, Path, description = "Name of the stream"),
    ),
    responses((status = 200, description = "Every event is stored", body = answer::Success)),
)]
pub(super) async fn iomete(
    State(core): State<Arc<Core>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Rejection> {
    let Path((_namespace, stream)) = path.map_err(|_| Rejection::NoRoute)?;
    let (head, body) = request.into_parts();
    let table = TableText::ThreeParts(header(&head.headers, "table")?);
    let request = ingest::Request { stream, table, wait: None, headers: head.headers, body };
    Ok(answer::accepted(&ingest(&core, request).await?, Some("OK")))
}

fn query(request: &Request) -> Result<EventsQuery, Rejection> {
    let parsed = Query::<EventsQuery>::try_from_uri(request.uri());
    parsed.map(|Query(query)| query).map_err(|error| Rejection::Malformed { name: "query", message: error.to_string() })
}

/// A header as text; one that is empty counts as absent.
fn header(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Rejection> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Rejection::Malformed { name, message: "not valid UTF-8".to_owned() })?
        .trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
