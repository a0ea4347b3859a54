//! The tables of reports: which column each field and each metric of a report fills.
//!
//! Names and types are those that the field's other ingestion services use for these tables, so that queries fit both.

use crate::schema::{Field, Schema, Type};

/// The columns of one table, in their order: fields, timer, counters.
#[derive(Debug)]
pub(super) struct Layout {
    /// Fields that every report of the kind has.
    pub(super) fields: &'static [ReportField],
    /// The one timer, and its column of nanoseconds (long).
    pub(super) timer: (&'static str, &'static str),
    /// Counters, and their columns (long).
    pub(super) counters: &'static [(&'static str, &'static str)],
}

/// A field outside the metrics, and its column.
#[derive(Debug)]
pub(super) struct ReportField {
    pub(super) name: &'static str,
    pub(super) column: &'static str,
    pub(super) content: Content,
}

/// What a field holds, and so what its column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A string.
    Text,
    /// A whole number of 32 bits: a column of type int.
    Int,
    /// A whole number of 64 bits: a column of type long.
    Long,
    /// A list of whole numbers: a string, separated by commas.
    Ints,
    /// A list of strings: a string, separated by commas.
    Texts,
    /// Anything: a string with its JSON text.
    Json,
}

const fn field(name: &'static str, column: &'static str, content: Content) -> ReportField {
    ReportField { name, column, content }
}

impl Layout {
    pub(super) fn schema(&self) -> Schema {
        let fields = self.fields.iter().map(|field| (field.column, field.content.ty()));
        let longs = std::iter::once(&self.timer).chain(self.counters).map(|(_, column)| (*column, Type::Long));
        let columns = (1..).zip(fields.chain(longs));
        Schema::new(columns.map(|(id, (column, ty))| Field::optional(id, column, ty)).collect())
    }
}

impl Content {
    fn ty(self) -> Type {
        match self {
            Self::Int => Type::Int,
            Self::Long => Type::Long,
            Self::Text | Self::Ints | Self::Texts | Self::Json => Type::String,
        }
    }
}

/// `iceberg_scan_report`.
pub(super) const SCAN: Layout = Layout {
    fields: &[
        field("table-name", "table_name", Content::Text),
        field("snapshot-id", "snapshot_id", Content::Long),
        field("filter", "filter_expression", Content::Json),
        field("schema-id", "schema_id", Content::Int),
        field("projected-field-ids", "projected_field_ids", Content::Ints),
        field("projected-field-names", "projected_field_names", Content::Texts),
    ],
    timer: ("total-planning-duration", "total_planning_duration_ns"),
    counters: &[
        ("result-data-files", "result_data_files"),
        ("result-delete-files", "result_delete_files"),
        ("total-data-manifests", "total_data_manifests"),
        ("scanned-data-manifests", "scanned_data_manifests"),
        ("skipped-data-manifests", "skipped_data_manifests"),
        ("total-delete-manifests", "total_delete_manifests"),
        ("scanned-delete-manifests", "scanned_delete_manifests"),
        ("skipped-delete-manifests", "skipped_delete_manifests"),
        ("total-file-size-in-bytes", "total_file_size_in_bytes"),
        ("total-delete-file-size-in-bytes", "total_delete_file_size_in_bytes"),
        ("skipped-data-files", "skipped_data_files"),
        ("skipped-delete-files", "skipped_delete_files"),
        ("indexed-delete-files", "indexed_delete_files"),
        ("equality-delete-files", "equality_delete_files"),
        ("positional-delete-files", "positional_delete_files"),
    ],
};

/// `iceberg_commit_report`.
pub(super) const COMMIT: Layout = Layout {
    fields: &[
        field("table-name", "table_name", Content::Text),
        field("snapshot-id", "snapshot_id", Content::Long),
        field("sequence-number", "sequence_number", Content::Long),
        field("operation", "operation", Content::Text),
    ],
    timer: ("total-duration", "total_duration_ns"),
    counters: &[
        ("attempts", "attempts"),
        ("added-data-files", "added_data_files"),
        ("removed-data-files", "removed_data_files"),
        ("total-data-files", "total_data_files"),
        ("added-delete-files", "added_delete_files"),
        ("removed-delete-files", "removed_delete_files"),
        ("total-delete-files", "total_delete_files"),
        ("added-equality-delete-files", "added_equality_delete_files"),
        ("removed-equality-delete-files", "removed_equality_delete_files"),
        ("added-positional-delete-files", "added_positional_delete_files"),
        ("removed-positional-delete-files", "removed_positional_delete_files"),
        ("added-records", "added_records"),
        ("removed-records", "removed_records"),
        ("total-records", "total_records"),
        ("added-files-size-bytes", "added_files_size_in_bytes"),
        ("removed-files-size-bytes", "removed_files_size_in_bytes"),
        ("total-files-size-bytes", "total_files_size_in_bytes"),
        ("added-positional-deletes", "added_positional_deletes"),
        ("removed-positional-deletes", "removed_positional_deletes"),
        ("total-positional-deletes", "total_positional_deletes"),
        ("added-equality-deletes", "added_equality_deletes"),
        ("removed-equality-deletes", "removed_equality_deletes"),
        ("total-equality-deletes", "total_equality_deletes"),
    ],
};
