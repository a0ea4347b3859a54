//! Manifests as the specification has them, written and read with a spec layer that cannot do all partition types.
//!
//! iceberg-rust 0.10.1 writes no `uuid` partition values, reads no nanoseconds back, names two decimals of one precision
//! alike (no reader opens that), and leaves `adjust-to-utc` out. Every Avro file says in its header how its bytes are
//! to be understood, so the spec layer is given columns of types that it can do and whose bytes are the same, and the
//! header is exchanged on the way to and from storage. Data blocks are never touched.
//!
//! Must not decide which files go into a manifest.

mod avro_name;
mod avro_schema;
mod header;
mod stand_in;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, FieldSummary, FormatVersion, Manifest, ManifestEntry, ManifestFile, ManifestWriter,
    ManifestWriterBuilder, PartitionSpec, PrimitiveType, Schema, SchemaRef, Type,
};
use iceberg::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use header::Header;
use stand_in::StandIns;

/// Where the spec layer finds, and puts, the manifest it works on: a store of its own for each.
const SCRATCH: &str = "memory:///manifest.avro";

const SCHEMA: &str = "schema";
const PARTITION_SPEC: &str = "partition-spec";

/// Writes one manifest of data files.
pub(crate) struct DataManifestWriter {
    writer: ManifestWriter,
    scratch: FileIO,
    io: FileIO,
    location: String,
    spec: PartitionSpec,
    schema: SchemaRef,
    stand_ins: StandIns,
    /// Lower and upper bound of each partition field that is a uuid: those of its stand-in are another order's.
    bounds: Vec<Option<(u128, u128)>>,
}

impl DataManifestWriter {
    /// A writer to `location` for files of `spec`, whose source columns `schema` must have.
    pub(crate) fn new(
        io: &FileIO,
        location: String,
        snapshot_id: i64,
        version: FormatVersion,
        spec: &PartitionSpec,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let spec = avro_name::sanitized(spec).map_err(|error| invalid("partition spec", &error))?;
        let stand_ins = StandIns::new(&spec, schema)?;
        let scratch = FileIO::new_with_memory();
        let output = scratch.new_output(SCRATCH)?;
        let of = (stand_ins.schema().clone(), stand_ins.spec().clone());
        let builder = ManifestWriterBuilder::new(output, Some(snapshot_id), of.0, of.1);
        let writer = match version {
            FormatVersion::V1 => builder.build_v1(),
            FormatVersion::V2 => builder.build_v2_data(),
            FormatVersion::V3 => builder.build_v3_data(),
        };
        let bounds = vec![None; spec.fields().len()];
        Ok(Self { writer, scratch, io: io.clone(), location, spec, schema: schema.clone(), stand_ins, bounds })
    }

    /// Adds a new file; its sequence number is inherited from the snapshot that wins.
    pub(crate) fn add(&mut self, file: &DataFile) -> Result<()> {
        let file = self.disguised(file)?;
        self.writer.add_file(file, iceberg::spec::UNASSIGNED_SEQUENCE_NUMBER)
    }

    /// Adds a file that an earlier snapshot added.
    pub(crate) fn add_existing(
        &mut self,
        file: &DataFile,
        snapshot_id: i64,
        sequence_number: i64,
        file_sequence_number: Option<i64>,
    ) -> Result<()> {
        let file = self.disguised(file)?;
        self.writer.add_existing_file(file, snapshot_id, sequence_number, file_sequence_number)
    }

    fn disguised(&mut self, file: &DataFile) -> Result<DataFile> {
        for (place, value) in stand_in::uuids(file.partition()) {
            let bounds = self.bounds[place].get_or_insert((value, value));
            *bounds = (bounds.0.min(value), bounds.1.max(value));
        }
        self.stand_ins.disguise(file, self.spec.spec_id())
    }

    /// Stores the manifest, and returns its entry for the manifest list.
    pub(crate) async fn finish(self) -> Result<ManifestFile> {
        let written = self.writer.write_manifest_file().await?;
        let content = self.scratch.new_input(SCRATCH)?.read().await?;
        let content = as_specified(&content, &self.spec, &self.schema)?;
        let manifest_length = i64::try_from(content.len()).map_err(|error| invalid("length", &error))?;
        self.io.new_output(&self.location)?.write(content).await?;
        let mut partitions = written.partitions;
        for (summary, bounds) in partitions.iter_mut().flatten().zip(self.bounds) {
            if let Some((lower, upper)) = bounds {
                *summary = FieldSummary {
                    lower_bound: Some(lower.to_be_bytes().to_vec().into()),
                    upper_bound: Some(upper.to_be_bytes().to_vec().into()),
                    ..summary.clone()
                };
            }
        }
        Ok(ManifestFile { manifest_path: self.location, manifest_length, partitions, ..written })
    }
}

/// The length in bytes that two partition fields of type `fixed` share: the spec layer gives both types one name, and
/// then writes nothing.
pub(crate) fn shared_fixed<'a>(types: impl IntoIterator<Item = &'a Type>) -> Option<u64> {
    let mut seen = HashSet::new();
    types.into_iter().find_map(|of| match of {
        Type::Primitive(PrimitiveType::Fixed(length)) if !seen.insert(*length) => Some(*length),
        _ => None,
    })
}

