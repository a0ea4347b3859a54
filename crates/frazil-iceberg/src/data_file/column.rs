//! Reaches a column inside structs: the path from the table's schema, the values from a batch. Must not look inside
//! lists and maps, whose values do not belong to one row.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::ArrowError;
use arrow_select::nullif::nullif;
use iceberg::spec::{StructType, Type};

/// Index of the column in the batch, then of the child in each struct below it.
pub(super) type Path = Vec<usize>;

/// Where the field is, or `None` if it does not exist or is inside a list or map.
pub(super) fn path_of(fields: &StructType, field_id: i32) -> Option<Path> {
    fields.fields().iter().enumerate().find_map(|(index, field)| {
        if field.id == field_id {
            return Some(vec![index]);
        }
        let Type::Struct(inner) = field.field_type.as_ref() else { return None };
        let mut path = path_of(inner, field_id)?;
        path.insert(0, index);
        Some(path)
    })
}

/// The values at `path`, null where a struct on the way is null.
pub(super) fn values(batch: &RecordBatch, path: &[usize]) -> Result<ArrayRef, ArrowError> {
    let (first, rest) = path.split_first().expect("a path has at least one step");
    let mut array = batch.column(*first).clone();
    for step in rest {
        let parent = array.as_struct();
        let child = parent.column(*step).clone();
        array = match parent.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => hide(&child, nulls)?,
            None => child,
        };
    }
    Ok(array)
}

/// What a struct's child holds where the struct is null is arbitrary.
fn hide(child: &ArrayRef, parents: &NullBuffer) -> Result<ArrayRef, ArrowError> {
    nullif(child, &BooleanArray::new(!parents.inner(), None))
}
