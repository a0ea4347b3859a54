//! What the spec layer is told instead of a partition spec that it cannot do: sources of other types, whose values have
//! the same bytes in Avro. Pure.

use iceberg::spec::{
    DataFile, DataFileBuilder, Literal, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, SchemaRef, Struct,
    Transform,
};
use iceberg::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::avro_schema;

/// Decimals of this precision take 16 bytes, as a uuid does.
const UUID_PRECISION: u32 = 38;

/// A spec and its schema with stand-ins.
///
/// A field with a stand-in has another name and another source, a column that the schema gets in addition: the types
/// of the table's own columns, which the bounds of data files have, stay as they are.
pub(super) struct StandIns {
    spec: PartitionSpec,
    schema: SchemaRef,
    /// What each field has instead of its type, if anything.
    types: Vec<Option<PrimitiveType>>,
}

impl StandIns {
    pub(super) fn new(spec: &PartitionSpec, schema: &SchemaRef) -> Result<Self> {
        let result = |field: &iceberg::spec::PartitionField| {
            let source = schema.field_by_id(field.source_id)?;
            let kept = matches!(field.transform, Transform::Identity | Transform::Void);
            if kept { instead_of(source.field_type.as_primitive_type()?) } else { None }
        };
        let types: Vec<_> = spec.fields().iter().map(result).collect();
        if types.iter().all(Option::is_none) {
            return Ok(Self { spec: spec.clone(), schema: schema.clone(), types });
        }
        let (spec, schema) = replaced(spec, schema, &types)
            .map_err(|error| Error::new(ErrorKind::DataInvalid, format!("partition spec: {error}")))?;
        Ok(Self { spec, schema: schema.into(), types })
    }

    pub(super) fn spec(&self) -> &PartitionSpec {
        &self.spec
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The Avro type of the field at `place`, if it has a stand-in.
    pub(super) fn avro_type(&self, place: usize) -> Option<Value> {
        match self.types[place].as_ref()? {
            PrimitiveType::Decimal { precision, scale } => {
                avro_schema::decimal(*precision, *scale, &format!("stand_in_{place}"))
            }
            other => avro_schema::specified(other, 0),
        }
    }

    /// The file as the spec layer can write it.
    pub(super) fn disguise(&self, file: &DataFile, spec_id: i32) -> Result<DataFile> {
        self.exchange(file, spec_id, |value| match value {
            Literal::Primitive(PrimitiveLiteral::UInt128(value)) => Literal::decimal(value.cast_signed()),
            other => other,
        })
    }

    /// The file as it is, from what the spec layer read.
    pub(super) fn restore(&self, file: &DataFile, spec_id: i32) -> Result<DataFile> {
        self.exchange(file, spec_id, |value| match value {
            Literal::Primitive(PrimitiveLiteral::Int128(value)) => {
                Literal::Primitive(PrimitiveLiteral::UInt128(value.cast_unsigned()))
            }
            other => other,
        })
    }

    /// Exchanges the values of fields whose literals differ, too, and not only their types.
    fn exchange(&self, file: &DataFile, spec_id: i32, with: impl Fn(Literal) -> Literal) -> Result<DataFile> {
        let differs = |of: &Option<PrimitiveType>| matches!(of, Some(PrimitiveType::Decimal { .. }));
        if !self.types.iter().any(differs) {
            return Ok(file.clone());
        }
        let values = file.partition().iter().zip(&self.types);
        let partition = values.map(|(value, of)| match value {
            Some(value) if differs(of) => Some(with(value.clone())),
            other => other.cloned(),
        });
        with_partition(file, spec_id, partition.collect())
    }
}

/// The uuids of a partition, with the places of their fields.
pub(super) fn uuids(partition: &Struct) -> impl Iterator<Item = (usize, u128)> {
    partition.iter().enumerate().filter_map(|(place, value)| match value {
        Some(Literal::Primitive(PrimitiveLiteral::UInt128(value))) => Some((place, *value)),
        _ => None,
    })
}

/// A type that the spec layer can write and read, with values of the same bytes.
fn instead_of(of: &PrimitiveType) -> Option<PrimitiveType> {
    match of {
        // Not fixed[16]: there may be only one type of that name in a schema.
        PrimitiveType::Uuid => Some(PrimitiveType::Decimal { precision: UUID_PRECISION, scale: 0 }),
        PrimitiveType::TimestampNs => Some(PrimitiveType::Timestamp),
        PrimitiveType::TimestamptzNs => Some(PrimitiveType::Timestamptz),
        _ => None,
    }
}

fn replaced(
    spec: &PartitionSpec,
    schema: &Schema,
    types: &[Option<PrimitiveType>],
) -> serde_json::Result<(PartitionSpec, Schema)> {
    let taken = |name: &str| {
        schema.field_by_name(name).is_some() || spec.fields().iter().any(|field| field.name.as_str() == name)
    };
    let (mut spec_json, mut schema_json) = (serde_json::to_value(spec)?, serde_json::to_value(schema)?);
    let mut columns = Vec::new();
    for ((field, of), written) in
        spec.fields().iter().zip(types).zip(spec_json["fields"].as_array_mut().into_iter().flatten())
    {
        let Some(of) = of else { continue };
        let mut name = format!("stand_in_{}", field.field_id);
        while taken(&name) {
            name.push('_');
        }
        let id = i64::from(schema.highest_field_id()) + 1 + columns.len() as i64;
        written["source-id"] = json!(id);
        written["name"] = json!(name);
        // Void too, whose values are null: only identity may have the name of its source.
        written["transform"] = json!("identity");
        columns.push(json!({"id": id, "name": name, "required": false, "type": of}));
    }
    if let Some(fields) = schema_json["fields"].as_array_mut() {
        fields.extend(columns);
    }
    Ok((serde_json::from_value(spec_json)?, serde_json::from_value(schema_json)?))
}

/// The spec layer has no way to change a file, so it is made anew.
fn with_partition(file: &DataFile, spec_id: i32, partition: Struct) -> Result<DataFile> {
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(partition)
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .equality_ids(file.equality_ids())
        .first_row_id(file.first_row_id())
        .partition_spec_id(spec_id)
        .referenced_data_file(file.referenced_data_file())
        .content_offset(file.content_offset())
        .content_size_in_bytes(file.content_size_in_bytes());
    if let Some(order) = file.sort_order_id() {
        builder.sort_order_id(order);
    }
    builder.build().map_err(|error| Error::new(ErrorKind::Unexpected, error.to_string()))
}
