//! Decompression that stops at a limit, so that a small body cannot become a large one.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use super::Encoding;
use crate::error::Rejection;

/// Largest zstd window that is accepted, as a power of two: 8 MiB, what `zstd -19` needs at most.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The plain bytes of `raw`.
pub(super) fn decompress(raw: &Bytes, encoding: Encoding, limit: usize) -> Result<Bytes, Rejection> {
    match encoding {
        Encoding::Identity if raw.len() > limit => Err(Rejection::BodyTooLarge { limit }),
        Encoding::Identity => Ok(raw.clone()),
        Encoding::Gzip => bounded(MultiGzDecoder::new(raw.as_ref()), "gzip", raw.len(), limit),
        Encoding::Deflate => bounded(ZlibDecoder::new(raw.as_ref()), "deflate", raw.len(), limit),
        Encoding::Zstd => {
            let decoder = zstd_decoder(raw)
                .map_err(|error| Rejection::InvalidEncoding { encoding: "zstd", message: error.to_string() })?;
            bounded(decoder, "zstd", raw.len(), limit)
        }
    }
}

fn zstd_decoder(raw: &[u8]) -> io::Result<impl Read> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

fn bounded(decoder: impl Read, encoding: &'static str, compressed: usize, limit: usize) -> Result<Bytes, Rejection> {
    let mut plain = Vec::with_capacity(compressed.saturating_mul(4).min(limit));
    // One byte more than allowed tells "at the limit" from "above it".
    decoder
        .take(limit as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| Rejection::InvalidEncoding { encoding, message: error.to_string() })?;
    if plain.len() > limit { Err(Rejection::BodyTooLarge { limit }) } else { Ok(plain.into()) }
}
