//! The buckets in Redis, for all proxies together.
//!
//! One request to Redis per request to the proxy that has a limit. Redis is asked for no longer than the timeout; if it does
//! not answer, the proxy goes on with its own buckets and spares Redis for a moment, after which one request tries again.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::metrics::RateMetrics;
use super::{Claim, Key, Limited, script};

/// How long Redis is left alone after it did not answer.
const REST: Duration = Duration::from_secs(1);

/// Where limits are shared.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedLimits {
    /// `redis://[[user]:password@]host[:port][/db]`, or `rediss://` for TLS. Secret.
    pub url: String,
    /// How long Redis may take to answer, connecting included. Longer: the proxy decides alone.
    pub timeout: Duration,
    /// What the keys begin with, for deployments that share one Redis.
    pub key_prefix: String,
}

impl SharedLimits {
    /// Defaults for a Redis at `url`.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), timeout: Duration::from_millis(100), key_prefix: "frazil".to_owned() }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The setting and what is wrong with it, without its secret.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        if Client::open(self.url.as_str()).is_err() {
            let message = "must be a URL such as \"redis://redis:6379\" or \"rediss://user:password@redis:6379/0\"";
            return Err(("rate_limits.redis", message.to_owned()));
        }
        if self.timeout.is_zero() {
            return Err(("rate_limits.timeout", "must be longer than zero".to_owned()));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if self.key_prefix.is_empty() || !self.key_prefix.chars().all(plain) {
            let message = "must be letters, digits, '-', '_', '.' and ':'";
            return Err(("rate_limits.key_prefix", message.to_owned()));
        }
        Ok(())
    }
}

impl fmt::Debug for SharedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, timeout, key_prefix } = self;
        f.debug_struct("SharedLimits").field("timeout", timeout).field("key_prefix", key_prefix).finish_non_exhaustive()
    }
}

/// What Redis decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) outcome: Result<(), Limited>,
    /// What each bucket owes now, in millionths of a token.
    pub(super) debts: Vec<u64>,
}

/// The buckets.
pub(super) struct Shared {
    client: Client,
    timeout: Duration,
    key_prefix: String,
    script: Script,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Microseconds since `started` until which Redis is left alone; zero while it answers.
    resting: AtomicU64,
    started: Instant,
    metrics: RateMetrics,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
enum SharedError {
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("an answer of another form")]
    Answer,
}

impl Shared {
    pub(super) fn new(settings: &SharedLimits, metrics: RateMetrics) -> Self {
        Self {
            client: Client::open(settings.url.as_str()).expect("the configuration was validated"),
            timeout: settings.timeout,
            key_prefix: settings.key_prefix.clone(),
            script: Script::new(script::TAKE),
            connection: Mutex::new(None),
            resting: AtomicU64::new(0),
            started: Instant::now(),
            metrics,
        }
    }

    /// Takes what is claimed, from all buckets or from none; nothing if Redis does not decide.
    pub(super) async fn take(&self, claims: &[Claim]) -> Option<Answer> {
        if !self.may_ask() {
            self.metrics.asked("resting");
            return None;
        }
        let asked = tokio::time::timeout(self.timeout, self.ask(claims)).await;
        match asked.unwrap_or(Err(SharedError::Timeout(self.timeout))) {
            Ok(answer) => {
                self.answered();
                Some(answer)
            }
            Err(error) => {
                self.failed(&error).await;
                None
            }
        }
    }

    async fn ask(&self, claims: &[Claim]) -> Result<Answer, SharedError> {
        let mut connection = self.connection().await?;
        let mut call = self.script.prepare_invoke();
        for claim in claims {
            call.key(self.name(&claim.key));
            call.arg(claim.rate.per_second()).arg(claim.rate.burst()).arg(claim.cost);
        }
        let numbers: Vec<u64> = call.invoke_async(&mut connection).await?;
        let [worst, wait, debts @ ..] = numbers.as_slice() else { return Err(SharedError::Answer) };
        let worst = usize::try_from(*worst).map_err(|_| SharedError::Answer)?;
        let outcome = match worst.checked_sub(1).map(|at| claims.get(at)) {
            None => Ok(()),
            Some(Some(claim)) => Err(claim.limited(Duration::from_micros(*wait))),
            Some(None) => return Err(SharedError::Answer),
        };
        if debts.len() == claims.len() {
            Ok(Answer { outcome, debts: debts.to_vec() })
        } else {
            Err(SharedError::Answer)
        }
    }

    /// The braces keep all keys in one slot of a Redis cluster, which a script demands.
    fn name(&self, key: &Key) -> String {
        format!("{{{}}}:rate:{}:{}:{}", self.key_prefix, key.scope, key.name, key.unit)
    }

    /// The connection, made when there is none. Whoever comes meanwhile waits, no longer than for an answer.
    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        // There is one timeout, around all of it.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// Whether Redis is to be asked: always while it answers, and else by one request after each rest.
    fn may_ask(&self) -> bool {
        let (resting, now) = (self.resting.load(Ordering::Relaxed), self.now());
        if resting == 0 {
            return true;
        }
        let next = now + REST.as_micros() as u64;
        now >= resting && self.resting.compare_exchange(resting, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn answered(&self) {
        self.metrics.asked("ok");
        if self.resting.swap(0, Ordering::Relaxed) != 0 {
            tracing::info!("Redis answers again; rate limits are shared");
        }
        self.metrics.shared_up.set(1);
    }

    async fn failed(&self, error: &SharedError) {
        self.metrics.asked(match error {
            SharedError::Timeout(_) => "timeout",
            SharedError::Redis(_) | SharedError::Answer => "error",
        });
        self.metrics.shared_up.set(0);
        // A connection that is broken or hangs would go on so.
        *self.connection.lock().await = None;
        let before = self.resting.swap(self.now() + REST.as_micros() as u64, Ordering::Relaxed);
        if before == 0 {
            tracing::warn!(%error, "Redis does not answer; rate limits are kept by this proxy alone");
        }
    }

    /// Microseconds since the start, never zero.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }
}
