//! Column metrics of a data file, taken from its Parquet footer. Readers skip files by these, so a wrong one hides
//! rows: whatever is not certain is left out.

mod bounds;
mod leaves;
mod nan;

use std::collections::HashMap;

use iceberg::spec::Datum;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use bounds::Bounds;
use leaves::{Leaf, MetricsMode};

pub(super) use leaves::Leaves;
pub(super) use nan::NanCounts;

/// Metrics by field id, as a manifest holds them.
#[derive(Debug, Default)]
pub(super) struct FileMetrics {
    pub(super) record_count: u64,
    pub(super) column_sizes: HashMap<i32, u64>,
    pub(super) value_counts: HashMap<i32, u64>,
    pub(super) null_value_counts: HashMap<i32, u64>,
    pub(super) nan_value_counts: HashMap<i32, u64>,
    pub(super) lower_bounds: HashMap<i32, Datum>,
    pub(super) upper_bounds: HashMap<i32, Datum>,
    /// Where each row group begins, ascending.
    pub(super) split_offsets: Vec<i64>,
}

impl FileMetrics {
    /// Metrics of the file that has this footer and these NaNs.
    pub(super) fn from_footer(footer: &ParquetMetaData, leaves: &Leaves, nans: &NanCounts) -> Self {
        let mut metrics = Self {
            record_count: unsigned(footer.file_metadata().num_rows()),
            split_offsets: split_offsets(footer),
            ..Self::default()
        };
        for (index, column) in footer.file_metadata().schema_descr().columns().iter().enumerate() {
            let info = column.self_type().get_basic_info();
            let Some(leaf) = info.has_id().then(|| leaves.get(info.id())).flatten() else { continue };
            let chunks: Vec<_> = footer.row_groups().iter().map(|group| group.column(index)).collect();
            metrics.add_column(leaf, &chunks, nans);
        }
        metrics
    }

    fn add_column(&mut self, leaf: &Leaf, chunks: &[&ColumnChunkMetaData], nans: &NanCounts) {
        let sum = |value: fn(&ColumnChunkMetaData) -> i64| chunks.iter().map(|chunk| unsigned(value(chunk))).sum();
        self.column_sizes.insert(leaf.id, sum(ColumnChunkMetaData::compressed_size));
        if leaf.mode == MetricsMode::None {
            return;
        }
        self.value_counts.insert(leaf.id, sum(ColumnChunkMetaData::num_values));
        let nulls = chunks.iter().map(|chunk| chunk.statistics().and_then(|statistics| statistics.null_count_opt()));
        if let Some(nulls) = nulls.sum::<Option<u64>>() {
            self.null_value_counts.insert(leaf.id, nulls);
        }
        if let Some(nans) = nans.get(leaf) {
            self.nan_value_counts.insert(leaf.id, nans);
        }
        let Some(limit) = leaf.bounds_limit() else { return };
        let Some(bounds) = Bounds::of_column(&leaf.primitive, chunks) else { return };
        if let Some(lower) = bounds.lower(&leaf.primitive, limit) {
            self.lower_bounds.insert(leaf.id, lower);
        }
        if let Some(upper) = bounds.upper(&leaf.primitive, limit) {
            self.upper_bounds.insert(leaf.id, upper);
        }
    }
}

fn split_offsets(footer: &ParquetMetaData) -> Vec<i64> {
    let start = |chunk: &ColumnChunkMetaData| i64::try_from(chunk.byte_range().0).unwrap_or(i64::MAX);
    footer.row_groups().iter().filter_map(|group| group.columns().first()).map(start).collect()
}

/// Counts and sizes of a footer that was just written are never negative.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests;
