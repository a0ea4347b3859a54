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

/// Puts every event of the delivery that is no repeat into the batch. Without a plan (no table) every event is a
/// letter.
pub(crate) fn decode(delivery: &Delivery, plan: Option<&Plan>, batch: &mut OpenBatch) {
    match &delivery.content {
        Content::Sections(parts) => {
            let mut decoder = Decoder::new(delivery, plan, batch);
            for part in parts {
                decoder.part(part);
            }
        }
        Content::Unreadable { payload, received, error } => {
            let reason = LetterReason::Unreadable(error.clone());
            batch.letters.push(letter(delivery, 0, *received, reason, payload.clone()));
        }
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

    fn part(&mut self, part: &Part) {
        let received = part.section.header.received;
        for (offset, line) in (0u32..).zip(part.section.lines()).skip(part.repeats as usize) {
            let index = part.first_index + offset;
            if let Err(reason) = self.row(line, index, received) {
                self.letter(line, index, received, reason);
            }
        }
    }

    fn letters_of(&mut self, part: &Part, decided: &Positions) {
        let received = part.section.header.received;
        for (index, line) in (part.first_index..).zip(part.section.lines()) {
            if !decided.contains(self.delivery.sequence, index) {
                continue;
            }
            let rows = self.batch.rows();
            // The reason it was decided for is not kept. It mostly still holds; if not, the schema has changed since.
            let reason = match self.row(line, index, received) {
                Err(reason) => reason,
                Ok(()) => LetterReason::SchemaChanged,
            };
            self.batch.rewind(rows, self.batch.letters.len());
            self.letter(line, index, received, reason);
        }
    }

    fn letter(&mut self, line: &[u8], index: u32, received: i64, reason: LetterReason) {
        let payload = Bytes::copy_from_slice(line);
        self.batch.letters.push(letter(self.delivery, index, received, reason, payload));
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

fn letter(delivery: &Delivery, index: u32, received: i64, reason: LetterReason, payload: Bytes) -> DeadLetter {
    let origin = &delivery.origin;
    DeadLetter {
        shard: origin.shard.clone(),
        incarnation: origin.incarnation,
        sequence: delivery.sequence,
        index,
        received,
        reason,
        payload,
    }
}
