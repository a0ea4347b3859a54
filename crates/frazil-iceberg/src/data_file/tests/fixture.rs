//! Tables in memory, batches, and reading back what was staged.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use iceberg::TableIdent;
use iceberg::spec::{
    DataFile, FormatVersion, NestedField, PrimitiveType, Schema, SortOrder, TableMetadata, TableMetadataBuilder,
    Transform, Type, UnboundPartitionSpec,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;

use crate::data_file::{StageOptions, StagedFiles, stage};
use crate::storage::ObjectStorage;
use crate::table::Table;

pub(super) struct TableBuilder {
    fields: Vec<(String, Type)>,
    spec: Vec<(i32, String, Transform)>,
    order: SortOrder,
    properties: HashMap<String, String>,
    format: FormatVersion,
}

/// A table with these optional columns; ids count from 1 (nested ones after all of the top level).
pub(super) fn table(fields: impl IntoIterator<Item = (&'static str, Type)>) -> TableBuilder {
    TableBuilder {
        fields: fields.into_iter().map(|(name, of)| (name.to_owned(), of)).collect(),
        spec: Vec::new(),
        order: SortOrder::unsorted_order(),
        properties: HashMap::new(),
        format: FormatVersion::V2,
    }
}

pub(super) fn of(primitive: PrimitiveType) -> Type {
    Type::Primitive(primitive)
}

impl TableBuilder {
    pub(super) fn partition(mut self, source: i32, name: &str, transform: Transform) -> Self {
        self.spec.push((source, name.to_owned(), transform));
        self
    }

    pub(super) fn order(mut self, order: SortOrder) -> Self {
        self.order = order;
        self
    }

    pub(super) fn property(mut self, key: &str, value: &str) -> Self {
        self.properties.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(super) fn v3(mut self) -> Self {
        self.format = FormatVersion::V3;
        self
    }

    pub(super) fn metadata(self) -> TableMetadata {
        let field = |(index, (name, of)): (usize, (String, Type))| {
            Arc::new(NestedField::optional(i32::try_from(index).expect("few") + 1, name, of))
        };
        let fields = self.fields.into_iter().enumerate().map(field);
        let schema = Schema::builder().with_fields(fields).build().expect("valid schema");
        let mut spec = UnboundPartitionSpec::builder();
        for (source, name, transform) in self.spec {
            spec = spec.add_partition_field(source, name, transform).expect("valid partition field");
        }
        let location = "memory://warehouse/ns/t".to_owned();
        TableMetadataBuilder::new(schema, spec.build(), self.order, location, self.format, self.properties)
            .and_then(TableMetadataBuilder::build)
            .expect("valid metadata")
            .metadata
    }

    pub(super) fn build(self) -> Table {
        Table::new(
            TableIdent::from_strs(["ns", "t"]).expect("valid name"),
            Arc::new(self.metadata()),
            "memory://warehouse/ns/t/metadata/0.json".to_owned(),
            ObjectStorage::default(),
        )
    }
}

/// A batch of the table's schema. Columns get the types (time zones, field ids) of the table.
pub(super) fn batch(table: &Table, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(table.arrow_schema().expect("convertible"), columns).expect("columns fit")
}

pub(super) fn options() -> StageOptions {
    StageOptions::new("w0-test")
}

/// Stages on a runtime of its own, for tests that are not async.
pub(super) fn stage_blocking(table: &Table, batches: Vec<RecordBatch>, options: &StageOptions) -> StagedFiles {
    block_on(async { stage(table, batches, options).await.expect("stages") })
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
}

/// Footer and rows of a staged file.
pub(super) fn read(table: &Table, file: &DataFile) -> (ParquetMetaData, Vec<RecordBatch>) {
    let bytes = block_on(table.storage.get(file.file_path())).expect("the file is stored");
    assert_eq!(bytes.len() as u64, file.file_size_in_bytes());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("parquet");
    let footer = reader.metadata().as_ref().clone();
    let rows = reader.build().expect("reader").collect::<Result<_, _>>().expect("readable");
    (footer, rows)
}
