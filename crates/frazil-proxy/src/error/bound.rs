//! The bounds of the proxy at which requests are refused for now.

use std::fmt;

/// A bound at which requests are refused for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Requests in flight.
    Requests,
    /// Bytes of bodies in flight.
    Bytes,
    /// Requests that wait for one shard.
    Lane,
    /// Requests that wait for a commit.
    Waiters,
}

impl Bound {
    /// Short name for metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Lane => "lane",
            Self::Waiters => "waiters",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests in flight",
            Self::Bytes => "bytes in flight",
            Self::Lane => "requests that wait for this shard",
            Self::Waiters => "requests that wait for a commit",
        })
    }
}
