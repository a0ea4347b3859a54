//! From buffers to Arrow arrays of exactly the column's type.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array,
    Int64Array, LargeBinaryArray, ListArray, MapArray, StringArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};

use super::{ColumnBuilder, Values};

const OF_ITS_TYPE: &str = "buffers are filled as the column's type says";

impl ColumnBuilder {
    /// The arrays of the struct's fields.
    pub(super) fn finish_children(self) -> Vec<ArrayRef> {
        match self.values {
            Values::Struct(children) => children.into_iter().map(Self::finish).collect(),
            other => super::mismatch(&other, "the root"),
        }
    }

    fn finish(mut self) -> ArrayRef {
        let rows = self.len();
        let nulls = self.nulls.finish();
        match self.values {
            Values::Boolean(mut bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::Int32(values) => int32(&self.ty, values.into(), nulls),
            Values::Int64(values) => int64(&self.ty, values.into(), nulls),
            Values::Float32(values) => Arc::new(Float32Array::new(values.into(), nulls)),
            Values::Float64(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::Int128(values) => Arc::new(Decimal128Array::new(values.into(), nulls).with_data_type(self.ty)),
            Values::Fixed { width, data } => {
                let width = i32::try_from(width).expect("the width came from an i32");
                Arc::new(FixedSizeBinaryArray::new(width, Buffer::from_vec(data), nulls))
            }
            Values::Utf8 { ends, data } => Arc::new(StringArray::new(offsets(ends), Buffer::from_vec(data), nulls)),
            Values::Binary { ends, data } => {
                Arc::new(LargeBinaryArray::new(offsets(ends), Buffer::from_vec(data), nulls))
            }
            Values::Struct(children) => finish_struct(&self.ty, children, nulls, rows),
            Values::Repeated { ends, children } => finish_repeated(self.ty, offsets(ends), children, nulls),
        }
    }
}

fn int32(ty: &DataType, values: ScalarBuffer<i32>, nulls: Option<NullBuffer>) -> ArrayRef {
    match ty {
        DataType::Date32 => Arc::new(Date32Array::new(values, nulls)),
        _ => Arc::new(Int32Array::new(values, nulls)),
    }
}

fn int64(ty: &DataType, values: ScalarBuffer<i64>, nulls: Option<NullBuffer>) -> ArrayRef {
    match ty {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            Arc::new(TimestampNanosecondArray::new(values, nulls).with_timezone_opt(zone.clone()))
        }
        DataType::Timestamp(_, zone) => {
            Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone_opt(zone.clone()))
        }
        DataType::Time64(_) => Arc::new(Time64MicrosecondArray::new(values, nulls)),
        _ => Arc::new(Int64Array::new(values, nulls)),
    }
}

fn finish_struct(ty: &DataType, children: Vec<ColumnBuilder>, nulls: Option<NullBuffer>, rows: usize) -> ArrayRef {
    let DataType::Struct(fields) = ty else { unreachable!("{OF_ITS_TYPE}") };
    let arrays = children.into_iter().map(ColumnBuilder::finish).collect();
    Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, nulls, rows).expect(OF_ITS_TYPE))
}

fn finish_repeated(
    ty: DataType,
    offsets: OffsetBuffer<i32>,
    children: Vec<ColumnBuilder>,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let elements = children[0].len();
    let mut arrays: Vec<ArrayRef> = children.into_iter().map(ColumnBuilder::finish).collect();
    match ty {
        DataType::List(element) => Arc::new(ListArray::new(element, offsets, arrays.remove(0), nulls)),
        DataType::Map(entries, ordered) => {
            let DataType::Struct(fields) = entries.data_type() else { unreachable!("{OF_ITS_TYPE}") };
            let pairs = StructArray::try_new_with_length(fields.clone(), arrays, None, elements).expect(OF_ITS_TYPE);
            Arc::new(MapArray::new(entries, offsets, pairs, nulls, ordered))
        }
        _ => unreachable!("{OF_ITS_TYPE}"),
    }
}

fn offsets<T>(ends: Vec<T>) -> OffsetBuffer<T>
where
    T: arrow_array::OffsetSizeTrait,
{
    OffsetBuffer::new(ScalarBuffer::from(ends))
}
