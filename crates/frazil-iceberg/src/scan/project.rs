//! Columns of a file as columns of the table, matched by field id at every level. Pure; must not know where rows come
//! from.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, GenericListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, Fields, SchemaRef as ArrowSchemaRef};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::error::ScanError;

/// Why a file's columns are not the table's.
#[derive(Debug)]
pub(super) enum Mismatch {
    /// The file's columns carry no field ids.
    NoFieldIds,
    /// A column's stored type cannot be read as the table's.
    Type { column: String, stored: DataType, table: DataType },
    /// The values do not fit, or are null where the table says they are not.
    Arrow(ArrowError),
}

impl From<ArrowError> for Mismatch {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl Mismatch {
    pub(super) fn at(self, location: &str) -> ScanError {
        let location = location.to_owned();
        match self {
            Self::NoFieldIds => ScanError::Unsupported { location, what: "a file without field ids".to_owned() },
            Self::Type { column, stored, table } => {
                let reason = format!("column {column:?} is stored as {stored}, which cannot be read as {table}");
                ScanError::Invalid { location, reason }
            }
            Self::Arrow(error) => ScanError::Invalid { location, reason: error.to_string() },
        }
    }
}

/// The field id that a column carries.
pub(super) fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

/// Places of the file's columns that hold columns of the target.
pub(super) fn columns(file: &ArrowSchemaRef, target: &ArrowSchemaRef) -> Result<Vec<usize>, Mismatch> {
    let ids: Vec<Option<i32>> = file.fields().iter().map(|field| field_id(field)).collect();
    if !ids.is_empty() && ids.iter().all(Option::is_none) {
        return Err(Mismatch::NoFieldIds);
    }
    let wanted = |id: &Option<i32>| id.is_some() && target.fields().iter().any(|field| field_id(field) == *id);
    Ok(ids.iter().enumerate().filter(|(_, id)| wanted(id)).map(|(place, _)| place).collect())
}

/// Rows of the file as rows of the target.
pub(super) fn batch(rows: &RecordBatch, target: &ArrowSchemaRef) -> Result<RecordBatch, Mismatch> {
    let columns = members(rows.schema_ref().fields(), rows.columns(), target.fields(), rows.num_rows())?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(target.clone(), columns, &options)?)
}

/// Columns of a batch, or children of a struct.
fn members(stored: &Fields, values: &[ArrayRef], target: &Fields, rows: usize) -> Result<Vec<ArrayRef>, Mismatch> {
    let member = |field: &Arc<Field>| {
        let id = field_id(field);
        match stored.iter().position(|stored| id.is_some() && field_id(stored) == id) {
            Some(place) => column(&values[place], field),
            None => Ok(new_null_array(field.data_type(), rows)),
        }
    };
    target.iter().map(member).collect()
}

fn column(values: &ArrayRef, target: &Field) -> Result<ArrayRef, Mismatch> {
    match (values.data_type(), target.data_type()) {
        (stored, wanted) if stored == wanted => Ok(values.clone()),
        (DataType::Struct(stored), DataType::Struct(wanted)) => {
            let array = values.as_struct();
            let children = members(stored, array.columns(), wanted, array.len())?;
            let (wanted, nulls) = (wanted.clone(), array.nulls().cloned());
            Ok(Arc::new(StructArray::try_new_with_length(wanted, children, nulls, array.len())?))
        }
        (DataType::List(_), DataType::List(element)) => {
            let array = values.as_list::<i32>();
            let elements = column(array.values(), element)?;
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            Ok(Arc::new(GenericListArray::<i32>::try_new(element.clone(), offsets, elements, nulls)?))
        }
        (DataType::Map(_, _), DataType::Map(entry, sorted)) => {
            let array = values.as_map();
            let entries: ArrayRef = Arc::new(array.entries().clone());
            let entries = column(&entries, entry)?.as_struct().clone();
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(entry.clone(), offsets, entries, nulls, *sorted)?))
        }
        (stored, wanted) if readable(stored, wanted) => {
            Ok(cast_with_options(values, wanted, &CastOptions { safe: false, ..CastOptions::default() })?)
        }
        (stored, wanted) => {
            Err(Mismatch::Type { column: target.name().clone(), stored: stored.clone(), table: wanted.clone() })
        }
    }
}

/// Promotions that the specification allows, and Arrow's several forms of one type.
fn readable(stored: &DataType, wanted: &DataType) -> bool {
    use DataType as T;
    match (stored, wanted) {
        (T::Int32, T::Int64) | (T::Float32, T::Float64) => true,
        (T::Decimal128(was, scale), T::Decimal128(is, same)) => scale == same && was <= is,
        (T::Date32, T::Timestamp(_, _)) | (T::Timestamp(_, _), T::Timestamp(_, _)) => true,
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8 | T::LargeUtf8) => true,
        (T::Binary | T::LargeBinary | T::BinaryView, T::Binary | T::LargeBinary) => true,
        _ => false,
    }
}
