//! A table in a catalog in memory, rows in it, and deletes by others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use bytes::Bytes;
use futures::TryStreamExt;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, ManifestListWriter, ManifestWriterBuilder, Operation,
    Snapshot, SnapshotReference, SnapshotRetention, Struct, Summary,
};
use iceberg::{TableIdent, TableUpdate};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::create::create_table;
use crate::data_file::{StageOptions, stage};
use crate::rest::stub::Stub;
use crate::scan::{ScanError, scan};
use crate::{AppendError, FencedAppend, RestCatalog, Table};

pub(super) struct World {
    pub(super) stub: Stub,
    pub(super) catalog: RestCatalog,
    pub(super) table: Table,
}

pub(super) fn column(id: i32, name: &str, of: impl Into<Value>) -> Value {
    json!({"id": id, "name": name, "required": false, "type": of.into()})
}

pub(super) fn schema(columns: &[Value]) -> String {
    json!({"type": "struct", "schema-id": 0, "fields": columns}).to_string()
}

impl World {
    pub(super) async fn new(columns: &[Value], spec: &str, properties: &[(&str, &str)]) -> Self {
        let stub = Stub::start().await;
        let catalog = stub.connect().await;
        let properties: BTreeMap<String, String> =
            properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let create = create_table(&schema(columns), spec, "", properties, None).expect("definition");
        let ident = TableIdent::from_strs(["ns", "t"]).expect("ident");
        let table = catalog.create_table(&ident, create).await.expect("create");
        Self { stub, catalog, table }
    }

    /// Two columns, `n` and `s`, both optional.
    pub(super) async fn numbers(spec: &str) -> Self {
        Self::new(&[column(1, "n", "long"), column(2, "s", "string")], spec, &[]).await
    }

    pub(super) async fn reload(&mut self) {
        self.table = self.catalog.load_table(&self.table.ident).await.expect("load");
    }

    /// Makes this the current schema.
    pub(super) async fn alter(&mut self, columns: &[Value]) {
        let altered = self.catalog.update_schema(&self.table, &schema(columns), BTreeMap::new()).await;
        self.table = altered.expect("altered");
    }

    /// Stages and commits rows; returns the files, which are in the order of their locations.
    pub(super) async fn append(&mut self, columns: Vec<ArrayRef>) -> Vec<DataFile> {
        self.try_append(columns).await.expect("committed")
    }

    pub(super) async fn try_append(&mut self, columns: Vec<ArrayRef>) -> Result<Vec<DataFile>, AppendError> {
        let rows = RecordBatch::try_new(self.table.arrow_schema().expect("convertible"), columns).expect("fits");
        let staged = stage(&self.table, vec![rows], &StageOptions::new(Uuid::now_v7().to_string())).await;
        let staged = staged.expect("staged");
        let append = FencedAppend {
            commit_id: Uuid::new_v4(),
            table_uuid: self.table.uuid(),
            data_files: vec![staged.clone()],
            fence: Vec::new(),
            summary: BTreeMap::new(),
        };
        self.table = self.catalog.append(&self.table, &append).await?.table;
        Ok(staged.files)
    }

    /// Rows of [`World::numbers`].
    pub(super) async fn append_numbers(&mut self, numbers: impl IntoIterator<Item = i64>) -> Vec<DataFile> {
        let numbers: Vec<i64> = numbers.into_iter().collect();
        let texts: StringArray = numbers.iter().map(|n| Some(format!("s{}", n % 2))).collect();
        self.append(vec![Arc::new(Int64Array::from(numbers)), Arc::new(texts)]).await
    }

    pub(super) async fn read(&self, columns: &[&str]) -> Result<Vec<RecordBatch>, ScanError> {
        scan(&self.table, columns).await?.batches.try_collect().await
    }

