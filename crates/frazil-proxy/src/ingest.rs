//! The path of every request that brings events, top to bottom: the same for each front.
//!
//! Refusals come as early as they can be decided: nothing is read for a request that may not or cannot enter, and
//! nothing is stored for a request that is not valid as a whole. The answer comes after the log's, never before.

mod entry;
mod groups;
mod report;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use frazil_core::metrics_report::{ReportKind, ReportPath};
use frazil_core::receipt::Receipt;
use frazil_core::stream::StreamDefinition;

use crate::body::{self, BodyHead};
use crate::core::{Core, now_micros};
use crate::error::{Rejection, Verdict};
use crate::rate::Cost;
use crate::receipts::Progressed;
use crate::validate;
use entry::{Destination, Entry, Key, permit_table};
pub(crate) use groups::{Batch, Target};

/// A request that brings events, as a front has decoded it.
#[derive(Debug)]
pub(crate) struct Request {
    /// Name of the stream, as given.
    pub(crate) stream: String,
    /// The table, as given.
    pub(crate) table: TableText,
    /// How long to wait until the events are visible; not at all if absent.
    pub(crate) wait: Option<Duration>,
    /// Authorization, idempotency key, type, encoding and length.
    pub(crate) headers: HeaderMap,
    /// The events.
    pub(crate) body: Body,
}

/// How a request names its table.
#[derive(Debug)]
pub(crate) enum TableText {
    /// Two parts mean the default catalog; absent means the stream's routing rule, else its default table.
    Native(Option<String>),
    /// Exactly `catalog.database.table`, as IOMETE has it.
    ThreeParts(Option<String>),
    /// The body is a metrics report about this table; the table of its event is configured.
    Report(ReportPath),
}

/// A request whose events are durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Number of events, the invalid ones included.
    pub(crate) events: usize,
    /// How many of them do not fit, and are going to be dead letters unless their table is altered in time.
    pub(crate) invalid: usize,
    /// What is wrong with the first of those.
    pub(crate) errors: Vec<Verdict>,
    /// Where the events are, in the order in which the tables first appear; empty if there was no event.
    pub(crate) tables: Vec<AcceptedTable>,
    /// How far the events of each table have come, if the request waited.
    pub(crate) progressed: Option<Vec<Progressed>>,
}

impl Accepted {
    /// The receipt, if all events are for one table.
    pub(crate) fn receipt(&self) -> Option<&Receipt> {
        match self.tables.as_slice() {
            [table] => Some(&table.receipt),
            _ => None,
        }
    }

    /// How far all events have come, if the request waited. The snapshot is named if there is one table.
    pub(crate) fn state(&self) -> Option<Progressed> {
        let committed = |progressed: &Progressed| matches!(progressed, Progressed::Committed { .. });
        match self.progressed.as_deref()? {
            [progressed] => Some(*progressed),
            all if all.iter().all(committed) => Some(Progressed::Committed { snapshot_id: None }),
            _ => Some(Progressed::Stored),
        }
    }
}

/// What a request brought for one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcceptedTable {
    /// Number of events.
    pub(crate) events: usize,
    /// Where they are.
    pub(crate) receipt: Receipt,
}

