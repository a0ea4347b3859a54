//! Reading a dead-letter table's rows. Its users may have dropped or retyped columns: what identifies a letter must be
//! there, the rest is optional.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, TimeUnit};
use frazil_core::checkpoint::Incarnation;
use frazil_core::replay::Place;
use frazil_core::schema::{ID_COLUMN, TS_COLUMN};
use frazil_core::{Shard, StreamName};

const STREAM: &str = "stream";
const RECEIVED: &str = "received";
const PAYLOAD: &str = "payload";
const REASON: &str = "reason";
const FIELD: &str = "field";
const MESSAGE: &str = "message";
const REQUEST_KEY: &str = "request_key";

/// Columns by which letters are told apart.
pub const INDEX_COLUMNS: [&str; 2] = [ID_COLUMN, STREAM];
/// Columns by which letters are counted.
pub const COUNT_COLUMNS: [&str; 5] = [ID_COLUMN, STREAM, REASON, RECEIVED, TS_COLUMN];
/// All columns that say something about a letter.
pub const LETTER_COLUMNS: [&str; 9] =
    [ID_COLUMN, STREAM, RECEIVED, TS_COLUMN, REASON, FIELD, MESSAGE, REQUEST_KEY, PAYLOAD];

/// A dead-letter table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LetterColumnError {
    /// A column without which nothing can be done.
    #[error("the dead-letter table has no column `{0}`")]
    Missing(&'static str),
    /// A column of another type than Frazil gave it.
    #[error("column `{column}` of the dead-letter table has the type {found}")]
    Type {
        /// The column.
        column: &'static str,
        /// Its Arrow type.
        found: String,
    },
}

/// The rows of a dead-letter table in one batch.
#[derive(Debug)]
pub struct LetterRows<'b> {
    rows: usize,
    id: &'b StringArray,
    stream: &'b StringArray,
    received: Option<&'b TimestampMicrosecondArray>,
    stored: Option<&'b TimestampMicrosecondArray>,
    reason: Option<&'b StringArray>,
    field: Option<&'b StringArray>,
    message: Option<&'b StringArray>,
    request_key: Option<&'b StringArray>,
    payload: Option<&'b StringArray>,
}

/// One letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterRow<'b> {
    /// The event's id: its `__id__` as a row.
    pub id: &'b str,
    /// Where it was in the log.
    pub shard: Shard,
    /// Of the shard.
    pub incarnation: Incarnation,
    /// Within the shard.
    pub place: Place,
    /// When its request came in, in microseconds since the epoch.
    pub received: Option<i64>,
    /// Machine code of why it is a letter.
    pub reason: Option<&'b str>,
    /// Path of the field that did not fit.
    pub field: Option<&'b str>,
    /// Why it is a letter, for people.
    pub message: Option<&'b str>,
    /// The `Idempotency-Key` of its request.
    pub request_key: Option<&'b str>,
    /// The event; base64 if it is no UTF-8.
    pub payload: Option<&'b str>,
}

impl<'b> LetterRows<'b> {
    /// The rows of a batch, of which any of [`LETTER_COLUMNS`] but the first two may be missing.
    ///
    /// # Errors
    /// [`LetterColumnError`].
    pub fn new(batch: &'b RecordBatch) -> Result<Self, LetterColumnError> {
        let needed = |column: &'static str| text(batch, column)?.ok_or(LetterColumnError::Missing(column));
        Ok(Self {
            rows: batch.num_rows(),
            id: needed(ID_COLUMN)?,
            stream: needed(STREAM)?,
            received: time(batch, RECEIVED)?,
            stored: time(batch, TS_COLUMN)?,
            reason: text(batch, REASON)?,
            field: text(batch, FIELD)?,
            message: text(batch, MESSAGE)?,
            request_key: text(batch, REQUEST_KEY)?,
            payload: text(batch, PAYLOAD)?,
        })
    }

