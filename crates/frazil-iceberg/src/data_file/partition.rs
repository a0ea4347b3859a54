//! Splits rows by the values of a partition spec, in one pass over the rows however many partitions there are. Must
//! not know where files of a partition go.

use std::collections::HashMap;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_row::{RowConverter, SortField};
use iceberg::spec::{PartitionSpec, PrimitiveType, Schema, Struct, StructType, Transform, Type};

use super::column::{self, Path};
use super::error::StageError;
use super::literal;
use super::rows::Rows;
use super::transform;
use crate::manifest_file;

/// A partition spec bound to the columns it is computed from.
#[derive(Debug)]
pub(super) struct Partitioner {
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    transform: Transform,
    /// `None` for void, whose value is null whatever its source is (which may have been dropped from the schema).
    source: Option<Path>,
    target: PrimitiveType,
}

/// The rows of one partition.
#[derive(Debug)]
pub(super) struct Partition {
    /// One value per field of the spec.
    pub(super) values: Struct,
    pub(super) rows: Rows,
}

impl Partitioner {
    pub(super) fn new(spec: &PartitionSpec, types: &StructType, schema: &Schema) -> Result<Self, StageError> {
        let bind = |(field, target): (&iceberg::spec::PartitionField, &iceberg::spec::NestedFieldRef)| {
            let source = match field.transform {
                Transform::Void => None,
                _ => Some(column::path_of(schema.as_struct(), field.source_id).ok_or_else(|| StageError::Schema {
                    reason: format!("source {} of partition field {} is no column", field.source_id, field.name),
                })?),
            };
            let Type::Primitive(target) = target.field_type.as_ref() else {
                return Err(StageError::Schema { reason: format!("partition field {} is not primitive", field.name) });
            };
            Ok(Field { transform: field.transform, source, target: target.clone() })
        };
        let fields = spec.fields().iter().zip(types.fields()).map(bind).collect::<Result<_, _>>()?;
        if let Some(length) = manifest_file::shared_fixed(types.fields().iter().map(|field| field.field_type.as_ref()))
        {
            let reason =
                format!("two partition fields are of type fixed[{length}], which no manifest can be written for");
            return Err(StageError::Schema { reason });
        }
        Ok(Self { fields })
    }

    /// Splits all rows. Partitions come in the order of their first row, and rows keep their order within each.
    pub(super) fn split(&self, batches: &[RecordBatch]) -> Result<Vec<Partition>, StageError> {
        if self.fields.iter().all(|field| field.source.is_none()) {
            let rows = Rows::all(batches);
            let values = self.fields.iter().map(|_| None).collect();
            return Ok(if rows == Rows::default() { Vec::new() } else { vec![Partition { values, rows }] });
        }
        let mut groups = Groups::default();
        let mut converter: Option<RowConverter> = None;
        for (index, batch) in batches.iter().enumerate() {
            let columns = self.columns(batch)?;
            let converter = match &mut converter {
                Some(converter) => converter,
                none => none.insert(new_converter(&columns)?),
            };
            let keys = converter.convert_columns(&columns)?;
            for (row, key) in keys.iter().enumerate() {
                groups.add(key.as_ref(), (index, row), || self.values(&columns, row))?;
            }
        }
        Ok(groups.partitions)
    }

    /// The partition columns of a batch, without those of void fields.
    fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, StageError> {
        let sourced = self.fields.iter().filter_map(|field| Some((field, field.source.as_ref()?)));
        sourced.map(|(field, path)| transform::apply(field.transform, &column::values(batch, path)?)).collect()
    }

    fn values(&self, columns: &[ArrayRef], row: usize) -> Result<Struct, StageError> {
        let mut columns = columns.iter();
        let value = |field: &Field| match &field.source {
            None => Ok(None),
            Some(_) => {
                let column = columns.next().expect("one column for each field with a source");
                literal::at(column, row, &field.target)
            }
        };
        self.fields.iter().map(value).collect()
    }
}

fn new_converter(columns: &[ArrayRef]) -> Result<RowConverter, StageError> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    Ok(RowConverter::new(fields)?)
}

#[derive(Default)]
struct Groups {
    partitions: Vec<Partition>,
    /// Index of the partition with this key.
    by_key: HashMap<Box<[u8]>, usize>,
    /// Key and partition of the row before: events arrive in runs of one partition, and a comparison is cheaper than
    /// hashing.
    last: Option<(Box<[u8]>, usize)>,
}

impl Groups {
    fn add(
        &mut self,
        key: &[u8],
        (batch, row): (usize, usize),
        values: impl FnOnce() -> Result<Struct, StageError>,
    ) -> Result<(), StageError> {
        let index = match &self.last {
            Some((last, index)) if last.as_ref() == key => *index,
            Some(_) | None => {
                let index = match self.by_key.get(key) {
                    Some(index) => *index,
                    None => {
                        self.partitions.push(Partition { values: values()?, rows: Rows::default() });
                        self.by_key.insert(key.into(), self.partitions.len() - 1);
                        self.partitions.len() - 1
                    }
                };
                self.last = Some((key.into(), index));
                index
            }
        };
        self.partitions[index].rows.push(batch, row);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
