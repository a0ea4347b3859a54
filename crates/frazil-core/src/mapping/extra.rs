//! The JSON object of unknown fields, written in the order of the walk.
//!
//! Objects that enclose an unknown field are opened when the first one is met and closed when the walk leaves
//! them, so that nothing is allocated for an event without unknown fields.

use std::fmt::Write as _;

use super::error::{Frame, Segment};

/// Collects unknown fields; belongs to one event.
#[derive(Debug, Default)]
pub(super) struct Extra {
    json: String,
    /// How many objects are open: the depth of the innermost open frame.
    open: usize,
}

impl Extra {
    /// Adds a field to the object at `frame`. `key` is the raw text between the quotes, `value` is JSON.
    pub(super) fn add(&mut self, frame: &Frame<'_>, key: &str, value: &str) {
        self.open(frame);
        self.comma();
        self.json.push('"');
        self.json.push_str(key);
        self.json.push_str("\":");
        self.json.push_str(value);
    }

    /// Says that the walk leaves the value at this depth.
    #[inline]
    pub(super) fn leave(&mut self, depth: usize) {
        if self.open >= depth {
            self.json.push('}');
            self.open = depth - 1;
        }
    }

    /// The whole object, after the event itself was left; `None` if there are no unknown fields.
    pub(super) fn json(&self) -> Option<&str> {
        (!self.json.is_empty()).then_some(&self.json)
    }

    fn open(&mut self, frame: &Frame<'_>) {
        if self.open >= frame.depth {
            return;
        }
        if let Some(parent) = frame.parent {
            self.open(parent);
            self.comma();
            match frame.segment {
                Segment::Event => {}
                Segment::Field(name) | Segment::Key(name) => {
                    self.json.push_str(&serde_json::Value::from(name).to_string());
                }
                Segment::Index(index) => {
                    write!(self.json, "\"{index}\"").expect("writing to a string cannot fail");
                }
            }
            self.json.push(':');
        }
        self.json.push('{');
        self.open = frame.depth;
    }

    fn comma(&mut self) {
        // A complete value never ends in `{`.
        if !self.json.is_empty() && !self.json.ends_with('{') {
            self.json.push(',');
        }
    }
}
