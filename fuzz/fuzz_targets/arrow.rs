//! Arrow IPC streams: hostile lengths, offsets and types. What is accepted is one JSON object per row.
#![no_main]

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use frazil_fuzz::LIMIT;
use frazil_proxy::body::{BodyHead, Tolerance, decode};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let arrow = HeaderValue::from_static("application/vnd.apache.arrow.stream");
    let headers = HeaderMap::from_iter([(HeaderName::from_static("content-type"), arrow)]);
    let head = BodyHead::parse(&headers).expect("a known type");
    let Ok(events) = decode(&Bytes::copy_from_slice(data), head, LIMIT, Tolerance::Strict) else { return };
    assert!(events.bytes() <= LIMIT);
    for event in events.iter() {
        let event: Value = serde_json::from_slice(event).expect("rows are JSON");
        assert!(event.is_object());
    }
});
