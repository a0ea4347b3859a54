//! Metrics of written footers: every type, modes, and what must be left out.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{ListType, NestedField, PrimitiveType, Schema, SortOrder, StructType, Type};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::*;

fn schema(fields: Vec<(&str, Type)>) -> Schema {
    let field = |(index, (name, of)): (usize, (&str, Type))| {
        Arc::new(NestedField::optional(i32::try_from(index).expect("few") + 1, name, of))
    };
    Schema::builder().with_fields(fields.into_iter().enumerate().map(field)).build().expect("valid")
}

fn of(primitive: PrimitiveType) -> Type {
    Type::Primitive(primitive)
}

fn metrics(schema: &Schema, properties: &[(&str, &str)], groups: &[Vec<ArrayRef>]) -> FileMetrics {
    metrics_with(schema, properties, groups, EnabledStatistics::Chunk)
}

fn metrics_with(
    schema: &Schema,
    properties: &[(&str, &str)],
    groups: &[Vec<ArrayRef>],
    statistics: EnabledStatistics,
) -> FileMetrics {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let leaves = Leaves::new(schema, &properties, &SortOrder::unsorted_order());
    let arrow = Arc::new(schema_to_arrow_schema(schema).expect("convertible"));
    let writing = WriterProperties::builder().set_statistics_enabled(statistics).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), arrow.clone(), Some(writing)).expect("writer");
    let mut nans = NanCounts::default();
    for columns in groups {
        let batch = RecordBatch::try_new(arrow.clone(), columns.clone()).expect("fits");
        nans.add(&leaves, &batch).expect("counts");
        writer.write(&batch).expect("writes");
        writer.flush().expect("ends the row group");
    }
    FileMetrics::from_footer(&writer.finish().expect("footer"), &leaves, &nans)
}

/// Bounds of a column without any statistics would be a guess.
#[test]
fn a_row_group_without_statistics_leaves_no_bounds_and_no_null_count() {
    let schema = schema(vec![("n", of(PrimitiveType::Long))]);
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let metrics = metrics_with(&schema, &[], &[vec![column]], EnabledStatistics::None);
    assert_eq!(metrics.value_counts[&1], 2);
    assert!(metrics.lower_bounds.is_empty() && metrics.upper_bounds.is_empty());
    assert!(metrics.null_value_counts.is_empty());
}

/// A row group of nulls has no values to bound and does not take the others' bounds away.
#[test]
fn a_row_group_of_nulls_changes_no_bound() {
    let schema = schema(vec![("n", of(PrimitiveType::Long))]);
    let groups = [vec![Some(5), Some(3)], vec![None, None], vec![Some(9)]];
    let groups = groups.map(|values| vec![Arc::new(Int64Array::from(values)) as ArrayRef]);
    let metrics = metrics(&schema, &[], &groups);
    assert_eq!((&metrics.lower_bounds[&1], &metrics.upper_bounds[&1]), (&Datum::long(3), &Datum::long(9)));
    assert_eq!((metrics.null_value_counts[&1], metrics.value_counts[&1], metrics.record_count), (2, 5, 5));
    assert_eq!(metrics.split_offsets.len(), 3);
}

#[test]
fn nans_are_counted_and_never_bounds() {
    let schema = schema(vec![("f", of(PrimitiveType::Float))]);
    let column = |values: Vec<f32>| vec![Arc::new(Float32Array::from(values)) as ArrayRef];
    let mixed = metrics(&schema, &[], &[column(vec![f32::NAN, 1.0, -2.0])]);
    assert_eq!((&mixed.lower_bounds[&1], &mixed.upper_bounds[&1]), (&Datum::float(-2.0), &Datum::float(1.0)));
    assert_eq!((mixed.nan_value_counts[&1], mixed.null_value_counts[&1]), (1, 0));
    let only = metrics(&schema, &[], &[column(vec![f32::NAN])]);
    assert!(only.lower_bounds.is_empty() && only.upper_bounds.is_empty());
    assert_eq!(only.nan_value_counts[&1], 1);
}

