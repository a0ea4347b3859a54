//! What staged files look like: fields, order, sizes, locations, errors.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use iceberg::spec::{
    DataContentType, DataFileFormat, ListType, Literal, NestedField, NullOrder, PrimitiveType, SortDirection,
    SortField, SortOrder, StructType, Transform, Type,
};
use parquet::basic::{Compression, LogicalType};

use super::fixture::{batch, block_on, of, options, read, stage_blocking, table};
use crate::data_file::{StageError, StageOptions, stage};

#[test]
fn a_file_says_what_it_is() {
    let table = table([("n", of(PrimitiveType::Long)), ("ts", of(PrimitiveType::Timestamptz))])
        .partition(2, "ts_day", Transform::Day)
        .build();
    let rows = |start: i64| {
        let days = TimestampMicrosecondArray::from(vec![0, 86_400_000_000, 1]).with_timezone("+00:00");
        batch(&table, vec![Arc::new(Int64Array::from(vec![start, start + 1, start + 2])), Arc::new(days)])
    };
    let staged = stage_blocking(&table, vec![rows(0), rows(10)], &options());

    assert_eq!((staged.rows, staged.files.len()), (6, 2));
    assert_eq!(staged.bytes, staged.files.iter().map(|file| file.file_size_in_bytes()).sum::<u64>());
    assert_eq!(staged.table_uuid, table.metadata.uuid());
    assert_eq!(staged.spec_id, table.metadata.default_partition_spec_id());
    assert_eq!(staged.schema_id, table.metadata.current_schema_id());
    let first = &staged.files[0];
    assert_eq!(first.file_path(), "memory://warehouse/ns/t/data/ts_day=1970-01-01/00000-w0-test.parquet");
    assert_eq!(first.partition()[0], Some(Literal::date(0)));
    assert_eq!((first.content_type(), first.file_format()), (DataContentType::Data, DataFileFormat::Parquet));
    assert_eq!((first.record_count(), first.sort_order_id()), (4, None));
    assert_eq!(first.split_offsets(), Some([4].as_slice()));
    let (footer, read) = read(&table, first);
    let ids: Vec<i32> =
        footer.file_metadata().schema_descr().columns().iter().map(|c| c.self_type().get_basic_info().id()).collect();
    assert_eq!(ids, [1, 2]);
    assert!(matches!(footer.row_group(0).column(0).compression(), Compression::ZSTD(_)));
    assert_eq!(read[0].column(0).as_primitive::<Int64Type>().values().as_ref(), &[0, 2, 10, 12]);
}

/// Writers stage on tasks of a multi-threaded runtime.
#[test]
fn staging_can_run_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let table = table([("n", of(PrimitiveType::Long))]).build();
    is_send(&stage(&table, Vec::new(), &options()));
}

#[test]
fn no_rows_make_no_files() {
    let table = table([("n", of(PrimitiveType::Long))]).build();
    let empty = batch(&table, vec![Arc::new(Int64Array::from(Vec::<i64>::new()))]);
    for batches in [vec![], vec![empty]] {
        let staged = stage_blocking(&table, batches, &options());
        assert_eq!((staged.rows, staged.bytes, staged.files.len()), (0, 0, 0));
    }
}

#[test]
fn nested_columns_carry_field_ids_and_uuids_their_annotation() {
    let element = Arc::new(NestedField::list_element(5, of(PrimitiveType::Int), false));
    let list = Type::List(ListType::new(element));
    let inner = StructType::new(vec![Arc::new(NestedField::optional(4, "id", of(PrimitiveType::Uuid)))]);
    let table = table([("l", list), ("s", Type::Struct(inner))]).build();
    let arrow = table.arrow_schema().expect("convertible");
    let nulls = arrow.fields().iter().map(|field| arrow_array::new_null_array(field.data_type(), 3)).collect();
    let staged = stage_blocking(&table, vec![batch(&table, nulls)], &options());
    let (footer, _) = read(&table, &staged.files[0]);
    let columns = footer.file_metadata().schema_descr().columns();
    let ids: Vec<i32> = columns.iter().map(|column| column.self_type().get_basic_info().id()).collect();
    let schema = table.metadata.current_schema();
    let expected = ["l.element", "s.id"].map(|name| schema.field_id_by_name(name).expect("a column"));
    assert_eq!(ids, expected);
    assert_eq!(columns[1].logical_type_ref(), Some(&LogicalType::Uuid));
    assert_eq!(columns[0].path().string(), "l.list.element");
}

