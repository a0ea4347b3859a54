//! Columns are found by field id and typed as the table says, whatever the file looks like.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, RecordBatch, StringArray, StructArray, new_null_array};
use arrow_schema::DataType;
use futures::StreamExt;
use iceberg::spec::{DataContentType, Struct};
use serde_json::json;

use super::fixture::{World, column, described, texts};
use crate::scan::{ScanError, scan};
use crate::{FencedAppend, StorageError};

#[tokio::test]
async fn a_table_without_a_snapshot_has_no_rows() {
    let world = World::numbers("").await;
    let mut begun = scan(&world.table, &["s", "payload", "n", "reason"]).await.expect("begun");
    assert_eq!(begun.missing, ["payload", "reason"]);
    let names: Vec<_> = begun.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["s", "n"]);
    assert!(begun.batches.next().await.is_none());
}

/// iceberg-rust 0.10.1 pairs a file's columns with the wanted ones by place and type: here it would hand out `b` under
/// the name `a`.
#[tokio::test]
async fn columns_of_one_type_do_not_change_places() {
    let mut world = World::new(&[column(1, "a", "string"), column(2, "b", "string")], "", &[]).await;
    let text = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    world.append(vec![text("of a"), text("of b")]).await;
    let read = world.read(&["b", "a"]).await.expect("read");
    assert_eq!((texts(&read, 0), texts(&read, 1)), (vec![Some("of b".to_owned())], vec![Some("of a".to_owned())]));
    // Renamed, dropped and added again under the same name: the id decides.
    world.alter(&[column(2, "a", "string"), column(3, "b", "string")]).await;
    let read = world.read(&["a", "b"]).await.expect("read");
    assert_eq!((texts(&read, 0), texts(&read, 1)), (vec![Some("of b".to_owned())], vec![None]));
    let read = world.read(&["b"]).await.expect("read");
    assert_eq!(texts(&read, 0), [None]);
}

#[tokio::test]
async fn widened_columns_are_read_as_what_they_are_now() {
    let narrow = [column(1, "n", "int"), column(2, "d", "decimal(9, 2)"), column(3, "f", "float")];
    let mut world = World::new(&narrow, "", &[]).await;
    let decimal = arrow_array::Decimal128Array::from(vec![-1420]).with_precision_and_scale(9, 2).expect("fits");
    let float = arrow_array::Float32Array::from(vec![0.5]);
    world.append(vec![Arc::new(Int32Array::from(vec![i32::MIN])), Arc::new(decimal), Arc::new(float)]).await;
    world.alter(&[column(1, "n", "long"), column(2, "d", "decimal(30, 2)"), column(3, "f", "double")]).await;
    let read = world.read(&["f", "n", "d"]).await.expect("read");
    assert_eq!(
        read[0].column(0).as_primitive::<arrow_array::types::Float64Type>().value(0).to_bits(),
        0.5_f64.to_bits()
    );
    assert_eq!(read[0].column(1).as_primitive::<Int64Type>().value(0), i64::from(i32::MIN));
    assert_eq!(read[0].column(2).as_primitive::<arrow_array::types::Decimal128Type>().value(0), -1420);
    assert_eq!(read[0].column(2).data_type(), &DataType::Decimal128(30, 2));
}

