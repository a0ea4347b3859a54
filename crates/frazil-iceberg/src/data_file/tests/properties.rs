//! Invariants over generated rows.
//!
//! 1. Every row lands in exactly one file, and that file's partition is the transform of the row.
//! 2. Bounds of a file cover every value in it, over all row groups, and are never NaN.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Decimal128Array, Float64Array, Int64Array, LargeBinaryArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use iceberg::spec::{DataFile, Datum, Literal, PrimitiveLiteral, PrimitiveType, Struct, Transform};
use iceberg::transform::create_transform_function;
use proptest::prelude::*;

use super::fixture::{batch, of, options, read, stage_blocking, table};
use crate::data_file::StageOptions;
use crate::table::Table;

#[derive(Clone, Debug)]
struct Row {
    long: Option<i64>,
    text: Option<String>,
    micros: Option<i64>,
    double: Option<f64>,
    decimal: Option<i128>,
    binary: Option<Vec<u8>>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c/?# %üß]{0,4}",
        1 => "[ab]{10,90}",
        1 => prop::collection::vec(prop_oneof![Just('\u{10ffff}'), Just('\u{d7ff}'), any::<char>()], 0..80)
            .prop_map(|chars| chars.into_iter().collect::<String>()),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let long = prop::option::of(prop_oneof![-20_i64..20, any::<i64>()]);
    let micros = prop::option::of(-200_000_000_000_i64..200_000_000_000);
    let double = prop::option::of(prop_oneof![any::<f64>(), Just(f64::NAN), Just(-0.0), Just(0.0)]);
    let decimal = prop::option::of(-10_i128.pow(25)..10_i128.pow(25));
    let binary = prop::option::of(prop::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..90));
    (long, prop::option::of(text()), micros, double, decimal, binary)
        .prop_map(|(long, text, micros, double, decimal, binary)| Row { long, text, micros, double, decimal, binary })
}

fn columns() -> [(&'static str, iceberg::spec::Type); 6] {
    [
        ("long", of(PrimitiveType::Long)),
        ("text", of(PrimitiveType::String)),
        ("ts", of(PrimitiveType::Timestamptz)),
        ("double", of(PrimitiveType::Double)),
        ("decimal", of(PrimitiveType::Decimal { precision: 30, scale: 3 })),
        ("binary", of(PrimitiveType::Binary)),
    ]
}

fn to_batch(table: &Table, rows: &[Row]) -> RecordBatch {
    let decimals: Decimal128Array = rows.iter().map(|row| row.decimal).collect();
    let micros: TimestampMicrosecondArray = rows.iter().map(|row| row.micros).collect();
    let binary: LargeBinaryArray = rows.iter().map(|row| row.binary.as_deref()).collect();
    batch(
        table,
        vec![
            Arc::new(rows.iter().map(|row| row.long).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.text.as_deref()).collect::<StringArray>()),
            Arc::new(micros.with_timezone("+00:00")),
            Arc::new(rows.iter().map(|row| row.double).collect::<Float64Array>()),
            Arc::new(decimals.with_precision_and_scale(30, 3).expect("fits")),
            Arc::new(binary),
        ],
    )
}

fn from_batch(batch: &RecordBatch) -> Vec<Row> {
    let row = |row: usize| Row {
        long: batch.column(0).as_primitive::<Int64Type>().iter().nth(row).flatten(),
        text: batch.column(1).as_string::<i32>().iter().nth(row).flatten().map(str::to_owned),
        micros: batch.column(2).as_primitive::<TimestampMicrosecondType>().iter().nth(row).flatten(),
        double: batch.column(3).as_primitive::<Float64Type>().iter().nth(row).flatten(),
        decimal: batch.column(4).as_primitive::<Decimal128Type>().iter().nth(row).flatten(),
        binary: batch.column(5).as_binary::<i32>().iter().nth(row).flatten().map(<[u8]>::to_vec),
    };
    (0..batch.num_rows()).map(row).collect()
}

fn rows_of(table: &Table, file: &DataFile) -> Vec<Row> {
    read(table, file).1.iter().flat_map(from_batch).collect()
}

fn count(rows: &[Row]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(format!("{row:?}")).or_default() += 1);
    counts
}

/// One value's partition, by the spec layer's own transform of a single literal.
fn expected(transform: Transform, value: Option<Datum>) -> Option<Literal> {
    let function = create_transform_function(&transform).expect("known");
    value.and_then(|value| function.transform_literal(&value).expect("applies")).map(Literal::from)
}

fn expected_partition(row: &Row, day: Option<i32>) -> Struct {
    let long = row.long.map(Datum::long);
    let text = row.text.as_ref().map(Datum::string);
    [
        expected(Transform::Bucket(3), long),
        expected(Transform::Truncate(1), text.clone()),
        day.map(Literal::date),
        expected(Transform::Void, text),
    ]
    .into_iter()
    .collect()
}

/// Values of a column, their order, and the bounds of the file: lower <= every value <= upper.
fn covered<T: PartialOrd>(values: impl Iterator<Item = T>, lower: Option<T>, upper: Option<T>) -> bool {
    values.into_iter().all(|value| {
        lower.as_ref().is_none_or(|lower| *lower <= value) && upper.as_ref().is_none_or(|upper| value <= *upper)
    })
}

