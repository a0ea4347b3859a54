//! Wall time, as far as the writer needs it: which hour a limit belongs to. Nothing else may depend on it.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Wall time that moves with tokio's clock, which tests control.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallClock {
    origin: Instant,
    /// Seconds since the Unix epoch at `origin`.
    unix_secs: u64,
}

impl WallClock {
    /// A clock that shows `now` now.
    pub(crate) fn starting_at(now: SystemTime) -> Self {
        let unix_secs = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { origin: Instant::now(), unix_secs }
    }

    /// Whole hours since the Unix epoch.
    pub(crate) fn unix_hour(&self) -> u64 {
        (self.unix_secs + self.origin.elapsed().as_secs()) / 3600
    }
}
