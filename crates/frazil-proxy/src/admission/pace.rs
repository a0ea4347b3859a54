//! How long it takes until there is room again: from how long requests stayed, and how long there has been no room.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Longest wait that a client is advised. Nothing that is admitted stays longer: a body, its turn, its publish.
pub(crate) const ADVICE_MAX: Duration = Duration::from_secs(60);

/// Weight of the newest request in the mean, as its inverse.
const MEMORY: f64 = 64.0;

/// The times that requests stay.
#[derive(Debug, Default)]
pub(super) struct Pace {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Mean stay in seconds; the newest requests weigh most.
    mean: f64,
    /// Since when nobody has left although somebody was refused.
    stuck: Option<Instant>,
}

impl Pace {
    /// A request that came at `since` has left.
    pub(super) fn left(&self, since: Instant) {
        let mut state = self.state();
        state.mean += (since.elapsed().as_secs_f64() - state.mean) / MEMORY;
        state.stuck = None;
    }

    /// Somebody is refused. After this time those who are inside have left, as far as can be known: a mean stay from
    /// now, and if nobody leaves at all, as long again as that has lasted.
    pub(super) fn room_after(&self) -> Duration {
        let mut state = self.state();
        let stuck = state.stuck.get_or_insert_with(Instant::now).elapsed();
        Duration::from_secs_f64(state.mean).max(stuck)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait as `Retry-After` has it: whole seconds, at least one, at most [`ADVICE_MAX`].
pub(crate) fn advice(wait: Duration) -> u32 {
    let seconds = wait.min(ADVICE_MAX).as_millis().div_ceil(1000);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(seconds: f64) {
        tokio::time::advance(Duration::from_secs_f64(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_advice_follows_how_long_requests_stay() {
        let pace = Pace::default();
        assert_eq!(advice(pace.room_after()), 1, "nothing is known yet");
        for _ in 0..500 {
            let came = Instant::now();
            pass(3.5).await;
            pace.left(came);
        }
        assert_eq!(advice(pace.room_after()), 4);
        for _ in 0..500 {
            let came = Instant::now();
            pass(0.01).await;
            pace.left(came);
        }
        assert_eq!(advice(pace.room_after()), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn while_nobody_leaves_the_advice_grows_with_the_time() {
        let (pace, came) = (Pace::default(), Instant::now());
        pace.room_after();
        pass(7.2).await;
        assert_eq!(advice(pace.room_after()), 8);
        pass(1000.0).await;
        assert_eq!(advice(pace.room_after()), 60);
        pace.left(came);
        pass(100.0).await;
        let wait = pace.room_after();
        assert!(wait < Duration::from_secs(20), "silence without a refusal is no jam: {wait:?}");
    }
}
