//! What columns take: the bytes of their values, and the memory that is allocated for them.

use super::{ColumnBuilder, Values};

impl ColumnBuilder {
    /// Bytes of values, offsets and validity bits.
    pub(super) fn bytes(&self) -> usize {
        let validity = self.nulls.len() / 8;
        validity
            + match &self.values {
                Values::Boolean(bits) => bits.len() / 8,
                Values::Int32(values) => values.len() * 4,
                Values::Int64(values) => values.len() * 8,
                Values::Float32(values) => values.len() * 4,
                Values::Float64(values) => values.len() * 8,
                Values::Int128(values) => values.len() * 16,
                Values::Fixed { data, .. } => data.len(),
                Values::Utf8 { ends, data } => ends.len() * 4 + data.len(),
                Values::Binary { ends, data } => ends.len() * 8 + data.len(),
                Values::Struct(children) => children.iter().map(Self::bytes).sum(),
                Values::Repeated { ends, children } => ends.len() * 4 + children.iter().map(Self::bytes).sum::<usize>(),
            }
    }

    /// Bytes of memory behind them.
    pub(super) fn allocated(&self) -> usize {
        let children =
            |children: &[Self]| children.iter().map(|child| size_of::<Self>() + child.allocated()).sum::<usize>();
        self.nulls.allocated_size()
            + match &self.values {
                Values::Boolean(bits) => bits.capacity() / 8,
                Values::Int32(values) => values.capacity() * 4,
                Values::Int64(values) => values.capacity() * 8,
                Values::Float32(values) => values.capacity() * 4,
                Values::Float64(values) => values.capacity() * 8,
                Values::Int128(values) => values.capacity() * 16,
                Values::Fixed { data, .. } => data.capacity(),
                Values::Utf8 { ends, data } => ends.capacity() * 4 + data.capacity(),
                Values::Binary { ends, data } => ends.capacity() * 8 + data.capacity(),
                Values::Struct(fields) => children(fields),
                Values::Repeated { ends, children: parts } => ends.capacity() * 4 + children(parts),
            }
    }
}