/// Takes a request in.
///
/// # Errors
/// Every [`Rejection`]. Only `OutcomeUnknown` and `Internal` leave it open whether events were stored.
pub(crate) async fn ingest(core: &Core, request: Request) -> Result<Accepted, Rejection> {
    let received = now_micros();
    let wait = request.wait;
    let (entry, raw) = take(core, request, received).await?;
    let Entry { caller, stream, destination, key, head, mut permit } = entry;
    let sent = raw.len();
    let Decoded { stream, batch, targets, report } = decode(core, stream, destination, head, raw).await?;
    if batch.events.is_empty() {
        // Nothing to store, so nothing to have a receipt for.
        return Ok(Accepted::default());
    }
    permit.shrink_to(batch.events.bytes());
    let cost = Cost { events: batch.events.len(), bytes: sent.max(batch.events.bytes()) };
    core.rates.take(&caller, &stream, cost).await?;
    for target in &targets {
        if let Target::Table(table) = target {
            permit_table(core, &caller, table)?;
        }
    }
    let batch = Arc::new(batch);
    let (targets, verdicts) = validate::accept(&core.tables, &core.metrics, &stream, &batch, targets).await?;

    let permit = Arc::new(permit);
    let incoming = store::Incoming { batch: &batch, targets: &targets, key, received };
    let tables = store::store(core, &stream, incoming, &permit).await?;
    let (events, bytes) = (batch.events.len(), batch.events.bytes());
    core.metrics.events_accepted.inc_by(events as u64);
    core.metrics.bytes_accepted.inc_by(bytes as u64);
    report.into_iter().for_each(|kind| core.metrics.iceberg_report(kind));
    drop((permit, batch));
    let progressed = match wait {
        None => None,
        Some(timeout) => Some(wait_for(core, &tables, timeout).await),
    };
    Ok(Accepted { events, invalid: verdicts.invalid, errors: verdicts.listed, tables, progressed })
}

/// Decides by the headers, then reads the body.
async fn take(core: &Core, request: Request, received: i64) -> Result<(Entry, Bytes), Rejection> {
    let Request { stream, table, wait: _, headers, mut body } = request;
    let limit = core.config.body_max_bytes;
    let taken = async {
        let entry = Entry::open(core, &stream, table, &headers, received)?;
        let raw = body::read(&mut body, limit, core.config.body_timeout).await?;
        // The length of the body may not have been known before.
        core.rates.check(&entry.caller, &entry.stream, Cost { events: 1, bytes: raw.len() })?;
        Ok::<_, Rejection>((entry, raw))
    };
    match taken.await {
        // A client that is still sending would find the connection broken instead of the answer. One that sends too
        // slowly has had its time.
        Err(rejection) if !matches!(rejection, Rejection::BodyTimeout(_)) => {
            body::discard(&mut body, &headers, limit).await;
            Err(rejection)
        }
        outcome => outcome,
    }
}

/// What a body holds.
struct Decoded {
    /// The stream, as it is for these events.
    stream: Arc<StreamDefinition>,
    /// The events in groups.
    batch: Batch,
    /// Where each group goes.
    targets: Vec<Target>,
    /// The kind of the report, if it is one.
    report: Option<ReportKind>,
}

/// The events of a body, in groups, and where each group goes.
async fn decode(
    core: &Core,
    stream: Arc<StreamDefinition>,
    destination: Destination,
    head: BodyHead,
    raw: Bytes,
) -> Result<Decoded, Rejection> {
    let limit = core.config.body_max_bytes;
    let bytes = head.decoded_at_most(raw.len(), limit);
    let on_invalid = match &destination {
        Destination::Table(table) => validate::on_invalid(&core.tables, &stream, table).await,
        Destination::ByRule(_) | Destination::Report(_) => stream.policy.on_invalid,
    };
    let decode = move || {
        let events = |raw: &Bytes, head| body::decode(raw, head, limit, on_invalid.into());
        let (batch, targets) = match destination {
            Destination::Table(table) => (Batch::of_one(events(&raw, head)?), vec![Target::Table(table)]),
            Destination::ByRule(router) => Batch::routed(*router, events(&raw, head)?)?,
            Destination::Report(report) => return report.decode(&stream, &raw, head.encoding, limit),
        };
        Ok(Decoded { stream, batch, targets, report: None })
    };
    validate::offload(bytes, decode).await
}

async fn wait_for(core: &Core, tables: &[AcceptedTable], timeout: Duration) -> Vec<Progressed> {
    let receipts: Vec<&Receipt> = tables.iter().map(|table| &table.receipt).collect();
    let progressed = core.receipts.wait_for_all(&receipts, timeout, &core.draining).await;
    // The events are durable: a full waiting room is no reason to refuse them.
    progressed.unwrap_or_else(|_| vec![Progressed::Stored; receipts.len()])
}
