//! Deleted rows stay away, and no others.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use iceberg::spec::{DataContentType, DataFileFormat, Literal, Struct};

use super::fixture::{World, column, described};
use crate::scan::ScanError;

fn partition(text: &str) -> Struct {
    Struct::from_iter([Some(Literal::string(text))])
}

fn without(all: impl IntoIterator<Item = i64>, gone: &[i64]) -> Vec<i64> {
    all.into_iter().filter(|n| !gone.contains(n)).collect()
}

/// Positions count over all row groups and batches of a file.
#[tokio::test]
async fn positions_are_deleted_from_their_file_alone() {
    let mut world = World::numbers("").await;
    let first = world.append_numbers(0..20_000).await;
    let second = world.append_numbers(20_000..20_010).await;
    let (first, second) = (first[0].file_path(), second[0].file_path());
    let rows = [(first, 0), (first, 8191), (first, 8192), (first, 19_999), (second, 9), (first, 8192)];
    let deletes = world.positions(Struct::empty(), &rows).await;
    let more = world.positions(Struct::empty(), &[(second, 0), ("memory:///elsewhere", 5)]).await;
    world.delete(0, vec![deletes, more]).await;
    let gone = [0, 8191, 8192, 19_999, 20_009, 20_000];
    assert_eq!(world.read_numbers().await, without(0..20_010, &gone));
    // Files that come later are not concerned, even at the same places.
    world.append_numbers([0, 1]).await;
    let mut expected = without(0..20_010, &gone);
    expected.extend([0, 1]);
    expected.sort_unstable();
    assert_eq!(world.read_numbers().await, expected);
}

#[tokio::test]
async fn a_file_whose_rows_are_all_deleted_yields_nothing() {
    let mut world = World::numbers("").await;
    let file = world.append_numbers([1, 2]).await;
    let rows = [(file[0].file_path(), 0), (file[0].file_path(), 1)];
    let deletes = world.positions(Struct::empty(), &rows).await;
    world.delete(0, vec![deletes]).await;
    assert_eq!(world.read(&["n"]).await.expect("read").len(), 0);
}

#[tokio::test]
async fn positions_of_another_partition_are_not_looked_at() {
    let mut world = World::numbers("s").await;
    let files = world.append_numbers(0..4).await;
    let odd = files.iter().find(|file| file.partition() == &partition("s1")).expect("odd numbers");
    let spec = world.table.metadata.default_partition_spec_id();
    let elsewhere = world.positions(partition("s0"), &[(odd.file_path(), 0)]).await;
    let right = world.positions(partition("s1"), &[(odd.file_path(), 1)]).await;
    world.delete(spec, vec![elsewhere, right]).await;
    assert_eq!(world.read_numbers().await, [0, 1, 2]);
}

fn longs(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

/// Equal rows of older files are deleted; a row written in the same commit or later is not. Null equals null.
#[tokio::test]
async fn equal_rows_of_older_files_are_deleted() {
    let mut world = World::numbers("").await;
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, None]));
    world.append(vec![longs(vec![Some(1), Some(2), Some(3), None]), texts]).await;
    let both: Vec<(&str, i32, ArrayRef)> = vec![
        ("s", 2, Arc::new(StringArray::from(vec![Some("a"), Some("x"), None]))),
        ("n", 1, longs(vec![Some(1), Some(2), None])),
    ];
    let deletes = world.equality(Struct::empty(), both).await;
    world.delete(0, vec![deletes]).await;
    assert_eq!(world.read_numbers().await, [2, 3]);
    let rows: usize = world.read(&["s"]).await.expect("read").iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, 2, "the compared column was not asked for");
    world.append_numbers([1]).await;
    assert_eq!(world.read_numbers().await, [1, 2, 3]);
}

#[tokio::test]
async fn equality_deletes_of_an_unpartitioned_spec_are_global() {
    let mut world = World::numbers("s").await;
    world.append_numbers(0..6).await;
    let spec = world.table.metadata.default_partition_spec_id();
    let even = world.equality(partition("s0"), vec![("n", 1, longs(vec![Some(0), Some(1)]))]).await;
    world.delete(spec, vec![even]).await;
    assert_eq!(world.read_numbers().await, [1, 2, 3, 4, 5], "1 is in another partition");
    let unpartitioned = iceberg::spec::UnboundPartitionSpec::builder().build();
    world.stub.update(vec![
        iceberg::TableUpdate::AddSpec { spec: unpartitioned },
        iceberg::TableUpdate::SetDefaultSpec { spec_id: -1 },
    ]);
    world.reload().await;
    let spec = world.table.metadata.default_partition_spec_id();
    let all = world.equality(Struct::empty(), vec![("n", 1, longs(vec![Some(1), Some(2)]))]).await;
    world.delete(spec, vec![all]).await;
    assert_eq!(world.read_numbers().await, [3, 4, 5]);
}

/// A compared column that was widened since, then dropped, still deletes.
#[tokio::test]
async fn equality_deletes_outlive_their_column() {
    let mut world = World::new(&[column(1, "k", "int"), column(2, "n", "long")], "", &[]).await;
    let keys: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1, 2, 3]));
    world.append(vec![keys, longs(vec![Some(10), Some(20), Some(30)])]).await;
    let narrow: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![2]));
    let deletes = world.equality(Struct::empty(), vec![("k", 1, narrow)]).await;
    world.delete(0, vec![deletes]).await;
    assert_eq!(world.read_numbers().await, [10, 30]);
    world.alter(&[column(1, "k", "long"), column(2, "n", "long")]).await;
    assert_eq!(world.read_numbers().await, [10, 30]);
    world.alter(&[column(2, "n", "long")]).await;
    assert_eq!(world.read_numbers().await, [10, 30]);
}

/// Rows must not come back to life because their deletion cannot be read.
#[tokio::test]
async fn deletes_that_cannot_be_read_are_an_error() {
    let mut world = World::numbers("").await;
    let files = world.append_numbers([1]).await;
    let vector =
        described(DataContentType::PositionDeletes, "memory:///wh/dv.puffin".to_owned(), 9, 1, Struct::empty())
            .file_format(DataFileFormat::Puffin)
            .referenced_data_file(Some(files[0].file_path().to_owned()))
            .build()
            .expect("described");
    world.delete(0, vec![vector]).await;
    let error = world.read(&["n"]).await.expect_err("deletion vector");
    assert!(matches!(&error, ScanError::Unsupported { location, .. } if location.ends_with("dv.puffin")), "{error}");

    let mut world = World::numbers("").await;
    world.append_numbers([1]).await;
    let lost = described(DataContentType::PositionDeletes, "memory:///wh/lost".to_owned(), 9, 1, Struct::empty());
    world.delete(0, vec![lost.build().expect("described")]).await;
    assert!(matches!(world.read(&["n"]).await, Err(ScanError::Storage(_))));
}
