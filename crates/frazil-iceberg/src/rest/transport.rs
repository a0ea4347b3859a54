//! Requests and answers: headers, authentication, retries of what may be sent twice, and the one way a commit is sent.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode, redirect};

use super::auth::Authenticator;
use super::config::{Auth, RestCatalogConfig, RetryPolicy, Secret};
use super::error::Subject;
use super::{CatalogError, CommitError};
use crate::{sigv4, tls};

/// Longest answer that is read. A table's metadata with 100,000 snapshots is about 70 MB.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
const MAX_REDIRECTS: usize = 5;

#[derive(Debug)]
pub(super) struct Transport {
    client: reqwest::Client,
    auth: Authenticator,
    headers: HeaderMap,
    retry: RetryPolicy,
}

/// What came back, whatever the status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    /// Why the signature was refused, if the request was signed and refused for that.
    pub(super) signature: Option<String>,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn success(self, subject: Subject) -> Result<Self, CatalogError> {
        if self.status.is_success() { Ok(self) } else { Err(CatalogError::from_answer(&self, subject)) }
    }
}

/// When a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resend {
    /// After anything that may pass: sending twice is the same as sending once.
    Idempotent,
    /// Only if it certainly was not processed.
    IfUnprocessed,
}

/// A request without an answer.
enum Unanswered {
    /// Nothing was sent: no token, no signature, no connection.
    NotSent(CatalogError),
    /// It was sent, in part or whole.
    Lost(String),
}

impl Transport {
    pub(super) fn new(config: &RestCatalogConfig) -> Result<Self, CatalogError> {
        let client = config.tls.apply(reqwest::Client::builder())?;
        let client = client
            .timeout(config.request_timeout)
            .connect_timeout(config.connect_timeout)
            .redirect(match &config.auth {
                // A signature is for one URL, and its session token for nobody else.
                Auth::SigV4(_) => redirect::Policy::none(),
                Auth::None | Auth::Bearer(_) | Auth::OAuth2ClientCredentials { .. } => redirect::Policy::custom(follow),
            })
            .user_agent(concat!("frazil/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| CatalogError::Configuration { message: format!("HTTP client: {}", describe(&error)) })?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if config.vended_credentials {
            headers.insert("x-iceberg-access-delegation", HeaderValue::from_static("vended-credentials"));
        }
        let auth = Authenticator::new(config, client.clone())?;
        Self { client, auth, headers, retry: config.retry }.with_headers(&config.headers)
    }

    pub(super) fn with_headers(mut self, headers: &BTreeMap<String, String>) -> Result<Self, CatalogError> {
        for (name, value) in headers {
            let invalid = |_| CatalogError::BadRequest { message: format!("invalid header {name:?}") };
            let header = HeaderName::try_from(name).map_err(|_| invalid(()))?;
            let mut value = HeaderValue::try_from(value).map_err(|_| invalid(()))?;
            value.set_sensitive(true);
            self.headers.insert(header, value);
        }
        Ok(self)
    }

    pub(super) async fn get(&self, url: &str, subject: Subject) -> Result<Answer, CatalogError> {
        self.send(Method::GET, url, None, Resend::Idempotent).await?.success(subject)
    }

    /// Sends a request, again if that is allowed and may help.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<Bytes>,
        resend: Resend,
    ) -> Result<Answer, CatalogError> {
        let mut attempt = 0;
        loop {
            let outcome = self.authenticated(&method, url, body.as_ref()).await;
            attempt += 1;
            let (again, wait) = match &outcome {
                Ok(answer) => match answer.status.as_u16() {
                    429 => (true, answer.retry_after),
                    500 | 502 | 503 | 504 => (resend == Resend::Idempotent, answer.retry_after),
                    _ => (false, None),
                },
                Err(Unanswered::NotSent(error)) => (error.is_retryable(), None),
                Err(Unanswered::Lost(_)) => (resend == Resend::Idempotent, None),
            };
            if !again || attempt >= self.retry.attempts {
                return outcome.map_err(|unanswered| match unanswered {
                    Unanswered::NotSent(error) => error,
                    Unanswered::Lost(message) => CatalogError::Unavailable { message, retry_after: None },
                });
            }
            tokio::time::sleep(self.retry.wait(attempt - 1, wait)).await;
        }
    }