#[test]
fn files_roll_at_the_target_size() {
    let table = table([("n", of(PrimitiveType::Long))]).property("write.target-file-size-bytes", "100000").build();
    let mixed = |n: i64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64);
    let rows: Int64Array = (0..60_000).map(mixed).collect();
    let staged = stage_blocking(&table, vec![batch(&table, vec![Arc::new(rows)])], &options());
    assert!(staged.files.len() > 2, "{}", staged.files.len());
    assert_eq!(staged.rows, 60_000);
    assert!(staged.files.iter().all(|file| file.file_size_in_bytes() < 200_000));
    let mut paths: Vec<_> = staged.files.iter().map(|file| file.file_path()).collect();
    paths.dedup();
    assert_eq!(paths.len(), staged.files.len());
}

#[test]
fn files_are_sorted_by_the_tables_order() {
    let field = |source, direction, null_order| {
        SortField::builder()
            .source_id(source)
            .transform(Transform::Identity)
            .direction(direction)
            .null_order(null_order)
            .build()
    };
    let order = SortOrder {
        order_id: 1,
        fields: vec![
            field(1, SortDirection::Descending, NullOrder::Last),
            field(2, SortDirection::Ascending, NullOrder::First),
        ],
    };
    let table = table([("a", of(PrimitiveType::String)), ("b", of(PrimitiveType::Long))]).order(order).build();
    let a = StringArray::from(vec![Some("x"), None, Some("y"), Some("x")]);
    let b = Int64Array::from(vec![Some(2), Some(0), Some(1), None]);
    let one = batch(&table, vec![Arc::new(a), Arc::new(b)]);
    let two = batch(&table, vec![Arc::new(StringArray::from(vec!["x"])), Arc::new(Int64Array::from(vec![1]))]);
    let staged = stage_blocking(&table, vec![one, two], &options());
    let [file] = staged.files.as_slice() else { panic!("one file") };
    assert_eq!(file.sort_order_id().map(i64::from), Some(table.metadata.default_sort_order_id()));
    let (_, read) = read(&table, file);
    let a: Vec<_> = read[0].column(0).as_string::<i32>().iter().collect();
    let b: Vec<_> = read[0].column(1).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(a, [Some("y"), Some("x"), Some("x"), Some("x"), None]);
    assert_eq!(b, [Some(1), None, Some(1), Some(2), Some(0)]);
}

#[test]
fn batches_of_another_schema_are_refused() {
    let table = table([("n", of(PrimitiveType::Long))]).build();
    let wrong_type: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let wrong_name: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    for (name, column) in [("n", wrong_type), ("m", wrong_name)] {
        let batch = RecordBatch::try_from_iter([(name, column)]).expect("one column");
        let error = block_on(async { stage(&table, vec![batch], &options()).await }).expect_err("refused");
        assert!(matches!(error, StageError::Schema { .. }), "{error}");
    }
}

/// The field ids come from the table, not from the batch.
#[test]
fn a_batch_without_field_ids_gets_them() {
    let table = table([("n", of(PrimitiveType::Long))]).build();
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let bare = RecordBatch::try_from_iter([("n", column)]).expect("one column");
    let staged = stage_blocking(&table, vec![bare], &options());
    let (footer, _) = read(&table, &staged.files[0]);
    assert_eq!(footer.file_metadata().schema_descr().column(0).self_type().get_basic_info().id(), 1);
}

#[test]
fn a_store_that_refuses_is_an_error_with_the_location() {
    let table = table([("n", of(PrimitiveType::Long))]).property("write.data.path", "nowhere:/x").build();
    let rows = batch(&table, vec![Arc::new(Int64Array::from(vec![1]))]);
    let error = block_on(async { stage(&table, vec![rows], &options()).await }).expect_err("refused");
    assert!(matches!(&error, StageError::Storage { location, .. } if location.starts_with("nowhere:/x/")), "{error}");
}

#[test]
fn many_partitions_are_stored_whatever_the_concurrency() {
    let table = table([("u", of(PrimitiveType::Uuid))]).partition(1, "b", Transform::Bucket(50)).build();
    let ids = (0..2_000_u128).map(|n| n.wrapping_mul(0x1234_5678_9abc_def1_0123_4567_89ab_cdef).to_be_bytes());
    let column = FixedSizeBinaryArray::try_from_iter(ids).expect("16 bytes each");
    let rows = batch(&table, vec![Arc::new(column)]);
    for max_concurrent_uploads in [0, 1, 7] {
        let options =
            StageOptions { max_concurrent_uploads, ..StageOptions::new(format!("w-{max_concurrent_uploads}")) };
        let staged = stage_blocking(&table, vec![rows.clone()], &options);
        assert_eq!((staged.files.len(), staged.rows), (50, 2_000));
    }
}
