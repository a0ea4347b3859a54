//! A token bucket for bytes, shared by all connections of a direction.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// What may pass at once after a pause, as a part of a second.
const BURST: f64 = 0.05;

#[derive(Debug, Default)]
pub(super) struct Bucket {
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    rate: u64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Up to `wanted` bytes that may pass at `now` under this rate (bytes per second, not 0), or when to ask again.
    pub(super) fn take(&self, rate: u64, wanted: usize, now: Instant) -> Result<usize, Instant> {
        let mut state = self.state.lock().expect("nobody panics with the lock");
        let burst = (rate as f64 * BURST).max(1.0);
        let state = match &mut *state {
            Some(state) if state.rate == rate => state,
            other => other.insert(State { rate, tokens: burst, at: now }),
        };
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        state.tokens = (state.tokens + passed * rate as f64).min(burst);
        state.at = state.at.max(now);
        // Never single bytes of a burst: that would be one system call each.
        let least = (burst / 2.0).min(wanted as f64).max(1.0);
        if state.tokens < least {
            let missing = (least - state.tokens) / rate as f64;
            return Err(now + Duration::from_secs_f64(missing) + Duration::from_millis(1));
        }
        let granted = (state.tokens as usize).min(wanted);
        state.tokens -= granted as f64;
        Ok(granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_whoever_asks() {
        let (bucket, start) = (Bucket::default(), Instant::now());
        let (mut now, mut passed) = (start, 0);
        while now < start + Duration::from_secs(10) {
            match bucket.take(1000, 300, now) {
                Ok(granted) => passed += granted,
                Err(later) => now = later,
            }
        }
        assert!((9_500..=10_050).contains(&passed), "{passed} bytes in ten seconds");
    }

    #[test]
    fn one_byte_a_second_is_a_rate() {
        let (bucket, start) = (Bucket::default(), Instant::now());
        assert_eq!(bucket.take(1, 10, start), Ok(1));
        let later = bucket.take(1, 10, start).expect_err("nothing is left");
        assert!(later > start + Duration::from_millis(999));
        assert_eq!(bucket.take(1, 10, later), Ok(1));
    }
}
