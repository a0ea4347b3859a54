//! Rows within a file follow the table's sort order.
//!
//! 3. The rows of a file are those of its partition, none more and none less, each not less than the one before by the
//!    table's order; rows that are equal by it stay in the order they came in.
//! 4. Metrics and row groups are those of the rows as written.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_schema::DataType;
use iceberg::spec::{
    DataFile, ListType, NestedField, NullOrder, PrimitiveType, SortDirection, SortField, SortOrder, StructType,
    Transform, Type,
};
use parquet::file::metadata::SortingColumn;
use proptest::prelude::*;

use super::fixture::{batch, of, options, read, stage_blocking, table};
use crate::data_file::StageOptions;
use crate::table::Table;

/// Columns: number, text, instant, double, struct of a number, and the place the row came in.
#[derive(Clone, Debug)]
struct Row {
    number: Option<i64>,
    text: Option<String>,
    instant: Option<i64>,
    double: Option<f64>,
    /// `None` for a null struct.
    inner: Option<Option<i64>>,
}

const HOUR: i64 = 3_600_000_000;
/// Field ids: the nested one comes after all of the top level.
const INNER_ID: i32 = 7;

fn row() -> impl Strategy<Value = Row> {
    let number = prop::option::of(prop_oneof![-3_i64..3, any::<i64>()]);
    let text = prop::option::of("[a-c🧊]{0,3}");
    let instant = prop::option::of(prop_oneof![-3 * HOUR..3 * HOUR, any::<i64>()]);
    let double = prop::option::of(prop_oneof![any::<f64>(), Just(f64::NAN), Just(-0.0), Just(0.0)]);
    let inner = prop::option::of(prop::option::of(-2_i64..2));
    (number, text, instant, double, inner).prop_map(|(number, text, instant, double, inner)| Row {
        number,
        text,
        instant,
        double,
        inner,
    })
}

fn columns() -> [(&'static str, Type); 6] {
    let inner = NestedField::optional(INNER_ID, "inner", of(PrimitiveType::Long));
    [
        ("number", of(PrimitiveType::Long)),
        ("text", of(PrimitiveType::String)),
        ("instant", of(PrimitiveType::Timestamptz)),
        ("double", of(PrimitiveType::Double)),
        ("struct", Type::Struct(StructType::new(vec![Arc::new(inner)]))),
        ("place", of(PrimitiveType::Long)),
    ]
}

fn to_batch(table: &Table, rows: &[Row], first: i64) -> RecordBatch {
    let schema = table.arrow_schema().expect("convertible");
    let DataType::Struct(inner) = schema.field(4).data_type() else { panic!("a struct") };
    let values: Int64Array = rows.iter().map(|row| row.inner.flatten()).collect();
    let present = rows.iter().map(|row| row.inner.is_some()).collect();
    let instants: TimestampMicrosecondArray = rows.iter().map(|row| row.instant).collect();
    batch(
        table,
        vec![
            Arc::new(rows.iter().map(|row| row.number).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.text.as_deref()).collect::<StringArray>()),
            Arc::new(instants.with_timezone("+00:00")),
            Arc::new(rows.iter().map(|row| row.double).collect::<Float64Array>()),
            Arc::new(StructArray::new(inner.clone(), vec![Arc::new(values)], Some(present))),
            Arc::new((first..).take(rows.len()).collect::<Int64Array>()),
        ],
    )
}

