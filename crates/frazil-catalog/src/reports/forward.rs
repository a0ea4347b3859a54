//! Delivery of metrics reports to a proxy: one after the other, each until it is stored or refused. A report carries a key,
//! so that one that was stored without an answer is not stored twice.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{ReportForwarding, ReportMetrics, ReportOutcome, Waiting};
use crate::config::OpenError;

/// How long the proxy may take for one report. Longer: it is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before a report is sent again; it doubles with every attempt.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// Longest pause.
const PAUSE_LONGEST: Duration = Duration::from_secs(10);
/// How much of a refusal is logged, in characters.
const SHOWN_MAX: usize = 300;

/// Forwards reports for as long as the catalog is served.
pub(crate) struct Forwarder {
    queue: Receiver<Waiting>,
    client: Client,
    proxy: Url,
    prefix: String,
    token: HeaderValue,
    metrics: ReportMetrics,
    /// Whether the proxy cannot be had, so that it is said once.
    waiting: bool,
}

/// What the proxy made of a report.
enum Answer {
    Stored,
    Refused(String),
    /// Not now, or nobody knows.
    Again {
        reason: String,
        after: Option<Duration>,
    },
}

impl Forwarder {
    pub(super) fn new(
        forwarding: &ReportForwarding,
        prefix: &str,
        queue: Receiver<Waiting>,
        metrics: ReportMetrics,
    ) -> Result<Self, OpenError> {
        let unusable = |reason: String| OpenError::Forwarding { reason };
        let proxy: Url = forwarding.url.parse().map_err(|error| unusable(format!("its URL: {error}")))?;
        if proxy.cannot_be_a_base() {
            return Err(unusable("its URL has no host".to_owned()));
        }
        let token = HeaderValue::from_str(&format!("Bearer {}", forwarding.token));
        let mut token = token.map_err(|_| unusable("its token cannot stand in a header".to_owned()))?;
        token.set_sensitive(true);
        let mut client = Client::builder().timeout(ANSWER_TIMEOUT).redirect(Policy::none());
        if is_loopback(&proxy) {
            client = client.no_proxy();
        }
        let client = forwarding.tls.apply(client).map_err(|error| unusable(error.to_string()))?;
        let client = client.build().map_err(|error| unusable(error.to_string()))?;
        Ok(Self { queue, client, proxy, prefix: prefix.to_owned(), token, metrics, waiting: false })
    }

    /// Forwards until `stop`, then tries what is left once more.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) {
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                next = self.queue.recv() => next,
            };
            match next {
                Some(report) => self.deliver(&report, stop).await,
                None => return,
            }
        }
        self.queue.close();
        while let Some(report) = self.queue.recv().await {
            self.deliver(&report, stop).await;
        }
    }

    /// Counts what could not be forwarded before the end.
    pub(crate) fn give_up(&mut self) {
        // The one that was under way is no longer in the queue.
        let left = self.queue.len() + 1;
        self.metrics.count_many(ReportOutcome::Dropped, left);
        tracing::warn!(reports = left, "metrics reports were not forwarded before the end");
    }

    /// Delivers a report, however long it takes; after `stop` without another attempt.
    async fn deliver(&mut self, report: &Waiting, stop: &CancellationToken) {
        let key = Uuid::now_v7().to_string();
        let mut pause = PAUSE_FIRST;
        loop {
            let last = stop.is_cancelled();
            match self.post(report, &key).await {
                Answer::Stored => {
                    self.metrics.count(ReportOutcome::Forwarded);
                    if std::mem::take(&mut self.waiting) {
                        tracing::info!("the proxy takes metrics reports again");
                    }
                    return;
                }
                Answer::Refused(reason) => {
                    self.metrics.count(ReportOutcome::Refused);
                    tracing::warn!(table = %report.table, reason, "the proxy has refused a metrics report");
                    return;
                }
                Answer::Again { reason, .. } if last => {
                    self.metrics.count(ReportOutcome::Dropped);
                    tracing::warn!(table = %report.table, reason, "a metrics report was not forwarded before the end");
                    return;
                }
                Answer::Again { reason, after } => {
                    if !std::mem::replace(&mut self.waiting, true) {
                        tracing::warn!(reason, "metrics reports wait, the proxy does not take them");
                    }
                    let wait = after.unwrap_or_default().clamp(pause, PAUSE_LONGEST);
                    // Stopped meanwhile: the next attempt is the last.
                    let _ = tokio::time::timeout(wait, stop.cancelled()).await;
                    pause = (pause * 2).min(PAUSE_LONGEST);
                }
            }
        }
    }

    async fn post(&self, report: &Waiting, key: &str) -> Answer {
        let mut request = self
            .client
            .post(self.url(report))
            .header(AUTHORIZATION, self.token.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", key)
            .body(report.body.clone());
        if let Some(encoding) = &report.encoding {
            request = request.header(CONTENT_ENCODING, encoding.clone());
        }
        match request.send().await {
            Ok(response) => judge(response).await,
            Err(error) => Answer::Again { reason: chain(&error), after: None },
        }
    }

    fn url(&self, report: &Waiting) -> Url {
        let mut url = self.proxy.clone();
        let (namespace, table) = (report.table.namespace.joined(), report.table.name.as_str());
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            segments.extend(["v1", &self.prefix, "namespaces", &namespace, "tables", table, "metrics"]);
        }
        url
    }
}

async fn judge(response: Response) -> Answer {
    let status = response.status();
    if status.is_success() {
        return Answer::Stored;
    }
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let after = after.map(Duration::from_secs);
    let text: String = response.text().await.unwrap_or_default().chars().take(SHOWN_MAX).collect();
    let reason = format!("{status}: {text}");
    let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if status.is_server_error() || again.contains(&status) {
        Answer::Again { reason, after }
    } else {
        Answer::Refused(reason)
    }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
