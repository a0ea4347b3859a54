//! Receipts: keeps the newest of each shard, and waits until the tables have caught up with those.
//!
//! A table that contains a position of a shard contains everything before it, so waiting for the newest is enough.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use frazil_core::checkpoint::Incarnation;
use frazil_core::receipt::Receipt;
use frazil_core::{Shard, TableName};

use super::client::{Client, Standing};

/// Longest single question to the proxy.
const ONE_WAIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// The newest receipt of each shard and table.
#[derive(Debug, Default)]
pub(super) struct Newest {
    by_shard: HashMap<(Shard, Incarnation, TableName), (u64, String)>,
}

impl Newest {
    /// Keeps the receipt if it is the newest of its shard; `false` if it cannot be read.
    pub(super) fn add(&mut self, text: &str) -> bool {
        let Ok(Receipt { shard, incarnation, last, table, .. }) = text.parse::<Receipt>() else { return false };
        let newest = self.by_shard.entry((shard, incarnation, table)).or_insert_with(|| (last, text.to_owned()));
        if last > newest.0 {
            *newest = (last, text.to_owned());
        }
        true
    }
}

/// Waits until everything is committed.
///
/// # Errors
/// Why that is not known.
pub(super) async fn wait(client: &Client, newest: &Newest, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    for (_, receipt) in newest.by_shard.values() {
        wait_for(client, receipt, deadline).await?;
    }
    Ok(())
}

async fn wait_for(client: &Client, receipt: &str, deadline: Instant) -> Result<(), String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let late = match client.standing(receipt, left.min(ONE_WAIT).max(PAUSE)).await {
            Ok(Standing::Committed) => return Ok(()),
            Ok(Standing::Stored) => "the events are stored, but not committed yet".to_owned(),
            Err((reason, true)) => {
                tokio::time::sleep(PAUSE.min(left)).await;
                reason
            }
            Err((reason, false)) => return Err(reason),
        };
        if Instant::now() >= deadline {
            return Err(late);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_of_each_shard_and_table_is_kept() {
        let receipt = |shard, last, table: &str| {
            let shard = Shard::new("sales".parse().expect("valid"), shard);
            let table = table.parse().expect("valid");
            Receipt { shard, incarnation: Incarnation(1), first: 1, last, table }.to_string()
        };
        let mut newest = Newest::default();
        for text in [
            receipt(0, 5, "a.b.c"),
            receipt(0, 9, "a.b.c"),
            receipt(0, 7, "a.b.c"),
            receipt(1, 2, "a.b.c"),
            receipt(0, 1, "a.b.d"),
        ] {
            assert!(newest.add(&text));
        }
        assert!(!newest.add("junk"));
        let mut kept: Vec<u64> = newest.by_shard.values().map(|(last, _)| *last).collect();
        kept.sort_unstable();
        assert_eq!(kept, [1, 2, 9]);
    }
}