fn bound<T>(of: Option<&Datum>, value: fn(&PrimitiveLiteral) -> Option<T>) -> Option<T> {
    of.and_then(|datum| value(datum.literal()))
}

fn check_bounds(file: &DataFile, rows: &[Row]) {
    let lower = |id: i32| file.lower_bounds().get(&id);
    let upper = |id: i32| file.upper_bounds().get(&id);
    let as_long = |literal: &PrimitiveLiteral| if let PrimitiveLiteral::Long(v) = literal { Some(*v) } else { None };
    let as_text =
        |literal: &PrimitiveLiteral| if let PrimitiveLiteral::String(v) = literal { Some(v.clone()) } else { None };
    let as_double =
        |literal: &PrimitiveLiteral| if let PrimitiveLiteral::Double(v) = literal { Some(v.0) } else { None };
    let as_decimal =
        |literal: &PrimitiveLiteral| if let PrimitiveLiteral::Int128(v) = literal { Some(*v) } else { None };
    let as_binary =
        |literal: &PrimitiveLiteral| if let PrimitiveLiteral::Binary(v) = literal { Some(v.clone()) } else { None };

    let longs = rows.iter().filter_map(|row| row.long);
    assert!(covered(longs, bound(lower(1), as_long), bound(upper(1), as_long)));
    let texts = rows.iter().filter_map(|row| row.text.clone());
    assert!(covered(texts, bound(lower(2), as_text), bound(upper(2), as_text)), "{file:?}");
    let micros = rows.iter().filter_map(|row| row.micros);
    assert!(covered(micros, bound(lower(3), as_long), bound(upper(3), as_long)));
    let doubles = rows.iter().filter_map(|row| row.double).filter(|value| !value.is_nan());
    assert!(covered(doubles, bound(lower(4), as_double), bound(upper(4), as_double)));
    assert!(!lower(4).is_some_and(Datum::is_nan) && !upper(4).is_some_and(Datum::is_nan));
    let decimals = rows.iter().filter_map(|row| row.decimal);
    assert!(covered(decimals, bound(lower(5), as_decimal), bound(upper(5), as_decimal)));
    let binaries = rows.iter().filter_map(|row| row.binary.clone());
    assert!(covered(binaries, bound(lower(6), as_binary), bound(upper(6), as_binary)));

    // A column that has values and whose row groups all have statistics has a lower bound.
    assert_eq!(lower(1).is_some(), rows.iter().any(|row| row.long.is_some()));
    assert_eq!(lower(2).is_some(), rows.iter().any(|row| row.text.is_some()));
    let nans = rows.iter().filter(|row| row.double.is_some_and(f64::is_nan)).count() as u64;
    assert_eq!(file.nan_value_counts().get(&4), Some(&nans));
    let nulls = rows.iter().filter(|row| row.text.is_none()).count() as u64;
    assert_eq!(file.null_value_counts().get(&2), Some(&nulls));
    assert_eq!(file.value_counts().get(&2), Some(&(rows.len() as u64)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Invariant 1.
    #[test]
    fn every_row_lands_in_the_one_file_of_its_partition(
        batches in prop::collection::vec(prop::collection::vec(row(), 0..40), 0..4),
    ) {
        let table = table(columns())
            .partition(1, "b", Transform::Bucket(3))
            .partition(2, "t", Transform::Truncate(1))
            .partition(3, "d", Transform::Day)
            .partition(2, "v", Transform::Void)
            .build();
        let input: Vec<Row> = batches.iter().flatten().cloned().collect();
        let staged =
            stage_blocking(&table, batches.iter().map(|rows| to_batch(&table, rows)).collect(), &options());
        let mut output = Vec::new();
        for file in &staged.files {
            let rows = rows_of(&table, file);
            prop_assert_eq!(file.record_count(), rows.len() as u64);
            for row in &rows {
                let day = row.micros.map(|micros| micros.div_euclid(86_400_000_000) as i32);
                prop_assert_eq!(&expected_partition(row, day), file.partition());
            }
            output.extend(rows);
        }
        prop_assert_eq!(count(&input), count(&output));
        let mut partitions: Vec<_> = staged.files.iter().map(|file| format!("{:?}", file.partition())).collect();
        partitions.sort();
        partitions.dedup();
        prop_assert_eq!(partitions.len(), staged.files.len());
    }

    /// Invariant 2.
    #[test]
    fn bounds_cover_all_values_of_all_row_groups(
        rows in prop::collection::vec(row(), 1..60),
        group in 1_usize..20,
        mode in prop_oneof![Just("full"), Just("truncate(16)"), Just("truncate(3)"), Just("truncate(1)")],
    ) {
        let table = table(columns()).property("write.metadata.metrics.default", mode).build();
        let options = StageOptions { row_group_rows: group, ..options() };
        let staged = stage_blocking(&table, vec![to_batch(&table, &rows)], &options);
        prop_assert_eq!(staged.files.len(), 1);
        let read = rows_of(&table, &staged.files[0]);
        prop_assert_eq!(count(&rows), count(&read));
        check_bounds(&staged.files[0], &rows);
        let offsets = staged.files[0].split_offsets().expect("set");
        prop_assert_eq!(offsets.len(), rows.len().div_ceil(group));
        prop_assert!(offsets.is_sorted());
    }
}
