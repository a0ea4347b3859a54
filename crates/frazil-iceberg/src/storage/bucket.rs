//! Creating a bucket, which `object_store` cannot: only when asked, and never one that exists.
//!
//! Owns the two requests that takes, looking and creating, and where a bucket is addressed. Writes no object.

use std::collections::BTreeMap;

use bytes::Bytes;
use object_store::aws::AmazonS3ConfigKey;
use reqwest::{Method, StatusCode};

use super::location::{Location, Store};
use super::object::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, source};
use super::probe::{ProbeFailure, ProbeStep, failure};
use super::{ObjectStorage, Result, StorageError};
use crate::sigv4::{SignError, Signer};

/// Where buckets are made without a `LocationConstraint`; also the region of servers that know none.
const FIRST_REGION: &str = "us-east-1";
/// As much as is read of an answer: errors, and lists of one object, are far shorter.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// What some stores are told in place of a region; no bucket can be created there.
const NO_REGION: &str = "auto";

/// What became of a bucket that was to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketOutcome {
    /// It did not exist, and does now.
    Created {
        /// Its name.
        bucket: String,
        /// Where it is.
        region: String,
    },
    /// It was there, and was left as it is.
    Existed {
        /// Its name.
        bucket: String,
    },
    /// The folder is in no bucket.
    NotABucket,
}

/// How a bucket is reached.
#[derive(Debug)]
struct Bucket<'s> {
    name: &'s str,
    url: String,
    region: String,
    client: reqwest::Client,
    signer: Signer,
}

impl ObjectStorage {
    /// Creates the bucket of a folder, if it does not exist. Needs `s3:ListBucket` and `s3:CreateBucket`.
    ///
    /// # Errors
    /// [`ProbeFailure`] if it could not be seen whether it exists, or it could not be created.
    pub async fn create_bucket(&self, folder: &str) -> std::result::Result<BucketOutcome, ProbeFailure> {
        self.created(folder).await.map_err(|error| failure(ProbeStep::Write, &error))
    }

    async fn created(&self, folder: &str) -> Result<BucketOutcome> {
        let object = match Location::parse(folder)? {
            Location::Local(_) => return Ok(BucketOutcome::NotABucket),
            Location::Object(object) => object,
        };
        let Store::S3 { bucket: name } = &object.store else { return Ok(BucketOutcome::NotABucket) };
        let bucket = self.bucket(name, &self.properties(self.best_prefix(&object)))?;
        if bucket.exists().await? {
            return Ok(BucketOutcome::Existed { bucket: name.clone() });
        }
        bucket.create().await
    }

    fn bucket<'s>(&self, name: &'s str, properties: &BTreeMap<String, String>) -> Result<Bucket<'s>> {
        let configuration = |reason: String| StorageError::Configuration { reason };
        let property = |key: &str| properties.get(key).filter(|value| !value.is_empty()).cloned();
        let source = source(properties)?;
        let environment = |key| source.get_config_value(&key);
        let region = property("s3.region").or_else(|| property("client.region"));
        let region = region.or_else(|| environment(AmazonS3ConfigKey::Region)).unwrap_or(FIRST_REGION.to_owned());
        let endpoint = property("s3.endpoint").or_else(|| environment(AmazonS3ConfigKey::Endpoint));
        let path_style = property("s3.path-style-access").map(|value| value == "true");
        let url = url(name, endpoint.as_deref(), path_style, &region);
        let mut client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // A bucket that is elsewhere is one that exists.
            .redirect(reqwest::redirect::Policy::none());
        for root in self.inner.roots.for_http() {
            client = client.add_root_certificate(root);
        }
        let client = client.build().map_err(|error| configuration(error.to_string()))?;
        let signer = Signer::new(source, &region, "s3").map_err(|error| configuration(error.to_string()))?;
        Ok(Bucket { name, url, region, client, signer })
    }
}

impl Bucket<'_> {
    /// Whether it exists. Its objects are listed, all but one left out, because only that answers with a reason.
    async fn exists(&self) -> Result<bool> {
        let url = format!("{}?list-type=2&max-keys=1", self.url);
        let (status, text) = self.ask(Method::GET, &url, Bytes::new()).await?;
        match status.as_u16() {
            200..=399 => Ok(true),
            404 if text.contains("NoSuchBucket") => Ok(false),
            _ => Err(self.refused(status, text)),
        }
    }

    async fn create(&self) -> Result<BucketOutcome> {
        let body = match self.region.as_str() {
            FIRST_REGION | NO_REGION => Bytes::new(),
            region => Bytes::from(format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            )),
        };
        let (status, text) = self.ask(Method::PUT, &self.url, body).await?;
        match status.as_u16() {
            200..=299 => Ok(BucketOutcome::Created { bucket: self.name.to_owned(), region: self.region.clone() }),
            // Somebody else was faster, on the same behalf.
            409 if text.contains("BucketAlreadyOwnedByYou") => {
                Ok(BucketOutcome::Existed { bucket: self.name.to_owned() })
            }
            _ => Err(self.refused(status, text)),
        }
    }

    async fn ask(&self, method: Method, url: &str, body: Bytes) -> Result<(StatusCode, String)> {
        let unavailable = |source: Box<dyn std::error::Error + Send + Sync>| StorageError::Unavailable {
            location: self.location(),
            source,
        };
        let request = self.client.request(method, url).body(body.clone()).build();
        let mut request = request.map_err(|error| StorageError::Configuration { reason: error.to_string() })?;
        self.signer.sign(&mut request, Some(&body)).await.map_err(|error| match error {
            SignError::Settings(reason) => StorageError::Configuration { reason },
            SignError::Credentials(_) => unavailable(error.into()),
        })?;
        let mut answered = self.client.execute(request).await.map_err(|error| unavailable(described(&error)))?;
        let mut body = Vec::new();
        while let Some(chunk) = answered.chunk().await.map_err(|error| unavailable(described(&error)))? {
            body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_MAX_BYTES - body.len())]);
            if body.len() == ANSWER_MAX_BYTES {
                break;
            }
        }
        Ok((answered.status(), String::from_utf8_lossy(&body).into_owned()))
    }

    fn refused(&self, status: StatusCode, text: String) -> StorageError {
        let (location, source) = (self.location(), format!("{status}: {text}").into());
        match status.as_u16() {
            401 | 403 => StorageError::PermissionDenied { location, source },
            408 | 429 | 500..=599 => StorageError::Unavailable { location, source },
            _ => StorageError::Refused { location, source },
        }
    }

    fn location(&self) -> String {
        format!("s3://{}", self.name)
    }
}

fn described(error: &reqwest::Error) -> Box<dyn std::error::Error + Send + Sync> {
    crate::rest::describe(error).into()
}

/// The address of a bucket, by the same rule as that of its objects.
fn url(bucket: &str, endpoint: Option<&str>, path_style: Option<bool>, region: &str) -> String {
    let Some(endpoint) = endpoint.map(|endpoint| endpoint.trim_end_matches('/')) else {
        return match path_style.unwrap_or(bucket.contains('.')) {
            true => format!("https://s3.{region}.amazonaws.com/{bucket}"),
            false => format!("https://{bucket}.s3.{region}.amazonaws.com/"),
        };
    };
    if path_style.unwrap_or(true) {
        return format!("{endpoint}/{bucket}");
    }
    match endpoint.split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{bucket}.{host}/"),
        None => format!("https://{bucket}.{endpoint}/"),
    }
}

#[cfg(test)]
mod tests;
