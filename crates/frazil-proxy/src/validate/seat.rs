//! What each group of a request is judged by: a table that is there, one that is to be made, or none at all.

use std::ops::Range;
use std::sync::Arc;

use frazil_core::TableName;
use frazil_core::envelope::Unroutable;
use frazil_core::policy::OnInvalid;
use frazil_core::stream::{OnMissingTable, StreamDefinition};

use super::judge::Standard;
use super::new_table::{self, Proposal};
use super::{RECHECK_AGE, offload};
use crate::error::{Rejection, Verdicts};
use crate::ingest::{Batch, Target};
use crate::tables::{Cached, TableError, Tables};

/// What a group is judged by.
#[derive(Debug)]
pub(super) enum Seat {
    /// A table.
    Table(Arc<TableName>, Cached),
    /// A table that will be made, unless the events are refused.
    Missing(Box<Missing>),
    /// No table.
    Nowhere(Unroutable),
}

/// A table that will be made.
#[derive(Debug)]
pub(super) struct Missing {
    table: Arc<TableName>,
    proposal: Proposal,
}

impl Seat {
    /// What becomes of the group's invalid events.
    pub(super) fn on_invalid(&self, stream: &StreamDefinition) -> OnInvalid {
        match self {
            Self::Table(_, cached) => cached.policy.on_invalid,
            Self::Missing(missing) => missing.proposal.cached.policy.on_invalid,
            Self::Nowhere(_) => stream.policy.on_invalid,
        }
    }

    pub(super) fn standard(&self) -> Standard {
        match self {
            Self::Table(_, cached) => Standard::Plan(Arc::clone(&cached.plan)),
            Self::Missing(missing) => Standard::Plan(Arc::clone(&missing.proposal.cached.plan)),
            Self::Nowhere(unroutable) => Standard::Nowhere(unroutable.clone()),
        }
    }
}

impl From<Seat> for Target {
    fn from(seat: Seat) -> Self {
        match seat {
            Seat::Table(table, _) => Self::Table(table),
            Seat::Missing(missing) => Self::Table(missing.table),
            Seat::Nowhere(unroutable) => Self::Nowhere(unroutable),
        }
    }
}

/// One request before its tables.
pub(super) struct Bench<'r> {
    pub(super) tables: &'r Tables,
    pub(super) stream: &'r StreamDefinition,
    pub(super) batch: &'r Arc<Batch>,
}

impl Bench<'_> {
    /// What a group is to be judged by.
    ///
    /// # Errors
    /// What the catalog does; `404` for a missing table, unless a table will be made or the events become dead letters.
    pub(super) async fn seat(&self, target: Target, range: Range<usize>) -> Result<Seat, Rejection> {
        let table = match target {
            Target::Nowhere(unroutable) => return Ok(Seat::Nowhere(unroutable)),
            Target::Table(table) => table,
        };
        match self.tables.plan(&table, &self.stream.policy).await {
            Ok(cached) => Ok(Seat::Table(table, cached)),
            Err(TableError::Missing) if self.stream.on_missing_table == OnMissingTable::Create => {
                let proposal = self.propose(range).await?.map_err(|error| self.rejection(error, &table))?;
                Ok(Seat::Missing(Box::new(Missing { table, proposal })))
            }
            Err(error) => self.without(&table, error),
        }
    }

    async fn propose(&self, range: Range<usize>) -> Result<Result<Proposal, TableError>, Rejection> {
        let (stream, batch) = (self.stream.clone(), Arc::clone(self.batch));
        offload(self.batch.events.bytes(), move || Ok(new_table::propose(&stream, &batch.events, range))).await
    }

    /// A seat by a newer state of the table, if there is one and it is `wanted`.
    ///
    /// # Errors
    /// What the catalog does.
    pub(super) async fn newer(&self, seat: &Seat, wanted: bool) -> Result<Option<Seat>, Rejection> {
        let Seat::Table(table, cached) = seat else { return Ok(None) };
        if !wanted || cached.loaded.elapsed() < RECHECK_AGE {
            return Ok(None);
        }
        let newer = self.tables.newer_plan(table, &self.stream.policy, RECHECK_AGE).await;
        let newer = newer.map_err(|error| self.rejection(error, table))?;
        Ok((newer.loaded > cached.loaded).then(|| Seat::Table(Arc::clone(table), newer)))
    }

    /// Makes the table of a seat, if it is to be made, for that many `valid` events.
    ///
    /// # Errors
    /// What the catalog does; `400` if there is no event that fits.
    pub(super) async fn create(&self, seat: Seat, valid: usize, verdicts: &Verdicts) -> Result<Seat, Rejection> {
        let missing = match seat {
            Seat::Missing(missing) => missing,
            other => return Ok(other),
        };
        let Missing { table, proposal } = *missing;
        if valid == 0 {
            // A request without a usable event must not leave a table behind.
            let refuse = || Rejection::InvalidEvents(verdicts.clone());
            return self.nowhere(&table, "and none of these events fits one that would be made").ok_or_else(refuse);
        }
        match self.tables.create(&table, &self.stream.policy, &proposal.new).await {
            Ok(cached) => Ok(Seat::Table(table, cached)),
            Err(error) => self.without(&table, error),
        }
    }

    /// What is left for events whose table cannot be used: they have none if a rule has chosen it and the stream takes
    /// invalid events; else the request is refused.
    fn without(&self, table: &TableName, error: TableError) -> Result<Seat, Rejection> {
        let why = match error {
            TableError::Missing => "and the stream does not create missing tables",
            TableError::NoNamespace => "nor does its namespace",
            other => return Err(self.rejection(other, table)),
        };
        self.nowhere(table, why).ok_or_else(|| self.rejection(error, table))
    }

    fn nowhere(&self, table: &TableName, why: &str) -> Option<Seat> {
        let field = self.batch.rule_field.clone()?;
        let message = format!("the table {table} does not exist, {why}");
        let takes = self.stream.policy.on_invalid == OnInvalid::DeadLetter;
        takes.then_some(Seat::Nowhere(Unroutable { field, message }))
    }

    fn rejection(&self, error: TableError, table: &TableName) -> Rejection {
        let (table, stream) = (table.clone(), self.stream.name.clone());
        match error {
            TableError::Missing => Rejection::TableNotFound { table, stream },
            TableError::NoNamespace => Rejection::NamespaceNotFound { table, stream },
            TableError::Forbidden(message) => Rejection::CatalogForbids { table, message },
            TableError::Unusable(message) => Rejection::TableUnusable { table, message },
            // It existed a moment ago and does not now: somebody is at work on it.
            TableError::Exists => Rejection::CatalogUnavailable { table, message: "the table is changing".to_owned() },
            TableError::Unavailable(message) => Rejection::CatalogUnavailable { table, message },
        }
    }
}
