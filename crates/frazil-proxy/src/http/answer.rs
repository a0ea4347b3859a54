//! Answers as HTTP: refusals as RFC 9457 problem documents with the IOMETE code, successes as JSON.

use axum::Json;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Rejection, Verdict};
use crate::ingest::Accepted;
use crate::receipts::Progressed;

/// The code of a refusal, for whoever counts answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code(pub(super) &'static str);

/// Header with the receipt of an accepted request.
pub(super) const RECEIPT_HEADER: HeaderName = HeaderName::from_static("frazil-receipt");

/// Why a request was refused (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'r> {
    /// Names the kind of refusal, `urn:frazil:problem:…`; stable.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    /// The events at fault, at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Verdict>>, nullable = false)]
    errors: Option<&'r [Verdict]>,
    /// Number of events at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    invalid: Option<usize>,
    /// A refused request is refused as a whole.
    accepted: usize,
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let shape = self.shape();
        let verdicts = self.verdicts();
        let problem = Problem {
            kind: format!("urn:frazil:problem:{}", shape.kind),
            title: shape.title,
            status: shape.status.as_u16(),
            detail: self.to_string(),
            code: shape.code,
            errors: verdicts.map(|verdicts| verdicts.listed.as_slice()),
            invalid: verdicts.map(|verdicts| verdicts.invalid),
            accepted: 0,
        };
        let mut response = (shape.status, Json(problem)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        dressed(&self, response)
    }
}

/// An answer to a refused request with the headers that belong to the refusal, whatever the shape of its body.
pub(super) fn dressed(rejection: &Rejection, mut response: Response) -> Response {
    let shape = rejection.shape();
    let headers = response.headers_mut();
    if let Some(seconds) = shape.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if shape.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(rejection, Rejection::Draining) {
        // The next connection may reach a proxy that stays.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.extensions_mut().insert(Code(shape.code));
    response
}

/// Body of a successful answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Success<'a> {
    /// IOMETE's word, in its dialect only.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    accepted: usize,
    /// How many of them become dead letters; only if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid: Option<usize>,
    /// What is wrong with them, at most 100.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<Verdict>, required = false)]
    errors: &'a [Verdict],
    /// Only if all events are for one table.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    /// Only if they are for several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    tables: Vec<TableSuccess>,
    #[serde(flatten)]
    #[schema(value_type = State)]
    state: Option<State>,
}

/// What became of the events of one table.
#[derive(Debug, Serialize, ToSchema)]
struct TableSuccess {
    table: String,
    accepted: usize,
    receipt: String,
    #[serde(flatten)]
    #[schema(value_type = State)]
    state: Option<State>,
}

/// How far events have come, as JSON.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct State {
    /// `stored` or `committed`.
    #[schema(required = false, pattern = "^(stored|committed)$")]
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<i64>,
}

impl From<Progressed> for State {
    fn from(progressed: Progressed) -> Self {
        match progressed {
            Progressed::Stored => Self { state: "stored", snapshot_id: None },
            Progressed::Committed { snapshot_id } => Self { state: "committed", snapshot_id },
        }
    }
}

/// The answer to accepted events.
pub(super) fn accepted(accepted: &Accepted, code: Option<&'static str>) -> Response {
    let receipt = accepted.receipt().map(ToString::to_string);
    let mut headers = HeaderMap::new();
    // A receipt is URL-safe base64, so it always is a header value.
    if let Some(value) = receipt.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(RECEIPT_HEADER, value);
    }
    let tables = if accepted.tables.len() > 1 { tables(accepted) } else { Vec::new() };
    let success = Success {
        code,
        accepted: accepted.events,
        invalid: Some(accepted.invalid).filter(|invalid| *invalid > 0),
        errors: &accepted.errors,
        receipt,
        tables,
        state: accepted.state().map(State::from),
    };
    (headers, Json(success)).into_response()
}

fn tables(accepted: &Accepted) -> Vec<TableSuccess> {
    let progressed = |at: usize| accepted.progressed.as_ref().and_then(|all| all.get(at)).copied();
    let all = accepted.tables.iter().enumerate().map(|(at, stored)| TableSuccess {
        table: stored.receipt.table.to_string(),
        accepted: stored.events,
        receipt: stored.receipt.to_string(),
        state: progressed(at).map(State::from),
    });
    all.collect()
}
