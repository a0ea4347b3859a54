//! From the bytes of a request to events: read within limits, decompress within limits, split into NDJSON lines.
//!
//! Owns the shape of bodies and nothing of tables: whether an event fits one is decided elsewhere.

mod decompress;
mod split;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::error::Rejection;
pub use split::{Events, Part};

/// What a `Content-Type` says about the shape of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object, an array of objects, or several objects each on a line of its own.
    Json,
    /// One JSON object per line; blank lines are ignored.
    Ndjson,
}

/// What a `Content-Encoding` says about the bytes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// Gzip, one member or several.
    Gzip,
    /// Zstandard, one frame or several.
    Zstd,
    /// The zlib format, as HTTP defines `deflate`.
    Deflate,
}

/// What the headers of a request say about its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyHead {
    /// The shape.
    pub format: Format,
    /// The compression.
    pub encoding: Encoding,
    /// The announced length in bytes, before decompression.
    pub length: Option<usize>,
}

impl BodyHead {
    /// Reads the headers. Without a content type the body is taken for JSON.
    ///
    /// # Errors
    /// `415` for types and encodings that are not understood.
    pub fn parse(headers: &HeaderMap) -> Result<Self, Rejection> {
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|v| v.parse().ok());
        Ok(Self { format: format(headers)?, encoding: encoding(headers)?, length })
    }

    /// Bytes to reserve before the body is read.
    pub fn reservation(&self, limit: usize) -> usize {
        match (self.encoding, self.length) {
            (Encoding::Identity, Some(length)) => length.min(limit),
            (Encoding::Identity, None) | (Encoding::Gzip | Encoding::Zstd | Encoding::Deflate, _) => limit,
        }
    }
}

fn format(headers: &HeaderMap) -> Result<Format, Rejection> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Format::Json) };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        // curl -d announces a form unless told otherwise; refusing it would make the first try of every newcomer fail.
        "" | "application/json" | "text/json" | "application/x-www-form-urlencoded" => Ok(Format::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok(Format::Ndjson)
        }
        _ => Err(Rejection::UnsupportedType(text.chars().take(100).collect())),
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Rejection> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let text = values.next().map_or("", |value| value.to_str().unwrap_or("?"));
    let unsupported = |text: &str| Err(Rejection::UnsupportedEncoding(text.chars().take(100).collect()));
    if values.next().is_some() {
        return unsupported("several");
    }
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        "zstd" => Ok(Encoding::Zstd),
        "deflate" => Ok(Encoding::Deflate),
        _ => unsupported(text),
    }
}

/// Reads a body of at most `limit` bytes within `timeout`.
///
/// # Errors
/// `413` when it is longer, `408` when it is slower, `400` when the client breaks off.
pub async fn read(body: &mut Body, limit: usize, timeout: Duration) -> Result<Bytes, Rejection> {
    let whole = async {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Rejection::BodyBroken(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + rest.len() + data.len() > limit {
                return Err(Rejection::BodyTooLarge { limit });
            }
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        // Most bodies come in one piece, which need not be copied.
        Ok(if rest.is_empty() { first } else { [first, rest.freeze()].concat().into() })
    };
    tokio::time::timeout(timeout, whole).await.unwrap_or(Err(Rejection::BodyTimeout(timeout)))
}

/// Longest time spent on a body that nobody wants.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads what a refused client is still sending, keeping none of it: at most twice `limit` bytes and two seconds, then
/// the connection may break. A client that waits for `100 Continue` is not made to send.
pub async fn discard(body: &mut Body, headers: &HeaderMap, limit: usize) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let mut left = limit.saturating_mul(2);
    let sink = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = rest;
        }
    };
    // Too slow: the answer goes out all the same.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, sink).await;
}

/// Decompresses a body to at most `limit` bytes and splits it into events. Pure; takes about 5 ns per byte.
///
/// # Errors
/// `400` for what is no JSON or no valid compression, `413` for what decompresses to more than `limit`.
pub fn decode(raw: &Bytes, head: BodyHead, limit: usize) -> Result<Events, Rejection> {
    let plain = decompress::decompress(raw, head.encoding, limit)?;
    Events::split(&plain, head.format)
}
