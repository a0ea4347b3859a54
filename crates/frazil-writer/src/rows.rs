//! One message's events for one table: each becomes a row or a dead letter, or is skipped. No I/O, no clock.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use frazil_core::checkpoint::Sequence;
use frazil_core::envelope::{EnvelopeError, Section};
use frazil_core::mapping::{Plan, RowMeta};

use crate::batch::OpenBatch;
use crate::budget::Permit;
use crate::dead_letter::{DeadLetter, LetterReason};
use crate::positions::Positions;
use crate::shard::ShardState;

/// All of one message that is for one table.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The shard it comes from.
    pub(crate) origin: Arc<ShardState>,
    /// The message.
    pub(crate) sequence: Sequence,
    /// When the log stored it, in nanoseconds since the Unix epoch.
    pub(crate) at: i64,
    /// What it holds for the table.
    pub(crate) content: Content,
    /// Memory, taken before it was handed out.
    pub(crate) permit: Permit,
}

/// What a message holds for a table.
#[derive(Debug)]
pub(crate) enum Content {
    /// Its sections for the table.
    Sections(Vec<Part>),
    /// The message cannot be read; it becomes one dead letter.
    Unreadable {
        /// The whole payload.
        payload: Bytes,
        /// When the log stored it, in microseconds since the epoch.
        received: i64,
        /// Why it cannot be read.
        error: EnvelopeError,
    },
}

/// A section, and where in its message it stands.
#[derive(Debug)]
pub(crate) struct Part {
    /// The section.
    pub(crate) section: Section,
    /// Index within the message of its first event.
    pub(crate) first_index: u32,
    /// How many of its leading events repeat earlier ones.
    pub(crate) repeats: u32,
}

impl Delivery {
    /// The events that a table is asked to take: no repeats, and none that no table can take.
    pub(crate) fn events(&self) -> impl Iterator<Item = &[u8]> {
        let parts = match &self.content {
            Content::Sections(parts) => parts.as_slice(),
            Content::Unreadable { .. } => &[],
        };
        let routed = parts.iter().filter(|part| part.section.header.unroutable.is_none());
        routed.flat_map(|part| part.section.lines().skip(part.repeats as usize))
    }
}

/// Puts every event of the delivery that is no repeat into the batch. Without a plan (no table) every event is a
/// letter. Returns how many events the plan refused.
pub(crate) fn decode(delivery: &Delivery, plan: Option<&Plan>, batch: &mut OpenBatch) -> usize {
    match &delivery.content {
        Content::Sections(parts) => {
            let mut decoder = Decoder::new(delivery, plan, batch);
            parts.iter().map(|part| decoder.part(part)).sum()
        }
        Content::Unreadable { payload, received, error } => {
            let reason = LetterReason::Unreadable(error.clone());
            let about = About { received: *received, request_key: None };
            batch.push_letter(letter(delivery, 0, &about, reason, payload.clone()));
            0
        }
    }
}

/// Like [`decode`] with a plan that may be stricter than the table; stops at the first event that is refused, and says
/// so by `false`. The batch must be taken back then.
pub(crate) fn probe(delivery: &Delivery, plan: &Plan, batch: &mut OpenBatch) -> bool {
    match &delivery.content {
        Content::Sections(parts) => {
            let mut decoder = Decoder::new(delivery, Some(plan), batch);
            parts.iter().all(|part| decoder.try_part(part))
        }
        Content::Unreadable { .. } => decode(delivery, Some(plan), batch) == 0,
    }
}

/// Puts exactly the events at `decided` into the batch, as letters: a commit of the table decided so. Everything else
/// of the delivery is in the table.
pub(crate) fn recover(delivery: &Delivery, plan: Option<&Plan>, decided: &Positions, batch: &mut OpenBatch) {
    match &delivery.content {
        Content::Sections(parts) => {
            let mut decoder = Decoder::new(delivery, plan, batch);
            for part in parts {
                decoder.letters_of(part, decided);
            }
        }
        Content::Unreadable { .. } => {
            if decided.contains(delivery.sequence, 0) {
                decode(delivery, plan, batch);
            }
        }
    }
}

/// What all letters of a section have in common.
struct About {
    received: i64,
    request_key: Option<Arc<str>>,
}

