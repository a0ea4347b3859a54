//! Arrow column builders that the mapping of `frazil-core` writes rows into.
//!
//! Every builder is a tree of plain buffers that can be cut back to an earlier row, which the builders of the
//! `arrow` crate cannot: an event that turns out to be invalid in its last field must leave no trace. What
//! [`Columns::finish`] returns has exactly the Arrow schema the columns were made for. Nothing here knows
//! JSON, tables or commits.

mod finish;
mod schema;
mod size;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::{BooleanBufferBuilder, NullBufferBuilder};
use arrow_schema::{DataType, Field, SchemaRef};
use frazil_core::mapping::Column;

pub use schema::{arrow_schema, same_columns};

/// An Arrow type that no Iceberg schema maps to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}` has the Arrow type {found}, which no Iceberg type maps to")]
pub struct UnsupportedColumn {
    /// Name of the column.
    pub column: String,
    /// Its Arrow type.
    pub found: String,
}

/// The columns of one table, under construction.
#[derive(Debug)]
pub struct Columns {
    schema: SchemaRef,
    root: ColumnBuilder,
}

impl Columns {
    /// Empty columns for a table with this Arrow schema.
    ///
    /// # Errors
    /// [`UnsupportedColumn`] for a type that does not come from an Iceberg schema.
    pub fn new(schema: &SchemaRef) -> Result<Self, UnsupportedColumn> {
        let root = Field::new("", DataType::Struct(schema.fields().clone()), false);
        Ok(Self { schema: Arc::clone(schema), root: ColumnBuilder::new(&root)? })
    }

    /// The struct of all columns, which a mapping plan fills row by row.
    pub fn root(&mut self) -> &mut ColumnBuilder {
        &mut self.root
    }

    /// Complete rows.
    pub fn len(&self) -> usize {
        self.root.len()
    }

    /// Whether there is no complete row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the columns back to their first `rows` rows, whatever a row that was given up left behind.
    pub fn truncate(&mut self, rows: usize) {
        self.root.truncate(rows);
    }

    /// Bytes of all values, offsets and validity bits.
    pub fn bytes(&self) -> usize {
        self.root.bytes()
    }

    /// Bytes of memory behind the columns: the capacity of all their buffers.
    pub fn allocated(&self) -> usize {
        self.root.allocated()
    }

    /// The rows as a batch of exactly the schema given to [`Columns::new`].
    pub fn finish(self) -> RecordBatch {
        let columns = self.root.finish_children();
        let rows = columns.first().map_or(0, arrow_array::Array::len);
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema, columns, &options)
            .expect("columns are built from this very schema and have one value per row each")
    }
}

/// One column, or one field, element, key or value inside a nested column.
#[derive(Debug)]
pub struct ColumnBuilder {
    ty: DataType,
    nullable: bool,
    nulls: NullBufferBuilder,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Int128(Vec<i128>),
    Fixed {
        width: usize,
        data: Vec<u8>,
    },
    Utf8 {
        ends: Vec<i32>,
        data: Vec<u8>,
    },
    Binary {
        ends: Vec<i64>,
        data: Vec<u8>,
    },
    Struct(Vec<ColumnBuilder>),
    /// A list has one child, a map two.
    Repeated {
        ends: Vec<i32>,
        children: Vec<ColumnBuilder>,
    },
}

