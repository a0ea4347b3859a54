//! Every way in which a request is refused, and what a client is told about it.
//!
//! One enum feeds every front: HTTP statuses and IOMETE codes today, gRPC later. The map has no wildcard, so a new
//! variant does not compile until somebody has decided what clients see. Knows no header and no body format.

mod bound;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use axum::http::StatusCode;
use frazil_core::StreamName;
use frazil_core::TableName;
use frazil_core::name::NameError;
use serde::Serialize;

use crate::rate::Limited;
pub use bound::Bound;

/// Why a request was refused.
///
/// Unless the variant says otherwise, **nothing was stored** and the request may be sent again once its cause is gone.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The proxy is shutting down.
    #[error("this proxy is shutting down; another one, or this one after its restart, takes the request")]
    Draining,
    /// No `Authorization` header.
    #[error("the Authorization header is missing; send the token in it, with or without `Bearer`")]
    MissingToken,
    /// A token that is malformed, unknown, revoked, or has expired.
    #[error("the token is invalid or has expired")]
    InvalidToken,
    /// The token does not cover the stream.
    #[error("the token gives no access to the stream {0:?}")]
    StreamForbidden(String),
    /// The token does not cover the table.
    #[error("the token gives no permission to insert into {0}")]
    TableForbidden(TableName),
    /// The catalog does not let this proxy see or create the table.
    #[error("the catalog gives Frazil no access to {table}: {message}")]
    CatalogForbids {
        /// The table.
        table: TableName,
        /// What the catalog said.
        message: String,
    },
    /// No such stream.
    #[error("there is no event stream {0:?}")]
    StreamNotFound(String),
    /// No such catalog.
    #[error("there is no catalog {catalog:?}; known are: {}", known.join(", "))]
    CatalogNotFound {
        /// The name that was asked for.
        catalog: String,
        /// The names that would do.
        known: Vec<String>,
    },
    /// No such table, and the stream does not create tables.
    #[error("the table {table} does not exist, and the stream {stream} does not create missing tables")]
    TableNotFound {
        /// The table.
        table: TableName,
        /// The stream.
        stream: StreamName,
    },
    /// No such namespace, and the stream does not create any.
    #[error(
        "the namespace {} of the table {table} does not exist, and the stream {stream} does not create namespaces",
        .table.namespace().join(".")
    )]
    NamespaceNotFound {
        /// The table that was to be created.
        table: TableName,
        /// The stream.
        stream: StreamName,
    },
    /// The receipt is of a shard that was deleted or made anew since, or has lost the events.
    #[error(
        "the receipt is of a log that no longer exists: the stream was deleted or recreated, or the log lost its tail, since"
    )]
    ReceiptGone,
    /// No such path.
    #[error("there is nothing at this path")]
    NoRoute,
    /// The path exists, but not for this method.
    #[error("this path does not take this method")]
    MethodNotAllowed,
    /// Neither the request nor the stream names a table.
    #[error("{0}")]
    MissingTable(&'static str),
    /// The name of the table is malformed.
    #[error("{0}")]
    MalformedTable(#[from] NameError),
    /// The stream's routing rule cannot work.
    #[error("the routing rule of the stream {stream} cannot work: {message}")]
    RoutingUnusable {
        /// The stream.
        stream: StreamName,
        /// Why.
        message: String,
    },
    /// A header or a query parameter is malformed.
    #[error("{name}: {message}")]
    Malformed {
        /// The header or parameter.
        name: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The body is not valid JSON.
    #[error("invalid JSON at line {line}, column {column}: {message}")]
    InvalidJson {
        /// Line of the body, from 1.
        line: usize,
        /// Column in bytes, from 1; 0 if the line ended too early.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// A CloudEvent breaks the rules of CloudEvents 1.0.
    #[error("the CloudEvent{} is invalid: {message}", .index.map(|index| format!(" {index}")).unwrap_or_default())]
    InvalidCloudEvent {
        /// Position in the batch, from 0.
        index: Option<usize>,
        /// What is wrong, beginning with the attribute or header.
        message: String,
    },
    /// The body is not a valid Arrow IPC stream, or holds what has no form in JSON.
    #[error("the body is not an Arrow IPC stream that can be taken: {0}")]
    InvalidArrow(String),
    /// The body is no metrics report of an Iceberg client.
    #[error("the metrics report cannot be taken: {0}")]
    InvalidReport(String),
    /// The body cannot be decompressed.
    #[error("the body is not valid {encoding}: {message}")]
    InvalidEncoding {
        /// The announced encoding.
        encoding: &'static str,
        /// What the decoder said.
        message: String,
    },
    /// The body could not be read: the client closed or broke the connection.
    #[error("the body could not be read: {0}")]
    BodyBroken(String),
    /// Too many events in one request.
    #[error("a request holds at most {limit} events")]
    TooManyEvents {
        /// The limit.
        limit: usize,
    },
    /// The events of one request are for too many tables.
    #[error("the events of a request go to at most {limit} tables")]
    TooManyTables {
        /// The limit.
        limit: usize,
    },
    /// Some events do not fit the table; none was stored.
    #[error("{0}")]
    InvalidEvents(Verdicts),
    /// The table exists, but has a schema that Frazil cannot fill, or could not be made.
    #[error("the table {table} cannot take events: {message}")]
    TableUnusable {
        /// The table.
        table: TableName,
        /// Why.
        message: String,
    },
    /// The body, or a `Content-Length` that announces it, is above the limit.
    #[error("the body is larger than {limit} bytes after decompression")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// One event is larger than a message of the log.
    #[error("event {index} is {bytes} bytes long; one event may have at most {limit}")]
    EventTooLarge {
        /// Position of the event in the request, from 0.
        index: usize,
        /// Its length.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The body has a content type that is not understood.
    #[error(
        "the content type {0:?} is not supported; send application/json, application/x-ndjson, \
         application/cloudevents+json, application/cloudevents-batch+json or application/vnd.apache.arrow.stream"
    )]
    UnsupportedType(String),
    /// The body has a content encoding that is not understood.
    #[error("the content encoding {0:?} is not supported; send gzip, zstd, deflate or identity")]
    UnsupportedEncoding(String),
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", .0.as_secs())]
    BodyTimeout(Duration),
    /// A bound of the proxy is reached.
    #[error("the proxy is at its limit of {bound}")]
    Overloaded {
        /// The bound.
        bound: Bound,
        /// When there may be room again, in seconds.
        retry_after: u32,
    },
    /// The token or the stream has sent as much as it may for now.
    #[error("{0}")]
    RateLimited(Limited),
    /// The log of the shard is at its configured size; the writers lag.
    #[error("the log of the stream is full; its writers have to catch up first")]
    LogFull {
        /// When there may be room again, in seconds.
        retry_after: u32,
    },
    /// The catalog cannot be asked, and nothing is known of the table.
    #[error("the catalog of {table} is unavailable: {message}")]
    CatalogUnavailable {
        /// The table.
        table: TableName,
        /// What happened.
        message: String,
    },
    /// The log did not store the events, or not all: none was acknowledged, and what was sent last is certainly not stored.
    #[error("the log is unavailable, the request was not accepted: {0}")]
    LogUnavailable(String),
    /// **Perhaps stored**: the log did not answer in time.
    #[error("the log did not answer in time, so the events may be stored or not; {}", retry_advice(*.keyed))]
    OutcomeUnknown {
        /// Whether the request had an `Idempotency-Key`.
        keyed: bool,
    },
    /// A defect of the proxy. If events were sent, they may be stored.
    #[error("an internal error occurred; if events were sent, they may be stored or not")]
    Internal,
}

fn retry_advice(keyed: bool) -> &'static str {
    if keyed {
        "retry with the same Idempotency-Key, and they are stored once"
    } else {
        "a retry may store them twice; send an Idempotency-Key to be safe"
    }
}

/// What is wrong with one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Verdict {
    /// Position of the event in the request, from 0.
    pub index: usize,
    /// Path of the field; empty for the event itself.
    pub field: String,
    /// Stable machine code of the reason.
    pub reason: &'static str,
    /// The reason for people.
    pub message: String,
    /// The offending text, shortened; empty if there is none.
    pub got: String,
}

