//! After the last fault: waits until nothing is on its way any more, within a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use reqwest::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ledger::{Entry, Ledger};
use super::topology::World;

/// Receipts that are asked for at most; beyond that a random part of them.
const MAX_RECEIPTS: usize = 20_000;
/// Receipts asked for at a time.
const ASKING: usize = 16;

/// Waits until all receipts are committed and no writer has a lag; says what is missing at the end of `limit`.
pub(super) async fn quiesce(world: &Arc<World>, ledger: &Ledger, seed: u64, limit: Duration) -> Vec<String> {
    let deadline = Instant::now() + limit;
    let mut missing = Vec::new();
    let stored = uncommitted(world, receipts(ledger, seed), deadline).await;
    if stored > 0 {
        missing.push(format!("{stored} receipts are not committed {limit:?} after the last fault"));
    }
    if let Err(text) = no_lag(world, deadline).await {
        missing.push(format!("writers lag {limit:?} after the last fault: {text}"));
    }
    missing
}

/// Receipts in the order in which they were given, or a random part of them and the last ones.
fn receipts(ledger: &Ledger, seed: u64) -> Vec<String> {
    let entries = ledger.entries();
    let receipt = |entry: &Entry| entry.receipt.as_deref().map(str::to_owned);
    let mut all: Vec<String> = entries.iter().filter_map(receipt).collect();
    if all.len() > MAX_RECEIPTS {
        let mut early = all.split_off(all.len() - MAX_RECEIPTS / 2);
        std::mem::swap(&mut all, &mut early);
        early.shuffle(&mut StdRng::seed_from_u64(seed));
        all.extend(early.into_iter().take(MAX_RECEIPTS / 2));
    }
    all
}

/// How many of the receipts are not committed by the deadline.
async fn uncommitted(world: &Arc<World>, receipts: Vec<String>, deadline: Instant) -> usize {
    let (receipts, next) = (Arc::new(receipts), Arc::new(AtomicUsize::new(0)));
    let mut asking = JoinSet::new();
    for index in 0..ASKING {
        let (world, receipts, next) = (world.clone(), receipts.clone(), next.clone());
        asking.spawn(async move {
            let client = Client::builder().timeout(Duration::from_secs(20)).build().expect("client builds");
            let proxy = &world.direct.proxies[index % world.direct.proxies.len()];
            let mut missing = 0;
            while let Some(receipt) = receipts.get(next.fetch_add(1, Ordering::Relaxed)) {
                let url = format!("{proxy}/v1/receipts/{receipt}?wait=committed&timeout=10s");
                missing += usize::from(!is_committed(&client, &url, &world.direct.token, deadline).await);
            }
            missing
        });
    }
    asking.join_all().await.into_iter().sum()
}

async fn is_committed(client: &Client, url: &str, token: &str, deadline: Instant) -> bool {
    loop {
        let answer =
            async { client.get(url).bearer_auth(token).send().await.ok()?.json::<serde_json::Value>().await.ok() };
        if answer.await.is_some_and(|answer| answer["state"] == "committed") {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until every active writer says that all shards are read and committed.
async fn no_lag(world: &World, deadline: Instant) -> Result<(), String> {
    let active = world.replicas() as usize;
    loop {
        let mut late = Vec::new();
        for url in &world.direct.metrics[..active] {
            match lag(url).await {
                Some(0) => {}
                Some(lag) => late.push(format!("{url}: {lag} messages")),
                None => late.push(format!("{url}: no answer")),
            }
        }
        if late.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(late.join(", "));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Sum of the lag of all shards of a writer, in messages; none if it does not say.
async fn lag(url: &str) -> Option<u64> {
    let text = Client::new().get(url).timeout(Duration::from_secs(5)).send().await.ok()?.text().await.ok()?;
    sum(&text, "frazil_writer_lag_messages")
}

/// Sum over the series of a metric; none if there is none.
fn sum(text: &str, metric: &str) -> Option<u64> {
    let series = text.lines().filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let values: Vec<f64> = series.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn series_of_a_metric_are_summed() {
        let text = "# TYPE a_lag gauge\na_lag{shard=\"0\"} 3\na_lag{shard=\"1\"} 4\na_lag_max 9\n";
        assert_eq!(super::sum(text, "a_lag"), Some(7));
        assert_eq!(super::sum(text, "b_lag"), None);
    }
}
