//! Letters on their way into the target: decoded, and kept as they were in case they must be decoded again.

use std::collections::BTreeSet;

use bytes::Bytes;
use frazil_core::Shard;
use frazil_core::checkpoint::Incarnation;
use frazil_core::mapping::{FieldError, Plan, RowMeta};
use frazil_core::replay::Place;
use uuid::Uuid;

use super::letter::LetterRow;
use super::{Limits, UNREADABLE, UNROUTABLE};
use crate::columns::Columns;

/// What one letter takes in memory besides its payload, about.
const OVERHEAD_BYTES: usize = 256;

/// A letter that holds an event.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) id: String,
    pub(super) shard: Shard,
    pub(super) incarnation: Incarnation,
    pub(super) place: Place,
    received: i64,
    payload: Bytes,
}

impl Kept {
    /// The event in the letter, or the code and words for why there is none to be replayed. `own` says that the letter
    /// is replayed into the table it was meant for.
    pub(super) fn of(letter: &LetterRow<'_>, own: bool) -> Result<Self, (&'static str, &'static str)> {
        if let Some(code) = UNREADABLE.iter().find(|code| letter.reason == Some(**code)) {
            return Err((code, "the payload is base64 of bytes that are no event; there is nothing to replay"));
        }
        if own && letter.reason == Some(UNROUTABLE) {
            return Err((UNROUTABLE, "no table was found for the event; name the one to replay it into"));
        }
        let payload = letter.payload.ok_or(("no_payload", "the letter has no payload"))?;
        let received = letter.received.ok_or(("no_received_time", "the letter does not say when it was received"))?;
        Ok(Self {
            id: letter.id.to_owned(),
            shard: letter.shard.clone(),
            incarnation: letter.incarnation,
            place: letter.place,
            received,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        })
    }
}

/// Rows of one commit.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) commit_id: Uuid,
    write_id: String,
    pub(super) columns: Columns,
    pub(super) letters: Vec<Kept>,
    bytes: usize,
}

impl Batch {
    pub(super) fn new(columns: Columns) -> Self {
        let commit_id = Uuid::now_v7();
        Self { commit_id, write_id: commit_id.to_string(), columns, letters: Vec::new(), bytes: 0 }
    }

    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.letters.len() >= limits.rows.max(1) || self.bytes >= limits.bytes
    }

    /// Makes a row of the letter, or leaves no trace of it.
    pub(super) fn decode(&mut self, plan: &Plan, letter: &Kept) -> Result<(), FieldError> {
        let rows = self.columns.len();
        let meta = RowMeta { id: &letter.id, ts_micros: letter.received, write_id: &self.write_id };
        plan.row(&letter.payload, &meta, self.columns.root()).inspect_err(|_| self.columns.truncate(rows))
    }

    /// The letter whose row was made last.
    pub(super) fn keep(&mut self, letter: Kept, row_width: usize) {
        self.bytes += letter.payload.len() + row_width + OVERHEAD_BYTES;
        self.letters.push(letter);
    }

    pub(super) fn shards(&self) -> BTreeSet<&Shard> {
        self.letters.iter().map(|letter| &letter.shard).collect()
    }
}
