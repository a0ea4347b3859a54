//! The error table: every variant with its status, code and problem type.

use frazil_core::rate::{Rate, Unit};

use super::*;
use crate::rate::Scope;

fn table() -> TableName {
    "lake.web.clicks".parse().expect("valid")
}

/// One of every variant with what clients must see. `Rejection::shape` has no wildcard, so a variant that is missing
/// here still has a shape; the count below makes sure that it is listed too.
fn every() -> Vec<(Rejection, u16, &'static str, &'static str)> {
    use Rejection as R;
    let message = || "why".to_owned();
    let malformed = TableName::parse_full("x").expect_err("one part");
    let rate = Rate::new(1, None).expect("valid");
    let limited = Limited { scope: Scope::Stream, unit: Unit::Events, rate, wait: Duration::ZERO };
    vec![
        (R::Draining, 503, "SERVICE_UNAVAILABLE", "draining"),
        (R::MissingToken, 401, "UNAUTHORIZED", "missing-token"),
        (R::InvalidToken, 401, "UNAUTHORIZED", "invalid-token"),
        (R::StreamForbidden("s".into()), 403, "FORBIDDEN", "stream-forbidden"),
        (R::TableForbidden(table()), 403, "FORBIDDEN", "table-forbidden"),
        (R::CatalogForbids { table: table(), message: message() }, 403, "FORBIDDEN", "catalog-forbids"),
        (R::StreamNotFound("s".into()), 404, "NOT_FOUND", "stream-not-found"),
        (R::CatalogNotFound { catalog: "x".into(), known: vec!["lake".into()] }, 404, "NOT_FOUND", "catalog-not-found"),
        (R::TableNotFound { table: table(), stream: "s".parse().expect("valid") }, 404, "NOT_FOUND", "table-not-found"),
        (
            R::NamespaceNotFound { table: table(), stream: "s".parse().expect("valid") },
            404,
            "NOT_FOUND",
            "namespace-not-found",
        ),
        (R::ReceiptGone, 404, "NOT_FOUND", "receipt-gone"),
        (R::NoRoute, 404, "NOT_FOUND", "no-route"),
        (R::MethodNotAllowed, 405, "METHOD_NOT_ALLOWED", "method-not-allowed"),
        (R::MissingTable("which?"), 400, "BAD_REQUEST", "missing-table"),
        (R::MalformedTable(malformed), 400, "BAD_REQUEST", "malformed-table"),
        (
            R::RoutingUnusable { stream: "s".parse().expect("valid"), message: message() },
            400,
            "BAD_REQUEST",
            "routing-unusable",
        ),
        (R::Malformed { name: "wait", message: message() }, 400, "BAD_REQUEST", "malformed-parameter"),
        (R::InvalidJson { line: 1, column: 2, message: message() }, 400, "BAD_REQUEST", "invalid-json"),
        (R::InvalidCloudEvent { index: Some(1), message: message() }, 400, "BAD_REQUEST", "invalid-cloud-event"),
        (R::InvalidArrow(message()), 400, "BAD_REQUEST", "invalid-arrow"),
        (R::InvalidReport(message()), 400, "BAD_REQUEST", "invalid-report"),
        (R::InvalidEncoding { encoding: "gzip", message: message() }, 400, "BAD_REQUEST", "invalid-encoding"),
        (R::BodyBroken(message()), 400, "BAD_REQUEST", "body-broken"),
        (R::TooManyEvents { limit: 1 }, 400, "BAD_REQUEST", "too-many-events"),
        (R::TooManyTables { limit: 1 }, 400, "BAD_REQUEST", "too-many-tables"),
        (R::InvalidEvents(Verdicts::default()), 400, "BAD_REQUEST", "invalid-events"),
        (R::TableUnusable { table: table(), message: message() }, 400, "BAD_REQUEST", "table-unusable"),
        (R::BodyTooLarge { limit: 1 }, 413, "PAYLOAD_TOO_LARGE", "body-too-large"),
        (R::EventTooLarge { index: 3, bytes: 2, limit: 1 }, 413, "PAYLOAD_TOO_LARGE", "event-too-large"),
        (R::UnsupportedType("x".into()), 415, "UNSUPPORTED_MEDIA_TYPE", "unsupported-type"),
        (R::UnsupportedEncoding("x".into()), 415, "UNSUPPORTED_MEDIA_TYPE", "unsupported-encoding"),
        (R::BodyTimeout(Duration::from_secs(3)), 408, "REQUEST_TIMEOUT", "body-timeout"),
        (R::Overloaded { bound: Bound::Bytes, retry_after: 1 }, 429, "TOO_MANY_REQUESTS", "overloaded"),
        (R::LogFull { retry_after: 1 }, 429, "TOO_MANY_REQUESTS", "log-full"),
        (R::RateLimited(limited), 429, "TOO_MANY_REQUESTS", "rate-limited"),
        (
            R::CatalogUnavailable { table: table(), message: message() },
            503,
            "SERVICE_UNAVAILABLE",
            "catalog-unavailable",
        ),
        (R::LogUnavailable(message()), 503, "SERVICE_UNAVAILABLE", "log-unavailable"),
        (R::OutcomeUnknown { keyed: true }, 503, "SERVICE_UNAVAILABLE", "outcome-unknown"),
        (R::Internal, 500, "INTERNAL_SERVER_ERROR", "internal"),
    ]
}

#[test]
fn every_variant_has_its_status_and_code() {
    let mut kinds = std::collections::BTreeSet::new();
    for (rejection, status, code, kind) in every() {
        let shape = rejection.shape();
        assert_eq!((shape.status.as_u16(), shape.code, shape.kind), (status, code, kind), "{rejection:?}");
        assert_eq!(shape.retry_after.is_some(), matches!(status, 429 | 503), "{rejection:?}");
        assert!(!rejection.to_string().is_empty());
        assert!(kinds.insert(shape.kind), "{kind} is used twice");
    }
    let source = include_str!("../error.rs");
    let mapped = source.lines().filter(|line| line.trim_start().starts_with("Self::") && line.contains("=> ")).count();
    assert_eq!(kinds.len(), mapped, "a variant is missing in this table");
}

#[test]
fn a_lost_answer_names_the_way_out() {
    assert!(Rejection::OutcomeUnknown { keyed: true }.to_string().contains("retry with the same Idempotency-Key"));
    assert!(Rejection::OutcomeUnknown { keyed: false }.to_string().contains("may store them twice"));
}
