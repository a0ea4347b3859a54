//! Tests of the storage handle on local files and memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::io::{FileIO, Storage};

use super::location::{Location, Store};
use super::*;

/// Keys that a URL parser or a percent-encoder would turn into other keys.
const AWKWARD: [&str; 6] = [
    "data/k=a%3Fb/f.parquet",
    "data/k=a?b/f.parquet",
    "data/k=a#b/f.parquet",
    "data/k=100%/f.parquet",
    "data/k=a b+c/f.parquet",
    "data/k=grün&x=1/f.parquet",
];

async fn awkward_keys_are_kept(storage: &ObjectStorage, root: &str) {
    for (index, key) in AWKWARD.iter().enumerate() {
        let content = Bytes::from(format!("content {index}"));
        let location = format!("{root}/{key}");
        storage.put(&location, content.clone()).await.expect("put");
        assert_eq!(storage.get(&location).await.expect("get"), content, "{location}");
        assert_eq!(storage.size(&location).await.expect("size"), content.len() as u64);
        assert_eq!(storage.get_range(&location, 2..5).await.expect("range"), content.slice(2..5));
    }
    let mut listed: Vec<_> =
        storage.list(&format!("{root}/data")).await.expect("list").into_iter().map(|entry| entry.location).collect();
    listed.sort();
    let mut expected: Vec<_> = AWKWARD.iter().map(|key| format!("{root}/{key}")).collect();
    expected.sort();
    assert_eq!(listed, expected);
    for location in &expected {
        storage.delete(location).await.expect("delete");
        assert!(!storage.exists(location).await.expect("exists"));
        storage.delete(location).await.expect("a missing file counts as deleted");
    }
    assert!(storage.list(root).await.expect("list").is_empty());
}

async fn one_creator_wins(storage: &ObjectStorage, root: &str) {
    let location = format!("{root}/race");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8_u8 {
        let (storage, location) = (storage.clone(), location.clone());
        tasks.spawn(async move { (number, storage.put_if_absent(&location, Bytes::from(vec![number; 4])).await) });
    }
    let results = tasks.join_all().await;
    let winners: Vec<_> = results.iter().filter(|(_, result)| result.is_ok()).map(|(number, _)| *number).collect();
    assert_eq!(winners.len(), 1);
    for (_, result) in results {
        assert!(matches!(result, Ok(()) | Err(StorageError::AlreadyExists { .. })), "{result:?}");
    }
    assert_eq!(storage.get(&location).await.expect("get"), vec![winners[0]; 4]);
}

#[tokio::test]
async fn local_files() {
    let directory = tempfile::tempdir().expect("tempdir");
    let storage = ObjectStorage::default();
    for root in [format!("file://{}", directory.path().display()), directory.path().display().to_string()] {
        awkward_keys_are_kept(&storage, &root).await;
        one_creator_wins(&storage, &format!("{root}/x")).await;
        storage.delete(&format!("{root}/x/race")).await.expect("delete");
    }
    assert!(matches!(storage.get("file:///nowhere/at/all").await, Err(StorageError::NotFound { .. })));
    let unwritable = storage.put("/proc/frazil/x", Bytes::new()).await.expect_err("no such file system");
    assert!(!matches!(unwritable, StorageError::AlreadyExists { .. }));
}

#[tokio::test]
async fn local_put_replaces_and_leaves_nothing_else() {
    let directory = tempfile::tempdir().expect("tempdir");
    let root = format!("file:{}", directory.path().display());
    let storage = ObjectStorage::default();
    let location = format!("{root}/a/b/c.bin");
    storage.put(&location, Bytes::from_static(b"old")).await.expect("put");
    storage.put(&location, Bytes::from_static(b"new")).await.expect("put");
    assert!(storage.put_if_absent(&location, Bytes::new()).await.is_err());
    let listed = storage.list(&root).await.expect("list");
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((listed[0].location.as_str(), listed[0].size), (location.as_str(), 3));
    assert_eq!(storage.get(&location).await.expect("get"), "new");
}

#[tokio::test]
async fn memory() {
    let storage = ObjectStorage::default();
    for root in ["memory://bucket/wh", "memory:///wh"] {
        awkward_keys_are_kept(&storage, root).await;
        one_creator_wins(&storage, &format!("{root}/x")).await;
        storage.delete(&format!("{root}/x/race")).await.expect("delete");
    }
    let other = storage.with_properties(BTreeMap::from([("a".to_owned(), "b".to_owned())]), Vec::new());
    storage.put("memory://k", Bytes::from_static(b"v")).await.expect("put");
    assert_eq!(other.get("memory://k").await.expect("shared"), "v");
}

#[tokio::test]
async fn large_objects_go_up_in_parts() {
    let storage = ObjectStorage::default();
    let content: Bytes = (0..20 * 1024 * 1024_u32).map(|index| (index / 4099) as u8).collect::<Vec<_>>().into();
    storage.put("memory://large", content.clone()).await.expect("put");
    assert_eq!(storage.get("memory://large").await.expect("get"), content);
}

