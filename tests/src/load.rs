//! A keyed load: several connections post batches with idempotency keys and retry until acknowledged,
//! whatever happens to the service meanwhile.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::client::Api;

/// A load of `total` events with ids `0..total`.
#[derive(Debug, Clone)]
pub struct Load {
    /// Proxies to use; a connection moves to the next after a failure.
    pub apis: Vec<Api>,
    /// The table to fill.
    pub table: String,
    /// Distinguishes the keys of one load from another's.
    pub key_prefix: String,
    /// Number of events.
    pub total: u64,
    /// Events per request.
    pub batch: u64,
    /// Connections.
    pub connections: u64,
    /// Counts acknowledged events while the load runs.
    pub acked: Arc<AtomicU64>,
}

/// What a finished load saw.
#[derive(Debug, Default)]
pub struct Report {
    /// Receipt of the last acknowledged request of each connection.
    pub receipts: Vec<String>,
    /// Requests sent again after a failure.
    pub retries: u64,
}

impl Load {
    /// Runs to the end: every event is acknowledged when this returns.
    ///
    /// # Panics
    /// If an event is refused for good.
    pub async fn run(self) -> Report {
        self.run_from(0).await
    }

    /// The same for the ids `from..total`; `from` is a multiple of the batch.
    ///
    /// # Panics
    /// If an event is refused for good.
    pub async fn run_from(self, from: u64) -> Report {
        let mut tasks = JoinSet::new();
        for connection in 0..self.connections {
            let load = self.clone();
            tasks.spawn(async move { load.connection(from / load.batch + connection).await });
        }
        let mut report = Report::default();
        while let Some(done) = tasks.join_next().await {
            let (receipt, retries) = done.expect("connection does not panic");
            report.receipts.extend(receipt);
            report.retries += retries;
        }
        report
    }

    async fn connection(&self, first_batch: u64) -> (Option<String>, u64) {
        let (mut last, mut retries, mut api) = (None, 0, first_batch as usize);
        let batches = self.total.div_ceil(self.batch);
        for batch in (first_batch..batches).step_by(self.connections as usize) {
            let ids = batch * self.batch..((batch + 1) * self.batch).min(self.total);
            let mut pause = Duration::from_millis(20);
            loop {
                if let Some(receipt) = self.post(&self.apis[api % self.apis.len()], batch, ids.clone()).await {
                    last = Some(receipt);
                    break;
                }
                (retries, api) = (retries + 1, api + 1);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            self.acked.fetch_add(ids.end - ids.start, Ordering::Relaxed);
        }
        (last, retries)
    }

    async fn post(&self, api: &Api, batch: u64, ids: Range<u64>) -> Option<String> {
        let body: String =
            ids.map(|id| format!("{{\"id\":{id},\"batch\":{batch},\"kind\":\"k{}\"}}\n", id % 7)).collect();
        let key = format!("{}-{batch}", self.key_prefix);
        let request = api.events(&self.table, body).header("idempotency-key", key);
        let response = request.timeout(Duration::from_secs(15)).send().await.ok()?;
        let status = response.status();
        let text = response.text().await.ok()?;
        if status.is_success() {
            let answer: serde_json::Value = serde_json::from_str(&text).expect("a JSON answer");
            return answer["receipt"].as_str().map(str::to_owned);
        }
        let retry = matches!(status.as_u16(), 408 | 429 | 500..=599);
        assert!(retry, "batch {batch} was refused for good: {status}: {text}");
        None
    }
}
