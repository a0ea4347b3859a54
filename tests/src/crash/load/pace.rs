//! A token bucket for the rate of a load.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// What may be caught up after a pause, as a time at full rate.
const BURST: Duration = Duration::from_secs(2);

/// Limits events per second. Requests take their turn in the order in which they ask.
#[derive(Debug)]
pub(super) struct Pace {
    per_event: Duration,
    /// When the next request may start.
    next: Mutex<Instant>,
}

impl Pace {
    /// At most `rate` events per second.
    pub(super) fn new(rate: u64) -> Self {
        let per_event = Duration::from_secs(1) / u32::try_from(rate.max(1)).expect("a rate below four billion");
        Self { per_event, next: Mutex::new(Instant::now()) }
    }

    /// Waits until `events` more may be sent.
    pub(super) async fn wait(&self, events: u64) {
        tokio::time::sleep_until(self.reserve(events, Instant::now())).await;
    }

    /// When a request of this size that comes now may start.
    fn reserve(&self, events: u64, now: Instant) -> Instant {
        let mut next = self.next.lock().expect("no panic while held");
        let earliest = now.checked_sub(BURST).unwrap_or(*next);
        let at = (*next).max(earliest);
        *next = at + self.per_event * u32::try_from(events).expect("a request of few events");
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept() {
        let pace = Pace::new(1_000);
        let now = Instant::now();
        let starts: Vec<Instant> = (0..40).map(|_| pace.reserve(100, now)).collect();
        assert_eq!(starts[39] - starts[0], Duration::from_millis(3_900));
    }

    #[test]
    fn a_pause_is_caught_up_in_part() {
        let pace = Pace::new(1_000);
        let now = Instant::now() + BURST * 10;
        assert_eq!(pace.reserve(2_500, now), now - BURST);
        assert_eq!(pace.reserve(1, now), now + BURST / 4);
    }
}
