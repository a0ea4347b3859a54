//! NaNs per column, counted while rows are written, because a footer does not tell them.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{ArrowError, DataType};

use super::leaves::{Leaf, Leaves};
use crate::data_file::column;

/// Counts of one file.
#[derive(Debug, Default)]
pub(in crate::data_file) struct NanCounts {
    by_id: HashMap<i32, u64>,
}

impl NanCounts {
    /// Counts the NaNs of a batch in every float column outside lists and maps.
    pub(in crate::data_file) fn add(&mut self, leaves: &Leaves, batch: &RecordBatch) -> Result<(), ArrowError> {
        for leaf in leaves.floats() {
            let Some(path) = &leaf.path else { continue };
            let values = column::values(batch, path)?;
            let nans = match values.data_type() {
                DataType::Float32 => {
                    values.as_primitive::<Float32Type>().iter().flatten().filter(|value| value.is_nan()).count()
                }
                DataType::Float64 => {
                    values.as_primitive::<Float64Type>().iter().flatten().filter(|value| value.is_nan()).count()
                }
                other => return Err(ArrowError::SchemaError(format!("float column {} is {other}", leaf.id))),
            };
            *self.by_id.entry(leaf.id).or_default() += nans as u64;
        }
        Ok(())
    }

    /// The count, if the column's NaNs were counted.
    pub(super) fn get(&self, leaf: &Leaf) -> Option<u64> {
        self.by_id.get(&leaf.id).copied()
    }
}