impl About {
    fn of(part: &Part) -> Self {
        let header = &part.section.header;
        Self { received: header.received, request_key: header.request_key.as_deref().map(Arc::from) }
    }
}

/// Why no event of the section can be a row, whatever table there is.
fn unroutable(part: &Part) -> Option<LetterReason> {
    part.section.header.unroutable.clone().map(|why| LetterReason::Unroutable(Arc::new(why)))
}

/// The events of a section that are no repeats, with their indices within the message.
fn events(part: &Part) -> impl Iterator<Item = (u32, &[u8])> {
    (part.first_index..).zip(part.section.lines()).skip(part.repeats as usize)
}

struct Decoder<'d> {
    delivery: &'d Delivery,
    plan: Option<&'d Plan>,
    batch: &'d mut OpenBatch,
    write_id: String,
    /// `__id__` of the next event, after a prefix that all events of the message share.
    id: String,
    prefix: usize,
}

impl<'d> Decoder<'d> {
    fn new(delivery: &'d Delivery, plan: Option<&'d Plan>, batch: &'d mut OpenBatch) -> Self {
        let origin = &delivery.origin;
        let id = format!("{}-{}-{}-", origin.incarnation, origin.shard.index, delivery.sequence);
        let (prefix, write_id) = (id.len(), batch.commit_id.to_string());
        Self { delivery, plan, batch, write_id, id, prefix }
    }

    /// Every event becomes a row or a letter; returns how many the plan refused.
    fn part(&mut self, part: &Part) -> usize {
        let about = About::of(part);
        let unroutable = unroutable(part);
        let mut refused = 0;
        for (index, line) in events(part) {
            let reason = match &unroutable {
                Some(reason) => reason.clone(),
                None => match self.row(line, index, about.received) {
                    Ok(()) => continue,
                    Err(reason) => {
                        refused += usize::from(self.plan.is_some());
                        reason
                    }
                },
            };
            self.letter(line, index, &about, reason);
        }
        refused
    }

    /// Like [`part`](Self::part), but ends with `false` at an event that the plan refuses.
    fn try_part(&mut self, part: &Part) -> bool {
        if part.section.header.unroutable.is_some() {
            return self.part(part) == 0;
        }
        let received = part.section.header.received;
        events(part).all(|(index, line)| self.row(line, index, received).is_ok())
    }

    fn letters_of(&mut self, part: &Part, decided: &Positions) {
        let about = About::of(part);
        let unroutable = unroutable(part);
        for (index, line) in (part.first_index..).zip(part.section.lines()) {
            if !decided.contains(self.delivery.sequence, index) {
                continue;
            }
            let before = self.batch.mark();
            // The reason it was decided for is not kept. It mostly still holds; if not, the schema has changed since.
            let reason = match &unroutable {
                Some(reason) => reason.clone(),
                None => self.row(line, index, about.received).err().unwrap_or(LetterReason::SchemaChanged),
            };
            self.batch.rewind(before);
            self.letter(line, index, &about, reason);
        }
    }

    fn letter(&mut self, line: &[u8], index: u32, about: &About, reason: LetterReason) {
        let payload = Bytes::copy_from_slice(line);
        self.batch.push_letter(letter(self.delivery, index, about, reason, payload));
    }

    fn row(&mut self, line: &[u8], index: u32, received: i64) -> Result<(), LetterReason> {
        let (Some(plan), Some(columns)) = (self.plan, &mut self.batch.columns) else {
            return Err(LetterReason::TableNotFound);
        };
        self.id.truncate(self.prefix);
        write!(self.id, "{index}").expect("writing to a string cannot fail");
        let meta = RowMeta { id: &self.id, ts_micros: received, write_id: &self.write_id };
        let rows = columns.len();
        plan.row(line, &meta, columns.root()).map_err(|error| {
            columns.truncate(rows);
            LetterReason::Invalid(error)
        })
    }
}

fn letter(delivery: &Delivery, index: u32, about: &About, reason: LetterReason, payload: Bytes) -> DeadLetter {
    let origin = &delivery.origin;
    DeadLetter {
        shard: origin.shard.clone(),
        incarnation: origin.incarnation,
        sequence: delivery.sequence,
        index,
        received: about.received,
        request_key: about.request_key.clone(),
        reason,
        payload,
    }
}
