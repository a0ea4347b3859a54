//! The table gets another schema because events need it: proposes, commits, and starts over with whoever was faster.
//!
//! What would fit is decided by [`evolve`](frazil_core::evolve), which is pure; how much may be added, by [`Quota`].
//! A change is a commit of its own, and nothing depends on it: rows of the older schema stay valid, so that a crash, a
//! lost answer, another writer or a user who alters the table can at worst make it happen once more.

use std::collections::BTreeMap;

use frazil_core::TableName;
use frazil_core::evolve::{Evolved, evolve};
use tokio::time::Instant;

use super::changes::Changes;
use super::fill::Next;
use super::quota::{COLUMNS_ADDED, Quota};
use super::{Abandon, Seen, TableTask};
use crate::metrics::OutcomeLabel;
use crate::rows::Delivery;
use crate::sink::{EvolveError, SinkTable, TableSink};
use crate::source::Source;

/// Conflicts in a row before there is a wait between two tries, and it shows in the status.
const CONFLICTS_MAX: u32 = 5;
/// How often the table is altered for one delivery before that is given up: each time somebody must have undone it.
const ALTERATIONS_MAX: u32 = 8;

/// Whether the table may have another schema now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Altered {
    /// It has: the newer shape is there.
    Yes,
    /// It stays as it is.
    No,
    /// The catalog is in trouble: to be tried again when nothing else is under way, because it may take long.
    Later,
}

/// Why the table is not altered for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    /// The catalog refuses. Else: there was nothing to be gained, which does not hold for events that would become
    /// dead letters, since those are other events.
    refused: bool,
    until: Instant,
    hour: u64,
}

/// A schema for a version of a table.
struct Proposal<T> {
    base: T,
    evolved: Evolved,
    properties: BTreeMap<String, String>,
}

impl<So: Source, Si: TableSink> TableTask<So, Si> {
    /// The pause, unless it is over.
    pub(super) fn pausing(&self) -> Option<Pause> {
        let hour = self.context.clock.unix_hour();
        self.pause.filter(|pause| pause.hour == hour && Instant::now() < pause.until)
    }

    /// Whether the policy wants columns that the table does not have yet.
    pub(super) fn lacks_columns(&self) -> bool {
        self.shape.lacks_columns && self.pausing().is_none()
    }

    /// Has the table altered so that it takes more of the delivery, if the policy, the limit and the catalog allow it.
    pub(super) async fn alter(&mut self, next: &mut Next) -> Result<Altered, Abandon> {
        if !self.shape.alterable() || self.pausing().is_some_and(|pause| pause.refused) {
            return Ok(Altered::No);
        }
        if next.alterations >= ALTERATIONS_MAX {
            return Ok(self.pause(false));
        }
        next.alterations += 1;
        let (context, name) = (self.context.clone(), self.birth.table.clone());
        let mut trouble = context.trouble(&name, "alter the table");
        let mut conflicts = 0;
        loop {
            let Some(proposal) = self.propose(&next.delivery) else {
                return Ok(if self.newer.is_some() { Altered::Yes } else { self.pause(false) });
            };
            let Proposal { base, evolved, properties } = &proposal;
            let turn = context.flush_turn().await;
            let evolving = context.sink.evolve(base, &evolved.schema, properties);
            let outcome = context.patiently(&name, "alter the table", evolving).await;
            drop(turn);
            self.count(&outcome);
            let error = match outcome {
                Ok(table) => return Ok(self.altered(&proposal, table)),
                Err(error) => error,
            };
            match &error {
                EvolveError::Gone => return Err(replaced(&name, "was dropped")),
                EvolveError::Replaced => return Err(replaced(&name, "was replaced by another one")),
                EvolveError::Rejected(_) => return Ok(self.refused(&error)),
                EvolveError::Conflict(_) if conflicts < CONFLICTS_MAX => conflicts += 1,
                EvolveError::Conflict(_) | EvolveError::Unavailable(_) if self.busy() => {
                    next.alone = true;
                    return Ok(Altered::Later);
                }
                EvolveError::Conflict(_) => trouble.retry("conflict", &error).await,
                EvolveError::Unavailable(_) => trouble.retry("unavailable", &error).await,
            }
            if self.look_again().await? == Seen::Unusable {
                return Ok(self.pause(true));
            }
        }
    }

    /// What the newest known version of the table would have to be.
    fn propose(&self, delivery: &Delivery) -> Option<Proposal<Si::Table>> {
        let shape = self.newest();
        let (base, policy) = (shape.main.clone()?, &shape.policy);
        let quota = Quota::read(base.property(COLUMNS_ADDED), self.context.clock.unix_hour(), policy.columns_per_hour);
        let (schema, last) = (base.schema(), base.last_column_id());
        let proposal = evolve(schema, policy, last, quota.left(), delivery.events());
        let Some(evolved) = proposal else {
            let unlimited = || evolve(schema, policy, last, u32::MAX, delivery.events());
            if quota.left() == 0 && unlimited().is_some() {
                self.limited(policy.columns_per_hour);
            }
            return None;
        };
        let used = (evolved.added > 0).then(|| (COLUMNS_ADDED.to_owned(), quota.with(evolved.added)));
        Some(Proposal { base, evolved, properties: used.into_iter().collect() })
    }

    fn limited(&self, limit: u32) {
        let table = &self.birth.table;
        self.context.metrics.column_limit.get_or_create(&self.context.stream_label()).inc();
        tracing::warn!(%table, limit, "no more columns are added within this hour; new fields are captured");
    }

    fn altered(&mut self, proposal: &Proposal<Si::Table>, now: Si::Table) -> Altered {
        let Evolved { added, widened, schema } = &proposal.evolved;
        let (metrics, label) = (&self.context.metrics, self.context.stream_label());
        metrics.columns_added.get_or_create(&label).inc_by(u64::from(*added));
        metrics.columns_widened.get_or_create(&label).inc_by(u64::from(*widened));
        let Changes { new, wider } = Changes::between(proposal.base.schema(), schema);
        tracing::info!(table = %self.birth.table, added = new, widened = wider, "altered the table");
        match self.see(now) {
            Seen::Usable if self.newer.is_some() => Altered::Yes,
            Seen::Usable | Seen::Unusable | Seen::Nothing => self.pause(true),
        }
    }

    fn refused(&mut self, error: &EvolveError) -> Altered {
        let table = &self.birth.table;
        let known = self.pause.is_some_and(|pause| pause.refused && pause.hour == self.context.clock.unix_hour());
        if !known {
            tracing::warn!(%table, %error, "the table is not altered; what it does not take is captured or a dead letter");
        }
        self.pause(true)
    }

    fn pause(&mut self, refused: bool) -> Altered {
        let until = Instant::now() + self.context.config.table_refresh;
        self.pause = Some(Pause { refused, until, hour: self.context.clock.unix_hour() });
        Altered::No
    }

    fn count(&self, outcome: &Result<Si::Table, EvolveError>) {
        let outcome = match outcome {
            Ok(_) => "altered",
            Err(EvolveError::Conflict(_)) => "conflict",
            Err(EvolveError::Unavailable(_)) => "unavailable",
            Err(EvolveError::Rejected(_)) => "rejected",
            Err(EvolveError::Gone | EvolveError::Replaced) => "replaced",
        };
        let label = OutcomeLabel { stream: self.context.stream_name().to_string(), outcome };
        self.context.metrics.schema_updates.get_or_create(&label).inc();
    }
}

fn replaced(table: &TableName, what: &'static str) -> Abandon {
    Abandon::Replaced { table: table.clone(), what }
}
