//! A table as it was loaded once, and what the policies of streams make of it. Pure but for the clock.

use std::sync::{Arc, Mutex, PoisonError};

use frazil_core::mapping::Plan;
use frazil_core::policy::TablePolicy;
use tokio::time::Instant;

use super::{TableError, TableShape};

/// Policies that are compiled for one table; streams that feed one table seldom differ. More: the oldest is compiled
/// again when it is needed.
const POLICIES_MAX: usize = 8;

/// How the events of one stream are judged for one table.
#[derive(Debug, Clone)]
pub(crate) struct Cached {
    /// The stream's policy with what the table's properties say on top.
    pub(crate) policy: TablePolicy,
    /// Accepts what fits the table, or what the writer can make it take under the policy.
    pub(crate) plan: Arc<Plan>,
    /// When the table was asked for.
    pub(crate) loaded: Instant,
}

impl Cached {
    /// Applies the stream's policy to a table.
    ///
    /// # Errors
    /// [`TableError::Unusable`] for a malformed property, and for a schema that no events can be mapped to.
    pub(crate) fn compile(shape: &TableShape, stream: &TablePolicy, loaded: Instant) -> Result<Self, TableError> {
        let unusable = |error: &dyn std::error::Error| TableError::Unusable(error.to_string());
        let property = |key: &str| shape.properties.get(key).map(String::as_str);
        let policy = stream.with_properties(property).map_err(|error| unusable(&error))?;
        let plan = policy.accepting_plan(&shape.schema).map_err(|error| unusable(&error))?;
        Ok(Self { policy, plan: Arc::new(plan), loaded })
    }
}

/// One loaded version of a table.
#[derive(Debug)]
pub(super) struct Loaded {
    shape: TableShape,
    at: Instant,
    compiled: Mutex<Vec<(TablePolicy, Cached)>>,
}

impl Loaded {
    pub(super) fn new(shape: TableShape, at: Instant) -> Self {
        Self { shape, at, compiled: Mutex::default() }
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// What the policy of a stream makes of the table, compiled once.
    ///
    /// # Errors
    /// As [`Cached::compile`].
    pub(super) fn under(&self, stream: &TablePolicy) -> Result<Cached, TableError> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cached)) = compiled.iter().find(|(policy, _)| policy == stream) {
            return Ok(cached.clone());
        }
        let cached = Cached::compile(&self.shape, stream, self.at)?;
        if compiled.len() == POLICIES_MAX {
            compiled.remove(0);
        }
        compiled.push((*stream, cached.clone()));
        Ok(cached)
    }
}
