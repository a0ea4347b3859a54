//! Reading envelopes: headers first, then the sections of a payload whose checksum was verified.

use bytes::Bytes;

use super::{
    ACKED_HEADER, CHECKSUM_HEADER, ContinuityFields, EnvelopeError, EnvelopeHeaders, KEYS_HEADER, NUMBER_HEADER,
    PRODUCER_HEADER, Section, SectionHeader, VERSION_HEADER,
};
use crate::idempotency::KeyedRange;

impl EnvelopeHeaders {
    /// Parses the message headers; `get` looks one up by name.
    pub fn parse<'a>(get: impl Fn(&'static str) -> Option<&'a str>) -> Result<Self, EnvelopeError> {
        let required = |name| get(name).ok_or(EnvelopeError::MissingHeader(name));
        let version = required(VERSION_HEADER)?;
        if version != "1" {
            return Err(EnvelopeError::UnknownVersion(excerpt(version)));
        }
        let checksum = required(CHECKSUM_HEADER)?;
        let checksum = checksum
            .strip_prefix("crc32=")
            .filter(|digits| digits.len() == 8)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| malformed(CHECKSUM_HEADER, checksum))?;
        let continuity = ContinuityFields {
            producer: parse_header(PRODUCER_HEADER, required(PRODUCER_HEADER)?)?,
            number: parse_header(NUMBER_HEADER, required(NUMBER_HEADER)?)?,
            acked: parse_header(ACKED_HEADER, required(ACKED_HEADER)?)?,
        };
        let keys = match get(KEYS_HEADER) {
            None => Vec::new(),
            Some(text) => {
                text.split(';').map(|range| parse_header::<KeyedRange>(KEYS_HEADER, range)).collect::<Result<_, _>>()?
            }
        };
        Ok(Self { checksum, continuity, keys })
    }

    /// Refuses a payload that is not the one the producer sent.
    pub fn verify(&self, payload: &[u8]) -> Result<(), EnvelopeError> {
        let (expected, found) = (self.checksum, crc32fast::hash(payload));
        if expected == found { Ok(()) } else { Err(EnvelopeError::Checksum { expected, found }) }
    }
}

fn parse_header<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<T, EnvelopeError> {
    value.parse().map_err(|_| malformed(name, value))
}

fn malformed(name: &'static str, value: &str) -> EnvelopeError {
    EnvelopeError::MalformedHeader { name, value: excerpt(value) }
}

fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The sections of a payload, in order. Events are slices of the payload, not copies.
pub fn sections(payload: &Bytes) -> Sections {
    Sections { rest: payload.clone(), index: 0 }
}

/// Iterator over the sections of a payload; ends after the first error.
#[derive(Debug)]
pub struct Sections {
    rest: Bytes,
    index: usize,
}

impl Iterator for Sections {
    type Item = Result<Section, EnvelopeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let section = self.read();
        self.index += 1;
        if section.is_err() {
            self.rest.clear();
        }
        Some(section)
    }
}

impl Sections {
    fn read(&mut self) -> Result<Section, EnvelopeError> {
        let index = self.index;
        let line = self.rest.iter().position(|b| *b == b'\n').unwrap_or(self.rest.len());
        let header: SectionHeader = serde_json::from_slice(&self.rest[..line])
            .map_err(|error| EnvelopeError::MalformedSection { index, message: error.to_string() })?;
        let (count, len) = (header.count, header.len);
        let wrong = EnvelopeError::SectionLength { index, count, len };
        let start = (line + 1).min(self.rest.len());
        let Some(end) = start.checked_add(len as usize).filter(|end| *end <= self.rest.len()) else {
            return Err(wrong);
        };
        let events = self.rest.slice(start..end);
        let lines = events.iter().filter(|b| **b == b'\n').count();
        if lines != count as usize || !(events.is_empty() || events.ends_with(b"\n")) {
            return Err(wrong);
        }
        self.rest = self.rest.slice(end..);
        Ok(Section { header, events })
    }
}

impl Section {
    /// The events, one slice per event, without the line feed.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let body = self.events.strip_suffix(b"\n").unwrap_or(&self.events);
        let empty = self.header.count == 0;
        body.split(|b| *b == b'\n').filter(move |_| !empty)
    }
}
