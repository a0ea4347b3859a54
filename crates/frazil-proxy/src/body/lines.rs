//! Events written value by value as NDJSON, never past a limit.
//!
//! For bodies that are not JSON text themselves: what comes out may be many times larger than what came in, so every
//! single piece is held against the limit before it is kept.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use frazil_core::limits::EVENTS_PER_REQUEST_MAX;

use super::Events;
use crate::error::Rejection;

/// The limit is reached: of bytes, or of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Bytes,
    Events,
}

/// Lines of JSON in the making.
#[derive(Debug)]
pub(super) struct LineWriter {
    ndjson: Vec<u8>,
    ends: Vec<usize>,
    /// Most bytes of all lines together.
    limit: usize,
}

impl LineWriter {
    pub(super) fn new(limit: usize) -> Self {
        Self { ndjson: Vec::new(), ends: Vec::new(), limit }
    }

    /// Bytes that are JSON already and hold no line feed.
    pub(super) fn raw(&mut self, json: &[u8]) -> Result<(), Full> {
        if json.len() > self.limit - self.ndjson.len() {
            return Err(Full::Bytes);
        }
        self.ndjson.extend_from_slice(json);
        Ok(())
    }

    /// A JSON value as it was sent. Its line breaks can only be whitespace, and become spaces.
    pub(super) fn value(&mut self, json: &str) -> Result<(), Full> {
        let start = self.ndjson.len();
        self.raw(json.as_bytes())?;
        for byte in &mut self.ndjson[start..] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        Ok(())
    }

    /// A string, quoted and escaped.
    pub(super) fn string(&mut self, text: &str) -> Result<(), Full> {
        serde_json::to_writer(self, text).map_err(|_| Full::Bytes)
    }

    /// A finite number in the fewest digits that read back as the same number.
    pub(super) fn double(&mut self, value: f64) -> Result<(), Full> {
        serde_json::to_writer(self, &value).map_err(|_| Full::Bytes)
    }

    /// A finite number in the fewest digits that read back as the same number of single precision.
    pub(super) fn float(&mut self, value: f32) -> Result<(), Full> {
        serde_json::to_writer(self, &value).map_err(|_| Full::Bytes)
    }

    /// Bytes as a string of padded base64.
    pub(super) fn base64(&mut self, bytes: &[u8]) -> Result<(), Full> {
        /// A multiple of three, so that only the last piece is padded.
        const PIECE: usize = 768;
        let mut text = [0; PIECE / 3 * 4];
        self.raw(b"\"")?;
        for piece in bytes.chunks(PIECE) {
            let len = STANDARD.encode_slice(piece, &mut text).expect("base64 is four thirds of the bytes");
            self.raw(&text[..len])?;
        }
        self.raw(b"\"")
    }

    /// Bytes as a string of hexadecimal digits.
    pub(super) fn hex(&mut self, bytes: &[u8]) -> Result<(), Full> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // A JSON string that begins with `\x`, the form that fixed and binary columns take alike.
        self.raw(b"\"\\\\x")?;
        for byte in bytes {
            self.raw(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])?;
        }
        self.raw(b"\"")
    }

    /// Ends the event.
    pub(super) fn end(&mut self) -> Result<(), Full> {
        if self.ends.len() == EVENTS_PER_REQUEST_MAX {
            return Err(Full::Events);
        }
        self.raw(b"\n")?;
        self.ends.push(self.ndjson.len());
        Ok(())
    }

    pub(super) fn finish(self) -> Events {
        Events::from_lines(self.ndjson, self.ends)
    }
}

/// So that numbers can be formatted into it.
impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.raw(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Full {
    /// The answer, where `limit` is that of the bytes.
    pub(super) fn rejection(self, limit: usize) -> Rejection {
        match self {
            Self::Bytes => Rejection::BodyTooLarge { limit },
            Self::Events => Rejection::TooManyEvents { limit: EVENTS_PER_REQUEST_MAX },
        }
    }
}
