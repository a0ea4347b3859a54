//! The Arrow schema of a Frazil schema, the same that `iceberg` derives (but for documentation strings).

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit};
use frazil_core::schema::{Field, Schema, Type};

const FIELD_ID: &str = "PARQUET:field_id";
const UTC: &str = "+00:00";

/// The Arrow schema whose batches the files of a table with this schema are written from.
pub fn arrow_schema(schema: &Schema) -> SchemaRef {
    Arc::new(ArrowSchema::new(schema.fields.iter().map(field).collect::<Vec<_>>()))
}

/// Whether rows mapped to `schema` fit columns of `arrow`: same names, types and nullability in the same order.
pub fn same_columns(schema: &Schema, arrow: &ArrowSchema) -> bool {
    let ours = arrow_schema(schema);
    ours.fields().len() == arrow.fields().len()
        && ours.fields().iter().zip(arrow.fields()).all(|(ours, theirs)| {
            ours.name() == theirs.name()
                && ours.is_nullable() == theirs.is_nullable()
                && ours.data_type().equals_datatype(theirs.data_type())
        })
}

fn field(field: &Field) -> ArrowField {
    arrow_field(&field.name, field.id, data_type(&field.ty), !field.required)
}

fn arrow_field(name: &str, id: i32, ty: DataType, nullable: bool) -> ArrowField {
    ArrowField::new(name, ty, nullable).with_metadata(HashMap::from([(FIELD_ID.to_owned(), id.to_string())]))
}

fn data_type(ty: &Type) -> DataType {
    match ty {
        Type::Boolean => DataType::Boolean,
        Type::Int => DataType::Int32,
        Type::Long => DataType::Int64,
        Type::Float => DataType::Float32,
        Type::Double => DataType::Float64,
        Type::Decimal { precision, scale } => {
            DataType::Decimal128(*precision, i8::try_from(*scale).expect("a scale is at most 38"))
        }
        Type::Date => DataType::Date32,
        Type::Time => DataType::Time64(TimeUnit::Microsecond),
        Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        Type::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        Type::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())),
        Type::String => DataType::Utf8,
        Type::Uuid => DataType::FixedSizeBinary(16),
        Type::Fixed(length) => i32::try_from(*length).map_or(DataType::LargeBinary, DataType::FixedSizeBinary),
        Type::Binary => DataType::LargeBinary,
        Type::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Fields>()),
        Type::List { element_id, element_required, element } => {
            DataType::List(Arc::new(arrow_field("element", *element_id, data_type(element), !element_required)))
        }
        Type::Map { key_id, key, value_id, value_required, value } => {
            let key = arrow_field("key", *key_id, data_type(key), false);
            let value = arrow_field("value", *value_id, data_type(value), !value_required);
            let entries = DataType::Struct(Fields::from(vec![key, value]));
            DataType::Map(Arc::new(ArrowField::new("key_value", entries, false)), false)
        }
    }
}
