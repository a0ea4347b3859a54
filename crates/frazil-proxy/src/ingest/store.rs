//! Storing a request: its groups become sections, the sections messages, one strictly after the other, in one shard.

use std::sync::Arc;
use std::time::Duration;

use frazil_core::envelope::{Section, SectionHeader};
use frazil_core::receipt::Receipt;
use frazil_core::stream::StreamDefinition;
use frazil_core::{Shard, TableName};

use super::groups::{Batch, Target};
use super::{AcceptedTable, Key};
use crate::admission::{Permit, advice};
use crate::core::Core;
use crate::error::{Bound, Rejection};
use crate::lane::{StoreFailure, fitting, part_limit};
use crate::publish::Stored;

/// Stores a request whose events have been accepted. The answer has one entry per table, in the order of the groups.
///
/// # Errors
/// What the log does; `413` for an event that no message can hold. Only `OutcomeUnknown` leaves it open whether events
/// were stored.
pub(super) async fn store(
    core: &Core,
    stream: &StreamDefinition,
    request: Incoming<'_>,
    permit: &Arc<Permit>,
) -> Result<Vec<AcceptedTable>, Rejection> {
    let hash = request.key.as_ref().map(|key| key.hash);
    let shard = core.lanes.choose(stream, hash);
    let refuse = |failure| rejection(core, failure, hash.is_some());
    let lane = core.lanes.lane(&shard, stream).map_err(refuse)?;
    let max_message = core.log.max_message_bytes();
    let catalog = core.tables.source().default_catalog();
    let catch_all = TableName::catch_all(catalog, &stream.name).map_err(Rejection::MalformedTable)?;
    let mut sections = request.sections(&catch_all, max_message)?;
    let mut tables = Vec::<AcceptedTable>::new();
    let mut last: Option<Stored> = None;
    while !sections.is_empty() {
        let rest = sections.split_off(fitting(&sections, max_message));
        let headers: Vec<SectionHeader> = sections.iter().map(|section| section.header.clone()).collect();
        let stored = match (lane.store(sections, permit).await, last) {
            (Ok(stored), None) => stored,
            (Ok(stored), Some(before)) if stored.incarnation() == before.incarnation() => stored,
            (Err(failure), None) => return Err(refuse(failure)),
            // Some parts are stored and others not, or not in the same log.
            (Ok(_) | Err(_), Some(_)) => return Err(Rejection::OutcomeUnknown { keyed: hash.is_some() }),
        };
        headers.into_iter().for_each(|header| add(&mut tables, &shard, header, stored));
        last = Some(stored);
        sections = rest;
    }
    Ok(tables)
}

/// A request whose events have been accepted.
pub(super) struct Incoming<'r> {
    pub(super) batch: &'r Batch,
    pub(super) targets: &'r [Target],
    pub(super) key: Option<Key>,
    pub(super) received: i64,
}

impl Incoming<'_> {
    /// The sections in the order of the groups, each small enough for a message.
    fn sections(&self, catch_all: &TableName, max_message: usize) -> Result<Vec<Section>, Rejection> {
        let mut sections = Vec::with_capacity(self.targets.len());
        for (range, target) in self.batch.groups.iter().zip(self.targets) {
            let header = self.header(target, catch_all);
            let parts = self.batch.events.parts(range.clone(), part_limit(max_message, &header));
            for part in parts.map_err(|rejection| self.in_clients_order(rejection))? {
                let len = u32::try_from(part.ndjson.len()).expect("a part is smaller than a message");
                let header = SectionHeader { count: part.count, first: part.first, len, ..header.clone() };
                sections.push(Section { header, events: part.ndjson });
            }
        }
        Ok(sections)
    }

    /// The header of a group without its numbers.
    fn header(&self, target: &Target, catch_all: &TableName) -> SectionHeader {
        let (table, unroutable) = match target {
            Target::Table(table) => ((**table).clone(), None),
            Target::Nowhere(unroutable) => (catch_all.clone(), Some(unroutable.clone())),
        };
        SectionHeader {
            table,
            unroutable,
            count: 0,
            received: self.received,
            key: self.key.as_ref().map(|key| key.hash),
            request_key: self.key.as_ref().map(|key| key.text.clone()),
            first: 0,
            len: 0,
        }
    }

    fn in_clients_order(&self, rejection: Rejection) -> Rejection {
        match rejection {
            Rejection::EventTooLarge { index, bytes, limit } => {
                Rejection::EventTooLarge { index: self.batch.origin(index), bytes, limit }
            }
            other => other,
        }
    }
}

/// Adds a section that was stored. The sections of one table follow each other; those without one lie scattered.
fn add(tables: &mut Vec<AcceptedTable>, shard: &Shard, header: SectionHeader, stored: Stored) {
    let (events, last) = (header.count as usize, stored.sequence());
    let of_table = |known: &&mut AcceptedTable| known.receipt.table == header.table;
    let known = match &header.unroutable {
        None => tables.last_mut().filter(of_table),
        Some(_) => tables.iter_mut().find(of_table),
    };
    if let Some(known) = known {
        known.events += events;
        known.receipt.last = last;
        return;
    }
    let (incarnation, shard, table) = (stored.incarnation(), shard.clone(), header.table);
    tables.push(AcceptedTable { events, receipt: Receipt { shard, incarnation, first: last, last, table } });
}

/// Shortest advice about a full log: writers free what is committed every ten seconds, unless configured otherwise.
const FULL_MIN: Duration = Duration::from_secs(5);

fn rejection(core: &Core, failure: StoreFailure, keyed: bool) -> Rejection {
    match failure {
        StoreFailure::Busy => {
            core.metrics.overload(Bound::Lane.kind());
            Rejection::Overloaded { bound: Bound::Lane, retry_after: advice(core.config.publish_deadline) }
        }
        StoreFailure::Full { lasted } => {
            core.metrics.overload("log_full");
            // What has lasted for a while is likely to last as long again.
            Rejection::LogFull { retry_after: advice(lasted.max(FULL_MIN)) }
        }
        StoreFailure::NotStored(message) => Rejection::LogUnavailable(message),
        StoreFailure::Unknown => Rejection::OutcomeUnknown { keyed },
    }
}
