//! Do these events fit their tables? The verdict before the acknowledgement.
//!
//! Uses the very walk by which the writer makes rows, so that what is accepted here becomes a row there, as long as
//! nobody alters the table in between. What becomes of a request with invalid events is the policy of the tables they are
//! for; events without a table are under the policy of the stream.

mod judge;
mod new_table;
mod seat;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use frazil_core::TableName;
use frazil_core::policy::OnInvalid;
use frazil_core::stream::StreamDefinition;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::error::{Rejection, Verdicts};
use crate::ingest::{Batch, Target};
use crate::metrics::{ByReason, Metrics, ReasonLabel};
use crate::tables::Tables;
use judge::Judged;
use seat::{Bench, Seat};

/// A schema at least this old is loaded again before events are refused for it.
const RECHECK_AGE: Duration = Duration::from_secs(1);

/// Work on more bytes than this leaves the threads that serve connections.
const OFFLOAD_BYTES: usize = 256 * 1024;

/// Tables of one request that catalogs are asked for at the same time. More wait for their turn.
const TABLES_AT_ONCE: usize = 16;

/// Accepts the events of one request, or refuses them all, creating tables if the stream says so. Tells where each group
/// goes in the end, and which of the accepted events are invalid.
///
/// # Errors
/// `400` with verdicts, `404` for a missing table, and what the catalog does.
pub(crate) async fn accept(
    tables: &Tables,
    metrics: &Metrics,
    stream: &StreamDefinition,
    batch: &Arc<Batch>,
    targets: Vec<Target>,
) -> Result<(Vec<Target>, Verdicts), Rejection> {
    let bench = Bench { tables, stream, batch };
    let groups = targets.into_iter().zip(batch.groups.iter().cloned());
    let mut seats = each(groups.map(|(target, range)| bench.seat(target, range).boxed()).collect()).await?;
    let mut judged = judge(batch, &seats).await?;
    if renew(&bench, &mut seats, &judged).await? {
        judged = judge(batch, &seats).await?;
    }
    refuse_rejected(metrics, stream, &seats, &judged)?;
    if seats.iter().any(|seat| matches!(seat, Seat::Missing(_))) {
        let all = seats.into_iter().zip(judged.valid.iter().copied());
        let made = each(all.map(|(seat, valid)| bench.create(seat, valid, &judged.verdicts).boxed()).collect()).await;
        seats = made.inspect_err(|rejection| {
            if rejection.verdicts().is_some() {
                count(&metrics.events_rejected, &judged);
            }
        })?;
        // What was made may have been made by somebody else.
        judged = judge(batch, &seats).await?;
        refuse_rejected(metrics, stream, &seats, &judged)?;
    }
    count(&metrics.events_invalid, &judged);
    Ok((seats.into_iter().map(Target::from).collect(), judged.verdicts))
}

/// What becomes of events that do not fit a table, as far as is known before they are read.
pub(crate) async fn on_invalid(tables: &Tables, stream: &StreamDefinition, table: &TableName) -> OnInvalid {
    match tables.plan(table, &stream.policy).await {
        Ok(cached) => cached.policy.on_invalid,
        // It may be made, or cannot be used: then the request is refused for that, once it is read.
        Err(_) => new_table::policy(stream).map_or(stream.policy.on_invalid, |policy| policy.on_invalid),
    }
}

/// Looks again at tables for which events were found invalid; tells whether there is anything new.
async fn renew(bench: &Bench<'_>, seats: &mut [Seat], judged: &Judged) -> Result<bool, Rejection> {
    let groups = seats.iter().zip(&judged.invalid);
    let newer = each(groups.map(|(seat, invalid)| bench.newer(seat, *invalid > 0).boxed()).collect()).await?;
    let mut any = false;
    for (seat, newer) in seats.iter_mut().zip(newer) {
        if let Some(newer) = newer {
            (*seat, any) = (newer, true);
        }
    }
    Ok(any)
}

/// Refuses the request if any of its events is invalid and must not be.
fn refuse_rejected(
    metrics: &Metrics,
    stream: &StreamDefinition,
    seats: &[Seat],
    judged: &Judged,
) -> Result<(), Rejection> {
    let rejects = |(seat, invalid): (&Seat, &usize)| *invalid > 0 && seat.on_invalid(stream) == OnInvalid::Reject;
    if !seats.iter().zip(&judged.invalid).any(rejects) {
        return Ok(());
    }
    count(&metrics.events_rejected, judged);
    Err(Rejection::InvalidEvents(judged.verdicts.clone()))
}

fn count(metric: &ByReason, judged: &Judged) {
    for (reason, count) in &judged.reasons {
        metric.get_or_create(&ReasonLabel { reason }).inc_by(*count);
    }
}

/// Runs some work for each table, a bounded number at the same time, and keeps the order.
async fn each<T>(work: Vec<BoxFuture<'_, Result<T, Rejection>>>) -> Result<Vec<T>, Rejection> {
    futures::stream::iter(work).buffered(TABLES_AT_ONCE).try_collect().await
}

async fn judge(batch: &Arc<Batch>, seats: &[Seat]) -> Result<Judged, Rejection> {
    let standards: Vec<_> = seats.iter().map(Seat::standard).collect();
    let batch = Arc::clone(batch);
    offload(batch.events.bytes(), move || Ok(judge::judge(&batch, &standards))).await
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
