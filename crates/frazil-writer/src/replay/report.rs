//! What a replay did, in numbers and examples.

use std::collections::BTreeMap;

/// Examples kept of each reason.
const EXAMPLES_MAX: usize = 3;

/// The books of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Letters of the stream and reason that were asked for.
    pub looked_at: u64,
    /// Of these: rows of the target now (or would be, if it was a trial).
    pub replayed: u64,
    /// Of these: were replayed before, or by somebody else meanwhile.
    pub already: u64,
    /// Of these: still do not fit, by the reason they have now.
    pub invalid: BTreeMap<&'static str, Invalid>,
    /// Of these: beyond the dead-letter table's checkpoint, and so left alone.
    pub unsettled: u64,
    /// Rows that do not say which event they are.
    pub unidentified: u64,
    /// Commits to the target.
    pub commits: u64,
}

/// Letters that still do not fit, for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invalid {
    /// How many.
    pub count: u64,
    /// The first few.
    pub examples: Vec<Example>,
}

/// One letter that still does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The event's id.
    pub id: String,
    /// Path of the field; empty if it is about the whole event.
    pub field: String,
    /// Why, for people.
    pub message: String,
}

impl Report {
    /// Letters that still do not fit.
    pub fn invalid_count(&self) -> u64 {
        self.invalid.values().map(|invalid| invalid.count).sum()
    }

    /// Whether every letter that was asked for is a row by now.
    pub fn is_complete(&self) -> bool {
        self.invalid_count() + self.unsettled + self.unidentified == 0
    }

    pub(super) fn invalid(&mut self, code: &'static str, id: &str, field: &str, message: String) {
        let invalid = self.invalid.entry(code).or_default();
        invalid.count += 1;
        if invalid.examples.len() < EXAMPLES_MAX {
            invalid.examples.push(Example { id: id.to_owned(), field: field.to_owned(), message });
        }
    }
}
