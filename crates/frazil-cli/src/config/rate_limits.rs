//! `[proxy.rate_limits]`: where proxies share rate limits. How much may be sent is said of streams and tokens, not here.

use std::path::PathBuf;

use frazil_proxy::SharedLimits;
use serde::{Deserialize, Serialize};

use super::secret::Secret;
use crate::units::Span;

/// `[proxy.rate_limits]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RateLimitsSection {
    /// URL of a Redis. Its password is part of it, so all of it is secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redis: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redis_file: Option<PathBuf>,
    /// How long Redis may take. Longer: the proxy decides alone.
    pub(crate) timeout: Span,
    /// What the keys in Redis begin with.
    pub(crate) key_prefix: String,
}

impl Default for RateLimitsSection {
    fn default() -> Self {
        let of = SharedLimits::at("");
        Self { redis: None, redis_file: None, timeout: Span(of.timeout), key_prefix: of.key_prefix }
    }
}

impl RateLimitsSection {
    /// The proxy's own settings; nothing without a Redis.
    pub(crate) fn settings(&self) -> Option<SharedLimits> {
        let url = self.redis.as_ref()?.reveal().to_owned();
        Some(SharedLimits { url, timeout: self.timeout.0, key_prefix: self.key_prefix.clone() })
    }
}
