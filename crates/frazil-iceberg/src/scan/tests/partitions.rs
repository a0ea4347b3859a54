//! Every transform on every type it applies to, from staging over manifests to a scan.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array,
    Int64Array, LargeBinaryArray, StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, new_null_array,
};
use arrow_schema::DataType;
use iceberg::TableUpdate;
use iceberg::spec::{Transform, UnboundPartitionSpec};
use serde_json::json;

use super::fixture::{World, column};

const TRANSFORMS: [Transform; 12] = [
    Transform::Identity,
    Transform::Bucket(1),
    Transform::Bucket(i32::MAX as u32),
    Transform::Truncate(1),
    Transform::Truncate(10),
    Transform::Truncate(i32::MAX as u32),
    Transform::Year,
    Transform::Month,
    Transform::Day,
    Transform::Hour,
    Transform::Void,
    Transform::Bucket(16),
];

/// Types with values that include the ends of their range.
fn types() -> Vec<(&'static str, ArrayRef)> {
    let longs = vec![Some(0), Some(-1), Some(i64::MIN), Some(i64::MAX), None];
    let ints = vec![Some(0), Some(-1), Some(i32::MIN), Some(i32::MAX), None];
    let decimal = |precision: u8, scale: i8| -> ArrayRef {
        let most = 10_i128.pow(precision.into()) - 1;
        let values = vec![Some(0), Some(-1), Some(-most), Some(most), None];
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).expect("fits"))
    };
    let fixed = |size: usize| -> ArrayRef {
        let values = [Some(vec![0; size]), Some(vec![0xff; size]), Some(vec![b'/'; size]), Some(vec![1; size]), None];
        let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), size as i32);
        Arc::new(array.expect("of one size"))
    };
    let texts = vec![Some(""), Some("🧊🧊"), Some("a/b=c"), Some("\u{10ffff}"), None];
    let bytes: Vec<Option<&[u8]>> = vec![Some(b""), Some(&[0xff; 20]), Some(b"a/b"), Some(&[0]), None];
    let micros = || TimestampMicrosecondArray::from(longs.clone());
    let nanos = || TimestampNanosecondArray::from(longs.clone());
    vec![
        ("boolean", Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), Some(false), None]))),
        ("int", Arc::new(Int32Array::from(ints.clone()))),
        ("long", Arc::new(Int64Array::from(longs.clone()))),
        ("float", Arc::new(Float32Array::from(vec![Some(-0.0), Some(f32::NAN), Some(f32::MIN), Some(0.0), None]))),
        (
            "double",
            Arc::new(Float64Array::from(vec![Some(-0.0), Some(f64::NAN), Some(f64::INFINITY), Some(0.0), None])),
        ),
        ("decimal(2, 0)", decimal(2, 0)),
        ("decimal(9, 2)", decimal(9, 2)),
        ("decimal(18, 18)", decimal(18, 18)),
        ("decimal(38, 10)", decimal(38, 10)),
        ("date", Arc::new(Date32Array::from(ints))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(0), Some(1), Some(86_399_999_999), Some(5), None]))),
        ("timestamp", Arc::new(micros())),
        ("timestamptz", Arc::new(micros().with_timezone("+00:00"))),
        ("timestamp_ns", Arc::new(nanos())),
        ("timestamptz_ns", Arc::new(nanos().with_timezone("+00:00"))),
        ("string", Arc::new(StringArray::from(texts))),
        ("uuid", fixed(16)),
        ("fixed[3]", fixed(3)),
        ("binary", Arc::new(LargeBinaryArray::from(bytes))),
    ]
}

/// All rows come back, and no value panics anywhere.
#[tokio::test]
async fn every_transform_on_every_type() {
    let mut tried = 0;
    for (of, values) in types() {
        for transform in TRANSFORMS {
            let mut world = World::new(&[column(1, "v", of), column(2, "n", "long")], "", &[]).await;
            let source = world.table.metadata.current_schema().field_by_name("v").expect("a column").clone();
            let outgrows = (of, transform) == ("decimal(2, 0)", Transform::Truncate(i32::MAX as u32));
            if outgrows || transform.result_type(&source.field_type).is_err() {
                continue;
            }
            let spec = UnboundPartitionSpec::builder().add_partition_field(source.id, "p", transform).expect("a field");
            let spec = TableUpdate::AddSpec { spec: spec.build() };
            world.stub.update(vec![spec, TableUpdate::SetDefaultSpec { spec_id: -1 }]);
            world.reload().await;
            let case = format!("{transform} of {of}");
            tried += 1;
            let files = round_trip(&mut world, &values, &case).await;
            assert!(transform != Transform::Void || files == 1, "{case}");
        }
    }
    assert!(tried > 100, "{tried}");
}

/// Writes the values, and reads as many rows of their type back. Returns the number of files.
async fn round_trip(world: &mut World, values: &ArrayRef, case: &str) -> usize {
    let numbers = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
    let files = world.try_append(vec![values.clone(), numbers]).await;
    let files = files.unwrap_or_else(|error| panic!("{case}: {error}"));
    let read = world.read(&["v"]).await.unwrap_or_else(|error| panic!("{case}: {error}"));
    assert!(read.iter().all(|batch| batch.column(0).data_type() == values.data_type()), "{case}");
    assert_eq!(world.read_numbers().await, (0..values.len() as i64).collect::<Vec<_>>(), "{case}");
    files.len()
}