/// The invalid events of a request: how many, and what is wrong with the first ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// The first verdicts, at most [`frazil_core::limits::VERDICTS_MAX`], by index.
    pub listed: Vec<Verdict>,
    /// Number of invalid events.
    pub invalid: usize,
    /// Number of events in the request.
    pub events: usize,
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} events do not fit the table; none was stored", self.invalid, self.events)
    }
}

/// What a client is told about a [`Rejection`], besides its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// HTTP status.
    pub status: StatusCode,
    /// The IOMETE code, or one in its style where IOMETE has none.
    pub code: &'static str,
    /// Last part of the problem type `urn:frazil:problem:<kind>`; stable.
    pub kind: &'static str,
    /// Title of the problem type.
    pub title: &'static str,
    /// Value of `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

const fn shape(status: StatusCode, kind: &'static str, title: &'static str) -> Shape {
    Shape { status, code: code(status), kind, title, retry_after: retry_after(status) }
}

const fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "BAD_REQUEST",
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "FORBIDDEN",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::METHOD_NOT_ALLOWED => "METHOD_NOT_ALLOWED",
        StatusCode::REQUEST_TIMEOUT => "REQUEST_TIMEOUT",
        StatusCode::PAYLOAD_TOO_LARGE => "PAYLOAD_TOO_LARGE",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "UNSUPPORTED_MEDIA_TYPE",
        StatusCode::TOO_MANY_REQUESTS => "TOO_MANY_REQUESTS",
        StatusCode::SERVICE_UNAVAILABLE => "SERVICE_UNAVAILABLE",
        // A status is an open set; every one used in this file is above, which a test checks.
        _ => "INTERNAL_SERVER_ERROR",
    }
}

const fn retry_after(status: StatusCode) -> Option<u32> {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(1),
        _ => None,
    }
}

