//! Whether a sender may send more now: the limits of its token and of the stream, in events and in bytes.
//!
//! A request has to find room in every bucket that it draws from, and then draws from all of them, or from none. It is asked
//! twice: before the body is read, whether there is any room at all (`Rates::check`, which draws nothing), and when the events
//! are counted (`Rates::take`). What was taken is not given back, whatever becomes of the request.
//!
//! Without Redis each proxy keeps its own buckets. With Redis the buckets are there, and what this proxy last saw of them is
//! its own; that is what it checks before a body, and what it goes on with while Redis does not answer.

mod local;
mod metrics;
mod script;
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use frazil_core::rate::{Rate, RateLimits, Unit};
use frazil_core::stream::StreamDefinition;
use tokio::time::Instant;

use crate::auth::Caller;
use crate::error::Rejection;
use local::Local;
pub use metrics::{LimitedLabels, RateMetrics};
use shared::Shared;
pub use shared::SharedLimits;

/// Whose limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The stream's, for all its senders together.
    Stream,
    /// The token's, for all that use it.
    Token,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Token => "token",
        })
    }
}

/// A limit that has no room for what is known of a request, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// Whose limit.
    pub scope: Scope,
    /// Of what.
    pub unit: Unit,
    /// The limit.
    pub rate: Rate,
    /// When there is room, if nobody else takes it.
    pub wait: Duration,
}

impl Limited {
    /// The wait in whole seconds, at least one.
    pub fn retry_after(&self) -> u32 {
        let secs = self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0);
        u32::try_from(secs).unwrap_or(u32::MAX).max(1)
    }

    fn reason(&self) -> &'static str {
        match (self.scope, self.unit) {
            (Scope::Stream, Unit::Events) => "stream_events",
            (Scope::Stream, Unit::Bytes) => "stream_bytes",
            (Scope::Token, Unit::Events) => "token_events",
            (Scope::Token, Unit::Bytes) => "token_bytes",
        }
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, unit, rate, .. } = self;
        write!(
            f,
            "the {scope} may send {} {unit} per second, {} at once; there is room again in {} s",
            rate.per_second(),
            rate.burst(),
            self.retry_after()
        )
    }
}

/// What a request draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Its events.
    pub(crate) events: usize,
    /// The larger of its body as sent and its events as stored.
    pub(crate) bytes: usize,
}

impl Cost {
    fn of(self, unit: Unit) -> u64 {
        match unit {
            Unit::Events => self.events as u64,
            Unit::Bytes => self.bytes as u64,
        }
    }
}

/// Names a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    scope: Scope,
    unit: Unit,
    /// Name of the stream, or id of the token, which is not its secret.
    name: Arc<str>,
}

/// What a request wants of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    key: Key,
    rate: Rate,
    cost: u64,
}

impl Claim {
    fn limited(&self, wait: Duration) -> Limited {
        Limited { scope: self.key.scope, unit: self.key.unit, rate: self.rate, wait }
    }
}

/// The limits of one proxy.
#[derive(Debug)]
pub(crate) struct Rates {
    local: Local,
    shared: Option<Shared>,
    metrics: RateMetrics,
    started: Instant,
}

impl Rates {
    /// Limits kept here alone, or with others if `shared` says where.
    pub(crate) fn new(shared: Option<&SharedLimits>, metrics: RateMetrics) -> Self {
        let shared = shared.map(|settings| Shared::new(settings, metrics.clone()));
        Self { local: Local::default(), shared, metrics, started: Instant::now() }
    }

    /// Whether a request that costs at least this much has a chance now. Draws nothing and asks nobody.
    ///
    /// # Errors
    /// `429`.
    pub(crate) fn check(&self, caller: &Caller, stream: &StreamDefinition, at_least: Cost) -> Result<(), Rejection> {
        let claims = claims(caller, stream, at_least);
        if claims.is_empty() {
            return Ok(());
        }
        self.local.check(&claims, self.now()).map_err(|limited| self.refuse(stream, limited))
    }

    /// Draws what a request costs.
    ///
    /// # Errors
    /// `429`; nothing is drawn then.
    pub(crate) async fn take(&self, caller: &Caller, stream: &StreamDefinition, cost: Cost) -> Result<(), Rejection> {
        let claims = claims(caller, stream, cost);
        if claims.is_empty() {
            return Ok(());
        }
        let decided = match &self.shared {
            None => None,
            Some(shared) => shared.take(&claims).await,
        };
        let decided = match decided {
            Some(answer) => {
                self.local.adopt(&claims, &answer.debts, self.now());
                answer.outcome
            }
            None => self.local.take(&claims, self.now()),
        };
        decided.map_err(|limited| self.refuse(stream, limited))
    }

    fn refuse(&self, stream: &StreamDefinition, limited: Limited) -> Rejection {
        let labels = LimitedLabels { stream: stream.name.to_string(), reason: limited.reason() };
        self.metrics.limited.get_or_create(&labels).inc();
        Rejection::RateLimited(limited)
    }

    /// Microseconds on a clock that does not go back.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What a request wants of every bucket that it draws from; nothing where there is no limit.
fn claims(caller: &Caller, stream: &StreamDefinition, cost: Cost) -> Vec<Claim> {
    let mut claims = Vec::new();
    add(&mut claims, Scope::Token, caller.token_id(), caller.limits(), cost);
    add(&mut claims, Scope::Stream, stream.name.as_str(), stream.limits, cost);
    claims
}

fn add(claims: &mut Vec<Claim>, scope: Scope, name: &str, limits: RateLimits, cost: Cost) {
    if limits.is_unlimited() {
        return;
    }
    let name: Arc<str> = name.into();
    for (unit, rate) in [(Unit::Events, limits.events), (Unit::Bytes, limits.bytes)] {
        if let Some(rate) = rate {
            let key = Key { scope, unit, name: Arc::clone(&name) };
            claims.push(Claim { key, rate, cost: cost.of(unit) });
        }
    }
}
