//! The HTTP binding of CloudEvents: attributes of the binary mode in headers, structured and batched bodies. What is
//! accepted are JSON objects with the required attributes.
#![no_main]

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use frazil_fuzz::{LIMIT, byte, split_at_zero};
use frazil_proxy::body::{BodyHead, Tolerance, decode};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let mode = byte(&mut data) % 3;
    let (head, body) = split_at_zero(data);
    let headers = match mode {
        0 => binary(head),
        1 => content_type("application/cloudevents+json"),
        _ => content_type("application/cloudevents-batch+json"),
    };
    let Ok(head) = BodyHead::parse(&headers) else { return };
    let Ok(events) = decode(&Bytes::copy_from_slice(body), head, LIMIT, Tolerance::Strict) else { return };
    for event in events.iter() {
        let event: Value = match serde_json::from_slice(event) {
            Ok(event) => event,
            // JSON has no bound for numbers, but serde_json's values have.
            Err(error) if error.to_string().starts_with("number out of range") => continue,
            Err(error) => panic!("an accepted event is JSON: {error}"),
        };
        if mode == 0 {
            let attributes = event.as_object().expect("an object");
            assert!(["specversion", "id", "source", "type"].iter().all(|name| attributes.contains_key(*name)));
        }
    }
});

fn content_type(text: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("content-type"), HeaderValue::from_static(text))])
}

/// Lines `name: value`, as they stand in a request.
fn binary(text: &[u8]) -> HeaderMap {
    let line = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(line[..colon].trim_ascii()).ok()?;
        Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in text.split(|byte| *byte == b'\n').filter_map(line) {
        headers.append(name, value);
    }
    headers.entry("ce-specversion").or_insert(HeaderValue::from_static("1.0"));
    headers
}
