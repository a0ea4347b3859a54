//! From the bytes of a request to events: read within limits, decompress within limits, split into NDJSON lines.
//!
//! Owns the shape of bodies and nothing of tables: whether an event fits one is decided elsewhere.

mod arrow;
mod cloudevents;
mod decompress;
mod lines;
mod split;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use bytes::{Bytes, BytesMut};
use frazil_core::policy::OnInvalid;
use http_body_util::BodyExt;

use crate::error::Rejection;
pub use cloudevents::Attributes;
pub use split::{Events, Part};

/// What the headers say about the kind of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// JSON text whose values are the events.
    Text(Format),
    /// One CloudEvent in the JSON event format (structured mode).
    CloudEvent,
    /// An array of CloudEvents in the JSON event format (batched mode).
    CloudEventBatch,
    /// The data of one CloudEvent whose attributes are in the headers (binary mode).
    CloudEventData(Attributes),
    /// An Arrow IPC stream; its rows are the events.
    Arrow,
}

/// How events lie in JSON text.
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
    /// The zlib format, as HTTP defines `deflate`, or bare DEFLATE, as many send it.
    Deflate,
}

/// What the headers of a request say about its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyHead {
    /// The kind.
    pub media: Media,
    /// The compression.
    pub encoding: Encoding,
    /// The announced length in bytes, before decompression.
    pub length: Option<usize>,
}

impl BodyHead {
    /// Reads the headers. Without a content type the body is taken for JSON; with the header `ce-specversion` it is the
    /// data of a CloudEvent, unless the content type says that it is a whole one.
    ///
    /// # Errors
    /// `415` for types and encodings that are not understood, `400` for malformed attributes of a CloudEvent.
    pub fn parse(headers: &HeaderMap) -> Result<Self, Rejection> {
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|v| v.parse().ok());
        Ok(Self { media: media(headers)?, encoding: encoding(headers)?, length })
    }

    /// Bytes to reserve before the body is read: its length if the events cannot become longer than it, else `limit`.
    pub fn reservation(&self, limit: usize) -> usize {
        match self.length {
            Some(length) if !self.may_grow() => length.min(limit),
            Some(_) | None => limit,
        }
    }

    /// Most bytes of events that a body of `received` bytes gives.
    pub fn decoded_at_most(&self, received: usize, limit: usize) -> usize {
        if self.may_grow() { limit } else { received }
    }

    fn may_grow(&self) -> bool {
        let media = match self.media {
            Media::Text(_) | Media::CloudEvent | Media::CloudEventBatch => false,
            Media::CloudEventData(_) | Media::Arrow => true,
        };
        media || self.encoding != Encoding::Identity
    }
}

fn media(headers: &HeaderMap) -> Result<Media, Rejection> {
    let text = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?")).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/cloudevents+json" => return Ok(Media::CloudEvent),
        "application/cloudevents-batch+json" => return Ok(Media::CloudEventBatch),
        // Other event formats (Avro, Protocol Buffers, XML), or none named.
        other if other.starts_with("application/cloudevents") => return Err(unsupported_type(text)),
        _ => {}
    }
    if headers.contains_key(cloudevents::SPECVERSION_HEADER) {
        return Ok(Media::CloudEventData(Attributes::parse(headers)?));
    }
    match essence.as_str() {
        // curl -d announces a form unless told otherwise; refusing it would make the first try of every newcomer fail.
        "" | "application/json" | "text/json" | "application/x-www-form-urlencoded" => Ok(Media::Text(Format::Json)),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok(Media::Text(Format::Ndjson))
        }
        "application/vnd.apache.arrow.stream" => Ok(Media::Arrow),
        _ => Err(unsupported_type(text)),
    }
}

fn unsupported_type(text: &str) -> Rejection {
    Rejection::UnsupportedType(text.chars().take(100).collect())
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

/// What becomes of a line of NDJSON that is no JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerance {
    /// The body is refused.
    Strict,
    /// The line is an event like the others, kept as it came but for the end of the line; the verdict on it is given
    /// together with all others. Formats whose framing needs the whole body to be readable know no tolerance.
    KeepLines,
}

impl From<OnInvalid> for Tolerance {
    fn from(on_invalid: OnInvalid) -> Self {
        match on_invalid {
            OnInvalid::Reject => Self::Strict,
            OnInvalid::DeadLetter => Self::KeepLines,
        }
    }
}

/// Decompresses a body to at most `limit` bytes. Pure.
///
/// # Errors
/// `400` for what is not valid in its compression, `413` for what becomes more than `limit`.
pub fn plain(raw: &Bytes, encoding: Encoding, limit: usize) -> Result<Bytes, Rejection> {
    decompress::decompress(raw, encoding, limit)
}

/// Decompresses a body to at most `limit` bytes and makes events of it, of at most `limit` bytes where they are not the
/// body's own text. Pure; takes about 5 ns per byte.
///
/// # Errors
/// `400` for what is not valid in its format or compression, `413` for what becomes more than `limit`.
pub fn decode(raw: &Bytes, head: BodyHead, limit: usize, tolerance: Tolerance) -> Result<Events, Rejection> {
    let plain = plain(raw, head.encoding, limit)?;
    match head.media {
        Media::Text(format) => Events::split(&plain, format, tolerance),
        Media::CloudEvent => cloudevents::structured(&plain, tolerance),
        Media::CloudEventBatch => cloudevents::batched(&plain, tolerance),
        Media::CloudEventData(attributes) => cloudevents::binary(&attributes, &plain, limit),
        Media::Arrow => arrow::convert(&plain, limit),
    }
}
