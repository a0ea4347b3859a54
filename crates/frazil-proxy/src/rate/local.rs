//! The buckets in the memory of this proxy.
//!
//! One entry per limited stream and token and unit that is in debt. Both are defined by operators, so the number is bounded
//! by what they define; entries that are full again are dropped, which changes nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use frazil_core::rate::{Bucket, Rate};

use super::{Claim, Key, Limited};

/// Entries beyond which full buckets are looked for and dropped, each time the number has doubled since.
const SWEEP_ABOVE: usize = 1024;

/// The buckets.
#[derive(Debug, Default)]
pub(super) struct Local {
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    by_key: HashMap<Key, (Rate, Bucket)>,
    sweep_at: usize,
}

impl Local {
    /// Whether every claim finds room; if not, the limit that takes longest.
    pub(super) fn check(&self, claims: &[Claim], now: u64) -> Result<(), Limited> {
        room(&self.lock(), claims, now)
    }

    /// The same, and takes what is claimed, from all buckets or from none.
    pub(super) fn take(&self, claims: &[Claim], now: u64) -> Result<(), Limited> {
        let mut buckets = self.lock();
        room(&buckets, claims, now)?;
        for claim in claims {
            let mut bucket = buckets.get(claim);
            bucket.take(claim.rate, claim.cost, now);
            buckets.put(claim, bucket, now);
        }
        Ok(())
    }

    /// Takes over what is known of the shared buckets: their debts in the order of the claims.
    pub(super) fn adopt(&self, claims: &[Claim], debts: &[u64], now: u64) {
        let mut buckets = self.lock();
        for (claim, debt) in claims.iter().zip(debts) {
            buckets.put(claim, Bucket::owing(*debt, now), now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        // What is locked is never left half done: nothing in between can panic.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of buckets that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().by_key.len()
    }
}

fn room(buckets: &Buckets, claims: &[Claim], now: u64) -> Result<(), Limited> {
    let waits = claims.iter().map(|claim| claim.limited(buckets.get(claim).wait(claim.rate, claim.cost, now)));
    match waits.max_by_key(|limited| limited.wait) {
        Some(limited) if !limited.wait.is_zero() => Err(limited),
        Some(_) | None => Ok(()),
    }
}

impl Buckets {
    fn get(&self, claim: &Claim) -> Bucket {
        self.by_key.get(&claim.key).map(|(_, bucket)| *bucket).unwrap_or_default()
    }

    fn put(&mut self, claim: &Claim, bucket: Bucket, now: u64) {
        self.by_key.insert(claim.key.clone(), (claim.rate, bucket));
        if self.by_key.len() > self.sweep_at.max(SWEEP_ABOVE) {
            self.by_key.retain(|_, (rate, bucket)| !bucket.is_full(*rate, now));
            self.sweep_at = self.by_key.len() * 2;
        }
    }
}