/// A struct, a list of structs and a map of structs that got a child after the file was written, and one widened.
#[tokio::test]
async fn nested_columns_evolve_too() {
    let nested = |child: i32, fields: &[(i32, &str, &str)]| {
        let fields: Vec<_> = fields.iter().map(|(id, name, of)| column(*id, name, *of)).collect();
        let of = json!({"type": "struct", "fields": fields});
        json!({"struct": of, "list": {"type": "list", "element-id": child, "element": of, "element-required": false},
               "map": {"type": "map", "key-id": child, "key": "string", "value-id": child + 1, "value": of,
                       "value-required": false}})
    };
    let of = |kind: &str, child: i32, fields: &[(i32, &str, &str)]| nested(child, fields)[kind].clone();
    let before = [
        column(1, "s", of("struct", 0, &[(4, "x", "int")])),
        column(2, "l", of("list", 5, &[(6, "x", "int")])),
        column(3, "m", of("map", 7, &[(9, "x", "int")])),
    ];
    let mut world = World::new(&before, "", &[]).await;
    let schema = world.table.arrow_schema().expect("convertible");
    let ids: Vec<i32> = {
        let by_name = |name: &str| world.table.metadata.current_schema().field_id_by_name(name).expect("a column");
        ["s.x", "l.element", "l.element.x", "m.key", "m.value", "m.value.x"].map(by_name).to_vec()
    };
    let rows = nested_rows(&schema);
    world.append(rows).await;
    let after = [
        column(1, "s", of("struct", 0, &[(20, "y", "string"), (ids[0], "x", "long")])),
        column(2, "l", of("list", ids[1], &[(ids[2], "x", "long"), (21, "y", "string")])),
        column(3, "m", {
            let mut map = of("map", ids[3], &[(22, "y", "string"), (ids[5], "x", "long")]);
            map["value-id"] = json!(ids[4]);
            map
        }),
    ];
    world.alter(&after).await;
    let read = world.read(&["m", "l", "s"]).await.expect("read");
    let structs = read[0].column(2).as_struct();
    assert_eq!(structs.nulls().map(|nulls| nulls.null_count()), Some(1));
    check_struct(structs, &[Some(7), None]);
    let list = read[0].column(1).as_list::<i32>();
    assert_eq!((list.value_length(0), list.is_null(1)), (1, true));
    check_struct(list.values().as_struct(), &[Some(8)]);
    let map = read[0].column(0).as_map();
    assert_eq!(map.keys().as_string::<i32>().value(0), "k");
    check_struct(map.values().as_struct(), &[Some(9)]);
}

fn check_struct(found: &StructArray, expected: &[Option<i64>]) {
    let x = found.column_by_name("x").expect("x").as_primitive::<Int64Type>();
    let values: Vec<_> =
        (0..found.len()).map(|row| (found.is_valid(row) && x.is_valid(row)).then(|| x.value(row))).collect();
    assert_eq!(values, expected);
    assert_eq!(found.column_by_name("y").expect("y").null_count(), found.len());
}

/// Two rows: 7, 8, 9 in each column's struct, then nulls.
fn nested_rows(schema: &arrow_schema::SchemaRef) -> Vec<ArrayRef> {
    use arrow_buffer::{NullBuffer, OffsetBuffer};
    let one_null = || Some(NullBuffer::from(vec![true, false]));
    let int = |values: Vec<i32>| Arc::new(Int32Array::from(values)) as ArrayRef;
    let DataType::Struct(fields) = schema.field(0).data_type() else { panic!("a struct") };
    let structs = StructArray::new(fields.clone(), vec![int(vec![7, 0])], one_null());
    let DataType::List(element) = schema.field(1).data_type() else { panic!("a list") };
    let DataType::Struct(fields) = element.data_type() else { panic!("a struct") };
    let elements = StructArray::new(fields.clone(), vec![int(vec![8])], None);
    let offsets = OffsetBuffer::new(vec![0, 1, 1].into());
    let list = arrow_array::ListArray::new(element.clone(), offsets.clone(), Arc::new(elements), one_null());
    let DataType::Map(entry, sorted) = schema.field(2).data_type() else { panic!("a map") };
    let DataType::Struct(entry_fields) = entry.data_type() else { panic!("entries") };
    let DataType::Struct(fields) = entry_fields[1].data_type() else { panic!("a struct") };
    let values = StructArray::new(fields.clone(), vec![int(vec![9])], None);
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["k"]));
    let entries = StructArray::new(entry_fields.clone(), vec![keys, Arc::new(values)], None);
    let map = arrow_array::MapArray::new(entry.clone(), offsets, entries, one_null(), *sorted);
    vec![Arc::new(structs), Arc::new(list), Arc::new(map)]
}

#[tokio::test]
async fn no_columns_are_rows_all_the_same() {
    let mut world = World::numbers("").await;
    let files = world.append_numbers(0..10).await;
    let rows = |batches: Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(rows(world.read(&[]).await.expect("read")), 10);
    let deletes = world.positions(Struct::empty(), &[(files[0].file_path(), 3)]).await;
    world.delete(0, vec![deletes]).await;
    assert_eq!(rows(world.read(&[]).await.expect("read")), 9);
}

