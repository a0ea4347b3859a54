//! What is wrong with the logs of which shards, as the last attempts to store found it.
//!
//! For people and for advice; nothing is decided by it. A shard without requests keeps its last entry.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frazil_core::Shard;
use tokio::time::Instant;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The log is at its bound.
    Full,
    /// The log refused, or did not answer.
    Unavailable,
}

/// The shards in trouble. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Troubles {
    known: Arc<Mutex<BTreeMap<Shard, (Trouble, Instant)>>>,
}

impl Troubles {
    /// A shard is in trouble. Returns for how long already.
    pub(super) fn set(&self, shard: &Shard, trouble: Trouble) -> Duration {
        let mut known = self.known();
        let (last, since) = known.entry(shard.clone()).or_insert_with(|| (trouble, Instant::now()));
        if *last != trouble {
            (*last, *since) = (trouble, Instant::now());
        }
        since.elapsed()
    }

    /// A shard is well, or has no lane any more.
    pub(super) fn clear(&self, shard: &Shard) {
        self.known().remove(shard);
    }

    /// One line for each shard in trouble.
    pub(crate) fn notes(&self) -> Vec<String> {
        let known = self.known();
        let lines = known.iter().map(|(shard, (trouble, since))| {
            let what = match trouble {
                Trouble::Full => "is full",
                Trouble::Unavailable => "does not store",
            };
            format!("the log of {shard} {what}, for {} s", since.elapsed().as_secs())
        });
        lines.collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Shard, (Trouble, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
