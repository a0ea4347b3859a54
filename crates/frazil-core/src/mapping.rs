//! Does this JSON event fit that table, and which typed values does it give?
//!
//! One pure, single-pass walk over the raw bytes of an event, driven by a [`Plan`] compiled once per
//! schema, answers both questions. The proxy walks with [`NoColumn`] and learns only whether the event
//! is valid; the writer walks with its column builders and gets the row. Because it is the same walk,
//! the two cannot disagree.
//!
//! This module owns the rules below. It must not see Arrow, a clock or the network, and it must not
//! allocate for an ordinary event (it does for escaped strings, unknown fields and errors).
//!
//! # Rules
//!
//! | column | accepts |
//! | --- | --- |
//! | any | `null` or absence, unless the field is required |
//! | boolean | `true`, `false` |
//! | int, long | a JSON number with an integral value in range (`1`, `1.0`, `1e3`); never truncated |
//! | float, double | a JSON number that is finite in the type, correctly rounded; `-0.0` keeps its sign |
//! | int, long, float, double | with [`MappingPolicy::numbers_in_strings`] also a string that is exactly one such number |
//! | float, double | with [`MappingPolicy::non_finite`] also `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | decimal | a JSON number, or a string with one; from the digits, exactly, trailing zeros are fine |
//! | date | `"YYYY-MM-DD"`, or an epoch number (its UTC day) |
//! | time | `"HH:MM:SS[.f]"`, or a number since midnight |
//! | timestamp | ISO 8601 without offset (`Z` and `+00:00` are harmless), or an epoch number |
//! | timestamptz | RFC 3339 with any offset, separated by `T` or a space, or an epoch number |
//! | string | a JSON string; any other value as its JSON text |
//! | uuid | 36-character text |
//! | fixed | hexadecimal text of exactly the length, perhaps behind `\x` |
//! | binary | standard base64 text, padded or not, or hexadecimal behind `\x` |
//! | struct | an object |
//! | list | an array |
//! | map | an object if the keys are strings, else `{"keys": […], "values": […]}` |
//!
//! - Times take one to nine fractional digits; what is finer than the column's unit is cut off, towards the
//!   past, as query engines do. Dates and times lie in the years 0001 to 9999, because common readers
//!   cannot show others; that also catches epoch numbers of a wrong unit. Epoch numbers are integral and of
//!   [`MappingPolicy::epoch_unit`]. There is no leap second.
//! - Iceberg's own single-value form of binary is hexadecimal; clients send base64, so that is the rule here.
//! - Unknown fields of any depth are collected as JSON into `__extra__`, mirroring the nesting:
//!   `{"a":1,"user":{"x":2},"items":{"3":{"y":null}}}`; an element of a list is named by its index, an entry of a
//!   map by its key (by its index in the keys/values form). If the table has no optional string
//!   column `__extra__`, or by policy ([`Unknown`]), the event is invalid, or unknown fields are dropped.
//! - A repeated field is invalid in every object the schema knows, among unknown fields too, kept or not; text that
//!   is kept as text is not looked into. Without regard to case, names that differ only in it repeat each other. A
//!   repeated map key is invalid; keys are data, and never matched without regard to case.
//! - The columns `__id__`, `__ts__` and `__write_id__`, when of the right type, are filled from [`RowMeta`]. An event's own
//!   field of such a name is an unknown field.
//! - An event is one JSON object in valid UTF-8, nested at most [`MAX_DEPTH`] deep, and nothing after it.
//!
//! The JSON reader is our own and not `serde_json`: the rules need a number's digits (a decimal or a
//! large long must not pass through a 64-bit float) and the raw text of values; `serde_json` gives
//! these only with features that slow down, or change, every other user of it in the process. It is
//! tested against `serde_json`.

mod decimal;
mod error;
mod extra;
pub(crate) mod json;
mod plan;
pub(crate) mod scalar;
pub(crate) mod temporal;
#[cfg(test)]
mod tests;
mod walk;

use serde::{Deserialize, Serialize};

pub use error::{FieldError, Reason};
pub use json::MAX_DEPTH;
pub use plan::{Plan, PlanError, Unknown};

/// How events are matched to columns, beyond what the schema says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MappingPolicy {
    /// The unit of numbers in date, time and timestamp columns.
    pub epoch_unit: EpochUnit,
    /// Whether a field matches a column whose name differs only in case.
    pub case_insensitive: bool,
    /// Whether a string that is exactly one JSON number is taken by int, long, float and double columns. (Decimal
    /// columns always take it.)
    pub numbers_in_strings: bool,
    /// Whether float and double columns take what JSON has no number for.
    pub non_finite: NonFinite,
}

