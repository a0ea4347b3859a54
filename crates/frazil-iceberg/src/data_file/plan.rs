//! Everything about a call that follows from the table's metadata and the options alone, and what is computed once
//! for all rows. Must not write.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_row::Rows as RowKeys;
use arrow_schema::SchemaRef as ArrowSchemaRef;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{PartitionSpec, StructType, TableMetadata};
use parquet::schema::types::SchemaDescriptor;

use super::error::StageError;
use super::location::Locations;
use super::metrics::Leaves;
use super::parquet_schema;
use super::partition::{Partition, Partitioner};
use super::settings::{Settings, StageOptions};
use super::sort::Sorter;

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
        let types = partition_type(metadata, spec)?;
        let arrow_schema = schema_to_arrow_schema(schema).map_err(|source| StageError::spec("arrow schema", source))?;
        let leaves = Leaves::new(schema, metadata.properties(), metadata.default_sort_order());
        let parquet_schema = parquet_schema::convert(&arrow_schema, schema)?;
        let sorter = Sorter::new(metadata.default_sort_order(), schema);
        let sorted_by = sorter.as_ref().map(|sorter| sorter.parquet_columns(&parquet_schema)).unwrap_or_default();
        Ok(Self {
            spec_id: spec.spec_id(),
            schema_id: schema.schema_id(),
            parquet_schema,
            arrow_schema: Arc::new(arrow_schema),
            settings: Settings::new(metadata.properties(), options, leaves.statistics_bytes(), sorted_by)?,
            leaves,
            locations: Locations::new(metadata.location(), metadata.properties(), spec, &types),
            partitioner: Partitioner::new(spec, &types, schema)?,
            sorter,
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
        self.sorter.as_ref().map(Sorter::order_id)
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

/// The types of a spec's fields. Computed anew: the metadata's own was made with the schema of the time when the spec
/// was set. The source of a void field may be dropped since, and is then found in an older schema.
fn partition_type(metadata: &TableMetadata, spec: &PartitionSpec) -> Result<StructType, StageError> {
    let current = spec.partition_type(metadata.current_schema());
    current.or_else(|error| {
        let mut older = metadata.schemas_iter().map(|schema| spec.partition_type(schema));
        older.find_map(Result::ok).ok_or_else(|| StageError::spec("partition type", error))
    })
}
