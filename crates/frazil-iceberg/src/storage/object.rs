//! Objects of an `object_store`: S3 and memory. Owns the translation of Iceberg's S3 properties and the multipart
//! upload; knows nothing of locations beyond the key.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig};

use super::location::ObjectLocation;
use super::{ObjectEntry, Result, StorageError};
use crate::sigv4;
use crate::tls::Roots;

/// Objects above this go up in parts of this size (S3 wants at least 5 MiB, and all but the last of one size).
pub(super) const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one object that are in flight together.
const PARTS_IN_FLIGHT: usize = 4;
/// One request, body included: 8 MiB in 60 s is 1.1 Mbit/s.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The client's own retries of transient failures; beyond them the caller decides.
const RETRIES: usize = 5;
const RETRY_TIMEOUT: Duration = Duration::from_secs(90);

pub(super) async fn put(store: &Arc<dyn ObjectStore>, object: &ObjectLocation, data: Bytes) -> Result<()> {
    let failed = |error| StorageError::from_object_store(&object.location(), error);
    if data.len() <= PART_BYTES {
        return store.put(&object.key, data.into()).await.map(drop).map_err(failed);
    }
    let mut upload = store.put_multipart(&object.key).await.map_err(failed)?;
    let uploaded = put_parts(upload.as_mut(), data).await;
    if let Err(error) = uploaded {
        // Unfinished parts are billed and invisible. Failure to abort is left to the bucket's lifecycle rule.
        if let Err(abort) = upload.abort().await {
            tracing::warn!(location = %object.location(), error = %abort, "an unfinished upload could not be aborted");
        }
        return Err(failed(error));
    }
    Ok(())
}

async fn put_parts(upload: &mut dyn MultipartUpload, data: Bytes) -> object_store::Result<()> {
    let mut parts = Vec::with_capacity(data.len().div_ceil(PART_BYTES));
    let mut rest = data;
    while !rest.is_empty() {
        let part = rest.split_to(PART_BYTES.min(rest.len()));
        parts.push(upload.put_part(PutPayload::from_bytes(part)));
    }
    stream::iter(parts).buffer_unordered(PARTS_IN_FLIGHT).try_collect::<()>().await?;
    upload.complete().await.map(drop)
}

pub(super) async fn put_if_absent(store: &Arc<dyn ObjectStore>, object: &ObjectLocation, data: Bytes) -> Result<()> {
    let created = store.put_opts(&object.key, data.into(), PutMode::Create.into()).await;
    created.map(drop).map_err(|error| StorageError::from_object_store(&object.location(), error))
}

pub(super) async fn get(
    store: &Arc<dyn ObjectStore>,
    object: &ObjectLocation,
    range: Option<Range<u64>>,
) -> Result<Bytes> {
    let read = match range {
        Some(range) => store.get_range(&object.key, range).await,
        None => match store.get(&object.key).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        },
    };
    read.map_err(|error| StorageError::from_object_store(&object.location(), error))
}

pub(super) async fn delete(store: &Arc<dyn ObjectStore>, object: &ObjectLocation) -> Result<()> {
    let deleted = store.delete(&object.key).await;
    deleted.map_err(|error| StorageError::from_object_store(&object.location(), error))
}

pub(super) async fn size(store: &Arc<dyn ObjectStore>, object: &ObjectLocation) -> Result<u64> {
    let head = store.head(&object.key).await;
    head.map(|meta| meta.size).map_err(|error| StorageError::from_object_store(&object.location(), error))
}

pub(super) async fn list(store: &Arc<dyn ObjectStore>, object: &ObjectLocation) -> Result<Vec<ObjectEntry>> {
    let entry = |meta: object_store::ObjectMeta| ObjectEntry {
        location: format!("{}{}", object.root, meta.location),
        size: meta.size,
        modified_ms: meta.last_modified.timestamp_millis(),
    };
    let found = store.list(Some(&object.key)).map_ok(entry).try_collect().await;
    found.map_err(|error| StorageError::from_object_store(&object.location(), error))
}

/// A client for one bucket.
pub(super) fn s3_client(
    bucket: &str,
    properties: &BTreeMap<String, String>,
    roots: &Roots,
) -> Result<Arc<dyn ObjectStore>> {
    let property = |key: &str| properties.get(key).filter(|value| !value.is_empty());
    let configuration = |reason: String| StorageError::Configuration { reason };
    let mut client = ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(property("s3.endpoint").is_some_and(|endpoint| endpoint.starts_with("http://")));
    for root in roots.for_store() {
        client = client.with_root_certificate(root);
    }
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let mut builder = source(properties)?;
    builder = builder.with_bucket_name(bucket).with_client_options(client).with_retry(retry);
    if let Some(region) = property("s3.region").or_else(|| property("client.region")) {
        builder = builder.with_region(region);
    }
    if property("s3.allow-anonymous").is_some_and(|value| value == "true") {
        builder = builder.with_skip_signature(true);
    }
    builder = address(builder, bucket, property("s3.endpoint"), property("s3.path-style-access"));
    let store = builder.build().map_err(|error| configuration(error.to_string()))?;
    Ok(Arc::new(store))
}

/// Where credentials come from: the properties, or the environment.
pub(super) fn source(properties: &BTreeMap<String, String>) -> Result<AmazonS3Builder> {
    let property = |key: &str| properties.get(key).filter(|value| !value.is_empty()).map(String::as_str);
    match (property("s3.access-key-id"), property("s3.secret-access-key")) {
        (Some(id), Some(secret)) => {
            Ok(sigv4::source(Some(sigv4::Keys { id, secret, session_token: property("s3.session-token") })))
        }
        (None, None) => Ok(sigv4::source(None)),
        _ => Err(StorageError::Configuration {
            reason: "s3.access-key-id and s3.secret-access-key come together".to_owned(),
        }),
    }
}

/// Path style is the default with an endpoint of one's own (most such servers know nothing else), virtual hosts are
/// the default for AWS itself, except for buckets with a dot, which no certificate covers.
fn address(
    builder: AmazonS3Builder,
    bucket: &str,
    endpoint: Option<&String>,
    path_style: Option<&String>,
) -> AmazonS3Builder {
    let path_style = path_style.map(|value| value == "true");
    match endpoint {
        None => builder.with_virtual_hosted_style_request(!path_style.unwrap_or(bucket.contains('.'))),
        Some(endpoint) if path_style.unwrap_or(true) => {
            builder.with_endpoint(endpoint.trim_end_matches('/')).with_virtual_hosted_style_request(false)
        }
        Some(endpoint) => {
            let endpoint = endpoint.trim_end_matches('/');
            let hosted = match endpoint.split_once("://") {
                Some((scheme, host)) => format!("{scheme}://{bucket}.{host}"),
                None => format!("https://{bucket}.{endpoint}"),
            };
            builder.with_endpoint(hosted).with_virtual_hosted_style_request(true)
        }
    }
}