/// A foreign file of other Arrow types and column order, with field ids.
#[tokio::test]
async fn foreign_files_are_read_by_their_ids() {
    let mut world = World::numbers("").await;
    let texts: ArrayRef = Arc::new(arrow_array::LargeStringArray::from(vec!["x"]));
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![5]));
    let (location, size) = world.store(vec![("any", 2, texts), ("name", 1, numbers)]).await;
    adopt(&mut world, location, size).await;
    let read = world.read(&["n", "s"]).await.expect("read");
    assert_eq!(read[0].column(0).as_primitive::<Int64Type>().value(0), 5);
    assert_eq!(super::fixture::texts(&read, 1), [Some("x".to_owned())]);
}

async fn adopt(world: &mut World, location: String, size: u64) {
    let file = described(DataContentType::Data, location, size, 1, Struct::empty()).build().expect("described");
    let staged = crate::data_file::StagedFiles {
        files: vec![file],
        spec_id: 0,
        schema_id: 0,
        table_uuid: world.table.uuid(),
        rows: 1,
        bytes: size,
    };
    let append = FencedAppend {
        commit_id: uuid::Uuid::new_v4(),
        table_uuid: world.table.uuid(),
        data_files: vec![staged],
        fence: Vec::new(),
        summary: Default::default(),
    };
    world.table = world.catalog.append(&world.table, &append).await.expect("committed").table;
}

#[tokio::test]
async fn what_cannot_be_read_rightly_is_an_error() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let mut world = World::numbers("").await;
    let (location, size) = world.store(vec![("n", -1, text.clone())]).await;
    adopt(&mut world, location.clone(), size).await;
    let error = world.read(&["n"]).await.expect_err("no field ids");
    assert!(matches!(&error, ScanError::Unsupported { location: at, .. } if *at == location), "{error}");

    let mut world = World::numbers("").await;
    let (location, size) = world.store(vec![("n", 1, text)]).await;
    adopt(&mut world, location, size).await;
    let error = world.read(&["n"]).await.expect_err("text is no number");
    assert!(matches!(&error, ScanError::Invalid { reason, .. } if reason.contains("\"n\"")), "{error}");
    assert!(!error.is_retryable());

    let mut world = World::numbers("").await;
    let (location, size) = world.store(vec![("n", 1, new_null_array(&DataType::Int64, 1))]).await;
    adopt(&mut world, location.clone(), size - 1).await;
    assert!(matches!(world.read(&["n"]).await, Err(ScanError::Invalid { .. })), "no Parquet file ends there");
    world.table.storage.delete(&location).await.expect("deleted");
    let error = world.read(&["n"]).await.expect_err("lost");
    assert!(matches!(&error, ScanError::Storage(StorageError::NotFound { .. })), "{error}");
}

/// Files are opened one after the other, when their rows are asked for.
#[tokio::test]
async fn nothing_is_read_ahead() {
    let mut world = World::numbers("identity(n)").await;
    let files = world.append_numbers([1, 2]).await;
    let mut begun = scan(&world.table, &["n"]).await.expect("begun");
    let first = begun.batches.next().await.expect("a batch").expect("read");
    let first = first.column(0).as_primitive::<Int64Type>().value(0);
    let other = files.iter().find(|file| !file.file_path().contains(&format!("n={first}/"))).expect("another file");
    world.table.storage.delete(other.file_path()).await.expect("deleted");
    assert!(begun.batches.next().await.expect("an answer").is_err());
}

#[tokio::test]
async fn dates_and_integers_of_a_partitioned_table_come_from_the_file() {
    let mut world = World::new(&[column(1, "d", "date"), column(2, "i", "int")], "void(d), i", &[]).await;
    let dates: ArrayRef = Arc::new(arrow_array::Date32Array::from(vec![Some(-1), None]));
    world.append(vec![dates.clone(), Arc::new(Int32Array::from(vec![1, 1]))]).await;
    let read = world.read(&["i", "d"]).await.expect("read");
    assert_eq!(read[0].column(1), &dates);
    assert_eq!(read[0].column(0).as_primitive::<Int32Type>().values().as_ref(), &[1, 1]);
}
