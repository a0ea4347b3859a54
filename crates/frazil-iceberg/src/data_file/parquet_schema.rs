//! The Parquet schema of a table's files. Arrow's own conversion, plus the UUID annotation that Iceberg asks for and
//! Arrow has no type for: readers that go by the annotation would take such a column for plain bytes.

use std::sync::Arc;

use arrow_schema::Schema as ArrowSchema;
use iceberg::spec::{PrimitiveType, Schema, Type as IcebergType};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::LogicalType;
use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

/// Converts `arrow`, the Arrow form of `schema`. Columns keep their order and field ids.
pub(super) fn convert(arrow: &ArrowSchema, schema: &Schema) -> Result<SchemaDescriptor, ParquetError> {
    let converted = ArrowSchemaConverter::new().schema_root("table").convert(arrow)?;
    let fields = annotate_all(converted.root_schema().get_fields(), schema)?;
    let root = Type::group_type_builder(converted.root_schema().name()).with_fields(fields).build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

fn annotate_all(types: &[TypePtr], schema: &Schema) -> Result<Vec<TypePtr>, ParquetError> {
    types.iter().map(|of| annotate(of, schema)).collect()
}

fn annotate(of: &TypePtr, schema: &Schema) -> Result<TypePtr, ParquetError> {
    let info = of.get_basic_info();
    let id = info.has_id().then(|| info.id());
    let annotated = match of.as_ref() {
        Type::GroupType { fields, .. } => Type::group_type_builder(info.name())
            .with_repetition(info.repetition())
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(annotate_all(fields, schema)?)
            .with_id(id)
            .build()?,
        Type::PrimitiveType { physical_type, type_length, .. } if id.is_some_and(|id| is_uuid(schema, id)) => {
            Type::primitive_type_builder(info.name(), *physical_type)
                .with_repetition(info.repetition())
                .with_length(*type_length)
                .with_logical_type(Some(LogicalType::Uuid))
                .with_id(id)
                .build()?
        }
        Type::PrimitiveType { .. } => return Ok(of.clone()),
    };
    Ok(Arc::new(annotated))
}

fn is_uuid(schema: &Schema, field_id: i32) -> bool {
    let uuid = IcebergType::Primitive(PrimitiveType::Uuid);
    schema.field_by_id(field_id).is_some_and(|field| *field.field_type == uuid)
}
