//! The writer's settings, checked before anything starts.

use std::time::Duration;

use crate::flush::{BATCH_MAX_BYTES, FlushPolicy};

/// Settings of one writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterConfig {
    /// Number of this writer, `0..replicas`.
    pub ordinal: u32,
    /// Number of writers. Shard n of every stream belongs to the writer with ordinal n mod `replicas`.
    pub replicas: u32,
    /// Name of this process in file names and snapshot summaries, such as `writer-0`.
    pub name: String,
    /// When a batch is committed.
    pub flush: FlushPolicy,
    /// Byte budget of everything between the log and the tables.
    pub memory_bytes: usize,
    /// Bytes of messages that each shard's reader may hold beyond the budget.
    pub read_ahead_bytes: usize,
    /// Most tables that store files or commit at the same time; others wait their turn. It bounds the memory, threads
    /// and connections that encoding and storing take beyond the budget.
    pub concurrent_flushes: usize,
    /// How long a stop may take to commit what is open. What is not committed by then is abandoned, which is
    /// always safe: it is read again.
    pub drain_deadline: Duration,
    /// A loaded table older than this is loaded again before the next batch, to see changes of its schema.
    pub table_refresh: Duration,
    /// A table without events for this long is forgotten.
    pub idle_after: Duration,
    /// Shortest time between two stored low watermarks of a shard.
    pub progress_interval: Duration,
    /// Shortest time between two purges of a shard.
    pub purge_interval: Duration,
    /// First and longest wait before something that failed is tried again.
    pub backoff: Backoff,
}

/// Growing waits between tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row (at least one): doubled each time, up to the longest.
    pub fn wait(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

/// Settings no writer can work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The ordinal names no writer.
    #[error("ordinal {ordinal} is not below the number of writers, {replicas}")]
    Ordinal {
        /// The ordinal.
        ordinal: u32,
        /// The number of writers.
        replicas: u32,
    },
    /// A name that cannot be part of a file name.
    #[error("writer name {0:?} must be 1 to 63 characters of A-Z, a-z, 0-9, '-', '_' and '.'")]
    Name(String),
    /// A bound that is zero, or too large.
    #[error("{name} must be {bounds}, not {value}")]
    Bound {
        /// Name of the setting.
        name: &'static str,
        /// What would be valid.
        bounds: &'static str,
        /// The value given.
        value: u128,
    },
}

impl WriterConfig {
    /// Default memory budget: 256 MiB.
    pub const DEFAULT_MEMORY_BYTES: usize = 256 << 20;

    /// The defaults for writer `ordinal` of `replicas`.
    pub fn new(ordinal: u32, replicas: u32) -> Self {
        Self {
            ordinal,
            replicas,
            name: format!("writer-{ordinal}"),
            flush: FlushPolicy::default(),
            memory_bytes: Self::DEFAULT_MEMORY_BYTES,
            read_ahead_bytes: 8 << 20,
            concurrent_flushes: 16,
            drain_deadline: Duration::from_secs(20),
            table_refresh: Duration::from_secs(10),
            idle_after: Duration::from_secs(600),
            progress_interval: Duration::from_secs(1),
            purge_interval: Duration::from_secs(10),
            backoff: Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(10) },
        }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// The first [`ConfigError`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.ordinal >= self.replicas {
            return Err(ConfigError::Ordinal { ordinal: self.ordinal, replicas: self.replicas });
        }
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if self.name.is_empty() || self.name.len() > 63 || !self.name.bytes().all(safe) {
            return Err(ConfigError::Name(self.name.chars().take(80).collect()));
        }
        let bytes_bounds = "1 to 1073741824 bytes";
        bound("flush.max_bytes", bytes_bounds, self.flush.max_bytes as u128, 1, BATCH_MAX_BYTES as u128)?;
        bound("flush.max_rows", "1 to 100000000", self.flush.max_rows as u128, 1, 100_000_000)?;
        let age = self.flush.max_age.as_millis();
        bound("flush.max_age", "1 to 3600000 milliseconds", age, 1, 3_600_000)?;
        let memory = self.memory_bytes as u128;
        bound("memory_bytes", "at least 1048576", memory, 1 << 20, u128::MAX)?;
        bound("read_ahead_bytes", "at least 65536", self.read_ahead_bytes as u128, 1 << 16, u128::MAX)?;
        bound("concurrent_flushes", "1 to 1024", self.concurrent_flushes as u128, 1, 1024)?;
        let first = self.backoff.first.as_millis();
        bound("backoff.first", "at least 1 millisecond", first, 1, u128::MAX)
    }
}

fn bound(name: &'static str, bounds: &'static str, value: u128, min: u128, max: u128) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Bound { name, bounds, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_bounds_are_checked() {
        let good = WriterConfig::new(0, 1);
        assert_eq!(good.validate(), Ok(()));
        assert!(WriterConfig::new(1, 1).validate().is_err());
        assert!(WriterConfig { name: "a/b".to_owned(), ..good.clone() }.validate().is_err());
        assert!(WriterConfig { memory_bytes: 1, ..good.clone() }.validate().is_err());
        assert!(WriterConfig { concurrent_flushes: 0, ..good.clone() }.validate().is_err());
        let flush = FlushPolicy { max_bytes: BATCH_MAX_BYTES + 1, ..good.flush };
        assert!(WriterConfig { flush, ..good }.validate().is_err());
    }

    #[test]
    fn backoff_doubles_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_millis(350) };
        let waits: Vec<u128> = (1..5).map(|failures| backoff.wait(failures).as_millis()).collect();
        assert_eq!(waits, [100, 200, 350, 350]);
        assert_eq!(backoff.wait(u32::MAX), backoff.longest);
    }
}