#[tokio::test]
async fn file_io_reads_what_storage_wrote() {
    let storage = ObjectStorage::default();
    let io = storage.file_io();
    let output = io.new_output("memory://t/k=a%3Fb/m.avro").expect("output");
    let mut writer = output.writer().await.expect("writer");
    writer.write(Bytes::from_static(b"ab")).await.expect("write");
    assert!(!storage.exists("memory://t/k=a%3Fb/m.avro").await.expect("exists"), "nothing half-written is visible");
    writer.write(Bytes::from_static(b"cd")).await.expect("write");
    writer.close().await.expect("close");
    assert!(writer.close().await.is_err());
    assert_eq!(storage.get("memory://t/k=a%3Fb/m.avro").await.expect("get"), "abcd");
    let missing = io.new_input("memory://t/missing").expect("input").read().await.expect_err("missing");
    let source = std::error::Error::source(&missing).expect("the typed error is kept");
    assert!(matches!(source.downcast_ref(), Some(StorageError::NotFound { .. })));
}

#[test]
fn secrets_are_neither_serialized_nor_shown() {
    let storage = ObjectStorage::new(BTreeMap::from([("s3.secret-access-key".to_owned(), "hunter2".to_owned())]));
    assert!(!format!("{storage:?}").contains("hunter2"));
    let io: FileIO = storage.file_io();
    assert!(!format!("{io:?}").contains("hunter2"));
    let _: fn(&dyn Storage) = |_| {};
}

#[test]
fn defect_07_one_client_per_bucket() {
    // iceberg-rust 0.10.1 (OpenDAL storage) builds a new operator and signer for every file operation, so each one
    // asks the credential service again. Here a bucket's client is made once and shared by all clones.
    let storage = ObjectStorage::new(BTreeMap::from([
        ("s3.access-key-id".to_owned(), "id".to_owned()),
        ("s3.secret-access-key".to_owned(), "secret".to_owned()),
        ("s3.region".to_owned(), "us-east-1".to_owned()),
    ]));
    let client = |storage: &ObjectStorage, location: &str| match Location::parse(location).expect("location") {
        Location::Object(object) => storage.client(&object).expect("client"),
        Location::Local(_) => panic!("not local"),
    };
    let first = client(&storage, "s3://b/x");
    assert!(Arc::ptr_eq(&first, &client(&storage.clone(), "s3a://b/y/z")));
    assert!(!Arc::ptr_eq(&first, &client(&storage, "s3://other/x")));
}

#[test]
fn vended_credentials_apply_to_the_longest_prefix() {
    let prefix = |prefix: &str| PrefixProperties { prefix: prefix.to_owned(), properties: BTreeMap::new() };
    let storage = ObjectStorage::default()
        .with_properties(BTreeMap::new(), vec![prefix("s3"), prefix("s3://b/t"), prefix("s3://b/t/data")]);
    let best = |location: &str| match Location::parse(location).expect("location") {
        Location::Object(object) => storage.best_prefix(&object),
        Location::Local(_) => None,
    };
    assert_eq!(best("s3://c/x"), Some(0));
    assert_eq!(best("s3a://b/t/metadata/m"), Some(1));
    assert_eq!(best("s3://b/t/data/f"), Some(2));
}

#[test]
fn locations() {
    let object = |location: &str| match Location::parse(location) {
        Ok(Location::Object(object)) => object,
        other => panic!("{other:?}"),
    };
    let found = object("s3://my-bucket/a%20b/c?d#e");
    assert_eq!(found.store, Store::S3 { bucket: "my-bucket".to_owned() });
    assert_eq!(found.key.as_ref(), "a%20b/c?d#e");
    assert_eq!(found.location(), "s3://my-bucket/a%20b/c?d#e");
    assert_eq!(object("memory:///a/b").location(), "memory:///a/b");
    assert_eq!(Location::parse("file:/a/b").expect("path"), Location::Local("/a/b".into()));
    assert_eq!(Location::parse("/a://b").expect("path"), Location::Local("/a://b".into()));
    for invalid in ["", "a/b", "file://a/b", "s3:///a", "gs://b/k", "s3://b/a//b", "s3://b/../b"] {
        assert!(matches!(Location::parse(invalid), Err(StorageError::InvalidLocation { .. })), "{invalid}");
    }
}

#[test]
fn half_a_credential_is_refused() {
    let storage = ObjectStorage::new(BTreeMap::from([("s3.access-key-id".to_owned(), "id".to_owned())]));
    let Ok(Location::Object(object)) = Location::parse("s3://b/k") else { panic!("location") };
    assert!(matches!(storage.client(&object), Err(StorageError::Configuration { .. })));
}
