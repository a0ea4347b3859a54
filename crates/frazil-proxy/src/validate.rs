//! Do these events fit that table? The verdict before the acknowledgement.
//!
//! Uses the very walk by which the writer makes rows, so that what is accepted here becomes a row there, as long as
//! nobody alters the table in between.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use frazil_core::TableName;
use frazil_core::infer::Inference;
use frazil_core::limits::VERDICTS_MAX;
use frazil_core::mapping::{FieldError, NoColumn, Plan, RowMeta};
use frazil_core::schema::Schema;
use frazil_core::stream::{OnMissingTable, StreamDefinition};

use crate::body::Events;
use crate::error::{Rejection, Verdict, Verdicts};
use crate::metrics::{Metrics, ReasonLabel};
use crate::tables::{Cached, TableError, Tables};

/// A schema at least this old is loaded again before events are refused for it.
const RECHECK_AGE: Duration = Duration::from_secs(1);

/// Work on more bytes than this leaves the threads that serve connections.
const OFFLOAD_BYTES: usize = 256 * 1024;

/// Accepts the events of one request for a table, all or none, creating the table if the stream says so.
///
/// # Errors
/// `400` with verdicts, `404` for a missing table, and what the catalog does.
pub(crate) async fn accept(
    tables: &Tables,
    metrics: &Metrics,
    stream: &StreamDefinition,
    table: &TableName,
    events: &Arc<Events>,
) -> Result<(), Rejection> {
    let fail = |error| rejection(error, table, stream);
    let cached = match tables.plan(table).await {
        Err(TableError::Missing) => match stream.on_missing_table {
            OnMissingTable::NotFound => return Err(fail(TableError::Missing)),
            OnMissingTable::Create => create(tables, table, events).await.map_err(fail)?,
        },
        known => known.map_err(fail)?,
    };
    let mut verdicts = check(&cached.plan, events).await?;
    if verdicts.invalid > 0 && cached.loaded.elapsed() >= RECHECK_AGE {
        let newer = tables.newer_plan(table, RECHECK_AGE).await.map_err(fail)?;
        if newer.loaded > cached.loaded {
            verdicts = check(&newer.plan, events).await?;
        }
    }
    if verdicts.invalid == 0 {
        return Ok(());
    }
    for verdict in &verdicts.listed {
        metrics.events_rejected.get_or_create(&ReasonLabel { reason: verdict.reason }).inc();
    }
    if let Some(unlisted) = u64::try_from(verdicts.invalid - verdicts.listed.len()).ok().filter(|count| *count > 0) {
        metrics.events_rejected.get_or_create(&ReasonLabel { reason: "unlisted" }).inc_by(unlisted);
    }
    Err(Rejection::InvalidEvents(verdicts))
}

/// Creates the table from the events that can be read; the others get their verdict against the result.
async fn create(tables: &Tables, table: &TableName, events: &Arc<Events>) -> Result<Cached, TableError> {
    let schema = infer(events);
    // A request without a single usable event must not leave a table behind.
    let Some(schema) = schema else {
        let nothing = Plan::new(&Schema::default().with_system_columns(), &Default::default());
        let plan = nothing.map_err(|error| TableError::Unusable(error.to_string()))?;
        return Ok(Cached { plan: Arc::new(plan), loaded: tokio::time::Instant::now() });
    };
    tables.create(table, || schema).await
}

/// The proposed columns, or `None` if any event is invalid by itself.
fn infer(events: &Events) -> Option<Schema> {
    let mut inference = Inference::default();
    for event in events.iter() {
        inference.observe(event).ok()?;
    }
    Some(inference.schema())
}

async fn check(plan: &Arc<Plan>, events: &Arc<Events>) -> Result<Verdicts, Rejection> {
    let (plan, owned) = (Arc::clone(plan), Arc::clone(events));
    offload(events.bytes(), move || Ok(judge(&plan, &owned))).await
}

/// Runs computing work: small work here, large work on a thread that may block.
pub(crate) async fn offload<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, Rejection> + Send + 'static,
) -> Result<T, Rejection> {
    if bytes < OFFLOAD_BYTES {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a computation panicked");
        Err(Rejection::Internal)
    })
}

fn judge(plan: &Plan, events: &Events) -> Verdicts {
    let meta = RowMeta { id: "", ts_micros: 0, write_id: "" };
    let mut verdicts = Verdicts { events: events.len(), ..Verdicts::default() };
    for (index, event) in events.iter().enumerate() {
        if let Err(error) = plan.row(event, &meta, &mut NoColumn) {
            verdicts.invalid += 1;
            if verdicts.listed.len() < VERDICTS_MAX {
                verdicts.listed.push(verdict(index, error));
            }
        }
    }
    verdicts
}

fn verdict(index: usize, error: FieldError) -> Verdict {
    let message = error.to_string();
    Verdict { index, field: error.field, reason: error.reason.code(), message, got: error.got }
}

fn rejection(error: TableError, table: &TableName, stream: &StreamDefinition) -> Rejection {
    let table = table.clone();
    match error {
        TableError::Missing => Rejection::TableNotFound { table, stream: stream.name.clone() },
        TableError::Forbidden(message) => Rejection::CatalogForbids { table, message },
        TableError::Unusable(message) => Rejection::TableUnusable { table, message },
        // It existed a moment ago and does not now: somebody is at work on it.
        TableError::Exists => Rejection::CatalogUnavailable { table, message: "the table is changing".to_owned() },
        TableError::Unavailable(message) => Rejection::CatalogUnavailable { table, message },
    }
}