    /// The numbers in the table, sorted.
    pub(super) async fn read_numbers(&self) -> Vec<i64> {
        let batches = self.read(&["n"]).await.expect("read");
        let mut numbers: Vec<i64> =
            batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().iter().flatten()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Commits delete files as another engine would.
    pub(super) async fn delete(&mut self, spec_id: i32, files: Vec<DataFile>) {
        let metadata = &self.table.metadata;
        let (id, sequence) = (1_000 + metadata.next_sequence_number(), metadata.next_sequence_number());
        let io = self.table.storage.file_io();
        let root = self.table.location();
        let manifest = io.new_output(format!("{root}/metadata/deletes-{id}.avro")).expect("output");
        let spec = metadata.partition_spec_by_id(spec_id).expect("a spec").as_ref().clone();
        let mut writer =
            ManifestWriterBuilder::new(manifest, Some(id), metadata.current_schema().clone(), spec).build_v2_deletes();
        for file in files {
            writer.add_file(file, iceberg::spec::UNASSIGNED_SEQUENCE_NUMBER).expect("a delete file");
        }
        let added = writer.write_manifest_file().await.expect("manifest");
        let parent = metadata.current_snapshot().expect("a snapshot");
        let kept = self.table.storage.get(parent.manifest_list()).await.expect("list");
        let kept = iceberg::spec::ManifestList::parse_with_version(&kept, metadata.format_version()).expect("list");
        let list = format!("{root}/metadata/snap-{id}.avro");
        let output = io.new_output(&list).expect("output").writer().await.expect("writer");
        let mut writer = ManifestListWriter::v2(output, id, Some(parent.snapshot_id()), sequence);
        writer.add_manifests(kept.consume_entries().into_iter().chain([added])).expect("manifests");
        writer.close().await.expect("stored");
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(Some(parent.snapshot_id()))
            .with_sequence_number(sequence)
            .with_timestamp_ms(metadata.last_updated_ms())
            .with_manifest_list(list)
            .with_summary(Summary { operation: Operation::Delete, additional_properties: HashMap::new() })
            .with_schema_id(metadata.current_schema_id())
            .build();
        let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
        let ref_name = "main".to_owned();
        let updates = vec![TableUpdate::AddSnapshot { snapshot }, TableUpdate::SetSnapshotRef { ref_name, reference }];
        self.stub.update(updates);
        self.reload().await;
    }

    /// Stores a position delete file.
    pub(super) async fn positions(&self, partition: Struct, rows: &[(&str, i64)]) -> DataFile {
        let paths: StringArray = rows.iter().map(|(path, _)| Some(*path)).collect();
        let places: Int64Array = rows.iter().map(|(_, place)| *place).collect();
        let columns: Vec<(&str, i32, ArrayRef)> =
            vec![("file_path", 2_147_483_546, Arc::new(paths)), ("pos", 2_147_483_545, Arc::new(places))];
        let (location, size) = self.store(columns).await;
        described(DataContentType::PositionDeletes, location, size, rows.len(), partition).build().expect("described")
    }

    /// Stores an equality delete file that compares the given columns.
    pub(super) async fn equality(&self, partition: Struct, columns: Vec<(&str, i32, ArrayRef)>) -> DataFile {
        let ids: Vec<i32> = columns.iter().map(|(_, id, _)| *id).collect();
        let rows = columns[0].2.len();
        let (location, size) = self.store(columns).await;
        let mut builder = described(DataContentType::EqualityDeletes, location, size, rows, partition);
        builder.equality_ids(Some(ids)).build().expect("described")
    }

    pub(super) async fn store(&self, columns: Vec<(&str, i32, ArrayRef)>) -> (String, u64) {
        let bytes = parquet_of(columns);
        let location = format!("{}/data/{}.parquet", self.table.location(), Uuid::new_v4());
        let size = bytes.len() as u64;
        self.table.storage.put(&location, bytes).await.expect("stored");
        (location, size)
    }
}

/// A Parquet file with field ids; an id below zero stands for none.
fn parquet_of(columns: Vec<(&str, i32, ArrayRef)>) -> Bytes {
    let field = |(name, id, values): &(&str, i32, ArrayRef)| {
        let id = (*id >= 0).then(|| (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string()));
        Field::new(*name, values.data_type().clone(), true).with_metadata(id.into_iter().collect())
    };
    let schema = Arc::new(ArrowSchema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let rows = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, _, values)| values).collect());
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).expect("writer");
    writer.write(&rows.expect("columns fit")).expect("written");
    Bytes::from(writer.into_inner().expect("closed"))
}

pub(super) fn described(
    content: DataContentType,
    location: String,
    size: u64,
    rows: usize,
    partition: Struct,
) -> DataFileBuilder {
    let mut builder = DataFileBuilder::default();
    builder
        .content(content)
        .file_path(location)
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .record_count(rows as u64)
        .file_size_in_bytes(size);
    builder
}

/// Some value of a type, and others; the last is null.
pub(super) fn texts(batches: &[RecordBatch], column: usize) -> Vec<Option<String>> {
    let values = batches.iter().flat_map(|batch| {
        assert_eq!(batch.column(column).data_type(), &DataType::Utf8);
        batch.column(column).as_string::<i32>().iter()
    });
    values.map(|value| value.map(str::to_owned)).collect()
}
