//! What the log stores: envelope format version 1, one envelope per NATS message.
//!
//! The payload is a sequence of sections, one per request (or part of a large request). A section is
//! one line of JSON, [`SectionHeader`], followed by exactly `len` bytes of NDJSON holding `count`
//! lines. The message headers carry what a `headers_only` reader needs, a checksum of the payload and
//! the continuity fields. Any NATS client may publish the same. A version, once released, is read for ever.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use decode::{Sections, sections};
pub use encode::{EncodedEnvelope, EnvelopeBuilder, Section, header_bytes, section_bytes};

use crate::idempotency::{KeyHash, KeyedRange};
use crate::name::TableName;

/// Message header with the version of the envelope format.
pub const VERSION_HEADER: &str = "Frazil-Version";
/// Message header with the checksum of the payload, `crc32=<8 hexadecimal digits>` (CRC-32/ISO-HDLC).
pub const CHECKSUM_HEADER: &str = "Frazil-Checksum";
/// Message header with the producer: one proxy incarnation on one shard, a UUID.
pub const PRODUCER_HEADER: &str = "Frazil-Producer";
/// Message header with the running number of the envelope among those of its producer, from 1.
pub const NUMBER_HEADER: &str = "Frazil-Number";
/// Message header with the highest number acknowledged to the producer so far, 0 for none.
pub const ACKED_HEADER: &str = "Frazil-Acked";
/// Message header with the keyed sections in order: `<32 hex>:<first>:<count>` joined by `;`.
pub const KEYS_HEADER: &str = "Frazil-Keys";
/// JetStream's own deduplication header; a retried publish cannot be stored twice.
pub const MESSAGE_ID_HEADER: &str = "Nats-Msg-Id";

/// The first line of a section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SectionHeader {
    /// The table the events are for.
    pub table: TableName,
    /// Number of events, which is the number of lines.
    pub count: u32,
    /// When the proxy received the request, in microseconds since the Unix epoch.
    pub received: i64,
    /// Hash of the idempotency key, if the client gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
    /// The client's idempotency key as it was given, for people; `key` is what is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_key: Option<String>,
    /// Why no table can take the events of this section: they are dead letters whatever tables there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unroutable: Option<Unroutable>,
    /// Index within the request of the section's first event; above zero in later parts of a large request.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first: u32,
    /// Length of the NDJSON that follows the header line, in bytes.
    pub len: u32,
}

/// Why no table can take an event, as the proxy found when it looked for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unroutable {
    /// Path of the field that should have named the table.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl SectionHeader {
    /// The part of the request this section holds, if it is keyed.
    pub fn keyed_range(&self) -> Option<KeyedRange> {
        self.key.map(|key| KeyedRange { key, first: self.first, count: self.count })
    }
}

/// The message headers of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeHeaders {
    /// CRC-32 of the payload.
    pub checksum: u32,
    /// The continuity fields.
    pub continuity: ContinuityFields,
    /// The keyed sections, in order.
    pub keys: Vec<KeyedRange>,
}

/// Who published an envelope, as which number, and how far the log had acknowledged to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContinuityFields {
    /// One proxy incarnation on one shard.
    pub producer: Uuid,
    /// Running number, from 1, without holes.
    pub number: u64,
    /// Highest number the log has acknowledged to the producer, 0 for none.
    pub acked: u64,
}

/// An envelope that cannot be read. Its message is never ingested and never dropped: it becomes a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A required message header is missing.
    #[error("message header {0} is missing")]
    MissingHeader(&'static str),
    /// A message header does not parse.
    #[error("message header {name} has the malformed value {value:?}")]
    MalformedHeader {
        /// Name of the header.
        name: &'static str,
        /// Its value, shortened.
        value: String,
    },
    /// A version this build does not know.
    #[error("envelope version {0:?} is unknown; a newer Frazil wrote it")]
    UnknownVersion(String),
    /// The payload is not what the producer sent.
    #[error("payload checksum is {found:08x}, the producer sent {expected:08x}")]
    Checksum {
        /// From the message header.
        expected: u32,
        /// Of the stored payload.
        found: u32,
    },
    /// A section header line does not parse.
    #[error("section {index} has a malformed header: {message}")]
    MalformedSection {
        /// Position of the section in the payload.
        index: usize,
        /// What the parser said.
        message: String,
    },
    /// The payload ends inside a section, or the lines do not match the count.
    #[error("section {index} announces {count} events in {len} bytes, which the payload does not hold")]
    SectionLength {
        /// Position of the section in the payload.
        index: usize,
        /// Announced events.
        count: u32,
        /// Announced bytes.
        len: u32,
    },
}