/// Whether float and double columns take `"NaN"`, `"Infinity"` and `"-Infinity"`, the strings by which the JSON form of
/// Protocol Buffers and others write what JSON has no number for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonFinite {
    /// The event is invalid.
    #[default]
    Reject,
    /// They are taken.
    Accept,
}

/// The unit of a number that stands for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpochUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds: what JavaScript and Java count in.
    #[default]
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

/// What Frazil knows of an event and puts into the system columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowMeta<'m> {
    /// For `__id__`.
    pub id: &'m str,
    /// For `__ts__`: microseconds since the epoch.
    pub ts_micros: i64,
    /// For `__write_id__`.
    pub write_id: &'m str,
}

/// A sink for the values of one column: a tree with the shape of the schema.
///
/// The root is a struct whose children are the table's columns. For every row the walk gives each
/// column exactly one value, children before their parent's `…_end`:
/// - a primitive: one typed call, or [`null`](Column::null);
/// - a struct: one value to every child (in any order), then [`struct_end`](Column::struct_end);
/// - a list: `n` values to child 0, then [`list_end(n)`](Column::list_end);
/// - a map: `n` values to child 0 (keys) and child 1 (values), then [`map_end(n)`](Column::map_end).
///
/// On `null()` of a nested column its children get nothing: the sink pads them if it must.
///
/// The walk stops at the first error, in the middle of the row. What it delivered by then
/// is garbage: the sink takes itself back to the mark it made before the row.
pub trait Column {
    /// Null, in a column that is not required.
    fn null(&mut self);
    /// A boolean.
    fn boolean(&mut self, value: bool);
    /// An int.
    fn int(&mut self, value: i32);
    /// A long.
    fn long(&mut self, value: i64);
    /// A float; finite unless [`MappingPolicy::non_finite`] accepts others.
    fn float(&mut self, value: f32);
    /// A double; finite unless [`MappingPolicy::non_finite`] accepts others.
    fn double(&mut self, value: f64);
    /// A decimal: the unscaled value, within the column's precision.
    fn decimal(&mut self, unscaled: i128);
    /// A date: days since 1970-01-01.
    fn date(&mut self, days: i32);
    /// A time: microseconds since midnight.
    fn time(&mut self, micros: i64);
    /// A timestamp or timestamptz: microseconds since the epoch.
    fn timestamp(&mut self, micros: i64);
    /// A timestamp_ns or timestamptz_ns: nanoseconds since the epoch.
    fn timestamp_ns(&mut self, nanos: i64);
    /// A string.
    fn string(&mut self, value: &str);
    /// A uuid, most significant byte first.
    fn uuid(&mut self, value: [u8; 16]);
    /// A binary, or a fixed of exactly the column's length.
    fn bytes(&mut self, value: &[u8]);
    /// The column of a struct's field (by position), a list's element (0), a map's key (0) or value (1).
    fn child(&mut self, index: usize) -> &mut Self;
    /// The struct is present; every child has its value.
    fn struct_end(&mut self);
    /// The list is present; `len` values went to child 0.
    fn list_end(&mut self, len: usize);
    /// The map is present; `len` values went to child 0 and to child 1.
    fn map_end(&mut self, len: usize);
}

/// The sink that ignores everything: validation only.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoColumn;

impl Column for NoColumn {
    fn null(&mut self) {}
    fn boolean(&mut self, _: bool) {}
    fn int(&mut self, _: i32) {}
    fn long(&mut self, _: i64) {}
    fn float(&mut self, _: f32) {}
    fn double(&mut self, _: f64) {}
    fn decimal(&mut self, _: i128) {}
    fn date(&mut self, _: i32) {}
    fn time(&mut self, _: i64) {}
    fn timestamp(&mut self, _: i64) {}
    fn timestamp_ns(&mut self, _: i64) {}
    fn string(&mut self, _: &str) {}
    fn uuid(&mut self, _: [u8; 16]) {}
    fn bytes(&mut self, _: &[u8]) {}
    fn child(&mut self, _: usize) -> &mut Self {
        self
    }
    fn struct_end(&mut self) {}
    fn list_end(&mut self, _: usize) {}
    fn map_end(&mut self, _: usize) {}
}
