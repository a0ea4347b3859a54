//! Manifests of one attempt: their names, and the writer for one partition spec.

use iceberg::io::FileIO;
use iceberg::spec::{DataFile, PartitionSpecRef, SchemaRef, Struct, StructType, TableMetadata};
use uuid::Uuid;

use super::PrepareError;
use crate::manifest_file::DataManifestWriter;
use crate::table::Table;

/// Names and writers for the manifests of one attempt.
pub(super) struct Manifests<'a> {
    table: &'a Table,
    io: FileIO,
    snapshot_id: i64,
    /// Unique per attempt: a name is never written twice, whatever became of the attempt before.
    attempt: Uuid,
    written: usize,
}

/// A partition spec of the table with a schema that has all its source columns.
pub(super) struct BoundSpec {
    spec: PartitionSpecRef,
    schema: SchemaRef,
    partition_type: StructType,
}

impl<'a> Manifests<'a> {
    pub(super) fn new(table: &'a Table, snapshot_id: i64) -> Self {
        Self { table, io: table.storage.file_io(), snapshot_id, attempt: Uuid::new_v4(), written: 0 }
    }

    pub(super) fn io(&self) -> &FileIO {
        &self.io
    }

    pub(super) fn list_location(&self) -> String {
        format!("{}/snap-{}-0-{}.avro", self.directory(), self.snapshot_id, self.attempt)
    }

    /// A writer for the next manifest of the attempt.
    pub(super) fn writer(&mut self, bound: &BoundSpec) -> Result<DataManifestWriter, PrepareError> {
        let location = format!("{}/{}-m{}.avro", self.directory(), self.attempt, self.written);
        self.written += 1;
        let version = self.table.metadata.format_version();
        Ok(DataManifestWriter::new(&self.io, location, self.snapshot_id, version, &bound.spec, &bound.schema)?)
    }

    fn directory(&self) -> String {
        match self.table.property("write.metadata.path") {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None => format!("{}/metadata", self.table.location()),
        }
    }
}

impl BoundSpec {
    /// Finds the spec, and a schema for it: the preferred one, else the current, else any (the source column of an
    /// old spec may be dropped since).
    pub(super) fn find(metadata: &TableMetadata, spec_id: i32, schema_id: Option<i32>) -> Result<Self, PrepareError> {
        let spec = metadata
            .partition_spec_by_id(spec_id)
            .ok_or_else(|| PrepareError::invalid(format!("the table has no partition spec {spec_id}")))?;
        let preferred = schema_id.and_then(|id| metadata.schema_by_id(id));
        let mut schemas = preferred.into_iter().chain([metadata.current_schema()]).chain(metadata.schemas_iter());
        let bound = schemas.find_map(|schema| Some((schema.clone(), spec.partition_type(schema).ok()?)));
        let (schema, partition_type) =
            bound.ok_or_else(|| PrepareError::invalid(format!("no schema fits partition spec {spec_id}")))?;
        Ok(Self { spec: spec.clone(), schema, partition_type })
    }

    /// Refuses partition values that the spec layer would panic on.
    pub(super) fn check(&self, file: &DataFile) -> Result<(), PrepareError> {
        if self.fits(file.partition()) {
            return Ok(());
        }
        let reason = format!("partition of {} does not fit partition spec {}", file.file_path(), self.spec.spec_id());
        Err(PrepareError::Invalid { reason })
    }

    fn fits(&self, partition: &Struct) -> bool {
        let fields = self.partition_type.fields();
        let fits = |(value, field): (&Option<_>, &iceberg::spec::NestedFieldRef)| match value {
            None => true,
            Some(iceberg::spec::Literal::Primitive(value)) => {
                field.field_type.as_primitive_type().is_some_and(|primitive| primitive.compatible(value))
            }
            Some(_) => false,
        };
        let primitive = fields.iter().all(|field| field.field_type.is_primitive());
        primitive && partition.fields().len() == fields.len() && partition.fields().iter().zip(fields).all(fits)
    }
}
