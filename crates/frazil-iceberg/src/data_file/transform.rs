//! Partition transforms over Arrow columns. Uses the spec layer's where they are right over the whole range of values,
//! and computes the others here, with flooring division. Must not know which table or field it works for.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, LargeBinaryArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, TimeUnit};
use iceberg::spec::{Transform, Type};
use iceberg::transform::create_transform_function;

use super::calendar::civil_from_days;
use super::error::StageError;

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const NANOS_PER_MICRO: i64 = 1000;

/// The partition values of `column`, one for each row.
pub(super) fn apply(transform: Transform, column: &ArrayRef) -> Result<ArrayRef, StageError> {
    match transform {
        Transform::Year => calendar(transform, column, |days| civil_from_days(days).0 - 1970),
        Transform::Month => calendar(transform, column, |days| {
            let (year, month, _) = civil_from_days(days);
            (year - 1970) * 12 + i64::from(month) - 1
        }),
        Transform::Day => {
            let days = from_hours(transform, column, 24)?;
            Ok(Arc::new(days.reinterpret_cast::<Date32Type>()))
        }
        Transform::Hour => Ok(Arc::new(from_hours(transform, column, 1)?)),
        Transform::Bucket(0) | Transform::Truncate(0) => Err(unsupported(transform, column)),
        Transform::Bucket(_) => spec_layer(transform, bucket_source(column)),
        Transform::Truncate(width) => truncate(transform, width, column),
        Transform::Identity | Transform::Void | Transform::Unknown => spec_layer(transform, column.clone()),
    }
}

fn spec_layer(transform: Transform, column: ArrayRef) -> Result<ArrayRef, StageError> {
    create_transform_function(&transform)
        .and_then(|function| function.transform(column))
        .map_err(|source| StageError::spec(format!("transform {transform}"), source))
}

fn unsupported(transform: Transform, column: &ArrayRef) -> StageError {
    StageError::Transform { transform: transform.to_string(), data_type: column.data_type().to_string() }
}

fn calendar(transform: Transform, column: &ArrayRef, of_day: fn(i64) -> i64) -> Result<ArrayRef, StageError> {
    let days = from_hours(transform, column, 24)?;
    let values: Int32Array = days.unary(|days| saturate(of_day(i64::from(days))));
    Ok(Arc::new(values))
}

/// The column in units of `hours` since the epoch, rounded down.
///
/// The spec layer's `day` is one too high for the last second before a day boundary before 1970, and its `hour` knows
/// no nanoseconds.
fn from_hours(transform: Transform, column: &ArrayRef, hours: i64) -> Result<Int32Array, StageError> {
    let unit = MICROS_PER_HOUR * hours;
    Ok(match column.data_type() {
        DataType::Date32 if hours == 24 => column.as_primitive::<Date32Type>().reinterpret_cast::<Int32Type>(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            column.as_primitive::<TimestampMicrosecondType>().unary(|micros| saturate(micros.div_euclid(unit)))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => column
            .as_primitive::<TimestampNanosecondType>()
            .unary(|nanos| saturate(nanos.div_euclid(unit * NANOS_PER_MICRO))),
        _ => return Err(unsupported(transform, column)),
    })
}

/// Hours near the ends of the range do not fit the 32 bits of a partition value. The nearest value keeps the order,
/// so that pruning by a range still finds the rows.
fn saturate(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}

/// Nanoseconds are hashed as microseconds, rounded down; the spec layer rounds them towards zero.
fn bucket_source(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let micros: TimestampMicrosecondArray =
                column.as_primitive::<TimestampNanosecondType>().unary(|nanos| nanos.div_euclid(NANOS_PER_MICRO));
            Arc::new(micros)
        }
        _ => column.clone(),
    }
}

/// Numbers wrap around at the lower end as in the reference implementation (the spec layer panics there in debug
/// builds), and binary columns are `LargeBinary`, which the spec layer refuses.
fn truncate(transform: Transform, width: u32, column: &ArrayRef) -> Result<ArrayRef, StageError> {
    let wide = i64::from(width);
    match column.data_type() {
        DataType::Int32 => {
            let cut = |value: i32| {
                let remainder = i64::from(value).rem_euclid(wide);
                // Wrapping on purpose: the low 32 bits.
                (i64::from(value) - remainder) as i32
            };
            let values: Int32Array = column.as_primitive::<Int32Type>().unary(cut);
            Ok(Arc::new(values))
        }
        DataType::Int64 => {
            let cut = |value: i64| value.wrapping_sub(value.rem_euclid(wide));
            let values: Int64Array = column.as_primitive::<Int64Type>().unary(cut);
            Ok(Arc::new(values))
        }
        DataType::LargeBinary => {
            let width = width as usize;
            let cut = |value: Option<&[u8]>| value.map(|bytes| bytes[..bytes.len().min(width)].to_vec());
            let values: LargeBinaryArray = column.as_binary::<i64>().iter().map(cut).collect();
            Ok(Arc::new(values))
        }
        DataType::Decimal128(precision, _) => {
            let cut = spec_layer(transform, column.clone())?;
            // A partition value is stored in as many bytes as the precision needs, and the cut one can be longer.
            let bytes = Type::decimal_required_bytes(u32::from(*precision))
                .map_err(|source| StageError::spec(format!("transform {transform}"), source))?;
            let least = i128::MIN >> (i128::BITS - 8 * bytes);
            let fits = cut.as_primitive::<Decimal128Type>().iter().flatten().all(|value| value >= least);
            if fits { Ok(cut) } else { Err(unsupported(transform, column)) }
        }
        _ => spec_layer(transform, column.clone()),
    }
}

#[cfg(test)]
mod tests;