/// Rows with the place they came in.
fn from_batch(batch: &RecordBatch) -> Vec<(Row, i64)> {
    let inner = batch.column(4).as_struct();
    let row = |at: usize| {
        let row = Row {
            number: batch.column(0).as_primitive::<Int64Type>().iter().nth(at).flatten(),
            text: batch.column(1).as_string::<i32>().iter().nth(at).flatten().map(str::to_owned),
            instant: batch.column(2).as_primitive::<TimestampMicrosecondType>().iter().nth(at).flatten(),
            double: batch.column(3).as_primitive::<Float64Type>().iter().nth(at).flatten(),
            inner: inner.is_valid(at).then(|| inner.column(0).as_primitive::<Int64Type>().iter().nth(at).flatten()),
        };
        (row, batch.column(5).as_primitive::<Int64Type>().value(at))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn rows_of(table: &Table, file: &DataFile) -> Vec<(Row, i64)> {
    read(table, file).1.iter().flat_map(from_batch).collect()
}

/// What a field of the order compares, computed without Arrow.
fn compare(a: &Row, b: &Row, field: &SortField) -> Ordering {
    let hour = |row: &Row| row.instant.map(|instant| instant.div_euclid(HOUR).clamp(i32::MIN.into(), i32::MAX.into()));
    let cut = |row: &Row| row.text.as_ref().map(|text| text.chars().take(1).collect::<String>());
    match (field.source_id, field.transform) {
        (1, Transform::Identity) => directed(a.number, b.number, field, Ord::cmp),
        (2, Transform::Identity) => directed(a.text.clone(), b.text.clone(), field, Ord::cmp),
        (2, Transform::Truncate(1)) => directed(cut(a), cut(b), field, Ord::cmp),
        (3, Transform::Hour) => directed(hour(a), hour(b), field, Ord::cmp),
        (4, Transform::Identity) => directed(a.double, b.double, field, f64::total_cmp),
        (INNER_ID, Transform::Identity) => directed(a.inner.flatten(), b.inner.flatten(), field, Ord::cmp),
        other => panic!("no such field in this test: {other:?}"),
    }
}

fn directed<T>(a: Option<T>, b: Option<T>, field: &SortField, cmp: fn(&T, &T) -> Ordering) -> Ordering {
    let nulls_first = field.null_order == NullOrder::First;
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => {
            if nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (Some(_), None) => {
            if nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (Some(a), Some(b)) if field.direction == SortDirection::Descending => cmp(&b, &a),
        (Some(a), Some(b)) => cmp(&a, &b),
    }
}

fn field(source_id: i32, transform: Transform, direction: SortDirection, null_order: NullOrder) -> SortField {
    SortField { source_id, transform, direction, null_order }
}

fn sort_field() -> impl Strategy<Value = SortField> {
    let what = prop_oneof![
        Just((1, Transform::Identity)),
        Just((2, Transform::Identity)),
        Just((2, Transform::Truncate(1))),
        Just((3, Transform::Hour)),
        Just((4, Transform::Identity)),
        Just((INNER_ID, Transform::Identity)),
    ];
    let direction = prop_oneof![Just(SortDirection::Ascending), Just(SortDirection::Descending)];
    let nulls = prop_oneof![Just(NullOrder::First), Just(NullOrder::Last)];
    (what, direction, nulls)
        .prop_map(|((source, transform), direction, nulls)| field(source, transform, direction, nulls))
}

fn sorted(fields: Vec<SortField>) -> SortOrder {
    SortOrder { order_id: 1, fields }
}

fn numbered(rows: impl IntoIterator<Item = (Row, i64)>) -> BTreeMap<i64, String> {
    rows.into_iter().map(|(row, place)| (place, format!("{row:?}"))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Invariants 3 and 4.
    #[test]
    fn rows_of_a_file_are_in_order(
        batches in prop::collection::vec(prop::collection::vec(row(), 0..60), 1..4),
        fields in prop::collection::vec(sort_field(), 1..4),
        group in 1_usize..40,
        partitioned in any::<bool>(),
    ) {
        let table = table(columns()).order(sorted(fields.clone()));
        let table = if partitioned { table.partition(1, "b", Transform::Bucket(3)).build() } else { table.build() };
        let mut input = Vec::new();
        let mut first = 0;
        for rows in &batches {
            input.push(to_batch(&table, rows, first));
            first += rows.len() as i64;
        }
        let options = StageOptions { row_group_rows: group, ..options() };
        let staged = stage_blocking(&table, input, &options);
        let mut output = Vec::new();
        for file in &staged.files {
            let rows = rows_of(&table, file);
            for pair in rows.windows(2) {
                let ((a, place), (b, next)) = (&pair[0], &pair[1]);
                let order = fields.iter().map(|field| compare(a, b, field)).find(|order| order.is_ne());
                match order {
                    Some(order) => prop_assert!(order.is_lt(), "{a:?} before {b:?} by {fields:?}"),
                    None => prop_assert!(place < next, "equal rows changed places"),
                }
            }
            prop_assert_eq!(file.sort_order_id(), Some(1));
            prop_assert_eq!(file.record_count(), rows.len() as u64);
            prop_assert_eq!(file.split_offsets().expect("set").len(), rows.len().div_ceil(group));
            let nulls = rows.iter().filter(|(row, _)| row.text.is_none()).count() as u64;
            prop_assert_eq!(file.null_value_counts().get(&2), Some(&nulls));
            let least = rows.iter().filter_map(|(row, _)| row.number).min();
            prop_assert_eq!(file.lower_bounds().get(&1).map(|datum| datum.to_string()), least.map(|n| n.to_string()));
            output.extend(rows);
        }
        let input = batches.iter().flatten().cloned().zip(0_i64..);
        prop_assert_eq!(numbered(input), numbered(output));
    }
}

#[test]
fn the_files_own_metadata_names_columns_up_to_the_first_transform() {
    let (up, down) = (SortDirection::Ascending, SortDirection::Descending);
    let order = sorted(vec![
        field(INNER_ID, Transform::Identity, down, NullOrder::Last),
        field(1, Transform::Identity, up, NullOrder::First),
        field(3, Transform::Hour, up, NullOrder::First),
        field(2, Transform::Identity, up, NullOrder::First),
    ]);
    let table = table(columns()).order(order).build();
    let row = Row { number: Some(1), text: None, instant: None, double: None, inner: None };
    let staged = stage_blocking(&table, vec![to_batch(&table, &[row], 0)], &options());
    let (footer, _) = read(&table, &staged.files[0]);
    let column = |column_idx, descending, nulls_first| SortingColumn { column_idx, descending, nulls_first };
    let expected = vec![column(4, true, false), column(0, false, true)];
    assert_eq!(footer.row_group(0).sorting_columns(), Some(&expected));
}

/// An order that cannot be computed leaves the rows as they come, and the files do not claim it.
#[test]
fn an_order_that_cannot_be_computed_is_not_claimed() {
    let element = Arc::new(NestedField::list_element(3, of(PrimitiveType::Long), false));
    for (source, transform) in [(1, Transform::Identity), (3, Transform::Identity), (2, Transform::Unknown)] {
        let list = Type::List(ListType::new(element.clone()));
        let order = sorted(vec![field(source, transform, SortDirection::Ascending, NullOrder::First)]);
        let mut metadata = table([("l", list), ("n", of(PrimitiveType::Long))]).metadata();
        // No builder makes such a table; foreign metadata may.
        let mut json = serde_json::to_value(&metadata).expect("renders");
        json["sort-orders"] = serde_json::json!([order]);
        json["default-sort-order-id"] = serde_json::json!(1);
        metadata = serde_json::from_value(json).expect("loads");
        let table = Table::new(
            iceberg::TableIdent::from_strs(["ns", "t"]).expect("valid name"),
            Arc::new(metadata),
            String::new(),
            crate::storage::ObjectStorage::default(),
        );
        let schema = table.arrow_schema().expect("convertible");
        let lists: ListArray = arrow_array::new_null_array(schema.field(0).data_type(), 2).as_list().clone();
        let rows = batch(&table, vec![Arc::new(lists), Arc::new(Int64Array::from(vec![2, 1]))]);
        let staged = stage_blocking(&table, vec![rows], &options());
        assert_eq!(staged.files[0].sort_order_id(), None, "{source} {transform}");
        let (footer, rows) = read(&table, &staged.files[0]);
        assert_eq!(footer.row_group(0).sorting_columns(), None);
        assert_eq!(rows[0].column(1).as_primitive::<Int64Type>().values().as_ref(), &[2, 1]);
    }
}
