//! One metadata file: bytes to parsed metadata and back. Does no I/O; run it off the async threads, files can be
//! megabytes.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use frazil_iceberg::spec::TableMetadata;
use serde_json::Value;
use serde_json::value::RawValue;

const COMPRESSION_CODEC: &str = "write.metadata.compression-codec";
/// Largest metadata file read, in bytes of JSON.
const MAX_JSON_BYTES: u64 = 512 * 1024 * 1024;

/// Why a metadata file cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("table metadata at {location} cannot be read: {source}")]
    Unreadable { location: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the resulting table metadata is not valid: {0}")]
    NotRepresentable(String),
    #[error("table metadata cannot be compressed: {0}")]
    Compression(#[source] std::io::Error),
}

/// Metadata as it stands in the file at `location`.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) location: String,
    pub(crate) metadata: TableMetadata,
    /// The uncompressed JSON, passed on to clients byte for byte.
    pub(crate) json: Box<RawValue>,
}

/// Parses a file, gzipped or not.
pub(crate) fn decode(location: String, bytes: &[u8]) -> Result<Loaded, FileError> {
    match parse(bytes) {
        Ok((metadata, json)) => Ok(Loaded { location, metadata, json }),
        Err(source) => Err(FileError::Unreadable { location, source }),
    }
}

type ParseError = Box<dyn std::error::Error + Send + Sync>;

fn parse(bytes: &[u8]) -> Result<(TableMetadata, Box<RawValue>), ParseError> {
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let read = GzDecoder::new(bytes).take(MAX_JSON_BYTES + 1).read_to_string(&mut text)?;
        if read as u64 > MAX_JSON_BYTES {
            return Err(format!("more than {MAX_JSON_BYTES} bytes").into());
        }
    } else {
        text.push_str(std::str::from_utf8(bytes)?);
    }
    let metadata = serde_json::from_str(&text)?;
    Ok((metadata, RawValue::from_string(text)?))
}

/// Whether the table wants its metadata files gzipped.
pub(crate) fn wants_gzip(metadata: &TableMetadata) -> bool {
    metadata.properties().get(COMPRESSION_CODEC).is_some_and(|codec| codec.eq_ignore_ascii_case("gzip"))
}

/// The JSON of new metadata, and the metadata as it reads back from that JSON.
///
/// The builder validates before it adds the last entry of the metadata log, so it can build metadata that no reader
/// accepts (a clock that was set back is enough). Hence: the time of the last update never goes back, and what is
/// going to be written is read once before anybody points to it.
pub(crate) fn seal(metadata: &TableMetadata, not_before_ms: i64) -> Result<(TableMetadata, Box<RawValue>), FileError> {
    let invalid = |error: serde_json::Error| FileError::NotRepresentable(error.to_string());
    let json = if metadata.last_updated_ms() < not_before_ms {
        let mut value = serde_json::to_value(metadata).map_err(invalid)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("last-updated-ms".to_owned(), Value::from(not_before_ms));
        }
        serde_json::to_string(&value).map_err(invalid)?
    } else {
        serde_json::to_string(metadata).map_err(invalid)?
    };
    let sealed: TableMetadata = serde_json::from_str(&json).map_err(invalid)?;
    let json = RawValue::from_string(json).map_err(invalid)?;
    Ok((sealed, json))
}

/// The bytes of the file.
pub(crate) fn encode(json: &RawValue, gzip: bool) -> Result<Vec<u8>, FileError> {
    if !gzip {
        return Ok(json.get().as_bytes().to_vec());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(json.get().as_bytes()).and_then(|()| encoder.finish()).map_err(FileError::Compression)
}