    /// Sends a commit: one POST, never again unless the answer was that the token is not valid.
    pub(super) async fn send_commit(&self, url: &str, body: Bytes) -> Result<Answer, CommitError> {
        match self.authenticated(&Method::POST, url, Some(&body)).await {
            Ok(answer) if answer.status == StatusCode::OK => Ok(answer),
            Ok(answer) => Err(CommitError::from_answer(&answer)),
            Err(Unanswered::NotSent(error)) => Err(CommitError::NotSent(error)),
            Err(Unanswered::Lost(reason)) => Err(CommitError::Unknown { reason }),
        }
    }

    /// One request; a second one with a new token if the first answer was 401 (or 419), which says that the request
    /// was not looked at.
    async fn authenticated(&self, method: &Method, url: &str, body: Option<&Bytes>) -> Result<Answer, Unanswered> {
        let token = self.auth.token().await.map_err(Unanswered::NotSent)?;
        let answer = self.once(method, url, body, token.as_ref()).await?;
        if !matches!(answer.status.as_u16(), 401 | 419) {
            return Ok(answer);
        }
        match self.auth.renewed(token.as_ref()).await {
            Ok(Some(renewed)) => self.once(method, url, body, Some(&renewed)).await,
            Ok(None) => Ok(answer),
            Err(error) => Err(Unanswered::NotSent(error)),
        }
    }

    async fn once(
        &self,
        method: &Method,
        url: &str,
        body: Option<&Bytes>,
        token: Option<&Secret>,
    ) -> Result<Answer, Unanswered> {
        let mut request = self.client.request(method.clone(), url).headers(self.headers.clone());
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let mut request = request.build().map_err(unanswered)?;
        self.auth.sign(&mut request, body).await.map_err(Unanswered::NotSent)?;
        let mut response = self.client.execute(request).await.map_err(unanswered)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Unanswered::Lost(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let signature = match &self.auth {
            Authenticator::SigV4(_) => refused_signature(status, &headers, &body),
            Authenticator::None | Authenticator::Bearer(_) | Authenticator::OAuth2(_) => None,
        };
        Ok(Answer { status, retry_after: retry_after(&headers), signature, body: body.freeze() })
    }
}

/// What is wrong with a signature that was refused; of clocks that differ, by how much.
fn refused_signature(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if !matches!(status.as_u16(), 400 | 401 | 403) {
        return None;
    }
    let why = sigv4::refusal(body)?;
    let date = headers.get(DATE).and_then(|date| chrono::DateTime::parse_from_rfc2822(date.to_str().ok()?).ok());
    Some(match date {
        Some(date) if why == sigv4::CLOCK => {
            let ahead = chrono::Utc::now().signed_duration_since(date).num_seconds();
            let side = if ahead < 0 { "behind" } else { "ahead of" };
            format!("{why} (this one is {} s {side} it)", ahead.abs())
        }
        _ => why.to_owned(),
    })
}

fn unanswered(error: reqwest::Error) -> Unanswered {
    let message = describe(&error);
    if error.is_connect() {
        // Refused, unresolved, no TLS: no byte of the request left.
        Unanswered::NotSent(CatalogError::Unavailable { message, retry_after: None })
    } else if error.is_builder() {
        Unanswered::NotSent(CatalogError::BadRequest { message })
    } else {
        Unanswered::Lost(message)
    }
}

/// Follows only redirects that keep method and body: the others would turn a commit into a load, whose success looks
/// like the commit's.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let keeps = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    if keeps && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
}

/// `Retry-After` in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    date.signed_duration_since(chrono::Utc::now()).to_std().ok()
}

/// An error with its causes and what to do about it, without the URL's query.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    match tls::advice(error) {
        Some(advice) => format!("{text} ({advice})"),
        None => text,
    }
}
