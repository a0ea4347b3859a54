//! The schema of a table that does not exist yet, from the first batch of events for it.
//!
//! It owns the choice of types and nothing else: partitioning, system columns ([`Schema::with_system_columns`]) and
//! the creation of the table belong to others. Every event it has seen is valid for the table it proposes, once that has
//! the system columns.
//!
//! | values of a field, over all events | column |
//! | --- | --- |
//! | whole numbers within 64 bits | long |
//! | other numbers, finite as a double, perhaps mixed with the former | double |
//! | `true`, `false` | boolean |
//! | strings, all of them RFC 3339 date-times with offset | timestamptz |
//! | other strings | string |
//! | objects | struct of their merged fields |
//! | arrays | list of their merged elements |
//! | any other mix; numbers beyond a long or a double | string, which keeps the JSON text |
//! | only nulls, empty arrays, empty objects | left out |
//!
//! Everything may be null. Columns are in the order of their first appearance, ids in pre-order from 1.
//! What is left out goes to `__extra__` when it comes. That is also the fate of
//! - fields named like system columns, fields without a name, and names longer than [`MAX_COLUMN_NAME_BYTES`];
//! - a field whose name differs from a sibling's only in case, or whose dotted full name is taken: many engines could not
//!   read the table;
//! - top-level fields beyond [`MAX_COLUMNS`]. A nested object that would exceed it, or an object or array nested
//!   deeper than [`MAX_COLUMN_DEPTH`], becomes a string column.
//!
//! [`evolve`](crate::evolve) finds the columns for unknown fields of an existing table by the same code.

mod columns;
mod shape;
#[cfg(test)]
mod tests;

pub(crate) use columns::{Builder, join};
pub(crate) use shape::{Failure, Fields, Observer};

use crate::mapping::json::Reader;
use crate::mapping::{FieldError, MappingPolicy, Reason};
use crate::schema::Schema;

/// The most columns an inferred schema has; fields of structs and elements of lists count.
pub const MAX_COLUMNS: usize = 2_000;
/// The deepest level of columns; a top-level column is at level 1.
pub const MAX_COLUMN_DEPTH: usize = 64;
/// The longest name of an inferred column, in bytes: what the strictest of the common catalogs takes.
pub const MAX_COLUMN_NAME_BYTES: usize = 255;

/// An event from which nothing can be inferred.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {index}: {error}")]
pub struct InferError {
    /// Position of the event in the batch, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub error: FieldError,
}

/// Proposes columns for a batch of events; the system columns are not among them.
///
/// No events, or none with a usable field, give a schema without columns.
///
/// # Errors
/// [`InferError`] for the first event that is no JSON object or repeats a field. Filter a batch of which some events
/// may be invalid with [`Inference`].
pub fn infer_schema<'e>(events: impl Iterator<Item = &'e [u8]>) -> Result<Schema, InferError> {
    let mut inference = Inference::default();
    for (index, event) in events.enumerate() {
        inference.observe(event).map_err(|error| InferError { index, error })?;
    }
    Ok(inference.schema())
}

/// Inference, event by event.
#[derive(Debug, Default)]
pub struct Inference {
    root: Fields,
    observer: Observer,
}

impl Inference {
    /// For a table whose events are mapped by this policy. (`default()` is for the default policy.)
    pub fn new(policy: &MappingPolicy) -> Self {
        Self { root: Fields::default(), observer: Observer::strict(policy.case_insensitive) }
    }

    /// Takes one event into account.
    ///
    /// # Errors
    /// If the event is no JSON object or repeats a field. One that is no JSON leaves no trace; of one that repeats
    /// a field, the values up to there remain observed.
    pub fn observe(&mut self, event: &[u8]) -> Result<(), FieldError> {
        let fail = |reason| FieldError::new(String::new(), reason, &String::from_utf8_lossy(event));
        let check = || {
            let mut reader = Reader::new(event)?;
            let next = reader.peek();
            reader.skip_value()?;
            reader.finish()?;
            if next == Some(b'{') { Reader::new(event) } else { Err(Reason::NotAnObject) }
        };
        let mut reader = check().map_err(fail)?;
        reader.peek();
        match self.observer.object(&mut reader, &mut self.root, 1) {
            Ok(_) => Ok(()),
            Err(Failure::Reader(reason)) => Err(fail(reason)),
            Err(Failure::Duplicate(name)) => Err(FieldError::new(name, Reason::DuplicateField, "")),
        }
    }

    /// The columns for what was observed so far.
    pub fn schema(&self) -> Schema {
        Schema::new(Builder::default().fields(&self.root, ""))
    }
}