impl ColumnBuilder {
    fn new(field: &Field) -> Result<Self, UnsupportedColumn> {
        let children =
            |fields: &arrow_schema::Fields| fields.iter().map(|field| Self::new(field)).collect::<Result<Vec<_>, _>>();
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int32 | DataType::Date32 => Values::Int32(Vec::new()),
            DataType::Int64 | DataType::Time64(_) | DataType::Timestamp(..) => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(..) => Values::Int128(Vec::new()),
            DataType::FixedSizeBinary(width) => {
                Values::Fixed { width: usize::try_from(*width).unwrap_or(0), data: Vec::new() }
            }
            DataType::Utf8 => Values::Utf8 { ends: vec![0], data: Vec::new() },
            DataType::LargeBinary => Values::Binary { ends: vec![0], data: Vec::new() },
            DataType::Struct(fields) => Values::Struct(children(fields)?),
            DataType::List(element) => Values::Repeated { ends: vec![0], children: vec![Self::new(element)?] },
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => {
                    Values::Repeated { ends: vec![0], children: children(fields)? }
                }
                _ => return Err(unsupported(field)),
            },
            _ => return Err(unsupported(field)),
        };
        let nulls = NullBufferBuilder::new(0);
        Ok(Self { ty: field.data_type().clone(), nullable: field.is_nullable(), nulls, values })
    }

    fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Every part is cut, also those that seem short enough: a row that was given up may have left values in a
    /// child without ending the parent's.
    fn truncate(&mut self, len: usize) {
        if len < self.nulls.len() {
            self.nulls.truncate(len);
        }
        match &mut self.values {
            Values::Boolean(bits) => bits.truncate(len.min(bits.len())),
            Values::Int32(values) => values.truncate(len),
            Values::Int64(values) => values.truncate(len),
            Values::Float32(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Int128(values) => values.truncate(len),
            Values::Fixed { width, data } => data.truncate(len * *width),
            Values::Utf8 { ends, data } => {
                ends.truncate(len + 1);
                data.truncate(from_i32(ends[ends.len() - 1]));
            }
            Values::Binary { ends, data } => {
                ends.truncate(len + 1);
                data.truncate(usize::try_from(ends[ends.len() - 1]).expect("offsets are never negative"));
            }
            Values::Struct(children) => children.iter_mut().for_each(|child| child.truncate(len)),
            Values::Repeated { ends, children } => {
                ends.truncate(len + 1);
                let elements = from_i32(ends[ends.len() - 1]);
                children.iter_mut().for_each(|child| child.truncate(elements));
            }
        }
    }

    /// A place holder where the parent is null: null if that is allowed, else any value, which nobody can see.
    fn pad(&mut self) {
        if self.nullable {
            self.nulls.append_null()
        } else {
            self.nulls.append_non_null()
        }
        self.fill();
    }

    /// The value behind a null.
    fn fill(&mut self) {
        match &mut self.values {
            Values::Boolean(bits) => bits.append(false),
            Values::Int32(values) => values.push(0),
            Values::Int64(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Int128(values) => values.push(0),
            Values::Fixed { width, data } => data.resize(data.len() + *width, 0),
            Values::Utf8 { ends, .. } | Values::Repeated { ends, .. } => ends.push(ends[ends.len() - 1]),
            Values::Binary { ends, .. } => ends.push(ends[ends.len() - 1]),
            Values::Struct(children) => children.iter_mut().for_each(Self::pad),
        }
    }

    fn repeated(&mut self) -> (&mut Vec<i32>, &mut Vec<Self>) {
        match &mut self.values {
            Values::Repeated { ends, children } => (ends, children),
            other => mismatch(other, "a list or map"),
        }
    }

    fn end_repeated(&mut self, len: usize) {
        let (ends, children) = self.repeated();
        let end = children[0].len();
        debug_assert_eq!(from_i32(ends[ends.len() - 1]) + len, end);
        ends.push(to_i32(end));
        self.nulls.append_non_null();
    }
}

/// One typed value: its place in the validity bits and in the buffer.
macro_rules! push {
    ($self:ident, $variant:ident, $value:expr) => {
        match &mut $self.values {
            Values::$variant(values) => {
                values.push($value);
                $self.nulls.append_non_null();
            }
            other => mismatch(other, stringify!($variant)),
        }
    };
}

impl Column for ColumnBuilder {
    fn null(&mut self) {
        self.nulls.append_null();
        self.fill();
    }

    fn boolean(&mut self, value: bool) {
        match &mut self.values {
            Values::Boolean(bits) => bits.append(value),
            other => mismatch(other, "boolean"),
        }
        self.nulls.append_non_null();
    }

    fn int(&mut self, value: i32) {
        push!(self, Int32, value);
    }

    fn long(&mut self, value: i64) {
        push!(self, Int64, value);
    }

    fn float(&mut self, value: f32) {
        push!(self, Float32, value);
    }

    fn double(&mut self, value: f64) {
        push!(self, Float64, value);
    }

    fn decimal(&mut self, unscaled: i128) {
        push!(self, Int128, unscaled);
    }

    fn date(&mut self, days: i32) {
        push!(self, Int32, days);
    }

    fn time(&mut self, micros: i64) {
        push!(self, Int64, micros);
    }

    fn timestamp(&mut self, micros: i64) {
        push!(self, Int64, micros);
    }

    fn timestamp_ns(&mut self, nanos: i64) {
        push!(self, Int64, nanos);
    }

    fn string(&mut self, value: &str) {
        match &mut self.values {
            Values::Utf8 { ends, data } => {
                data.extend_from_slice(value.as_bytes());
                ends.push(to_i32(data.len()));
            }
            other => mismatch(other, "string"),
        }
        self.nulls.append_non_null();
    }

    fn uuid(&mut self, value: [u8; 16]) {
        self.bytes(&value);
    }

    fn bytes(&mut self, value: &[u8]) {
        match &mut self.values {
            Values::Fixed { width, data } => {
                debug_assert_eq!(*width, value.len());
                data.extend_from_slice(value);
            }
            Values::Binary { ends, data } => {
                data.extend_from_slice(value);
                ends.push(i64::try_from(data.len()).expect("memory is smaller than 2^63 bytes"));
            }
            other => mismatch(other, "fixed or binary"),
        }
        self.nulls.append_non_null();
    }

    fn child(&mut self, index: usize) -> &mut Self {
        match &mut self.values {
            Values::Struct(children) | Values::Repeated { children, .. } => &mut children[index],
            other => mismatch(other, "a nested type"),
        }
    }

    fn struct_end(&mut self) {
        self.nulls.append_non_null();
    }

    fn list_end(&mut self, len: usize) {
        self.end_repeated(len);
    }

    fn map_end(&mut self, len: usize) {
        self.end_repeated(len);
    }
}

fn unsupported(field: &Field) -> UnsupportedColumn {
    UnsupportedColumn { column: field.name().clone(), found: field.data_type().to_string() }
}

/// A batch is sealed long before 1 GiB (see `flush`), so 32-bit offsets always fit.
fn to_i32(len: usize) -> i32 {
    i32::try_from(len).expect("a batch is sealed before its texts or elements reach 2^31")
}

fn from_i32(offset: i32) -> usize {
    usize::try_from(offset).expect("offsets are never negative")
}

#[cold]
#[track_caller]
fn mismatch(values: &Values, got: &str) -> ! {
    // `same_columns` is checked whenever a table is loaded.
    unreachable!("plan and Arrow schema are of one table schema, yet {got} came for {values:?}")
}
