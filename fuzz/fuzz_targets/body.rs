//! Bodies of every text format and compression: what comes out are lines within the limit, and parts keep them all.
#![no_main]

use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use frazil_fuzz::{LIMIT, byte};
use frazil_proxy::body::{BodyHead, Events, Tolerance, decode};
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 6] = [
    "application/json",
    "application/x-ndjson",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "application/vnd.apache.arrow.stream",
    "",
];
const ENCODINGS: [&str; 5] = ["identity", "gzip", "zstd", "deflate", ""];

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let choice = byte(&mut data);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(TYPES[usize::from(choice) % TYPES.len()]));
    headers.insert("content-encoding", HeaderValue::from_static(ENCODINGS[usize::from(choice >> 3) % ENCODINGS.len()]));
    let tolerance = if choice & 0x80 == 0 { Tolerance::Strict } else { Tolerance::KeepLines };
    let head = BodyHead::parse(&headers).expect("these headers are understood");
    let Ok(events) = decode(&Bytes::copy_from_slice(data), head, LIMIT, tolerance) else { return };
    // A line feed of its own at most for every event, on top of the body.
    assert!(events.bytes() <= LIMIT + events.len(), "{} bytes of events", events.bytes());
    assert!(events.iter().all(|event| !event.contains(&b'\n')), "an event is one line");
    keeps_all(&events);
});

fn keeps_all(events: &Events) {
    let Ok(parts) = events.parts(0..events.len(), 4096) else { return };
    let mut next = 0;
    for part in &parts {
        assert_eq!(part.first, next, "parts are consecutive");
        assert!(part.ndjson.len() <= 4096);
        assert_eq!(part.ndjson.iter().filter(|byte| **byte == b'\n').count(), part.count as usize);
        next += part.count;
    }
    assert_eq!(next as usize, events.len());
    let backwards: Vec<u32> = (0..events.len() as u32).rev().collect();
    let twice = events.reordered(&backwards).reordered(&backwards);
    assert_eq!(&twice, events, "reordering twice is the same");
}