impl Rejection {
    /// What a client is told.
    pub fn shape(&self) -> Shape {
        use StatusCode as S;
        match self {
            Self::Draining => shape(S::SERVICE_UNAVAILABLE, "draining", "Shutting down"),
            Self::MissingToken => shape(S::UNAUTHORIZED, "missing-token", "No token"),
            Self::InvalidToken => shape(S::UNAUTHORIZED, "invalid-token", "Invalid token"),
            Self::StreamForbidden(_) => shape(S::FORBIDDEN, "stream-forbidden", "No access to the stream"),
            Self::TableForbidden(_) => shape(S::FORBIDDEN, "table-forbidden", "No access to the table"),
            Self::CatalogForbids { .. } => shape(S::FORBIDDEN, "catalog-forbids", "The catalog refuses access"),
            Self::StreamNotFound(_) => shape(S::NOT_FOUND, "stream-not-found", "No such stream"),
            Self::CatalogNotFound { .. } => shape(S::NOT_FOUND, "catalog-not-found", "No such catalog"),
            Self::TableNotFound { .. } => shape(S::NOT_FOUND, "table-not-found", "No such table"),
            Self::NamespaceNotFound { .. } => shape(S::NOT_FOUND, "namespace-not-found", "No such namespace"),
            Self::ReceiptGone => shape(S::NOT_FOUND, "receipt-gone", "The receipt is out of date"),
            Self::NoRoute => shape(S::NOT_FOUND, "no-route", "No such path"),
            Self::MethodNotAllowed => shape(S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::MissingTable(_) => shape(S::BAD_REQUEST, "missing-table", "No table named"),
            Self::MalformedTable(_) => shape(S::BAD_REQUEST, "malformed-table", "Malformed table name"),
            Self::RoutingUnusable { .. } => shape(S::BAD_REQUEST, "routing-unusable", "The routing rule cannot work"),
            Self::Malformed { .. } => shape(S::BAD_REQUEST, "malformed-parameter", "Malformed parameter"),
            Self::InvalidJson { .. } => shape(S::BAD_REQUEST, "invalid-json", "Invalid JSON"),
            Self::InvalidCloudEvent { .. } => shape(S::BAD_REQUEST, "invalid-cloud-event", "Invalid CloudEvent"),
            Self::InvalidArrow(_) => shape(S::BAD_REQUEST, "invalid-arrow", "Invalid Arrow stream"),
            Self::InvalidReport(_) => shape(S::BAD_REQUEST, "invalid-report", "Invalid metrics report"),
            Self::InvalidEncoding { .. } => shape(S::BAD_REQUEST, "invalid-encoding", "Invalid compression"),
            Self::BodyBroken(_) => shape(S::BAD_REQUEST, "body-broken", "Incomplete body"),
            Self::TooManyEvents { .. } => shape(S::BAD_REQUEST, "too-many-events", "Too many events"),
            Self::TooManyTables { .. } => shape(S::BAD_REQUEST, "too-many-tables", "Too many tables"),
            Self::InvalidEvents(_) => shape(S::BAD_REQUEST, "invalid-events", "Events do not fit the table"),
            Self::TableUnusable { .. } => shape(S::BAD_REQUEST, "table-unusable", "The table cannot take events"),
            Self::BodyTooLarge { .. } => shape(S::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
            Self::EventTooLarge { .. } => shape(S::PAYLOAD_TOO_LARGE, "event-too-large", "Event too large"),
            Self::UnsupportedType(_) => {
                shape(S::UNSUPPORTED_MEDIA_TYPE, "unsupported-type", "Unsupported content type")
            }
            Self::UnsupportedEncoding(_) => {
                shape(S::UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", "Unsupported content encoding")
            }
            Self::BodyTimeout(_) => shape(S::REQUEST_TIMEOUT, "body-timeout", "The body came too slowly"),
            Self::Overloaded { retry_after, .. } => Shape {
                retry_after: Some(*retry_after),
                ..shape(S::TOO_MANY_REQUESTS, "overloaded", "Too many requests")
            },
            Self::RateLimited(limited) => Shape {
                retry_after: Some(limited.retry_after()),
                ..shape(S::TOO_MANY_REQUESTS, "rate-limited", "Rate limit reached")
            },
            Self::LogFull { retry_after } => {
                Shape { retry_after: Some(*retry_after), ..shape(S::TOO_MANY_REQUESTS, "log-full", "The log is full") }
            }
            Self::CatalogUnavailable { .. } => {
                shape(S::SERVICE_UNAVAILABLE, "catalog-unavailable", "The catalog is unavailable")
            }
            Self::LogUnavailable(_) => shape(S::SERVICE_UNAVAILABLE, "log-unavailable", "The log is unavailable"),
            Self::OutcomeUnknown { .. } => {
                shape(S::SERVICE_UNAVAILABLE, "outcome-unknown", "Nobody knows whether the events are stored")
            }
            Self::Internal => shape(S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }

    /// The verdicts to list, if events were at fault.
    pub fn verdicts(&self) -> Option<&Verdicts> {
        if let Self::InvalidEvents(verdicts) = self { Some(verdicts) } else { None }
    }
}
