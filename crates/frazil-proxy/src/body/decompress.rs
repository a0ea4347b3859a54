//! Decompression that stops at a limit, so that a small body cannot become a large one.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::Encoding;
use crate::error::Rejection;

#[cfg(test)]
mod tests;

/// Largest zstd window that is accepted, as a power of two: 8 MiB, what `zstd -19` needs at most.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The plain bytes of `raw`: all of it, or an error. Takes at most about twice `limit` bytes of memory.
pub(super) fn decompress(raw: &Bytes, encoding: Encoding, limit: usize) -> Result<Bytes, Rejection> {
    match encoding {
        Encoding::Identity if raw.len() > limit => Err(Rejection::BodyTooLarge { limit }),
        Encoding::Identity => Ok(raw.clone()),
        Encoding::Gzip => bounded(MultiGzDecoder::new(raw.as_ref()), "gzip", raw.len(), limit),
        Encoding::Deflate => deflate(raw, limit),
        Encoding::Zstd => {
            let decoder = zstd_decoder(raw)
                .map_err(|error| Rejection::InvalidEncoding { encoding: "zstd", message: error.to_string() })?;
            bounded(decoder, "zstd", raw.len(), limit)
        }
    }
}

/// Either format, told apart by the zlib header. A stream of bare DEFLATE begins like one only if its first block is
/// stored with padding bits set, which no encoder does.
fn deflate(raw: &Bytes, limit: usize) -> Result<Bytes, Rejection> {
    let zlib = matches!(raw.as_ref(), [first, second, ..]
        if first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([*first, *second]).is_multiple_of(31));
    let mut rest = raw.as_ref();
    let plain = if zlib {
        bounded(ZlibDecoder::new(&mut rest), "deflate", raw.len(), limit)?
    } else {
        bounded(DeflateDecoder::new(&mut rest), "deflate", raw.len(), limit)?
    };
    match rest.len() {
        0 => Ok(plain),
        left => {
            let message = format!("{left} bytes follow the end of the compressed data");
            Err(Rejection::InvalidEncoding { encoding: "deflate", message })
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
    decoder.take(limit as u64 + 1).read_to_end(&mut plain).map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
            _ => error.to_string(),
        };
        Rejection::InvalidEncoding { encoding, message }
    })?;
    if plain.len() > limit { Err(Rejection::BodyTooLarge { limit }) } else { Ok(plain.into()) }
}
