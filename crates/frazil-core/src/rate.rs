//! How much may be sent: rates with a burst, and the token bucket that keeps to them. Pure: time is an argument.
//!
//! A bucket is kept as its *debt*, what has been taken and has not flowed back yet. An empty debt is the same as no bucket
//! at all, so idle buckets need not be remembered. All arithmetic is in whole millionths of a token, so that a rate of one
//! token a second times one microsecond is exact.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Largest rate and largest burst. Every sum of a bucket then fits what a double holds exactly, which is what Lua in Redis
/// calculates with.
pub const RATE_MAX: u64 = 4_000_000_000;

/// Millionths of a token.
const MICRO: u64 = 1_000_000;

/// So many tokens a second on average, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

/// The stored form of a [`Rate`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    per_second: u64,
    burst: u64,
}

/// A rate or a burst out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to {RATE_MAX}, not {value}")]
pub struct RateError {
    what: &'static str,
    value: u64,
}

impl Rate {
    /// A rate of `per_second` tokens with a burst; without one, it is what comes in a second.
    ///
    /// # Errors
    /// [`RateError`] for numbers outside 1 to [`RATE_MAX`].
    pub fn new(per_second: u64, burst: Option<u64>) -> Result<Self, RateError> {
        let rate = Self { per_second, burst: burst.unwrap_or(per_second) };
        for (what, value) in [("a rate per second", rate.per_second), ("a burst", rate.burst)] {
            if !(1..=RATE_MAX).contains(&value) {
                return Err(RateError { what, value });
            }
        }
        Ok(rate)
    }

    /// Tokens a second.
    pub fn per_second(self) -> u64 {
        self.per_second
    }

    /// Tokens at once.
    pub fn burst(self) -> u64 {
        self.burst
    }

    /// How long `micro` millionths of a token take to flow, in microseconds, rounded up.
    fn micros_for(self, micro: u64) -> u64 {
        micro.div_ceil(self.per_second)
    }
}

impl TryFrom<Stored> for Rate {
    type Error = RateError;

    fn try_from(stored: Stored) -> Result<Self, RateError> {
        Self::new(stored.per_second, Some(stored.burst))
    }
}

impl From<Rate> for Stored {
    fn from(rate: Rate) -> Self {
        Self { per_second: rate.per_second, burst: rate.burst }
    }
}

/// What a stream or a token may send; absent is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Rate>,
    /// Bytes of events, as they are stored in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Rate>,
}

impl RateLimits {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Events.
    Events,
    /// Bytes.
    Bytes,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Events => "events",
            Self::Bytes => "bytes",
        })
    }
}

/// A token bucket that refills at a [`Rate`]. New ones are full.
///
/// A request is let in if the bucket holds what it costs, or, if it costs more than the burst, if the bucket is full; it
/// then takes all its cost, and the debt is paid off before the next one. So whatever is requested, at most
/// `burst + rate × t` tokens are taken in any time `t`, plus what the last request has above the burst; and a request of any
/// size gets in after a finite wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Millionths of tokens taken and not flowed back, at `at`.
    debt: u64,
    /// Microseconds of any clock that does not go back.
    at: u64,
}

impl Bucket {
    /// A bucket that owes `debt` millionths of tokens at `now`.
    pub fn owing(debt: u64, now: u64) -> Self {
        Self { debt, at: now }
    }

    /// What it owes at `now`, in millionths of tokens. Time that goes back counts as none.
    pub fn debt(&self, rate: Rate, now: u64) -> u64 {
        let flowed = u128::from(rate.per_second) * u128::from(now.saturating_sub(self.at));
        self.debt.saturating_sub(u64::try_from(flowed).unwrap_or(u64::MAX))
    }

    /// How long a request that costs `cost` tokens has to wait from `now` on, if nobody else takes any; zero if there is room.
    pub fn wait(&self, rate: Rate, cost: u64, now: u64) -> Duration {
        let full = rate.burst * MICRO;
        let needed = self.debt(rate, now).saturating_add(cost.min(rate.burst) * MICRO);
        Duration::from_micros(rate.micros_for(needed.saturating_sub(full)))
    }

    /// Takes `cost` tokens, whether there is room or not.
    pub fn take(&mut self, rate: Rate, cost: u64, now: u64) {
        let debt = self.debt(rate, now).saturating_add(cost.saturating_mul(MICRO));
        *self = Self { debt, at: now.max(self.at) };
    }

    /// Whether it is full, so that it need not be remembered.
    pub fn is_full(&self, rate: Rate, now: u64) -> bool {
        self.debt(rate, now) == 0
    }
}
