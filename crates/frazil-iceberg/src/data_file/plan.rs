//! Everything about a call that follows from the table's metadata and the options alone, and what is computed once
//! for all rows. Must not write.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_row::{RowConverter, Rows as RowKeys, SortField};
use arrow_schema::{SchemaRef as ArrowSchemaRef, SortOptions};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{NullOrder, Schema, SortDirection, SortOrder, TableMetadata, Transform};
use parquet::schema::types::SchemaDescriptor;

use super::column::{self, Path};
use super::error::StageError;
use super::location::Locations;
use super::metrics::Leaves;
use super::parquet_schema;
use super::partition::{Partition, Partitioner};
use super::settings::{Settings, StageOptions};
use super::transform;

/// How the rows of one table are split, sorted and written.
pub(super) struct Plan {
    spec_id: i32,
    schema_id: i32,
    pub(super) arrow_schema: ArrowSchemaRef,
    pub(super) parquet_schema: SchemaDescriptor,
    pub(super) settings: Settings,
    pub(super) leaves: Leaves,
    locations: Locations,
    partitioner: Partitioner,
    sorter: Option<Sorter>,
}

/// Batches in the table's schema, with the keys they are sorted by.
pub(super) struct Input {
    pub(super) batches: Vec<RecordBatch>,
    /// One set for each batch, if the table has a sort order.
    pub(super) sort_keys: Option<Vec<RowKeys>>,
}

/// Input that was split.
pub(super) struct Prepared {
    pub(super) input: Input,
    pub(super) partitions: Vec<Partition>,
}

impl Plan {
    pub(super) fn new(metadata: &TableMetadata, options: &StageOptions) -> Result<Self, StageError> {
        let schema = metadata.current_schema();
        let spec = metadata.default_partition_spec();
        // Computed anew: the metadata's own was made with the schema of the time when the spec was set.
        let types = spec.partition_type(schema).map_err(|source| StageError::spec("partition type", source))?;
        let arrow_schema = schema_to_arrow_schema(schema).map_err(|source| StageError::spec("arrow schema", source))?;
        let leaves = Leaves::new(schema, metadata.properties(), metadata.default_sort_order());
        Ok(Self {
            spec_id: spec.spec_id(),
            schema_id: schema.schema_id(),
            parquet_schema: parquet_schema::convert(&arrow_schema, schema)?,
            arrow_schema: Arc::new(arrow_schema),
            settings: Settings::new(metadata.properties(), options, leaves.statistics_bytes())?,
            leaves,
            locations: Locations::new(metadata.location(), metadata.properties(), spec, &types),
            partitioner: Partitioner::new(spec, &types, schema)?,
            sorter: Sorter::new(metadata.default_sort_order(), schema),
        })
    }

    pub(super) fn spec_id(&self) -> i32 {
        self.spec_id
    }

    pub(super) fn schema_id(&self) -> i32 {
        self.schema_id
    }

    /// The order that files are sorted by, if they are.
    pub(super) fn sort_order_id(&self) -> Option<i32> {
        self.sorter.as_ref().map(|sorter| sorter.order_id)
    }

    pub(super) fn locations(&self) -> &Locations {
        &self.locations
    }

    /// Checks the batches, splits their rows and computes their sort keys.
    pub(super) fn prepare(&self, batches: Vec<RecordBatch>) -> Result<Prepared, StageError> {
        let batches = batches.into_iter().map(|batch| self.check(batch)).collect::<Result<Vec<_>, _>>()?;
        let partitions = self.partitioner.split(&batches)?;
        let sort_keys = self.sorter.as_ref().map(|sorter| sorter.keys(&batches)).transpose()?;
        Ok(Prepared { input: Input { batches, sort_keys }, partitions })
    }

    /// Gives the batch the table's own schema, and with it the field ids that readers match columns by.
    fn check(&self, batch: RecordBatch) -> Result<RecordBatch, StageError> {
        if u32::try_from(batch.num_rows()).is_err() {
            return Err(StageError::Schema { reason: format!("{} rows in one batch", batch.num_rows()) });
        }
        if batch.schema_ref() == &self.arrow_schema {
            return Ok(batch);
        }
        for (field, column) in self.arrow_schema.fields().iter().zip(batch.schema_ref().fields()) {
            if field.name() != column.name() {
                let reason = format!("column {:?} where {:?} belongs", column.name(), field.name());
                return Err(StageError::Schema { reason });
            }
        }
        RecordBatch::try_new(self.arrow_schema.clone(), batch.columns().to_vec())
            .map_err(|error| StageError::Schema { reason: error.to_string() })
    }
}

/// A sort order bound to the columns it compares.
struct Sorter {
    order_id: i32,
    fields: Vec<(Path, Transform, SortOptions)>,
}

impl Sorter {
    /// `None` if the table has no order, or one that cannot be computed: sorting is an offer, and unsorted files
    /// without an order id are valid in any table.
    fn new(order: &SortOrder, schema: &Schema) -> Option<Self> {
        if order.is_unsorted() {
            return None;
        }
        let bind = |field: &iceberg::spec::SortField| {
            let path = column::path_of(schema.as_struct(), field.source_id)?;
            let source = schema.field_by_id(field.source_id)?;
            field.transform.result_type(&source.field_type).ok()?;
            let options = SortOptions {
                descending: field.direction == SortDirection::Descending,
                nulls_first: field.null_order == NullOrder::First,
            };
            (field.transform != Transform::Unknown).then_some((path, field.transform, options))
        };
        let fields: Option<Vec<_>> = order.fields.iter().map(bind).collect();
        let sorter = fields.zip(i32::try_from(order.order_id).ok());
        if sorter.is_none() {
            tracing::warn!(order_id = order.order_id, "sort order cannot be computed, files are written unsorted");
        }
        sorter.map(|(fields, order_id)| Self { order_id, fields })
    }

    fn keys(&self, batches: &[RecordBatch]) -> Result<Vec<RowKeys>, StageError> {
        let mut keys = Vec::with_capacity(batches.len());
        let mut converter: Option<RowConverter> = None;
        for batch in batches {
            let columns = self.columns(batch)?;
            let converter = match &mut converter {
                Some(converter) => converter,
                none => none.insert(self.converter(&columns)?),
            };
            keys.push(converter.convert_columns(&columns)?);
        }
        Ok(keys)
    }

    fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, StageError> {
        let fields = self.fields.iter();
        fields.map(|(path, how, _)| transform::apply(*how, &column::values(batch, path)?)).collect()
    }

    fn converter(&self, columns: &[ArrayRef]) -> Result<RowConverter, StageError> {
        let field = |(column, (_, _, options)): (&ArrayRef, &(Path, Transform, SortOptions))| {
            SortField::new_with_options(column.data_type().clone(), *options)
        };
        Ok(RowConverter::new(columns.iter().zip(&self.fields).map(field).collect())?)
    }
}
