//! Events that were acknowledged but cannot become rows: what is kept of them, and the table they are kept in.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::envelope::{EnvelopeError, Unroutable};
use frazil_core::mapping::{Column, FieldError};
use frazil_core::schema::{Field, ID_COLUMN, Schema, TS_COLUMN, Type, WRITE_ID_COLUMN};

use crate::columns::Columns;

/// Longest explanation and field path kept of an error. Payloads are kept whole: none is longer than a log message.
const MESSAGE_MAX_CHARS: usize = 1000;

/// What a letter takes in memory beyond its payload, about: itself, and what the allocator adds.
pub(crate) const LETTER_OVERHEAD: usize = size_of::<DeadLetter>() + 160;

/// One event that cannot become a row.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    pub(crate) shard: Shard,
    pub(crate) incarnation: Incarnation,
    pub(crate) sequence: Sequence,
    /// Index of the event within its message; 0 for a message that cannot be read at all.
    pub(crate) index: u32,
    /// When the request came in, in microseconds since the epoch.
    pub(crate) received: i64,
    /// The client's idempotency key.
    pub(crate) request_key: Option<Arc<str>>,
    pub(crate) reason: LetterReason,
    pub(crate) payload: Bytes,
}

/// Why an event is a dead letter.
#[derive(Debug, Clone)]
pub(crate) enum LetterReason {
    /// It does not fit the table.
    Invalid(FieldError),
    /// The table does not exist.
    TableNotFound,
    /// The proxy found no table for it.
    Unroutable(Arc<Unroutable>),
    /// It did not fit when the table's commit decided so; by now it would, but what is decided stays.
    SchemaChanged,
    /// The log message it was in cannot be read.
    Unreadable(EnvelopeError),
}

impl LetterReason {
    /// The stable machine code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Invalid(error) => error.reason.code(),
            Self::TableNotFound => "table_not_found",
            Self::Unroutable(_) => "unroutable",
            Self::SchemaChanged => "schema_changed",
            Self::Unreadable(error) => match error {
                EnvelopeError::Checksum { .. } => "checksum",
                EnvelopeError::UnknownVersion(_) => "unknown_version",
                EnvelopeError::MissingHeader(_)
                | EnvelopeError::MalformedHeader { .. }
                | EnvelopeError::MalformedSection { .. }
                | EnvelopeError::SectionLength { .. } => "malformed_envelope",
            },
        }
    }

    /// Bytes of the texts it owns.
    fn bytes(&self) -> usize {
        match self {
            Self::Invalid(error) => error.field.len() + error.got.len(),
            Self::TableNotFound | Self::SchemaChanged | Self::Unroutable(_) | Self::Unreadable(_) => 0,
        }
    }

    fn message(&self) -> String {
        let text = match self {
            Self::Invalid(error) => error.to_string(),
            Self::TableNotFound => "the table did not exist when the event was written".to_owned(),
            Self::SchemaChanged => {
                "the event did not fit the table's schema when its batch was committed; the schema has changed since"
                    .to_owned()
            }
            Self::Unroutable(why) => why.message.clone(),
            Self::Unreadable(error) => error.to_string(),
        };
        text.chars().take(MESSAGE_MAX_CHARS).collect()
    }

    fn field(&self) -> Option<&str> {
        let field = match self {
            Self::Invalid(error) => &error.field,
            Self::Unroutable(why) => &why.field,
            Self::TableNotFound | Self::SchemaChanged | Self::Unreadable(_) => return None,
        };
        let end = field.char_indices().nth(MESSAGE_MAX_CHARS).map_or(field.len(), |(end, _)| end);
        Some(&field[..end]).filter(|field| !field.is_empty())
    }
}

impl DeadLetter {
    /// Bytes it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len() + self.reason.bytes() + LETTER_OVERHEAD
    }

    /// The value of a column of the dead-letter table; `None` is null.
    fn put(&self, name: &str, commit_id: &str, column: &mut impl Column) -> Option<()> {
        match name {
            ID_COLUMN => column.string(&event_id(self.incarnation, self.shard.index, self.sequence, self.index)),
            TS_COLUMN | "received" => column.timestamp(self.received),
            WRITE_ID_COLUMN => column.string(commit_id),
            "payload" => match std::str::from_utf8(&self.payload) {
                Ok(text) => column.string(text),
                Err(_) => column.string(&STANDARD.encode(&self.payload)),
            },
            "reason" => column.string(self.reason.code()),
            "message" => column.string(&self.reason.message()),
            "field" => column.string(self.reason.field()?),
            "stream" => column.string(self.shard.stream.as_str()),
            "shard" => column.int(i32::try_from(self.shard.index).ok()?),
            "sequence" => column.long(i64::try_from(self.sequence).ok()?),
            "event_index" => column.int(i32::try_from(self.index).ok()?),
            "request_key" => column.string(self.request_key.as_deref()?),
            _ => return None,
        }
        Some(())
    }
}

/// The deterministic id of an event: the value of `__id__`.
pub(crate) fn event_id(incarnation: Incarnation, shard: u32, sequence: Sequence, index: u32) -> String {
    format!("{incarnation}-{shard}-{sequence}-{index}")
}

