//! AWS Signature Version 4: requests signed with keys that are given, or with those that the environment hands out.
//!
//! Owns where credentials come from and what a refusal of a signature means. The signature itself, the chain of
//! credentials and their renewal are `object_store`'s, so that catalogs and stores find the same ones. Sends nothing.

use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::{ClientOptions, RetryConfig};
use reqwest::header::{ACCEPT, HOST, HeaderValue};

/// Asking for credentials, one request and all tries: less than what callers of a catalog wait for.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(5);
const CREDENTIALS_RETRY: Duration = Duration::from_secs(8);

/// Signs requests to one service in one region.
#[derive(Debug)]
pub(crate) struct Signer {
    credentials: AwsCredentialProvider,
    region: String,
    service: String,
}

/// A request that could not be signed. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// The settings do not make a signer, or a request that can be signed.
    #[error("AWS signature: {0}")]
    Settings(String),
    /// There are no credentials now.
    #[error("AWS credentials: {0}")]
    Credentials(object_store::Error),
}

/// Keys that are given, not found.
#[derive(Debug)]
pub(crate) struct Keys<'k> {
    pub(crate) id: &'k str,
    pub(crate) secret: &'k str,
    pub(crate) session_token: Option<&'k str>,
}

/// Where credentials come from: the keys, or else the environment (variables, web identity, container, instance).
pub(crate) fn source(keys: Option<Keys<'_>>) -> AmazonS3Builder {
    let Some(keys) = keys else { return AmazonS3Builder::from_env() };
    let builder = AmazonS3Builder::new().with_access_key_id(keys.id).with_secret_access_key(keys.secret);
    match keys.session_token {
        Some(token) => builder.with_token(token),
        None => builder,
    }
}

/// The region that the environment names.
pub(crate) fn region_of_environment() -> Option<String> {
    AmazonS3Builder::from_env().get_config_value(&AmazonS3ConfigKey::Region)
}

impl Signer {
    /// A signer with the credentials of `source`. Nothing is contacted yet.
    pub(crate) fn new(source: AmazonS3Builder, region: &str, service: &str) -> Result<Self, SignError> {
        let client =
            ClientOptions::new().with_timeout(CREDENTIALS_TIMEOUT).with_connect_timeout(Duration::from_secs(2));
        let retry = RetryConfig { max_retries: 2, retry_timeout: CREDENTIALS_RETRY, ..RetryConfig::default() };
        // No object is ever asked for: the bucket is only what the builder insists on.
        let unused = source.with_bucket_name("unused").with_region(region);
        let store = unused.with_client_options(client).with_retry(retry).build();
        let store = store.map_err(|error| SignError::Settings(error.to_string()))?;
        Ok(Self { credentials: store.credentials().clone(), region: region.to_owned(), service: service.to_owned() })
    }

    /// Signs a request with this body, as it is now, for the next minutes. What is sent must not be changed after it.
    pub(crate) async fn sign(&self, request: &mut reqwest::Request, body: Option<&Bytes>) -> Result<(), SignError> {
        let credential = self.credentials.get_credential().await.map_err(SignError::Credentials)?;
        check(&credential)?;
        let mut signed = HttpRequest::new(HttpRequestBody::from(body.cloned().unwrap_or_default()));
        *signed.method_mut() = request.method().clone();
        let url = request.url().as_str();
        *signed.uri_mut() = url.parse().map_err(|error| SignError::Settings(format!("{url}: {error}")))?;
        *signed.headers_mut() = request.headers().clone();
        // Intermediaries may rewrite what a client accepts.
        signed.headers_mut().remove(ACCEPT);
        AwsAuthorizer::new(&credential, &self.service, &self.region).authorize(&mut signed, None);
        for (name, value) in signed.headers() {
            // The client writes the host itself, from the same URL.
            if name != HOST {
                let mut value = value.clone();
                value.set_sensitive(true);
                request.headers_mut().insert(name, value);
            }
        }
        Ok(())
    }
}

/// The signing library does not survive credentials that no header can carry.
fn check(credential: &AwsCredential) -> Result<(), SignError> {
    let carried = |text: &str| HeaderValue::from_str(text).is_ok() && text.is_ascii() && !text.is_empty();
    let refused = |what: &str| Err(SignError::Settings(format!("the {what} has characters that none can have")));
    if !carried(&credential.key_id) {
        return refused("access key id");
    }
    match &credential.token {
        Some(token) if !carried(token) => refused("session token"),
        _ => Ok(()),
    }
}

/// The signature is of another time than the server's.
pub(crate) const CLOCK: &str = "this machine's clock and the server's are too far apart for a signature";

/// What the answer to a signed request says about its signature, if it was refused for that.
pub(crate) fn refusal(body: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(body);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["Signature expired", "Signature not yet current", "RequestTimeTooSkewed", "RequestExpired"]) {
        Some(CLOCK)
    } else if says(&["ExpiredToken", "security token included in the request is expired"]) {
        Some("the session token has expired")
    } else if says(&["UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId", "security token included"]) {
        Some("the server does not know the access key, or the session token does not belong to it")
    } else if says(&["Credential should be scoped"]) {
        Some("the signature is for another region or service than the server's")
    } else if says(&["SignatureDoesNotMatch", "InvalidSignature", "signature we calculated does not match"]) {
        Some(
            "the server calculates another signature: the secret key is wrong, or what was sent was changed on its way",
        )
    } else if says(&["MissingAuthenticationToken", "Missing Authentication Token"]) {
        Some("the server saw no signature, or has nothing at this path")
    } else {
        None
    }
}

#[cfg(test)]
pub(crate) mod verifier;

#[cfg(test)]
mod tests;
