//! Wall time, as far as the writer needs it: which hour a limit belongs to, what gauges show, and when something is
//! put on record. Nothing else may depend on it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Wall time that moves with tokio's clock, which tests control.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallClock {
    origin: Instant,
    /// Time since the Unix epoch at `origin`.
    unix: Duration,
}

impl WallClock {
    /// A clock that shows `now` now.
    pub(crate) fn starting_at(now: SystemTime) -> Self {
        let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), unix }
    }

    /// Time since the Unix epoch.
    pub(crate) fn unix(&self) -> Duration {
        self.unix + self.origin.elapsed()
    }

    /// The same in nanoseconds, as the log counts.
    pub(crate) fn unix_nanos(&self) -> i64 {
        i64::try_from(self.unix().as_nanos()).unwrap_or(i64::MAX)
    }

    /// The same in microseconds.
    pub(crate) fn unix_micros(&self) -> i64 {
        i64::try_from(self.unix().as_micros()).unwrap_or(i64::MAX)
    }

    /// Whole hours since the Unix epoch.
    pub(crate) fn unix_hour(&self) -> u64 {
        self.unix().as_secs() / 3600
    }
}