#[test]
fn values_under_a_null_struct_do_not_count() {
    let inner = StructType::new(vec![Arc::new(NestedField::optional(2, "f", of(PrimitiveType::Float)))]);
    let schema = schema(vec![("s", Type::Struct(inner))]);
    let arrow = schema_to_arrow_schema(&schema).expect("convertible");
    let DataType::Struct(fields) = arrow.field(0).data_type() else { panic!("a struct") };
    let values: ArrayRef = Arc::new(Float32Array::from(vec![f32::NAN, f32::NAN, 1.0]));
    let column = StructArray::new(fields.clone(), vec![values], Some(NullBuffer::from(vec![false, true, true])));
    let metrics = metrics(&schema, &[], &[vec![Arc::new(column)]]);
    assert_eq!((metrics.nan_value_counts[&2], metrics.null_value_counts[&2]), (1, 1));
    assert_eq!(metrics.lower_bounds[&2], Datum::float(1.0));
}

#[test]
fn lists_have_counts_but_no_bounds() {
    let element = Arc::new(NestedField::list_element(2, of(PrimitiveType::Int), false));
    let schema = schema(vec![("l", Type::List(ListType::new(element)))]);
    let arrow = schema_to_arrow_schema(&schema).expect("convertible");
    let DataType::List(field) = arrow.field(0).data_type() else { panic!("a list") };
    let values = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let column = ListArray::new(field.clone(), OffsetBuffer::from_lengths([2, 1]), values, None);
    let metrics = metrics(&schema, &[], &[vec![Arc::new(column)]]);
    assert_eq!(metrics.value_counts[&2], 3);
    assert!(metrics.column_sizes[&2] > 0);
    assert!(metrics.lower_bounds.is_empty());
}

#[test]
fn modes_are_honoured_per_column() {
    let names = ["none", "counts", "short", "full", "plain", "wrong"];
    let schema = schema(names.iter().map(|name| (*name, of(PrimitiveType::String))).collect());
    let column = |name: &str| format!("write.metadata.metrics.column.{name}");
    let properties = [
        (column("none"), "none"),
        (column("counts"), "counts"),
        (column("short"), "Truncate(2)"),
        (column("full"), "full"),
        (column("wrong"), "truncate(0)"),
    ];
    let properties: Vec<(&str, &str)> = properties.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let value = "abcdefghijklmnopqrstuvwxyz";
    let group: Vec<ArrayRef> = names.iter().map(|_| Arc::new(StringArray::from(vec![value])) as ArrayRef).collect();
    let metrics = metrics(&schema, &properties, &[group]);
    assert_eq!(metrics.column_sizes.len(), 6);
    assert_eq!(metrics.value_counts.keys().copied().collect::<HashSet<_>>(), HashSet::from([2, 3, 4, 5, 6]));
    assert_eq!(metrics.upper_bounds.keys().copied().collect::<HashSet<_>>(), HashSet::from([3, 4, 5, 6]));
    assert_eq!(metrics.lower_bounds[&3], Datum::string("ab"));
    assert_eq!(metrics.upper_bounds[&3], Datum::string("ac"));
    assert_eq!(metrics.upper_bounds[&4], Datum::string(value));
    assert_eq!(metrics.upper_bounds[&5], Datum::string("abcdefghijklmnoq"));
    assert_eq!(metrics.upper_bounds[&6], Datum::string("abcdefghijklmnoq"));
}

#[test]
fn wide_tables_get_metrics_for_the_first_columns_unless_they_ask_for_all() {
    let names: Vec<String> = (0..102).map(|n| format!("c{n}")).collect();
    let schema = schema(names.iter().map(|name| (name.as_str(), of(PrimitiveType::Long))).collect());
    let group: Vec<ArrayRef> = names.iter().map(|_| Arc::new(Int64Array::from(vec![1])) as ArrayRef).collect();
    let groups = [group];
    assert_eq!(metrics(&schema, &[], &groups).lower_bounds.len(), 100);
    assert_eq!(metrics(&schema, &[("write.metadata.metrics.default", "full")], &groups).lower_bounds.len(), 102);
    let few = [("write.metadata.metrics.max-inferred-column-defaults", "3")];
    assert_eq!(metrics(&schema, &few, &groups).lower_bounds.len(), 3);
}

