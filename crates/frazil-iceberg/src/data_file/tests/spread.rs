//! Batches that touch thousands of partitions, and how many uploads are under way at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{Int64Array, StringArray};
use axum::extract::State;
use axum::http::HeaderMap;
use iceberg::spec::{PrimitiveType, Transform};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::fixture::{batch, of, options, stage_blocking, table};
use crate::data_file::{StageOptions, stage};
use crate::storage::ObjectStorage;

const PARTITIONS: i64 = 5_000;

/// Rows that jump from partition to partition, so that nothing can be sliced.
#[test]
fn five_thousand_partitions_in_one_batch() {
    let table = table([("key", of(PrimitiveType::Long)), ("text", of(PrimitiveType::String))])
        .partition(1, "key", Transform::Identity)
        .build();
    let rows = |batch_number: i64| {
        let keys: Int64Array = (0..PARTITIONS).map(|n| (n * 7919 + batch_number) % PARTITIONS).collect();
        let texts: StringArray = (0..PARTITIONS).map(|n| Some(format!("event {n}"))).collect();
        batch(&table, vec![Arc::new(keys), Arc::new(texts)])
    };
    let staged = stage_blocking(&table, (0..4).map(rows).collect(), &options());
    assert_eq!((staged.files.len(), staged.rows), (PARTITIONS as usize, 4 * PARTITIONS as u64));
    assert!(staged.files.iter().all(|file| file.record_count() == 4));
    let mut partitions: Vec<String> = staged.files.iter().map(|file| format!("{:?}", file.partition())).collect();
    partitions.sort();
    partitions.dedup();
    assert_eq!(partitions.len(), PARTITIONS as usize);
}

/// A store whose answers wait until exactly `UPLOADS` requests are there: fewer at a time and it never answers.
const UPLOADS: usize = 4;

#[derive(Clone)]
struct Uploads {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    together: Arc<Barrier>,
}

async fn put(State(uploads): State<Uploads>) -> HeaderMap {
    let now = uploads.now.fetch_add(1, Ordering::SeqCst) + 1;
    uploads.most.fetch_max(now, Ordering::SeqCst);
    uploads.together.wait().await;
    uploads.now.fetch_sub(1, Ordering::SeqCst);
    HeaderMap::from_iter([(axum::http::header::ETAG, "\"1\"".parse().expect("a header"))])
}

#[tokio::test]
async fn uploads_run_side_by_side_up_to_the_limit() {
    let uploads = Uploads { now: Arc::default(), most: Arc::default(), together: Arc::new(Barrier::new(UPLOADS)) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let router = axum::Router::new().fallback(put).with_state(uploads.clone());
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.expect("serve") });

    let properties = [
        ("s3.endpoint", format!("http://{address}")),
        ("s3.region", "local".to_owned()),
        ("s3.access-key-id", "id".to_owned()),
        ("s3.secret-access-key", "secret".to_owned()),
    ];
    let properties: BTreeMap<String, String> =
        properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut table = table([("key", of(PrimitiveType::Long))])
        .property("write.data.path", "s3://bucket/data")
        .partition(1, "key", Transform::Identity)
        .build();
    table.storage = ObjectStorage::new(properties);
    let files = 16 * UPLOADS;
    let rows = batch(&table, vec![Arc::new((0..files as i64).collect::<Int64Array>())]);
    let options = StageOptions { max_concurrent_uploads: UPLOADS, ..options() };
    let staged = stage(&table, vec![rows], &options).await.expect("stages");
    assert_eq!(staged.files.len(), files);
    assert_eq!(uploads.most.load(Ordering::SeqCst), UPLOADS);
}
