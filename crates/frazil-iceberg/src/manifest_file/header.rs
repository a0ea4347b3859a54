//! Headers of Avro object container files. Pure; must not look into data blocks.
//!
//! Source: Apache Avro 1.12 specification, "Object Container Files".

use bytes::Bytes;
use serde_json::Value;

const MAGIC: &[u8] = b"Obj\x01";
const AVRO_SCHEMA: &str = "avro.schema";

/// The metadata of a file, and where the rest of the file begins.
pub(super) struct Header {
    metadata: Vec<(Vec<u8>, Vec<u8>)>,
    /// Offset in bytes of the synchronization marker.
    rest: usize,
}

impl Header {
    /// `None` if the content does not begin with a whole header.
    pub(super) fn parse(content: &[u8]) -> Option<Self> {
        let mut left = content.strip_prefix(MAGIC)?;
        let mut metadata = Vec::new();
        loop {
            let count = long(&mut left)?;
            if count == 0 {
                break;
            }
            if count < 0 {
                // The size of the block in bytes, for readers that want to skip it.
                long(&mut left)?;
            }
            for _ in 0..count.unsigned_abs() {
                metadata.push((bytes(&mut left)?, bytes(&mut left)?));
            }
        }
        Some(Self { metadata, rest: content.len() - left.len() })
    }

    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.metadata.iter().find(|(known, _)| known == key.as_bytes()).map(|(_, value)| value.as_slice())
    }

    pub(super) fn set(&mut self, key: &str, value: Vec<u8>) {
        match self.metadata.iter_mut().find(|(known, _)| known == key.as_bytes()) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.as_bytes().to_vec(), value)),
        }
    }

    pub(super) fn avro_schema(&self) -> Option<Value> {
        serde_json::from_slice(self.get(AVRO_SCHEMA)?).ok()
    }

    pub(super) fn set_avro_schema(&mut self, schema: &Value) {
        self.set(AVRO_SCHEMA, schema.to_string().into_bytes());
    }

    /// The file that this was read from, with this header.
    pub(super) fn on(&self, content: &[u8]) -> Bytes {
        let mut file = MAGIC.to_vec();
        put_long(&mut file, self.metadata.len());
        for part in self.metadata.iter().flat_map(|(key, value)| [key, value]) {
            put_long(&mut file, part.len());
            file.extend_from_slice(part);
        }
        if !self.metadata.is_empty() {
            put_long(&mut file, 0);
        }
        file.extend_from_slice(&content[self.rest..]);
        Bytes::from(file)
    }
}

/// Zigzag, least significant seven bits first.
fn long(left: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = left.split_first()?;
        *left = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

fn bytes(left: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(long(left)?).ok()?;
    let (bytes, rest) = left.split_at_checked(length)?;
    *left = rest;
    Some(bytes.to_vec())
}

fn put_long(file: &mut Vec<u8>, length: usize) {
    let mut value = (length as u64) << 1;
    while value >= 0x80 {
        file.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    file.push(value as u8);
}
