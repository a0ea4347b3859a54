//! Finds the events in an input: lines of NDJSON, or elements of an array in a JSON document, one at a time.
//!
//! Only the shape is judged here (a JSON object on one line); whether an event fits its table is the proxy's to say.

use std::fmt;
use std::io::{self, BufRead, Read as _};
use std::ops::ControlFlow;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Longest line or element; longer input is not what it seems to be.
const EVENT_MAX_BYTES: usize = 32 << 20;

/// One event with its number, or why it is none.
pub(super) struct Found<'a> {
    /// Line or element, from 1.
    pub(super) number: u64,
    pub(super) text: &'a [u8],
    pub(super) defect: Option<String>,
}

/// Takes what is found; says whether to go on.
pub(super) type Take<'a> = dyn FnMut(Found<'_>) -> ControlFlow<()> + 'a;

/// An input that cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub(super) enum EventsError {
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    #[error("line {0} is longer than {max} MiB; is this NDJSON?", max = EVENT_MAX_BYTES >> 20)]
    LineTooLong(u64),
    #[error("not a JSON document: {0}")]
    Json(serde_json::Error),
    #[error("there is nothing at {0}")]
    NothingAt(String),
}

/// Every line that is not blank.
pub(super) fn ndjson(input: &mut dyn BufRead, take: &mut Take<'_>) -> Result<(), EventsError> {
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        let read = (&mut *input).take(EVENT_MAX_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if read > EVENT_MAX_BYTES {
            return Err(EventsError::LineTooLong(number));
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let defect = defect(text);
        if take(Found { number, text, defect }).is_break() {
            return Ok(());
        }
    }
}

fn defect(text: &[u8]) -> Option<String> {
    match serde_json::from_slice::<IgnoredAny>(text) {
        Err(error) => Some(format!("not valid JSON: {error}")),
        Ok(_) if text.first() != Some(&b'{') => Some("not a JSON object".to_owned()),
        Ok(_) => None,
    }
}

/// Every element of the array at `pointer`, or the one object there. The document is read once and never held whole.
pub(super) fn json(input: &mut dyn BufRead, pointer: &str, take: &mut Take<'_>) -> Result<(), EventsError> {
    let path: Vec<String> = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    let mut state = State { take, stopped: false, found: false, number: 0 };
    let mut document = serde_json::Deserializer::from_reader(input);
    let walked = Walk { path: &path, state: &mut state }.deserialize(&mut document);
    match walked {
        _ if state.stopped => Ok(()),
        Err(error) => Err(EventsError::Json(error)),
        Ok(()) if !state.found => Err(EventsError::NothingAt(pointer.to_owned())),
        Ok(()) => document.end().map_err(EventsError::Json),
    }
}

struct State<'a, 'b> {
    take: &'a mut Take<'b>,
    stopped: bool,
    found: bool,
    number: u64,
}

impl State<'_, '_> {
    /// Passes one element on, as one line: outside of strings JSON has line breaks only as white space, and inside of
    /// them never.
    fn element(&mut self, mut text: Vec<u8>) -> ControlFlow<()> {
        self.number += 1;
        text.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        let defect = if text.trim_ascii().first() == Some(&b'{') { None } else { Some("not a JSON object".to_owned()) };
        let flow = (self.take)(Found { number: self.number, text: text.trim_ascii(), defect });
        self.stopped = flow.is_break();
        flow
    }
}

/// Descends along the path, skipping everything else.
struct Walk<'a, 'b, 'c> {
    path: &'a [String],
    state: &'a mut State<'b, 'c>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path {
            [] => f.write_str("an array of objects, or one object"),
            [next, ..] => write!(f, "something that has {next:?}"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Some((next, rest)) = self.path.split_first() else {
            self.state.found = true;
            while let Some(element) = elements.next_element::<Box<RawValue>>()? {
                if self.state.element(String::from(Box::<str>::from(element)).into_bytes()).is_break() {
                    return Err(A::Error::custom("stopped"));
                }
            }
            return Ok(());
        };
        let wanted: usize = next.parse().map_err(|_| A::Error::custom(format!("{next:?} is no index of an array")))?;
        let mut index = 0;
        while index < wanted && elements.next_element::<IgnoredAny>()?.is_some() {
            index += 1;
        }
        if index == wanted {
            elements.next_element_seed(Walk { path: rest, state: self.state })?;
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((next, rest)) = self.path.split_first() else {
            self.state.found = true;
            let object = raw_object(entries)?;
            return if self.state.element(object).is_break() { Err(A::Error::custom("stopped")) } else { Ok(()) };
        };
        while let Some(key) = entries.next_key::<String>()? {
            if key == *next {
                entries.next_value_seed(Walk { path: rest, state: self.state })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The text of an object whose opening brace is already read; values stay as they were written.
fn raw_object<'de, A: MapAccess<'de>>(mut entries: A) -> Result<Vec<u8>, A::Error> {
    let mut text = Vec::from(b"{");
    while let Some((key, value)) = entries.next_entry::<String, Box<RawValue>>()? {
        if text.len() > 1 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &key).map_err(A::Error::custom)?;
        text.push(b':');
        text.extend_from_slice(value.get().as_bytes());
    }
    text.push(b'}');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Vec<(u64, String, Option<String>)>;

    fn collect(
        read: impl FnOnce(&mut Take<'_>) -> Result<(), EventsError>,
        most: usize,
    ) -> (Seen, Result<(), EventsError>) {
        let mut seen = Vec::new();
        let result = read(&mut |found: Found<'_>| {
            seen.push((found.number, String::from_utf8_lossy(found.text).into_owned(), found.defect));
            if seen.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (seen, result)
    }

    fn found(number: u64, text: &str) -> (u64, String, Option<String>) {
        (number, text.to_owned(), None)
    }

    #[test]
    fn lines() {
        let text = b"{\"a\":1}\n\n  {\"a\":2}\r\n[1]\n{\"a\":\n{\"a\":3}";
        let (seen, result) = collect(|take| ndjson(&mut &text[..], take), 99);
        result.expect("readable");
        assert_eq!(seen[0], found(1, "{\"a\":1}"));
        assert_eq!(seen[1], found(3, "{\"a\":2}"));
        assert_eq!(seen[2].2.as_deref(), Some("not a JSON object"));
        assert!(seen[3].2.as_deref().is_some_and(|defect| defect.starts_with("not valid JSON")));
        assert_eq!(seen[4], found(6, "{\"a\":3}"));
        assert_eq!(collect(|take| ndjson(&mut &text[..], take), 1).0.len(), 1, "stops when told");
    }

    #[test]
    fn arrays_wherever_they_are() {
        for (text, pointer) in [
            (r#" [{"a":1.10},{"a":[1,2]}] "#, ""),
            (r#"{"x":[1,{"y":2}],"features":[{"a":1.10},{"a":[1,2]}],"z":null}"#, "/features"),
            (r#"{"a/b":{"~":[0,[{"a":1.10},{"a":[1,2]}],2]}}"#, "/a~1b/~0/1"),
        ] {
            let (seen, result) = collect(|take| json(&mut text.as_bytes(), pointer, take), 99);
            result.expect(text);
            assert_eq!(seen, [found(1, r#"{"a":1.10}"#), found(2, r#"{"a":[1,2]}"#)], "{text}");
            let (seen, result) = collect(|take| json(&mut text.as_bytes(), pointer, take), 1);
            result.expect("stopped");
            assert_eq!(seen.len(), 1);
        }
    }

    #[test]
    fn elements_become_single_lines_and_objects_are_kept_as_written() {
        let text = "[\n  {\n    \"a\": \"x\\ny\"\r\n  }\n]";
        let (seen, _) = collect(|take| json(&mut text.as_bytes(), "", take), 99);
        assert_eq!(seen, [found(1, "{     \"a\": \"x\\ny\"    }")]);
        let (seen, _) = collect(|take| json(&mut &b"{\"n\": 1.000000000000000000001,\"m\":{}}"[..], "", take), 99);
        assert_eq!(seen, [found(1, "{\"n\":1.000000000000000000001,\"m\":{}}")]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let message = |text: &str, pointer: &str| {
            collect(|take| json(&mut text.as_bytes(), pointer, take), 99).1.expect_err(text).to_string()
        };
        assert!(message("{\"a\":[]}", "/b").contains("nothing at /b"));
        assert!(message("5", "").contains("an array of objects"));
        assert!(message("[{}", "").contains("not a JSON document"));
        assert!(message("[{}] x", "").contains("trailing"));
        let (seen, _) = collect(|take| json(&mut &b"[{},5]"[..], "", take), 99);
        assert_eq!(seen[1].2.as_deref(), Some("not a JSON object"));
    }
}
