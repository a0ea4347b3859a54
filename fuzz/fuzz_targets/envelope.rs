//! Messages of the log, which other NATS clients may publish: sections tile the payload, and what is read encodes to
//! the same again.
#![no_main]

use bytes::Bytes;
use frazil_core::envelope::{ContinuityFields, EnvelopeBuilder, EnvelopeHeaders, sections};
use frazil_fuzz::split_at_zero;
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

fuzz_target!(|data: &[u8]| {
    let (head, payload) = split_at_zero(data);
    headers(head);
    let payload = Bytes::copy_from_slice(payload);
    let mut builder = EnvelopeBuilder::new();
    let mut events = 0;
    for section in sections(&payload) {
        let Ok(section) = section else { return };
        assert_eq!(section.lines().count(), section.header.count as usize);
        events += section.events.len();
        builder.push(&section);
    }
    assert!(events <= payload.len());
    let continuity = ContinuityFields { producer: Uuid::from_u128(1), number: 1, acked: 0 };
    let encoded = builder.finish(continuity);
    let again: Vec<_> = sections(&encoded.payload).collect::<Result<_, _>>().expect("our own encoding");
    let before: Vec<_> = sections(&payload).collect::<Result<_, _>>().expect("it was read before");
    assert_eq!(again, before);
});

/// Lines `name: value`.
fn headers(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let get = |name: &'static str| {
        text.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    if let Ok(headers) = EnvelopeHeaders::parse(get) {
        // Only the right payload passes.
        let passes = |payload: &[u8]| headers.verify(payload).is_ok();
        assert!(!(passes(b"a") && passes(b"b")));
    }
}
