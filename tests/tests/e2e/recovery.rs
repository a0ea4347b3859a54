//! How soon a writer commits again after `kill -9` under load, whatever the log holds, and in how much memory.
//!
//! `FRAZIL_BACKLOG` is the size of the log in bytes; the suite takes a small one, a run by hand 5,000,000,000.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::role::Role;
use tokio::task::JoinSet;

/// Size of the log, unless the environment says otherwise.
const BACKLOG_BYTES: u64 = 200_000_000;

/// From the start of the process to its first commit.
const RECOVERY: Duration = Duration::from_secs(10);

/// What the writer is configured to use between the log and the tables.
const MEMORY: u64 = 256 << 20;

/// Room for what `docs/operations.md` lists beyond that: program, read-ahead, dedupe window, files being encoded.
const MEMORY_BEYOND: u64 = 384 << 20;

const EVENTS_PER_REQUEST: u64 = 100;
const LIVE_EVENTS_PER_SECOND: u64 = 5_000;
const CONNECTIONS: u64 = 24;
const PATIENCE: Duration = Duration::from_secs(3600);
const TABLE: &str = "e2e.backlog";

/// Posts keyed requests to the stream `backlog`; ids go on from request to request.
#[derive(Clone)]
struct Feed {
    client: reqwest::Client,
    url: String,
    token: String,
    next: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Feed {
    fn new(cluster: &Cluster) -> Self {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("client builds");
        let url = format!("{}/v1/streams/backlog/events", cluster.api.url);
        Self { client, url, token: cluster.api.token.clone(), next: Arc::default(), bytes: Arc::default() }
    }

    /// Stores one request, however often it takes, and returns its receipt.
    async fn post(&self) -> String {
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        let first = request * EVENTS_PER_REQUEST;
        let body: String = (first..first + EVENTS_PER_REQUEST).map(event).collect();
        self.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        loop {
            let post = self.client.post(&self.url).bearer_auth(&self.token).header("table", TABLE);
            let post = post.header("idempotency-key", format!("request-{request}")).body(body.clone());
            match post.send().await {
                Ok(answer) if answer.status().is_success() => {
                    let receipt = answer.headers()["frazil-receipt"].to_str().expect("ASCII").to_owned();
                    return receipt;
                }
                Ok(answer) => {
                    let retry = matches!(answer.status().as_u16(), 408 | 429 | 500..=599);
                    assert!(retry, "refused for good: {}", answer.text().await.unwrap_or_default());
                }
                Err(error) => println!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Fills the log; returns the last receipts.
    async fn fill(&self, bytes: u64) -> Vec<String> {
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let feed = self.clone();
            connections.spawn(async move {
                let mut last = None;
                while feed.bytes.load(Ordering::Relaxed) < bytes {
                    last = Some(feed.post().await);
                }
                last
            });
        }
        connections.join_all().await.into_iter().flatten().collect()
    }

    /// Posts at a steady rate until told to stop; returns the last receipts.
    async fn live(self, stop: Arc<AtomicBool>) -> Vec<String> {
        let mut ticks =
            tokio::time::interval(Duration::from_secs(1) * EVENTS_PER_REQUEST as u32 / LIVE_EVENTS_PER_SECOND as u32);
        let mut posts = JoinSet::new();
        let mut receipts = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let feed = self.clone();
            posts.spawn(async move { feed.post().await });
            while let Some(done) = posts.try_join_next() {
                receipts.push(done.expect("no panic"));
            }
            receipts.drain(..receipts.len().saturating_sub(CONNECTIONS as usize));
        }
        receipts.extend(posts.join_all().await);
        receipts
    }
}

/// About 142 bytes, the shape that other sinks of this field are measured with.
fn event(id: u64) -> String {
    let kind = ["view", "click", "purchase", "refund"][(id % 4) as usize];
    let (user, value) = (id * 7919 % 100_000, id % 1000);
    format!(
        "{{\"id\":{id},\"user_id\":\"user-{user:05}\",\"event_type\":\"{kind}\",\"value\":{value}.5,\
         \"info\":\"session {user} page {value}\",\"ts\":\"2026-11-21T10:00:00.{value:03}Z\"}}\n"
    )
}

/// A new writer with the default settings; returns when it has committed for the first time.
async fn recover(cluster: &Cluster, what: &str) -> Role {
    let memory = MEMORY.to_string();
    let writer = Role::writer(cluster, &[("flush_interval", "5s"), ("memory", &memory)]);
    writer.until_metric("frazil_writer_commits_total", PATIENCE, |commits| commits > 0.0).await;
    let took = writer.age();
    println!("{what}: first commit {:.2} s after the start, {}", took.as_secs_f64(), peak(&writer));
    assert!(took <= RECOVERY, "{what}: {took:?}\n{}", writer.log_tail());
    writer
}

fn peak(writer: &Role) -> String {
    let bytes = writer.peak_bytes();
    assert!(bytes <= MEMORY + MEMORY_BEYOND, "{} MiB", bytes >> 20);
    format!("peak memory {} MiB", bytes >> 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_writer_commits_again_within_ten_seconds_whatever_the_log_holds() {
    let size = std::env::var("FRAZIL_BACKLOG").map_or(BACKLOG_BYTES, |text| text.parse().expect("a number of bytes"));
    let cluster = Cluster::start(Options { writers: 0, ..Options::default() }).await;
    let max = (size + (1 << 30)).to_string();
    let create = ["stream", "create", "backlog", "--shards", "2", "--on-missing-table", "create", "--max-bytes", &max];
    cluster.frazil(&create).await;
    let feed = Feed::new(&cluster);
    let filling = Instant::now();
    let mut receipts = feed.fill(size).await;
    println!("{size} bytes of events stored in {:.0} s", filling.elapsed().as_secs_f64());

    let stop = Arc::new(AtomicBool::new(false));
    let mut live = JoinSet::new();
    live.spawn(feed.clone().live(Arc::clone(&stop)));
    let mut writer = recover(&cluster, "all of the log uncommitted").await;
    writer.kill9().await;
    let mut writer = recover(&cluster, "killed while it catches up").await;
    let catching_up = Instant::now();
    for receipt in &receipts {
        writer_has(&cluster, receipt).await;
    }
    println!("caught up in {:.0} s more, {}", catching_up.elapsed().as_secs_f64(), peak(&writer));
    writer.kill9().await;
    let writer = recover(&cluster, "all of the log committed, and kept for its keys").await;

    stop.store(true, Ordering::Relaxed);
    receipts.extend(live.join_next().await.expect("one load").expect("no panic"));
    for receipt in &receipts {
        writer_has(&cluster, receipt).await;
    }
    println!("at the end {}", peak(&writer));
    let total = feed.next.load(Ordering::Relaxed) * EVENTS_PER_REQUEST;
    cluster.lake.assert_exactly_once(TABLE, total).await;
}

/// Waits until a receipt's rows are visible, however long the backlog is.
async fn writer_has(cluster: &Cluster, receipt: &str) {
    let path = format!("/v1/receipts/{receipt}?wait=committed&timeout=50s");
    let committed = || async {
        let answer = cluster.api.get(&path).send().await.ok()?;
        let answer: serde_json::Value = answer.json().await.ok()?;
        (answer["state"] == "committed").then_some(())
    };
    frazil_tests::until("the backlog to be committed", PATIENCE, committed).await;
}
