//! Writing envelopes: sections are appended to one buffer, which is the payload.

use bytes::Bytes;

use super::{
    ACKED_HEADER, CHECKSUM_HEADER, ContinuityFields, KEYS_HEADER, MESSAGE_ID_HEADER, NUMBER_HEADER, PRODUCER_HEADER,
    SectionHeader, VERSION_HEADER,
};
use crate::idempotency::KeyedRange;

/// One request's events, or a part of them, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What the events are.
    pub header: SectionHeader,
    /// The events as NDJSON: `header.count` lines, each ended by a line feed; `header.len` bytes.
    pub events: Bytes,
}

/// Upper bound of the bytes a section takes in a payload, for packing decisions.
pub fn section_bytes(section: &Section) -> usize {
    section.events.len() + header_bytes(&section.header)
}

/// Upper bound of the bytes a section's header line takes in a payload.
pub fn header_bytes(header: &SectionHeader) -> usize {
    /// Fixed names, four numbers and a 32 digit key.
    const PLAIN: usize = 200;
    /// Names and punctuation of both optional texts.
    const OPTIONAL: usize = 80;
    /// A control character becomes six bytes of JSON.
    const ESCAPE: usize = 6;
    let texts = header.request_key.iter().chain(header.unroutable.iter().flat_map(|why| [&why.field, &why.message]));
    let texts: usize = texts.map(String::len).sum();
    PLAIN + OPTIONAL + header.table.to_string().len() * 2 + texts * ESCAPE
}

/// Collects sections into one message.
#[derive(Debug, Default)]
pub struct EnvelopeBuilder {
    payload: Vec<u8>,
    keys: Vec<KeyedRange>,
    sections: usize,
}

/// A message ready to publish.
#[derive(Debug, Clone)]
pub struct EncodedEnvelope {
    /// Message headers, in order.
    pub headers: Vec<(&'static str, String)>,
    /// Message payload.
    pub payload: Bytes,
}

impl EnvelopeBuilder {
    /// Starts an envelope without sections, which is a heartbeat.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a section. Its length and count must be those of its events, which every constructor in the proxy guarantees.
    pub fn push(&mut self, section: &Section) {
        debug_assert_eq!(section.header.len as usize, section.events.len());
        serde_json::to_writer(&mut self.payload, &section.header).expect("a section header has only plain values");
        self.payload.push(b'\n');
        self.payload.extend_from_slice(&section.events);
        self.keys.extend(section.header.keyed_range());
        self.sections += 1;
    }

    /// Bytes of the payload so far.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// Sections so far.
    pub fn sections(&self) -> usize {
        self.sections
    }

    /// Seals the envelope with its place in the producer's sequence.
    pub fn finish(self, continuity: ContinuityFields) -> EncodedEnvelope {
        let ContinuityFields { producer, number, acked } = continuity;
        let mut headers = vec![
            (VERSION_HEADER, "1".to_owned()),
            (CHECKSUM_HEADER, format!("crc32={:08x}", crc32fast::hash(&self.payload))),
            (PRODUCER_HEADER, producer.to_string()),
            (NUMBER_HEADER, number.to_string()),
            (ACKED_HEADER, acked.to_string()),
            (MESSAGE_ID_HEADER, format!("{producer}-{number}")),
        ];
        if !self.keys.is_empty() {
            let keys: Vec<String> = self.keys.iter().map(KeyedRange::to_string).collect();
            headers.push((KEYS_HEADER, keys.join(";")));
        }
        EncodedEnvelope { headers, payload: self.payload.into() }
    }
}
