//! The table's sort order as keys of its rows. Must not move rows: [`super::rows`] does.

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_row::{RowConverter, Rows as RowKeys, SortField};
use arrow_schema::SortOptions;
use iceberg::spec::{NullOrder, Schema, SortDirection, SortOrder, Transform};
use parquet::file::metadata::SortingColumn;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use super::column::{self, Path};
use super::error::StageError;
use super::transform;

/// A sort order bound to the columns it compares.
pub(super) struct Sorter {
    order_id: i32,
    fields: Vec<BoundField>,
}

struct BoundField {
    source_id: i32,
    path: Path,
    transform: Transform,
    options: SortOptions,
}

impl Sorter {
    /// `None` if the table has no order, or one that cannot be computed: sorting is an offer, and unsorted files
    /// without an order id are valid in any table.
    pub(super) fn new(order: &SortOrder, schema: &Schema) -> Option<Self> {
        if order.is_unsorted() {
            return None;
        }
        let bind = |field: &iceberg::spec::SortField| {
            let path = column::path_of(schema.as_struct(), field.source_id)?;
            let source = schema.field_by_id(field.source_id)?;
            field.transform.result_type(&source.field_type).ok()?;
            let options = SortOptions {
                descending: field.direction == SortDirection::Descending,
                nulls_first: field.null_order == NullOrder::First,
            };
            let known = field.transform != Transform::Unknown;
            known.then_some(BoundField { source_id: field.source_id, path, transform: field.transform, options })
        };
        let fields: Option<Vec<_>> = order.fields.iter().map(bind).collect();
        let sorter = fields.zip(i32::try_from(order.order_id).ok());
        if sorter.is_none() {
            tracing::warn!(order_id = order.order_id, "sort order cannot be computed, files are written unsorted");
        }
        sorter.map(|(fields, order_id)| Self { order_id, fields })
    }

    pub(super) fn order_id(&self) -> i32 {
        self.order_id
    }

    /// The columns of a file that its rows are sorted by, for the file's own metadata: those up to the first
    /// transform, which a Parquet file cannot name.
    pub(super) fn parquet_columns(&self, schema: &SchemaDescriptor) -> Vec<SortingColumn> {
        let column = |field: &BoundField| {
            let id = |column: &ColumnDescPtr| {
                let info = column.self_type().get_basic_info();
                info.has_id().then(|| info.id())
            };
            let place = schema.columns().iter().position(|column| id(column) == Some(field.source_id))?;
            let SortOptions { descending, nulls_first } = field.options;
            Some(SortingColumn { column_idx: i32::try_from(place).ok()?, descending, nulls_first })
        };
        let plain = self.fields.iter().take_while(|field| field.transform == Transform::Identity);
        plain.map_while(column).collect()
    }

    /// What the rows are compared by, one set for each batch.
    pub(super) fn keys(&self, batches: &[RecordBatch]) -> Result<Vec<RowKeys>, StageError> {
        let mut keys = Vec::with_capacity(batches.len());
        let mut converter: Option<RowConverter> = None;
        for batch in batches {
            let columns = self.columns(batch)?;
            let converter = match &mut converter {
                Some(converter) => converter,
                none => none.insert(self.converter(&columns)?),
            };
            keys.push(converter.convert_columns(&columns)?);
        }
        Ok(keys)
    }

    fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, StageError> {
        let fields = self.fields.iter();
        fields.map(|field| transform::apply(field.transform, &column::values(batch, &field.path)?)).collect()
    }

    fn converter(&self, columns: &[ArrayRef]) -> Result<RowConverter, StageError> {
        let field = |(column, field): (&ArrayRef, &BoundField)| {
            SortField::new_with_options(column.data_type().clone(), field.options)
        };
        Ok(RowConverter::new(columns.iter().zip(&self.fields).map(field).collect())?)
    }
}
