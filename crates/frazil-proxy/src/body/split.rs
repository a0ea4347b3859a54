//! Splitting a body into events, each one line of NDJSON.
//!
//! Line feeds and carriage returns inside an element are whitespace (a JSON string cannot contain them), so they become
//! spaces. Elements that are no objects stay events here: the verdict on them is given together with all others. So do,
//! where the body is split tolerantly, lines of NDJSON that are no JSON.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use frazil_core::limits::EVENTS_PER_REQUEST_MAX;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Format, Tolerance};
use crate::error::Rejection;

/// The events of one request as NDJSON: every event is one line, ended by a line feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    ndjson: Bytes,
    /// For each event the offset just behind its line feed.
    ends: Vec<usize>,
}

/// Consecutive events of a request that go into one message of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Index within the request of the first event.
    pub first: u32,
    /// Number of events.
    pub count: u32,
    /// The events as NDJSON.
    pub ndjson: Bytes,
}

impl Events {
    /// Splits a body.
    ///
    /// # Errors
    /// `400` with the position for what is not JSON, and for more than [`EVENTS_PER_REQUEST_MAX`] events.
    pub fn split(body: &[u8], format: Format, tolerance: Tolerance) -> Result<Self, Rejection> {
        if (format, tolerance) == (Format::Ndjson, Tolerance::KeepLines) {
            return Self::keep_lines(body);
        }
        let text = std::str::from_utf8(body).map_err(|error| {
            let (line, column) = position(body, error.valid_up_to());
            Rejection::InvalidJson { line, column, message: "the body is not valid UTF-8".to_owned() }
        })?;
        // Some editors and PowerShell begin files with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = Lines { ndjson: Vec::with_capacity(text.len() + 1), ends: Vec::new() };
        match format {
            Format::Ndjson => lines.split_lines(text)?,
            Format::Json if text.trim_ascii_start().starts_with('[') => lines.split_array(text)?,
            Format::Json => lines.split_values(text)?,
        }
        Ok(Self { ndjson: lines.ndjson.into(), ends: lines.ends })
    }

    /// Events that are lines already, each ended by a line feed just before the offset in `ends`.
    pub(super) fn from_lines(ndjson: Vec<u8>, ends: Vec<usize>) -> Self {
        Self { ndjson: ndjson.into(), ends }
    }

    /// Splits at line feeds whatever the lines are.
    fn keep_lines(body: &[u8]) -> Result<Self, Rejection> {
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let mut lines = Lines { ndjson: Vec::with_capacity(body.len() + 1), ends: Vec::new() };
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            match serde_json::from_slice::<&RawValue>(line) {
                Ok(event) => lines.push(event.get())?,
                Err(_) => lines.push_raw(line.strip_suffix(b"\r").unwrap_or(line))?,
            }
        }
        Ok(Self { ndjson: lines.ndjson.into(), ends: lines.ends })
    }

    /// The same events in another order: the one at `order[n]` becomes the n-th.
    pub fn reordered(&self, order: &[u32]) -> Self {
        let mut ndjson = Vec::with_capacity(self.ndjson.len());
        let mut ends = Vec::with_capacity(order.len());
        for index in order {
            ndjson.extend_from_slice(&self.ndjson[self.line(*index as usize)]);
            ends.push(ndjson.len());
        }
        Self { ndjson: ndjson.into(), ends }
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all events as NDJSON.
    pub fn bytes(&self) -> usize {
        self.ndjson.len()
    }

    /// The events in order, without line feeds.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.range(0..self.len())
    }

    /// Some consecutive events in order, without line feeds.
    pub fn range(&self, events: Range<usize>) -> impl Iterator<Item = &[u8]> {
        events.map(|index| &self.ndjson[self.line(index).start..self.ends[index] - 1])
    }

    fn line(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[index]
    }

    /// Consecutive events in parts of at most `limit` bytes, cut between events.
    ///
    /// # Errors
    /// `413` for the first event that is larger than `limit` by itself.
    pub fn parts(&self, events: Range<usize>, limit: usize) -> Result<Vec<Part>, Rejection> {
        let mut parts = Vec::new();
        let mut from = events.start;
        for index in events.clone() {
            let line = self.line(index);
            if line.len() > limit {
                return Err(Rejection::EventTooLarge { index, bytes: line.len() - 1, limit: limit - 1 });
            }
            if line.end - self.line(from).start > limit {
                parts.push(self.part(from..index));
                from = index;
            }
        }
        if from < events.end {
            parts.push(self.part(from..events.end));
        }
        Ok(parts)
    }

    fn part(&self, events: Range<usize>) -> Part {
        let number = |count: usize| u32::try_from(count).expect("a request has at most EVENTS_PER_REQUEST_MAX events");
        let bytes = self.line(events.start).start..self.ends[events.end - 1];
        Part { first: number(events.start), count: number(events.len()), ndjson: self.ndjson.slice(bytes) }
    }
}