/// Merging reads manifests and writes them again: several columns of one type, beside transforms of the same sources.
#[tokio::test]
async fn manifests_of_every_type_are_merged() {
    let columns = [
        column(1, "u", "uuid"),
        column(2, "w", "uuid"),
        column(3, "d", "decimal(9, 2)"),
        column(4, "e", "decimal(9, 2)"),
        column(5, "t", "timestamptz"),
        column(6, "n", "long"),
    ];
    let merged = [("commit.manifest.min-count-to-merge", "3")];
    let mut world = World::new(&columns, "u, w, bucket(2, u), d, e, t, hour(t)", &merged).await;
    for number in 0..7_i64 {
        let fixed = |byte: u8| -> ArrayRef {
            let values = [Some(vec![byte; 16]), None];
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), 16).expect("of one size"))
        };
        let decimal = |value: i128| -> ArrayRef {
            let values = Decimal128Array::from(vec![Some(value), None]);
            Arc::new(values.with_precision_and_scale(9, 2).expect("fits"))
        };
        let times = TimestampMicrosecondArray::from(vec![Some(number - 3), None]).with_timezone("+00:00");
        let byte = u8::try_from(250 + number / 2).expect("a byte");
        let values: Vec<ArrayRef> = vec![
            fixed(byte),
            fixed(255 - byte),
            decimal(i128::from(number) - 3),
            decimal(7),
            Arc::new(times),
            Arc::new(Int64Array::from(vec![2 * number, 2 * number + 1])),
        ];
        assert_eq!(world.append(values).await.len(), 2);
    }
    assert_eq!(world.read_numbers().await, (0..14).collect::<Vec<_>>());
    let snapshot = world.table.metadata.current_snapshot().expect("a snapshot").clone();
    let (manifests, _) = crate::scan::live::manifests(&world.table, &snapshot).await.expect("listed");
    assert!(manifests.iter().any(|manifest| manifest.existing_files_count > Some(0)), "{}", manifests.len());
}

/// The source is inside structs, and a struct on the way may be null.
#[tokio::test]
async fn the_source_may_be_nested() {
    let inner = json!({"type": "struct", "fields": [column(3, "id", "string")]});
    let outer = json!({"type": "struct", "fields": [column(4, "user", inner)]});
    let columns = [column(1, "o", outer), column(2, "n", "long")];
    let mut world = World::new(&columns, "truncate(2, o.user.id), bucket(4, o.user.id)", &[]).await;
    let schema = world.table.arrow_schema().expect("convertible");
    let DataType::Struct(outer) = schema.field(0).data_type() else { panic!("a struct") };
    let DataType::Struct(inner) = outer[0].data_type() else { panic!("a struct") };
    let ids: ArrayRef = Arc::new(StringArray::from(vec![Some("🧊x1"), Some("🧊x2"), Some("hidden"), None]));
    let users = StructArray::new(inner.clone(), vec![ids], Some(vec![true, true, false, true].into()));
    let column = StructArray::new(outer.clone(), vec![Arc::new(users)], None);
    let files = world.append(vec![Arc::new(column), Arc::new(Int64Array::from(vec![1, 2, 3, 4]))]).await;
    let nulls = files.iter().filter(|file| file.partition()[0].is_none()).map(|file| file.record_count());
    assert_eq!(nulls.sum::<u64>(), 2, "a null struct and a null in it");
    assert_eq!(world.read_numbers().await, [1, 2, 3, 4]);
}

/// Format version 1 drops a partition field by making it void, so that partitions keep their length.
#[tokio::test]
async fn dropped_fields_of_format_version_1() {
    let columns = [column(1, "n", "long"), column(2, "s", "string")];
    let mut world = World::new(&columns, "void(s), bucket(2, n)", &[("format-version", "1")]).await;
    let files = world.append_numbers(0..8).await;
    assert!(files.iter().all(|file| file.partition().fields().len() == 2 && file.partition()[0].is_none()));
    assert_eq!(world.read_numbers().await, (0..8).collect::<Vec<_>>());
}

/// The spec and the schema change between staging and commit: files go in as they were written.
#[tokio::test]
async fn staged_files_survive_changes_of_spec_and_schema() {
    use crate::data_file::{StageOptions, stage};
    let mut world = World::numbers("bucket(2, n)").await;
    let schema = world.table.arrow_schema().expect("convertible");
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![1, 2, 3])), new_null_array(schema.field(1).data_type(), 3)];
    let rows = arrow_array::RecordBatch::try_new(schema, columns).expect("fits");
    let staged = stage(&world.table, vec![rows], &StageOptions::new("w")).await.expect("staged");
    let spec = UnboundPartitionSpec::builder().add_partition_field(2, "s_trunc", Transform::Truncate(1));
    let spec = spec.expect("a field").build();
    world.stub.update(vec![TableUpdate::AddSpec { spec }, TableUpdate::SetDefaultSpec { spec_id: -1 }]);
    world.reload().await;
    world.alter(&[column(1, "n", "long"), column(2, "s", "string"), column(3, "t", "string")]).await;
    let append = crate::FencedAppend {
        commit_id: uuid::Uuid::new_v4(),
        table_uuid: world.table.uuid(),
        data_files: vec![staged],
        fence: Vec::new(),
        summary: Default::default(),
    };
    world.table = world.catalog.append(&world.table, &append).await.expect("committed").table;
    let read = world.read(&["n", "t"]).await.expect("read");
    assert_eq!(read.iter().map(|batch| batch.column(1).null_count()).sum::<usize>(), 3);
    let mut numbers: Vec<i64> =
        read.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
}
