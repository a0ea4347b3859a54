//! The load of a run: keyed requests that are sent again until they are acknowledged, keyless ones that are sent once,
//! over all proxies, to several streams and tables, at a limited rate, small and larger than a message of the log.

mod pace;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, StatusCode};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::journal::now_ms;
use super::ledger::{Entry, Ledger, Outcome};
use pace::Pace;

/// One request in so many carries no key.
const KEYLESS_ONE_IN: u32 = 10;
/// One request in so many is larger than a message of the log.
const LARGE_ONE_IN: u32 = 400;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What to send where.
#[derive(Debug, Clone)]
pub struct Load {
    /// Base URLs of the proxies.
    pub proxies: Vec<String>,
    /// The token.
    pub token: String,
    /// Streams to use.
    pub streams: Vec<String>,
    /// Tables to fill, each by all streams.
    pub tables: Vec<String>,
    /// Events per second.
    pub rate: u64,
    /// Connections; each has one request in flight.
    pub connections: u64,
    /// Decides sizes, streams and tables.
    pub seed: u64,
}

/// Ends a load in two steps.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// No new requests; what is in flight goes on.
    pub sending: CancellationToken,
    /// Nothing more; what has no answer by now stays unknown.
    pub retrying: CancellationToken,
}

impl Load {
    /// Sends until told to stop, and returns once every request has an outcome in the ledger.
    pub async fn run(self, ledger: Arc<Ledger>, stop: Stop) {
        let (next_id, pace) = (Arc::new(AtomicU64::new(0)), Arc::new(Pace::new(self.rate)));
        let load = Arc::new(self);
        let mut connections = JoinSet::new();
        for index in 0..load.connections {
            let connection = Connection {
                load: load.clone(),
                ledger: ledger.clone(),
                next_id: next_id.clone(),
                pace: pace.clone(),
                stop: stop.clone(),
                client: Client::builder().timeout(PATIENCE).build().expect("client builds"),
                rng: StdRng::seed_from_u64(load.seed.wrapping_mul(1_000).wrapping_add(index)),
                proxy: usize::try_from(index).expect("there are few connections"),
            };
            connections.spawn(connection.run());
        }
        while let Some(done) = connections.join_next().await {
            done.expect("a connection does not panic");
        }
    }
}

/// One sender.
struct Connection {
    load: Arc<Load>,
    ledger: Arc<Ledger>,
    next_id: Arc<AtomicU64>,
    pace: Arc<Pace>,
    stop: Stop,
    client: Client,
    rng: StdRng,
    proxy: usize,
}

/// A request before it has an outcome.
struct Request {
    table: usize,
    stream: usize,
    ids: Range<u64>,
    keyed: bool,
    body: String,
}

/// What an answer says.
enum Answer {
    Acked(Box<str>),
    Refused(StatusCode, String),
    Unknown,
}

impl Connection {
    async fn run(mut self) {
        loop {
            let large = self.rng.random_ratio(1, LARGE_ONE_IN);
            let events = if large { 1_500 } else { self.rng.random_range(1..100) };
            tokio::select! {
                () = self.stop.sending.cancelled() => return,
                () = self.pace.wait(events) => {}
            }
            let request = self.request(events, large);
            let (outcome, attempts, receipt) = self.settle(&request).await;
            self.ledger.add(Entry {
                table: request.table,
                first: request.ids.start,
                events,
                keyed: request.keyed,
                outcome,
                at_ms: now_ms(),
                attempts,
                receipt,
            });
        }
    }

    fn request(&mut self, events: u64, large: bool) -> Request {
        let first = self.next_id.fetch_add(events, Ordering::Relaxed);
        let table = self.rng.random_range(0..self.load.tables.len());
        let stream = self.rng.random_range(0..self.load.streams.len());
        let padding = "x".repeat(if large { 900 } else { self.rng.random_range(0..40) });
        let line =
            |id: u64| format!("{{\"id\":{id},\"request\":{first},\"kind\":\"k{}\",\"note\":\"{padding}\"}}\n", id % 7);
        let ids = first..first + events;
        let body = ids.clone().map(line).collect();
        Request { table, stream, ids, keyed: !self.rng.random_ratio(1, KEYLESS_ONE_IN), body }
    }

    /// Sends a request until its outcome is known, or once if it has no key.
    async fn settle(&mut self, request: &Request) -> (Outcome, u32, Option<Box<str>>) {
        let (mut attempts, mut pause) = (0, Duration::from_millis(20));
        loop {
            attempts += 1;
            let answer = tokio::select! {
                () = self.stop.retrying.cancelled() => return (Outcome::Unknown, attempts, None),
                answer = self.attempt(request) => answer,
            };
            match answer {
                Answer::Acked(receipt) => return (Outcome::Acked, attempts, Some(receipt)),
                Answer::Refused(status, _) if !request.keyed && is_overload(status) => {
                    return (Outcome::Refused, attempts, None);
                }
                Answer::Refused(status, text) if !is_overload(status) => {
                    self.ledger.odd(format!("request {}: {status}: {text}", request.ids.start));
                    if !request.keyed {
                        return (Outcome::Refused, attempts, None);
                    }
                }
                Answer::Refused(..) => {}
                Answer::Unknown if !request.keyed => return (Outcome::Unknown, attempts, None),
                Answer::Unknown => {}
            }
            self.proxy += 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, request: &Request) -> Answer {
        let proxy = &self.load.proxies[self.proxy % self.load.proxies.len()];
        let url = format!("{proxy}/v1/streams/{}/events", self.load.streams[request.stream]);
        let mut post = self.client.post(url).bearer_auth(&self.load.token);
        post = post.header("table", &self.load.tables[request.table]).header("content-type", "application/x-ndjson");
        if request.keyed {
            post = post.header("idempotency-key", format!("request-{}", request.ids.start));
        }
        let Ok(response) = post.body(request.body.clone()).send().await else { return Answer::Unknown };
        let status = response.status();
        let Ok(text) = response.text().await else { return Answer::Unknown };
        if status.is_server_error() {
            return Answer::Unknown;
        }
        if !status.is_success() {
            return Answer::Refused(status, text);
        }
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let accepted = answer["accepted"].as_u64() == Some(request.ids.end - request.ids.start);
        match answer["receipt"].as_str() {
            Some(receipt) if accepted => Answer::Acked(receipt.into()),
            _ => {
                self.ledger.odd(format!("request {}: success without a receipt for all: {text}", request.ids.start));
                Answer::Unknown
            }
        }
    }
}

/// Refusals that a sender has to expect at any time.
fn is_overload(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}
