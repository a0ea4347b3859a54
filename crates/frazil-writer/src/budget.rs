//! One byte budget for everything the writer holds between the log and the tables.
//!
//! A shard reader takes a [`Permit`] before it hands a message out, for as much as its events could come to take. Once
//! they are decoded, what they do not take is given back; the batch keeps the rest until it is committed. When the
//! budget is exhausted, the tables that hold most are asked to commit. It cannot deadlock: nothing on the way
//! from a handed-out message to a finished commit takes another permit, and one message never needs more than all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How often tables are asked again while somebody waits: those asked first may have freed too little.
const PRESS_INTERVAL: Duration = Duration::from_millis(50);
/// Bytes are counted in units, so that their number fits a semaphore.
const UNIT: usize = 1024;

/// The budget. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    semaphore: Arc<Semaphore>,
    total: u32,
    next_account: AtomicU64,
    accounts: Mutex<BTreeMap<u64, Arc<Holding>>>,
    /// Since when each of those waits who wait for bytes.
    waiting: Mutex<BTreeMap<u64, Instant>>,
}

#[derive(Debug, Default)]
struct Holding {
    /// Bytes of permits in the table's open batch: what a flush would free.
    open_bytes: AtomicUsize,
    pressure: Notify,
}

/// Bytes taken from the budget, given back on drop.
#[derive(Debug, Default)]
pub struct Permit {
    permit: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// Joins another permit to this one.
    pub fn merge(&mut self, mut other: Self) {
        match (&mut self.permit, other.permit.take()) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
    }

    /// Gives back what is held beyond `bytes`, in whole units.
    pub fn shrink_to(&mut self, bytes: usize) {
        let keep = bytes.div_ceil(UNIT);
        if let Some(permit) = &mut self.permit {
            let surplus = permit.num_permits().saturating_sub(keep);
            drop(permit.split(surplus));
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.permit.as_ref().map_or(0, |permit| permit.num_permits() * UNIT)
    }
}

/// A table's place in the budget. Dropping it ends the table's part in it.
#[derive(Debug)]
pub struct Account {
    id: u64,
    holding: Arc<Holding>,
    budget: Budget,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        let total = u32::try_from((bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let inner = Inner {
            semaphore: Arc::new(Semaphore::new(total as usize)),
            total,
            next_account: AtomicU64::new(0),
            accounts: Mutex::new(BTreeMap::new()),
            waiting: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Opens an account for a table.
    pub fn account(&self) -> Account {
        let id = self.inner.next_account.fetch_add(1, Ordering::Relaxed);
        let holding = Arc::new(Holding::default());
        self.accounts().insert(id, Arc::clone(&holding));
        Account { id, holding, budget: self.clone() }
    }

    /// Takes `bytes`, or everything if that is more than there is. Waits until they are free. Cancel-safe.
    pub async fn acquire(&self, bytes: usize) -> Permit {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.inner.total);
        let acquire = Arc::clone(&self.inner.semaphore).acquire_many_owned(units);
        tokio::pin!(acquire);
        let mut waiting = None;
        loop {
            tokio::select! {
                biased;
                permit = &mut acquire => {
                    return Permit { permit: Some(permit.expect("the semaphore is never closed")) };
                }
                () = std::future::ready(()) => self.press(units as usize * UNIT),
            }
            waiting.get_or_insert_with(|| Waiting::new(self));
            tokio::select! {
                biased;
                permit = &mut acquire => {
                    return Permit { permit: Some(permit.expect("the semaphore is never closed")) };
                }
                () = tokio::time::sleep(PRESS_INTERVAL) => {}
            }
        }
    }

    /// Asks the tables with the largest open batches to commit, enough of them to free `needed` bytes and, so
    /// that starving does not become many tiny commits, an eighth of the budget.
    fn press(&self, needed: usize) {
        let mut holdings: Vec<(usize, Arc<Holding>)> = {
            let accounts = self.accounts();
            let open = |holding: &Arc<Holding>| holding.open_bytes.load(Ordering::Relaxed);
            accounts.values().map(|holding| (open(holding), Arc::clone(holding))).filter(|(b, _)| *b > 0).collect()
        };
        holdings.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut wanted = needed.max(self.total_bytes() / 8);
        for (bytes, holding) in holdings {
            holding.pressure.notify_one();
            wanted = wanted.saturating_sub(bytes);
            if wanted == 0 {
                break;
            }
        }
    }

    /// How long the one waits who has waited longest for bytes; nothing if nobody waits.
    pub fn starved_for(&self) -> Option<Duration> {
        self.waiting().values().min().map(Instant::elapsed)
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> usize {
        self.total_bytes().saturating_sub(self.inner.semaphore.available_permits() * UNIT)
    }

    /// The whole budget in bytes.
    pub fn total_bytes(&self) -> usize {
        self.inner.total as usize * UNIT
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accounts(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Holding>>> {
        self.inner.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// Says how many bytes of permits the table's open batch holds.
    pub fn set_open_bytes(&self, bytes: usize) {
        self.holding.open_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Waits until the table is asked to commit. Cancel-safe.
    pub async fn pressed(&self) {
        self.holding.pressure.notified().await;
    }
}

/// Somebody who waits for bytes, until dropped.
struct Waiting<'b> {
    budget: &'b Budget,
    id: u64,
}

impl<'b> Waiting<'b> {
    fn new(budget: &'b Budget) -> Self {
        let id = budget.inner.next_account.fetch_add(1, Ordering::Relaxed);
        budget.waiting().insert(id, Instant::now());
        Self { budget, id }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.budget.waiting().remove(&self.id);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.accounts().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn permits_are_given_back_on_drop_and_merge_into_one() {
        let budget = Budget::new(10 * UNIT);
        let mut permit = budget.acquire(3 * UNIT).await;
        permit.merge(budget.acquire(1).await);
        assert_eq!((permit.bytes(), budget.used_bytes()), (4 * UNIT, 4 * UNIT));
        permit.shrink_to(UNIT + 1);
        assert_eq!((permit.bytes(), budget.used_bytes()), (2 * UNIT, 2 * UNIT));
        permit.shrink_to(9 * UNIT);
        assert_eq!(permit.bytes(), 2 * UNIT, "a permit never grows by itself");
        drop(permit);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_larger_than_the_budget_takes_all_of_it() {
        let budget = Budget::new(4 * UNIT);
        let permit = budget.acquire(100 * UNIT).await;
        assert_eq!(permit.bytes(), 4 * UNIT);
        assert!(budget.acquire(1).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn starving_presses_the_table_that_holds_most() {
        let budget = Budget::new(16 * UNIT);
        let (small, large) = (budget.account(), budget.account());
        let mut permits = vec![budget.acquire(2 * UNIT).await, budget.acquire(14 * UNIT).await];
        small.set_open_bytes(2 * UNIT);
        large.set_open_bytes(14 * UNIT);
        let waiting = budget.acquire(4 * UNIT);
        tokio::pin!(waiting);
        assert_eq!(budget.starved_for(), None);
        assert!((&mut waiting).now_or_never().is_none());
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(budget.starved_for(), Some(Duration::from_secs(3)));
        assert!(large.pressed().now_or_never().is_some());
        assert!(small.pressed().now_or_never().is_none(), "the large one frees enough");
        large.set_open_bytes(0);
        permits.pop();
        assert_eq!((&mut waiting).await.bytes(), 4 * UNIT);
        assert_eq!(budget.starved_for(), None);
    }
}
