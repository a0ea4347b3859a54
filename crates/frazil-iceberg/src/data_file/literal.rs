//! One value of a partition column as an Iceberg literal. Must not be used per row: it is for one value per file.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use iceberg::spec::{Literal, PrimitiveType};
use uuid::Uuid;

use super::error::StageError;

/// The value of `array` at `row` for a partition field of type `target`; `None` if it is null.
pub(super) fn at(array: &ArrayRef, row: usize, target: &PrimitiveType) -> Result<Option<Literal>, StageError> {
    if array.is_null(row) {
        return Ok(None);
    }
    let literal = match array.data_type() {
        DataType::Boolean => Literal::bool(array.as_boolean().value(row)),
        DataType::Int32 => Literal::int(array.as_primitive::<Int32Type>().value(row)),
        DataType::Date32 => Literal::date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Int64 => Literal::long(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => Literal::float(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => Literal::double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, _) => Literal::decimal(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Time64(TimeUnit::Microsecond) => {
            Literal::time(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Literal::timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Literal::long(array.as_primitive::<TimestampNanosecondType>().value(row))
        }
        DataType::Utf8 => Literal::string(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Literal::string(array.as_string::<i64>().value(row)),
        DataType::Binary => Literal::binary(array.as_binary::<i32>().value(row).iter().copied()),
        DataType::LargeBinary => Literal::binary(array.as_binary::<i64>().value(row).iter().copied()),
        DataType::FixedSizeBinary(_) => fixed(array.as_fixed_size_binary().value(row), target)?,
        other => return Err(StageError::Internal { reason: format!("partition values of Arrow type {other}") }),
    };
    Ok(Some(literal))
}

fn fixed(bytes: &[u8], target: &PrimitiveType) -> Result<Literal, StageError> {
    if *target != PrimitiveType::Uuid {
        return Ok(Literal::fixed(bytes.iter().copied()));
    }
    let uuid = Uuid::from_slice(bytes).map_err(|error| StageError::Internal { reason: error.to_string() })?;
    Ok(Literal::uuid(uuid))
}