/// The entries of a manifest, with what they inherit from its entry in the manifest list.
pub(crate) async fn load(io: &FileIO, manifest: &ManifestFile) -> Result<Vec<ManifestEntry>> {
    if manifest.key_metadata.is_some() {
        return Ok(entries(manifest.load_manifest(io).await?));
    }
    let content = io.new_input(&manifest.manifest_path)?.read().await?;
    let Some((content, stand_ins)) = as_readable(&content)? else {
        return Ok(entries(load_content(manifest, content).await?));
    };
    let mut entries = entries(load_content(manifest, content).await?);
    for entry in &mut entries {
        entry.data_file = stand_ins.restore(&entry.data_file, manifest.partition_spec_id)?;
    }
    Ok(entries)
}

/// Only the spec layer's own loading lets entries inherit, so that is where the content has to go.
async fn load_content(manifest: &ManifestFile, content: Bytes) -> Result<Manifest> {
    let scratch = FileIO::new_with_memory();
    scratch.new_output(SCRATCH)?.write(content).await?;
    let manifest = ManifestFile { manifest_path: SCRATCH.to_owned(), ..manifest.clone() };
    manifest.load_manifest(&scratch).await
}

fn entries(manifest: Manifest) -> Vec<ManifestEntry> {
    let (entries, _) = manifest.into_parts();
    entries.into_iter().map(Arc::unwrap_or_clone).collect()
}

/// A manifest of stand-ins, with the header of what they stand for.
fn as_specified(content: &[u8], spec: &PartitionSpec, schema: &Schema) -> Result<Bytes> {
    let mut header = Header::parse(content).ok_or_else(|| unexpected("the manifest just written has no header"))?;
    let mut avro = header.avro_schema().ok_or_else(|| unexpected("the manifest just written has no schema"))?;
    let partition_type = spec.partition_type(schema)?;
    for ((field, of), written) in
        spec.fields().iter().zip(partition_type.fields()).zip(avro_schema::partition_fields(&mut avro))
    {
        written["name"] = Value::String(field.name.clone());
        let of = of.field_type.as_primitive_type();
        if let Some(specified) = of.and_then(|of| avro_schema::specified(of, field.field_id)) {
            avro_schema::set_type(written, specified);
        }
    }
    header.set_avro_schema(&avro);
    header.set(SCHEMA, serde_json::to_vec(schema).map_err(|error| invalid("schema", &error))?);
    header.set(PARTITION_SPEC, serde_json::to_vec(spec.fields()).map_err(|error| invalid("spec", &error))?);
    Ok(header.on(content))
}

/// A manifest with stand-ins for what the spec layer cannot read; `None` if it can read everything, or if this is not
/// a manifest at all, which the spec layer says better.
fn as_readable(content: &[u8]) -> Result<Option<(Bytes, StandIns)>> {
    let Some(mut header) = Header::parse(content) else { return Ok(None) };
    let Some((spec, schema, mut avro)) = described(&header) else { return Ok(None) };
    let spec = avro_name::sanitized(&spec).map_err(|error| invalid("partition spec", &error))?;
    let stand_ins = StandIns::new(&spec, &schema)?;
    let sizes = avro_schema::fixed_sizes(&avro);
    for written in avro_schema::partition_fields(&mut avro) {
        let id = written["field-id"].as_i64();
        let fields = stand_ins.spec().fields().iter();
        let Some((place, field)) = fields.enumerate().find(|(_, field)| Some(i64::from(field.field_id)) == id) else {
            continue;
        };
        written["name"] = Value::String(field.name.clone());
        if let Some(readable) = stand_ins.avro_type(place)
            && avro_schema::is_like(written, &readable, &sizes)
        {
            avro_schema::set_type(written, readable);
        }
    }
    header.set_avro_schema(&avro);
    let encoded = |value: serde_json::Result<Vec<u8>>| value.map_err(|error| invalid("header", &error));
    header.set(SCHEMA, encoded(serde_json::to_vec(stand_ins.schema()))?);
    header.set(PARTITION_SPEC, encoded(serde_json::to_vec(stand_ins.spec().fields()))?);
    Ok(Some((header.on(content), stand_ins)))
}

fn described(header: &Header) -> Option<(PartitionSpec, SchemaRef, Value)> {
    let schema: Schema = serde_json::from_slice(header.get(SCHEMA)?).ok()?;
    let fields: Value = serde_json::from_slice(header.get(PARTITION_SPEC)?).ok()?;
    let spec = serde_json::from_value(json!({"spec-id": 0, "fields": fields})).ok()?;
    Some((spec, Arc::new(schema), header.avro_schema()?))
}

fn invalid(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::DataInvalid, format!("manifest {what}: {error}"))
}

fn unexpected(what: &str) -> Error {
    Error::new(ErrorKind::Unexpected, what)
}

#[cfg(test)]
mod tests;
