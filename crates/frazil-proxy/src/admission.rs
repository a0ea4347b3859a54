//! Who may enter: permits for requests and for bytes of bodies, taken before a body is read and never waited for.
//!
//! A permit lives as long as any part of its request is in memory: the lanes hold a share of it until what they were
//! given is answered, even if the client has gone.

mod pace;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::{Bound, Rejection};
use crate::metrics::Metrics;
use pace::Pace;
pub(crate) use pace::advice;

/// The bounds of requests in flight.
#[derive(Debug)]
pub struct Admission {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    max_requests: u32,
    pace: Arc<Pace>,
    metrics: Metrics,
}

/// Proof that a request was admitted. Dropping it, and every clone of it, gives its place back.
#[derive(Debug)]
pub struct Permit {
    bytes: OwnedSemaphorePermit,
    _request: OwnedSemaphorePermit,
    since: Instant,
    pace: Arc<Pace>,
    metrics: Metrics,
}

impl Admission {
    /// Admits at most `requests` requests and `bytes` bytes at a time.
    pub fn new(requests: usize, bytes: usize, metrics: Metrics) -> Self {
        let max_requests = u32::try_from(requests).expect("the configuration bounds it");
        metrics.requests_limit.set(i64::from(max_requests));
        metrics.bytes_limit.set(i64::try_from(bytes).expect("the configuration bounds it"));
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            bytes: Arc::new(Semaphore::new(bytes)),
            max_requests,
            pace: Arc::default(),
            metrics,
        }
    }

    /// Admits a request whose body may have up to `bytes` bytes.
    ///
    /// # Errors
    /// `429`, at once, when a bound is reached.
    pub fn admit(&self, bytes: usize) -> Result<Permit, Rejection> {
        let request = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| self.refuse(Bound::Requests))?;
        let count = u32::try_from(bytes).map_err(|_| self.refuse(Bound::Bytes))?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(count).map_err(|_| self.refuse(Bound::Bytes))?;
        self.metrics.requests_in_flight.inc();
        self.metrics.bytes_in_flight.inc_by(i64::from(count));
        let (since, pace) = (Instant::now(), Arc::clone(&self.pace));
        Ok(Permit { bytes, _request: request, since, pace, metrics: self.metrics.clone() })
    }

    fn refuse(&self, bound: Bound) -> Rejection {
        self.metrics.overload(bound.kind());
        Rejection::Overloaded { bound, retry_after: advice(self.pace.room_after()) }
    }

    /// The bounds that are reached just now, in words.
    pub(crate) fn notes(&self) -> Vec<String> {
        let full = |semaphore: &Semaphore| semaphore.available_permits() == 0;
        let bounds = [(Bound::Requests, full(&self.requests)), (Bound::Bytes, full(&self.bytes))];
        let reached = bounds.into_iter().filter(|(_, full)| *full);
        reached.map(|(bound, _)| format!("at the limit of {bound}")).collect()
    }

    /// Waits until nothing is in flight. Meant for a drain: whoever asks for a permit afterwards is refused.
    pub async fn idle(&self) {
        // The semaphore is never closed, so the only outcome is that all permits are here.
        if let Ok(all) = self.requests.acquire_many(self.max_requests).await {
            all.forget();
        }
    }
}

impl Permit {
    /// Gives back what the reservation had too much, now that the size is known.
    pub fn shrink_to(&mut self, bytes: usize) {
        let Some(surplus) = self.bytes.num_permits().checked_sub(bytes) else { return };
        if let Some(surplus) = self.bytes.split(surplus) {
            self.metrics.bytes_in_flight.dec_by(signed(surplus.num_permits()));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pace.left(self.since);
        self.metrics.requests_in_flight.dec();
        self.metrics.bytes_in_flight.dec_by(signed(self.bytes.num_permits()));
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("a permit is of at most 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(requests: usize, bytes: usize) -> Admission {
        Admission::new(requests, bytes, Metrics::default())
    }

    fn refused(outcome: Result<Permit, Rejection>) -> Bound {
        match outcome {
            Err(Rejection::Overloaded { bound, .. }) => bound,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_bounds_refuse_at_once_and_recover() {
        let admission = admission(2, 100);
        let first = admission.admit(60).expect("room");
        assert_eq!(refused(admission.admit(41)), Bound::Bytes);
        let second = admission.admit(40).expect("exactly what is left, so the refused one kept nothing");
        assert_eq!(refused(admission.admit(0)), Bound::Requests);
        assert_eq!((admission.metrics.requests_in_flight.get(), admission.metrics.bytes_in_flight.get()), (2, 100));
        drop((first, second));
        assert_eq!((admission.metrics.requests_in_flight.get(), admission.metrics.bytes_in_flight.get()), (0, 0));
        admission.admit(100).expect("everything came back");
    }

    #[test]
    fn shrinking_gives_the_surplus_back() {
        let admission = admission(10, 100);
        let mut permit = admission.admit(100).expect("room");
        permit.shrink_to(10);
        permit.shrink_to(50);
        assert_eq!(admission.metrics.bytes_in_flight.get(), 10);
        let rest = admission.admit(90).expect("the surplus");
        assert_eq!(refused(admission.admit(1)), Bound::Bytes);
        drop((permit, rest));
        assert_eq!(admission.metrics.bytes_in_flight.get(), 0);
    }

    #[tokio::test]
    async fn idle_waits_for_the_last_share() {
        let admission = admission(3, 10);
        let permit = Arc::new(admission.admit(1).expect("room"));
        let share = Arc::clone(&permit);
        drop(permit);
        let idle = admission.idle();
        tokio::pin!(idle);
        assert!(futures::poll!(&mut idle).is_pending());
        drop(share);
        idle.await;
        assert_eq!(refused(admission.admit(0)), Bound::Requests);
    }
}