/// The columns of a dead-letter table.
pub(crate) fn dead_letter_schema() -> Schema {
    let columns = [
        (ID_COLUMN, Type::String),
        (TS_COLUMN, Type::Timestamptz),
        (WRITE_ID_COLUMN, Type::String),
        ("payload", Type::String),
        ("reason", Type::String),
        ("message", Type::String),
        ("field", Type::String),
        ("stream", Type::String),
        ("shard", Type::Int),
        ("sequence", Type::Long),
        ("event_index", Type::Int),
        ("received", Type::Timestamptz),
        ("request_key", Type::String),
    ];
    let fields = columns.into_iter().zip(1..).map(|((name, ty), id)| Field::optional(id, name, ty));
    Schema::new(fields.collect())
}

/// The letters as rows of a dead-letter table with these columns. Its users may have added columns (they get
/// null) or dropped or retyped some of ours (what no longer fits is left out).
pub(crate) fn letter_rows(letters: &[DeadLetter], commit_id: &str, arrow: &SchemaRef) -> RecordBatch {
    let ours = crate::columns::arrow_schema(&dead_letter_schema());
    let fits = |name: &str, ty: &DataType| ours.field_with_name(name).is_ok_and(|field| field.data_type() == ty);
    let names = arrow.fields().iter().map(|field| Some(field.name()).filter(|name| fits(name, field.data_type())));
    let names: Vec<Option<&String>> = names.collect();
    let mut columns = Columns::new(arrow).expect("a sink gives only Arrow schemas that come from Iceberg's");
    for letter in letters {
        for (index, name) in names.iter().enumerate() {
            let column = columns.root().child(index);
            if name.and_then(|name| letter.put(name, commit_id, column)).is_none() {
                column.null();
            }
        }
        columns.root().struct_end();
    }
    columns.finish()
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;

    use super::*;

    fn letter(payload: &'static [u8]) -> DeadLetter {
        DeadLetter {
            shard: Shard::new("s".parse().expect("valid"), 3),
            incarnation: Incarnation(10),
            sequence: 7,
            index: 2,
            received: 5,
            request_key: Some("k-1".into()),
            reason: LetterReason::TableNotFound,
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn every_column_is_filled_and_bytes_that_are_no_text_are_base64() {
        let arrow = crate::columns::arrow_schema(&dead_letter_schema());
        let rows = letter_rows(&[letter(b"{}"), letter(&[0xff, 0])], "w", &arrow);
        let text =
            |name: &str, row: usize| rows.column_by_name(name).expect(name).as_string::<i32>().value(row).to_owned();
        assert_eq!(text(ID_COLUMN, 0), "000000000000000a-3-7-2");
        assert_eq!((text("payload", 0), text("payload", 1)), ("{}".to_owned(), "/wA=".to_owned()));
        assert_eq!((text("reason", 0), text(WRITE_ID_COLUMN, 0)), ("table_not_found".to_owned(), "w".to_owned()));
        assert_eq!(text("request_key", 0), "k-1");
        assert_eq!(rows.column_by_name("field").expect("field").null_count(), 2);
        let nulls: Vec<&str> = rows
            .schema_ref()
            .fields()
            .iter()
            .zip(rows.columns())
            .filter(|(_, column)| column.null_count() > 0)
            .map(|(field, _)| field.name().as_str())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|name| if name == "field" { "field" } else { "unexpected" })
            .collect();
        assert_eq!(nulls, ["field"]);
    }

    #[test]
    fn a_table_from_before_a_column_was_added_goes_on_without_it() {
        let mut schema = dead_letter_schema();
        schema.fields.pop_if(|field| field.name == "request_key").expect("the newest column is the last");
        let rows = letter_rows(&[letter(b"{}")], "w", &crate::columns::arrow_schema(&schema));
        assert_eq!((rows.num_rows(), rows.num_columns()), (1, 12));
        assert_eq!(rows.columns().iter().filter(|column| column.null_count() > 0).count(), 1, "all but `field`");
    }

    #[test]
    fn what_the_proxy_found_about_the_route_is_kept() {
        let why = Unroutable { field: "event_type".to_owned(), message: "it is no string".to_owned() };
        let reason = LetterReason::Unroutable(Arc::new(why));
        assert_eq!((reason.code(), reason.field()), ("unroutable", Some("event_type")));
        assert_eq!(reason.message(), "it is no string");
    }

    #[test]
    fn columns_that_users_changed_are_left_out() {
        let mut schema = dead_letter_schema();
        schema.fields.retain(|field| field.name != "payload");
        schema.fields[3].ty = Type::Long;
        schema.fields.push(Field::optional(99, "note", Type::Boolean));
        let rows = letter_rows(&[letter(b"{}")], "w", &crate::columns::arrow_schema(&schema));
        assert_eq!((rows.num_rows(), rows.column(3).null_count()), (1, 1));
        assert_eq!(rows.column_by_name("note").expect("note").null_count(), 1);
    }
}
