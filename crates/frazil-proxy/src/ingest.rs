//! The path of every request that brings events, top to bottom: the same for each front.
//!
//! Refusals come as early as they can be decided: nothing is read for a request that may not or cannot enter, and
//! nothing is stored for a request that is not valid as a whole. The answer comes after the log's, never before.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use frazil_core::TableName;
use frazil_core::envelope::{Section, SectionHeader};
use frazil_core::idempotency::KeyHash;
use frazil_core::limits::IDEMPOTENCY_KEY_MAX_BYTES;
use frazil_core::receipt::Receipt;
use frazil_core::stream::StreamDefinition;

use crate::admission::Permit;
use crate::auth;
use crate::body::{self, BodyHead, Events};
use crate::core::{Core, now_micros};
use crate::error::{Bound, Rejection};
use crate::lane::{StoreFailure, part_limit};
use crate::publish::Stored;
use crate::receipts::Progressed;
use crate::validate;

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
    /// Two parts mean the default catalog; absent means the stream's default table.
    Native(Option<String>),
    /// Exactly `catalog.database.table`, as IOMETE has it.
    ThreeParts(Option<String>),
}

/// A request whose events are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Number of events.
    pub(crate) events: usize,
    /// Where they are; absent if there was none.
    pub(crate) receipt: Option<Receipt>,
    /// How far they have come, if the request waited.
    pub(crate) progressed: Option<Progressed>,
}

/// Takes a request in.
///
/// # Errors
/// Every [`Rejection`]. Only `OutcomeUnknown` and `Internal` leave it open whether events were stored.
pub(crate) async fn ingest(core: &Core, request: Request) -> Result<Accepted, Rejection> {
    let Request { stream, table, wait, headers, mut body } = request;
    let received = now_micros();
    let limit = core.config.body_max_bytes;
    let taken = async {
        let entry = enter(core, &stream, table, &headers, received)?;
        let raw = body::read(&mut body, limit, core.config.body_timeout).await?;
        Ok::<_, Rejection>((entry, raw))
    };
    let (entry, raw) = match taken.await {
        Ok(taken) => taken,
        Err(rejection) => {
            // A client that is still sending would find the connection broken instead of the answer. One that sends
            // too slowly has had its time.
            if !matches!(rejection, Rejection::BodyTimeout(_)) {
                body::discard(&mut body, &headers, limit).await;
            }
            return Err(rejection);
        }
    };
    let Entry { stream, table, key, head, mut permit } = entry;
    let events = validate::offload(raw.len(), move || body::decode(&raw, head, limit)).await?;
    if events.is_empty() {
        // Nothing to store, so nothing to have a receipt for.
        return Ok(Accepted { events: 0, receipt: None, progressed: None });
    }
    permit.shrink_to(events.bytes());
    let events = Arc::new(events);
    validate::accept(&core.tables, &core.metrics, &stream, &table, &events).await?;

    let permit = Arc::new(permit);
    let receipt = store(core, &stream, table, key, received, &events, &permit).await?;
    core.metrics.events_accepted.inc_by(events.len() as u64);
    core.metrics.bytes_accepted.inc_by(events.bytes() as u64);
    let count = events.len();
    drop((permit, events));
    let progressed = match wait {
        None => None,
        // The events are durable: a full waiting room is no reason to refuse them.
        Some(timeout) => {
            Some(core.receipts.wait(&receipt, timeout, &core.draining).await.unwrap_or(Progressed::Stored))
        }
    };
    Ok(Accepted { events: count, receipt: Some(receipt), progressed })
}

/// What is decided before the body is read.
struct Entry {
    stream: Arc<StreamDefinition>,
    table: TableName,
    key: Option<KeyHash>,
    head: BodyHead,
    permit: Permit,
}

/// Lets a request in, or not, by its headers alone.
fn enter(core: &Core, stream: &str, table: TableText, headers: &HeaderMap, received: i64) -> Result<Entry, Rejection> {
    core.refuse_if_draining()?;
    let caller = auth::authenticate(headers, &core.directory, received)?;
    let stream = caller.stream(&core.directory, stream)?;
    let table = resolve(core, table, &stream)?;
    caller.may_insert(&table)?;
    let key = idempotency_key(headers)?;
    let key = key.map(|key| KeyHash::new(&stream.name, &table, caller.token_id(), &key));
    let head = BodyHead::parse(headers)?;
    let limit = core.config.body_max_bytes;
    if head.length.is_some_and(|length| length > limit) {
        return Err(Rejection::BodyTooLarge { limit });
    }
    let permit = core.admission.admit(head.reservation(limit))?;
    Ok(Entry { stream, table, key, head, permit })
}