/// Every primitive type gets bounds whose single-value form is that of the type.
#[test]
fn every_primitive_type_has_bounds() {
    use arrow_array::{
        BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float64Array, LargeBinaryArray,
        Time64MicrosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    };
    let decimal = |precision| of(PrimitiveType::Decimal { precision, scale: 2 });
    let decimals = |precision| -> ArrayRef {
        let values = Decimal128Array::from(vec![-1_i128, 300]);
        Arc::new(values.with_precision_and_scale(precision, 2).expect("fits"))
    };
    let uuids = [uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(u128::MAX)];
    let fixed = |width: usize| -> ArrayRef {
        let values = uuids.iter().map(|uuid| uuid.as_bytes()[..width].to_vec());
        Arc::new(FixedSizeBinaryArray::try_from_iter(values).expect("one width"))
    };
    let utc = "+00:00";
    let cases: Vec<(Type, ArrayRef, Datum)> = vec![
        (of(PrimitiveType::Boolean), Arc::new(BooleanArray::from(vec![true, false])), Datum::bool(false)),
        (of(PrimitiveType::Int), Arc::new(Int32Array::from(vec![7, -7])), Datum::int(-7)),
        (of(PrimitiveType::Date), Arc::new(Date32Array::from(vec![7, -7])), Datum::date(-7)),
        (of(PrimitiveType::Double), Arc::new(Float64Array::from(vec![7.5, -7.5])), Datum::double(-7.5)),
        (
            of(PrimitiveType::Time),
            Arc::new(Time64MicrosecondArray::from(vec![9, 5])),
            Datum::time_micros(5).expect("valid"),
        ),
        (
            of(PrimitiveType::Timestamp),
            Arc::new(TimestampMicrosecondArray::from(vec![-5, 5])),
            Datum::timestamp_micros(-5),
        ),
        (
            of(PrimitiveType::Timestamptz),
            Arc::new(TimestampMicrosecondArray::from(vec![-5, 5]).with_timezone(utc)),
            Datum::timestamptz_micros(-5),
        ),
        (
            of(PrimitiveType::TimestampNs),
            Arc::new(TimestampNanosecondArray::from(vec![-5, 5])),
            Datum::timestamp_nanos(-5),
        ),
        (
            of(PrimitiveType::TimestamptzNs),
            Arc::new(TimestampNanosecondArray::from(vec![-5, 5]).with_timezone(utc)),
            Datum::timestamptz_nanos(-5),
        ),
        (of(PrimitiveType::Binary), Arc::new(LargeBinaryArray::from_vec(vec![b"b", b"a"])), Datum::binary(*b"a")),
        (of(PrimitiveType::Uuid), fixed(16), Datum::uuid(uuids[0])),
        (of(PrimitiveType::Fixed(3)), fixed(3), Datum::try_from_bytes(&[0; 3], PrimitiveType::Fixed(3)).expect("3")),
    ];
    for (of, column, lower) in cases {
        let metrics = metrics(&schema(vec![("c", of.clone())]), &[], &[vec![column]]);
        assert_eq!(metrics.lower_bounds.get(&1), Some(&lower), "{of}");
        assert!(metrics.upper_bounds.contains_key(&1), "{of}");
    }
    // Stored as 32 bits, 64 bits and bytes.
    for precision in [9, 18, 30] {
        let schema = schema(vec![("c", decimal(u32::from(precision)))]);
        let metrics = metrics(&schema, &[], &[vec![decimals(precision)]]);
        assert_eq!(metrics.lower_bounds[&1].to_bytes().expect("serializes").as_slice(), [0xff]);
        assert_eq!(metrics.upper_bounds[&1].to_bytes().expect("serializes").as_slice(), [0x01, 0x2c]);
    }
}