#[derive(Debug)]
struct Lines {
    ndjson: Vec<u8>,
    ends: Vec<usize>,
}

/// What the array visitor reports through serde; told from syntax errors by its text.
const TOO_MANY: &str = "too many events";

impl Lines {
    fn push(&mut self, event: &str) -> Result<(), Rejection> {
        let start = self.ndjson.len();
        self.push_raw(event.as_bytes())?;
        let end = self.ndjson.len() - 1;
        for byte in &mut self.ndjson[start..end] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        Ok(())
    }

    /// Adds what has no line feed.
    fn push_raw(&mut self, line: &[u8]) -> Result<(), Rejection> {
        if self.ends.len() == EVENTS_PER_REQUEST_MAX {
            return Err(Rejection::TooManyEvents { limit: EVENTS_PER_REQUEST_MAX });
        }
        self.ndjson.extend_from_slice(line);
        self.ndjson.push(b'\n');
        self.ends.push(self.ndjson.len());
        Ok(())
    }

    fn split_lines(&mut self, text: &str) -> Result<(), Rejection> {
        for (index, line) in text.split('\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let event: &RawValue = serde_json::from_str(line).map_err(|error| syntax(&error, index))?;
            self.push(event.get())?;
        }
        Ok(())
    }

    fn split_array(&mut self, text: &str) -> Result<(), Rejection> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let outcome = Elements { lines: self }.deserialize(&mut reader).and_then(|()| reader.end());
        outcome.map_err(|error| {
            if error.is_data() && error.to_string().starts_with(TOO_MANY) {
                Rejection::TooManyEvents { limit: EVENTS_PER_REQUEST_MAX }
            } else {
                syntax(&error, 0)
            }
        })
    }

    /// One value, or several that begin on different lines.
    fn split_values(&mut self, text: &str) -> Result<(), Rejection> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
        let mut end = 0;
        while let Some(value) = values.next() {
            let value = value.map_err(|error| syntax(&error, 0))?.get();
            let before = text[end..values.byte_offset()].len() - value.len();
            if !self.ends.is_empty() && !text[end..end + before].contains('\n') {
                let (line, column) = position(text.as_bytes(), end);
                let message = "unexpected text behind the value; several events begin each on its own line";
                return Err(Rejection::InvalidJson { line, column, message: message.to_owned() });
            }
            end = values.byte_offset();
            self.push(value)?;
        }
        if self.ends.is_empty() {
            return Err(Rejection::InvalidJson { line: 1, column: 0, message: "the body is empty".to_owned() });
        }
        Ok(())
    }
}

/// Pushes the elements of an array one by one, so that an array of very many tiny elements takes no memory.
struct Elements<'l> {
    lines: &'l mut Lines,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            self.lines.push(element.get()).map_err(|_| A::Error::custom(TOO_MANY))?;
        }
        Ok(())
    }
}

/// The parser's error with the line counted from the start of the body.
fn syntax(error: &serde_json::Error, lines_before: usize) -> Rejection {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
    Rejection::InvalidJson { line: lines_before + error.line().max(1), column: error.column(), message }
}

fn position(body: &[u8], offset: usize) -> (usize, usize) {
    let before = &body[..offset];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    (line, offset - start + 1)
}
