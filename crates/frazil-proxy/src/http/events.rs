//! The two routes that take events: Frazil's own and the IOMETE dialect.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::{answer, wait};
use crate::core::Core;
use crate::error::Rejection;
use crate::ingest::{self, TableText, ingest};

#[derive(Debug, Default, Deserialize)]
struct EventsQuery {
    table: Option<String>,
    wait: Option<String>,
    timeout: Option<String>,
}

/// `POST /v1/streams/{stream}/events`.
pub(super) async fn native(
    State(core): State<Arc<Core>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Rejection> {
    let Path(stream) = path.map_err(|_| Rejection::NoRoute)?;
    let query = query(&request)?;
    let wait = wait::parse(query.wait.as_deref(), query.timeout.as_deref(), &core.config)?;
    let (head, body) = request.into_parts();
    let named = match query.table {
        Some(table) => Some(table),
        None => header(&head.headers, "Frazil-Table")?.or(header(&head.headers, "table")?),
    };
    let request = ingest::Request { stream, table: TableText::Native(named), wait, headers: head.headers, body };
    Ok(answer::accepted(ingest(&core, request).await?, None))
}

/// `POST /data-plane/{namespace}/event-stream/{stream}/ingest`. The namespace tells IOMETE's clusters apart and has no
/// meaning here.
pub(super) async fn iomete(
    State(core): State<Arc<Core>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Rejection> {
    let Path((_namespace, stream)) = path.map_err(|_| Rejection::NoRoute)?;
    let (head, body) = request.into_parts();
    let table = TableText::ThreeParts(header(&head.headers, "table")?);
    let request = ingest::Request { stream, table, wait: None, headers: head.headers, body };
    Ok(answer::accepted(ingest(&core, request).await?, Some("OK")))
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
