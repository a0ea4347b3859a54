//! From a message to a request of the ingest path: what HTTP says in headers, gRPC says in fields.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use frazil_proto::v1::{Format, IngestRequest};
use tonic::metadata::MetadataMap;

use crate::error::Rejection;
use crate::ingest::{self, TableText};

/// The credentials of a call, as headers.
pub(super) fn authorization(metadata: &MetadataMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(value) = metadata.as_ref().get(AUTHORIZATION) {
        headers.insert(AUTHORIZATION, value.clone());
    }
    headers
}

/// The request that a message stands for.
///
/// # Errors
/// `400` for fields that mean nothing.
pub(super) fn ingest_request(
    message: Option<IngestRequest>,
    authorization: &HeaderMap,
    wait: Option<Duration>,
) -> Result<ingest::Request, Rejection> {
    let malformed = |name, message: &str| Rejection::Malformed { name, message: message.to_owned() };
    let message = message.ok_or_else(|| malformed("request", "is missing"))?;
    let mut headers = authorization.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(message.format)?));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(message.events.len()));
    if !message.idempotency_key.is_empty() {
        let key = HeaderValue::from_str(&message.idempotency_key)
            .map_err(|_| malformed("idempotency_key", "must be visible ASCII without spaces"))?;
        headers.insert("idempotency-key", key);
    }
    let table = TableText::Native((!message.table.is_empty()).then_some(message.table));
    Ok(ingest::Request { stream: message.stream, table, wait, headers, body: Body::from(message.events) })
}

fn content_type(format: i32) -> Result<&'static str, Rejection> {
    let unknown = |_| Rejection::Malformed { name: "format", message: format!("{format} is not a known format") };
    Ok(match Format::try_from(format).map_err(unknown)? {
        Format::Unspecified | Format::Json => "application/json",
        Format::Ndjson => "application/x-ndjson",
        Format::ArrowIpcStream => "application/vnd.apache.arrow.stream",
        Format::CloudeventsJson => "application/cloudevents+json",
        Format::CloudeventsJsonBatch => "application/cloudevents-batch+json",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::BodyHead;

    #[test]
    fn every_format_is_one_that_the_body_reader_knows() {
        for format in 0..=5 {
            let mut headers = HeaderMap::new();
            let content_type = content_type(format).expect("a format of the proto");
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            BodyHead::parse(&headers).unwrap_or_else(|error| panic!("{format}: {error}"));
        }
        let unknown = content_type(6).expect_err("not in the proto");
        assert_eq!(unknown.to_string(), "format: 6 is not a known format");
    }
}
