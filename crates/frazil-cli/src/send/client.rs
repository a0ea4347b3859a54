//! One request and what its answer means. Retries are decided elsewhere; this sends once.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use frazil_iceberg::ClientTls;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use url::Url;

use super::batch::Batch;
use super::destination::Destination;
use super::problem::Problem;
use super::{Compression, SendArgs};

/// Longest `Retry-After` that is obeyed as it stands.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What became of one request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Stored. The number of events and the receipt.
    Accepted { accepted: u64, receipt: Option<String> },
    /// Not now, or nobody knows: send the same again under the same key, not before `after`.
    Again { reason: String, after: Option<Duration> },
    /// Some events are at fault; nothing was stored.
    Invalid(Problem),
    /// Never like this; nothing was stored.
    Refused(String),
}

/// How far a receipt has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Committed,
    Stored,
}

#[derive(Debug, Deserialize)]
struct AcceptedBody {
    accepted: u64,
    receipt: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ReceiptBody {
    state: String,
}

/// A client of one stream and table.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    events: Url,
    receipts: Url,
    token: Option<String>,
    table: Option<String>,
    compress: Compression,
}

impl Client {
    pub(super) fn new(destination: Destination, args: &SendArgs) -> anyhow::Result<Self> {
        let Destination { url, token } = destination;
        let mut http = reqwest::Client::builder()
            .timeout(args.timeout.0)
            .connect_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(args.connections)
            .user_agent(concat!("frazil-send/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            http = http.no_proxy();
        }
        let (ca, certificate, key) = (args.tls_ca.clone(), args.tls_certificate.clone(), args.tls_key.clone());
        let http = ClientTls { ca, certificate, key }.apply(http)?.build().context("HTTP client")?;
        let stream = args.stream.as_str();
        let events = path(&url, &["v1", "streams", stream, "events"])?;
        let receipts = path(&url, &["v1", "receipts"])?;
        Ok(Self { http, events, receipts, token, table: args.table.clone(), compress: args.compress })
    }

    /// Posts the batch once.
    pub(super) async fn post(&self, batch: &Batch) -> Answer {
        let body = match encode(&batch.body, self.compress) {
            Ok(body) => body,
            Err(error) => return Answer::Refused(format!("cannot compress: {error}")),
        };
        let mut request = self.authorized(self.http.post(self.events.clone()));
        request = request.header(CONTENT_TYPE, "application/x-ndjson").header("Idempotency-Key", &batch.key);
        if let Some(table) = &self.table {
            request = request.header("table", table);
        }
        request = match self.compress {
            Compression::None => request,
            Compression::Gzip => request.header(CONTENT_ENCODING, "gzip"),
            Compression::Zstd => request.header(CONTENT_ENCODING, "zstd"),
        };
        match self.exchange(request.body(body)).await {
            Ok((status, after, body)) => judge(status, after, &body),
            Err(reason) => Answer::Again { reason, after: None },
        }
    }

    /// Asks how far a receipt has come, waiting for the commit as long as the proxy likes.
    ///
    /// # Errors
    /// What went wrong, and whether asking again may help.
    pub(super) async fn standing(&self, receipt: &str, wait: Duration) -> Result<Standing, (String, bool)> {
        let mut url = self.receipts.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(receipt);
        }
        url.query_pairs_mut().append_pair("wait", "committed").append_pair("timeout", &format!("{}s", wait.as_secs()));
        let request = self.authorized(self.http.get(url)).timeout(wait + Duration::from_secs(15));
        let (status, _, body) = self.exchange(request).await.map_err(|reason| (reason, true))?;
        if !status.is_success() {
            let again = status.is_server_error() || is_again(status);
            return Err((format!("{status}: {}", Problem::parse(&body).words()), again));
        }
        match serde_json::from_slice::<ReceiptBody>(&body) {
            Ok(answer) if answer.state == "committed" => Ok(Standing::Committed),
            Ok(_) => Ok(Standing::Stored),
            Err(error) => Err((format!("unexpected answer: {error}"), false)),
        }
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<(StatusCode, Option<Duration>, Bytes), String> {
        let answer = request.send().await.map_err(|error| chain(&error))?;
        let status = answer.status();
        let seconds =
            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
        let after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        let body = answer.bytes().await.map_err(|error| chain(&error))?;
        Ok((status, after, body))
    }
}

fn judge(status: StatusCode, after: Option<Duration>, body: &Bytes) -> Answer {
    if status.is_success() {
        return match serde_json::from_slice::<AcceptedBody>(body) {
            Ok(AcceptedBody { accepted, receipt }) => Answer::Accepted { accepted, receipt },
            // Success, but not from a proxy of ours: sending more would be a guess.
            Err(error) => Answer::Refused(format!("{status}, but the answer is not Frazil's: {error}")),
        };
    }
    let problem = Problem::parse(body);
    if is_again(status) || status.is_server_error() {
        return Answer::Again { reason: format!("{status}: {}", problem.words()), after };
    }
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Answer::Invalid(problem),
        _ => Answer::Refused(format!("{status}: {}{}", problem.words(), advice(status))),
    }
}

fn is_again(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => " (say --token, or FRAZIL_TOKEN; `frazil token create` makes one)",
        StatusCode::FORBIDDEN => " (see `frazil token list` for what the token allows)",
        StatusCode::NOT_FOUND => " (see `frazil stream list`; `frazil table create` makes a table)",
        _ => "",
    }
}

fn path(base: &Url, segments: &[&str]) -> anyhow::Result<Url> {
    let mut url = base.clone();
    let opaque = |()| anyhow::anyhow!("--url {base} cannot have a path");
    url.path_segments_mut().map_err(opaque)?.pop_if_empty().extend(segments);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn encode(body: &[u8], compression: Compression) -> std::io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(body.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(body)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::encode_all(body, 1),
    }
}

/// An error with its causes, which reqwest leaves out of its own message.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