/// The table a request is for.
fn resolve(core: &Core, text: TableText, stream: &StreamDefinition) -> Result<TableName, Rejection> {
    let source = core.tables.source();
    let table = match text {
        TableText::Native(Some(text)) => TableName::parse(&text, source.default_catalog())?,
        TableText::Native(None) => stream.default_table.clone().ok_or(Rejection::MissingTable(
            "name the table in ?table= or the header Frazil-Table; the stream has no default table",
        ))?,
        TableText::ThreeParts(Some(text)) => three_parts(&text)?,
        TableText::ThreeParts(None) => {
            return Err(Rejection::MissingTable("the header `table: catalog.database.table` is missing"));
        }
    };
    let known = source.known_catalogs();
    if known.iter().any(|name| name == table.catalog()) {
        return Ok(table);
    }
    Err(Rejection::CatalogNotFound { catalog: table.catalog().to_owned(), known })
}

fn three_parts(text: &str) -> Result<TableName, Rejection> {
    let table = TableName::parse_full(text)?;
    if table.namespace().len() == 1 {
        return Ok(table);
    }
    let message = format!("{text:?} is not in three parts; use /v1/streams/…/events for deeper namespaces");
    Err(Rejection::Malformed { name: "table", message })
}

/// The client's idempotency key, without the quotes of the structured-header form.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Rejection> {
    const NAME: &str = "Idempotency-Key";
    let malformed = |message: String| Err(Rejection::Malformed { name: NAME, message });
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return malformed("given more than once".to_owned());
    }
    let text = value.to_str().unwrap_or("\u{0}").trim();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_MAX_BYTES {
        return malformed(format!("must have 1 to {IDEMPOTENCY_KEY_MAX_BYTES} characters"));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return malformed("must be visible ASCII without spaces".to_owned());
    }
    Ok(Some(key.to_owned()))
}

/// Stores the events in the lane of one shard, in as many messages as they need, one strictly after the other.
async fn store(
    core: &Core,
    stream: &StreamDefinition,
    table: TableName,
    key: Option<KeyHash>,
    received: i64,
    events: &Events,
    permit: &Arc<Permit>,
) -> Result<Receipt, Rejection> {
    let shard = core.lanes.choose(stream, key);
    let refuse = |failure| rejection(failure, key.is_some());
    let lane = core.lanes.lane(&shard, stream).map_err(refuse)?;
    let mut span: Option<(Stored, Stored)> = None;
    for part in events.parts(part_limit(core.log.max_message_bytes(), &table))? {
        let len = u32::try_from(part.ndjson.len()).expect("a part is smaller than a message");
        let (table, count, first) = (table.clone(), part.count, part.first);
        let header = SectionHeader { table, count, received, key, first, len };
        let outcome = lane.store(Section { header, events: part.ndjson }, permit).await;
        span = match (outcome, span) {
            (Ok(stored), None) => Some((stored, stored)),
            (Ok(stored), Some((first, _))) if stored.incarnation() == first.incarnation() => Some((first, stored)),
            (Err(failure), None) => return Err(refuse(failure)),
            // Some parts are stored and others not, or not in the same log.
            (Ok(_) | Err(_), Some(_)) => return Err(Rejection::OutcomeUnknown { keyed: key.is_some() }),
        };
    }
    let (first, last) = span.expect("a request with events has a part");
    Ok(Receipt { shard, incarnation: first.incarnation(), first: first.sequence(), last: last.sequence(), table })
}

fn rejection(failure: StoreFailure, keyed: bool) -> Rejection {
    match failure {
        StoreFailure::Busy => Rejection::Overloaded(Bound::Lane),
        StoreFailure::Full => Rejection::LogFull,
        StoreFailure::NotStored(message) => Rejection::LogUnavailable(message),
        StoreFailure::Unknown => Rejection::OutcomeUnknown { keyed },
    }
}
