//! Answers as gRPC: receipts as messages, refusals as a status with details.
//!
//! The map from refusals to codes has no wildcard, as that to HTTP statuses has none.

#[cfg(test)]
mod tests;

use frazil_core::receipt::Receipt;
use frazil_proto::v1::{IngestResponse, Problem, TableReceipt, Verdict};
use prost::Message;
use prost_types::{Any, Duration};
use tonic::{Code, Status};
use tonic_types::pb::{self, BadRequest, RetryInfo, bad_request::FieldViolation};

use crate::error::{self, Rejection};
use crate::ingest::{Accepted, AcceptedTable};
use crate::receipts::Progressed;

/// Largest status details, in bytes. Clients take metadata of 8 KiB by default, in which the details are base64.
const DETAILS_MAX_BYTES: usize = 4 * 1024;

/// Longest status message, in bytes; the details have all of it.
const MESSAGE_MAX_BYTES: usize = 512;

/// The code of a refusal.
pub(super) fn code(rejection: &Rejection) -> Code {
    use Rejection as R;
    match rejection {
        R::MissingToken | R::InvalidToken => Code::Unauthenticated,
        R::StreamForbidden(_) | R::TableForbidden(_) | R::CatalogForbids { .. } => Code::PermissionDenied,
        R::StreamNotFound(_)
        | R::CatalogNotFound { .. }
        | R::TableNotFound { .. }
        | R::NamespaceNotFound { .. }
        | R::ReceiptGone => Code::NotFound,
        R::NoRoute | R::MethodNotAllowed => Code::Unimplemented,
        R::MissingTable(_)
        | R::MalformedTable(_)
        | R::Malformed { .. }
        | R::InvalidJson { .. }
        | R::InvalidCloudEvent { .. }
        | R::InvalidArrow(_)
        | R::InvalidReport(_)
        | R::InvalidEncoding { .. }
        | R::BodyBroken(_)
        | R::TooManyEvents { .. }
        | R::TooManyTables { .. }
        | R::InvalidEvents(_)
        | R::BodyTooLarge { .. }
        | R::EventTooLarge { .. }
        | R::UnsupportedType(_)
        | R::UnsupportedEncoding(_) => Code::InvalidArgument,
        // The request is not at fault; it would do once the table is another.
        R::TableUnusable { .. } | R::RoutingUnusable { .. } => Code::FailedPrecondition,
        R::BodyTimeout(_) => Code::DeadlineExceeded,
        R::Overloaded { .. } | R::RateLimited(_) | R::LogFull { .. } => Code::ResourceExhausted,
        R::Draining | R::CatalogUnavailable { .. } | R::LogUnavailable(_) => Code::Unavailable,
        // Not UNAVAILABLE, which clients take for permission to retry.
        R::OutcomeUnknown { .. } => Code::Unknown,
        R::Internal => Code::Internal,
    }
}

/// A refusal with all that is known of it.
pub(super) fn problem(rejection: &Rejection) -> Problem {
    let shape = rejection.shape();
    let verdicts = rejection.verdicts();
    Problem {
        r#type: format!("urn:frazil:problem:{}", shape.kind),
        title: shape.title.to_owned(),
        status: shape.status.as_u16().into(),
        code: shape.code.to_owned(),
        detail: rejection.to_string(),
        errors: verdicts.iter().flat_map(|verdicts| &verdicts.listed).map(verdict).collect(),
        invalid: verdicts.map_or(0, |verdicts| verdicts.invalid as u64),
        retry_after_seconds: shape.retry_after.unwrap_or(0),
    }
}

/// A refusal as a status, with as many verdicts in its details as metadata has room for.
pub(super) fn status(rejection: &Rejection) -> Status {
    let (code, mut problem) = (code(rejection), problem(rejection));
    shorten(&mut problem.detail, MESSAGE_MAX_BYTES * 2);
    let mut message = problem.detail.clone();
    shorten(&mut message, MESSAGE_MAX_BYTES);
    loop {
        let details = details(code, &message, &problem);
        if details.len() <= DETAILS_MAX_BYTES || problem.errors.is_empty() {
            return Status::with_details(code, message, details.into());
        }
        problem.errors.truncate(problem.errors.len() * DETAILS_MAX_BYTES / details.len());
    }
}

/// The `google.rpc.Status` that goes into `grpc-status-details-bin`.
fn details(code: Code, message: &str, problem: &Problem) -> Vec<u8> {
    let mut details = vec![any("frazil.v1.Problem", problem)];
    if !problem.errors.is_empty() {
        let field_violations = problem.errors.iter().map(violation).collect();
        details.push(any("google.rpc.BadRequest", &BadRequest { field_violations }));
    }
    if problem.retry_after_seconds > 0 {
        let retry_delay = Some(Duration { seconds: problem.retry_after_seconds.into(), nanos: 0 });
        details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay }));
    }
    pb::Status { code: code.into(), message: message.to_owned(), details }.encode_to_vec()
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

fn violation(verdict: &Verdict) -> FieldViolation {
    let Verdict { index, field, reason, message, .. } = verdict;
    let dot = if field.is_empty() { "" } else { "." };
    FieldViolation {
        field: format!("events[{index}]{dot}{field}"),
        description: message.clone(),
        reason: reason.clone(),
        localized_message: None,
    }
}

/// Cuts a text at a character boundary and marks the cut.
fn shorten(text: &mut String, limit: usize) {
    const MARK: &str = "…";
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - MARK.len()));
        text.push_str(MARK);
    }
}

fn verdict(verdict: &error::Verdict) -> Verdict {
    let error::Verdict { index, field, reason, message, got } = verdict;
    Verdict {
        index: *index as u64,
        field: field.clone(),
        reason: (*reason).to_owned(),
        message: message.clone(),
        got: got.clone(),
    }
}

/// The answer to accepted events.
pub(super) fn response(accepted: &Accepted) -> IngestResponse {
    let (committed, snapshot_id) = match accepted.state() {
        Some(Progressed::Committed { snapshot_id }) => (true, snapshot_id),
        Some(Progressed::Stored) | None => (false, None),
    };
    let several = accepted.tables.len() > 1;
    IngestResponse {
        accepted: accepted.events as u64,
        receipt: accepted.receipt().map(ToString::to_string).unwrap_or_default(),
        invalid: accepted.invalid as u64,
        errors: accepted.errors.iter().map(verdict).collect(),
        tables: accepted.tables.iter().filter(|_| several).map(table).collect(),
        committed,
        snapshot_id,
    }
}

fn table(stored: &AcceptedTable) -> TableReceipt {
    let AcceptedTable { events, receipt } = stored;
    TableReceipt { table: receipt.table.to_string(), accepted: *events as u64, receipt: receipt.to_string() }
}

/// Where the events of an accepted request are.
pub(super) fn receipts(accepted: Accepted) -> Vec<Receipt> {
    accepted.tables.into_iter().map(|table| table.receipt).collect()
}