    /// Each row; `None` for one that does not say which event it is.
    pub fn iter(&self) -> impl Iterator<Item = Option<LetterRow<'b>>> {
        (0..self.rows).map(|row| self.row(row))
    }

    fn row(&self, row: usize) -> Option<LetterRow<'b>> {
        let id = value(Some(self.id), row)?;
        let (incarnation, shard, place) = parse_id(id)?;
        let stream: StreamName = value(Some(self.stream), row)?.parse().ok()?;
        let instant =
            |column: Option<&TimestampMicrosecondArray>| column.filter(|c| c.is_valid(row)).map(|c| c.value(row));
        Some(LetterRow {
            id,
            shard: Shard::new(stream, shard),
            incarnation,
            place,
            received: instant(self.received).or_else(|| instant(self.stored)),
            reason: value(self.reason, row),
            field: value(self.field, row),
            message: value(self.message, row),
            request_key: value(self.request_key, row),
            payload: value(self.payload, row),
        })
    }
}

fn value(column: Option<&StringArray>, row: usize) -> Option<&str> {
    column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

fn text<'b>(batch: &'b RecordBatch, column: &'static str) -> Result<Option<&'b StringArray>, LetterColumnError> {
    let Some(array) = batch.column_by_name(column) else { return Ok(None) };
    match array.as_string_opt::<i32>() {
        Some(array) => Ok(Some(array)),
        None => Err(LetterColumnError::Type { column, found: array.data_type().to_string() }),
    }
}

fn time<'b>(
    batch: &'b RecordBatch,
    column: &'static str,
) -> Result<Option<&'b TimestampMicrosecondArray>, LetterColumnError> {
    let Some(array) = batch.column_by_name(column) else { return Ok(None) };
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Ok(array.as_primitive_opt::<TimestampMicrosecondType>()),
        other => Err(LetterColumnError::Type { column, found: other.to_string() }),
    }
}

/// The inverse of `dead_letter::event_id`: `<incarnation>-<shard>-<sequence>-<index>`.
fn parse_id(id: &str) -> Option<(Incarnation, u32, Place)> {
    let mut parts = id.split('-');
    let incarnation = parts.next()?.parse().ok()?;
    let shard = parts.next()?.parse().ok()?;
    let place = Place::new(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((incarnation, shard, place))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array};
    use proptest::prelude::*;

    use super::*;
    use crate::dead_letter::{dead_letter_schema, event_id};

    #[test]
    fn every_column_that_is_read_is_one_that_is_written() {
        let schema = dead_letter_schema();
        for column in LETTER_COLUMNS.iter().filter(|column| **column != REQUEST_KEY) {
            assert!(schema.field(column).is_some(), "{column}");
        }
    }

    #[test]
    fn rows_without_an_identity_and_columns_of_other_types() {
        let ids: ArrayRef = Arc::new(StringArray::from(vec![Some("000000000000000a-1-7-2"), None, Some("x"), None]));
        let streams: ArrayRef = Arc::new(StringArray::from(vec![Some("s"), Some("s"), Some("s"), None]));
        let batch = RecordBatch::try_from_iter([(ID_COLUMN, ids.clone()), (STREAM, streams)]).expect("two columns");
        let rows = LetterRows::new(&batch).expect("enough");
        let found: Vec<_> = rows.iter().map(|row| row.map(|row| (row.shard.to_string(), row.place))).collect();
        assert_eq!(found, [Some(("s/1".to_owned(), Place::new(7, 2))), None, None, None]);
        let only_ids = RecordBatch::try_from_iter([(ID_COLUMN, ids.clone())]).expect("one column");
        assert_eq!(LetterRows::new(&only_ids).expect_err("no stream"), LetterColumnError::Missing(STREAM));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let retyped = RecordBatch::try_from_iter([(ID_COLUMN, ids), (STREAM, numbers)]).expect("two columns");
        assert!(matches!(LetterRows::new(&retyped), Err(LetterColumnError::Type { column: STREAM, .. })));
    }

    proptest! {
        /// What is written as an event's id is read as its place.
        #[test]
        fn ids_round_trip(incarnation: u64, shard: u32, sequence: u64, index: u32) {
            let incarnation = Incarnation(incarnation);
            let id = event_id(incarnation, shard, sequence, index);
            prop_assert_eq!(parse_id(&id), Some((incarnation, shard, Place::new(sequence, index))));
        }
    }
}
