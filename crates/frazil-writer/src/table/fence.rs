//! What a table and its dead-letter table say about one shard, and the properties that a commit moves. Pure.
//!
//! The table's fenced commit alone decides what becomes of an event. It writes rows, checkpoint and the positions of
//! the letters, in one: the property [`Shard::dead_letters_property`] is
//! `<incarnation>:<sequence>|<positions>`, where the first part is the checkpoint of the same commit. The letters
//! themselves follow in a commit to the dead-letter table, whose own checkpoint says up to where they are all in it.
//! So the letters that are decided and not written yet are the listed ones beyond the dead-letter table's checkpoint.
//! Whoever reads their messages again writes them, and the fence on that checkpoint lets only one do so.
//!
//! Without a table the dead-letter table's checkpoint decides alone: everything up to it is a letter.
//!
//! A table that comes to be, or takes the place of another, must not make rows of what somebody is about to commit as
//! letters because he knows no such table. So the dead-letter table also says for which table letters are written, and
//! every commit of letters is fenced by that: see [`claim`](super::claim).

use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, CheckpointDelta, Incarnation, Sequence};
use uuid::Uuid;

use crate::batch::ShardDelta;
use crate::dead_letter::DeadLetter;
use crate::positions::{MalformedPositions, Positions};
use crate::shard::ShardState;
use crate::sink::{Cause, FencedProperty, SinkTable};

/// For which table letters are written while there is none.
const NO_TABLE: &str = "none";

/// One shard in one table.
#[derive(Debug, Clone)]
pub(super) struct ShardFence {
    pub(super) shard: Shard,
    pub(super) incarnation: Incarnation,
    /// Every event of the table up to here is in it. While there is no table: is a dead letter.
    pub(super) at: Sequence,
    /// When the log stored that message, in nanoseconds since the Unix epoch, if that is known.
    stored: Option<i64>,
    /// Letters up to `at` that the table's commits decided and that are not in the dead-letter table yet.
    pub(super) letters: Positions,
    /// The table's two properties, as they stand there.
    checkpoint: Option<String>,
    positions: Option<String>,
    /// The dead-letter table's two properties, as they stand there.
    dead_checkpoint: Option<String>,
    letters_of: Option<String>,
    /// Whether the table says nothing about the shard yet.
    pub(super) is_new: bool,
    /// Whether one of the tables has a checkpoint of another shard of that name: an earlier one, or a later.
    pub(super) of_another: bool,
}

impl ShardFence {
    /// Reads what the tables say. A malformed property is an error: guessing could repeat or lose events.
    pub(super) fn read<T: SinkTable>(origin: &ShardState, main: Option<&T>, dead: Option<&T>) -> Result<Self, Cause> {
        let (shard, incarnation) = (origin.shard.clone(), origin.incarnation);
        let property = |table: Option<&T>, key: &str| table.and_then(|table| table.property(key)).map(str::to_owned);
        let checkpoint = property(main, &shard.checkpoint_property());
        let at = match &checkpoint {
            Some(text) => Some(text.parse::<Checkpoint>()?).filter(|at| at.incarnation == incarnation),
            None => None,
        };
        // Somebody removed the property, or a rollback of the whole metadata did: then the newest delta on `main` tells.
        let in_ancestry = || match &checkpoint {
            Some(_) => None,
            None => newest_delta(main?, &shard, incarnation),
        };
        let dead_checkpoint = property(dead, &shard.checkpoint_property());
        let letters_of = property(dead, &shard.letters_of_property());
        let written = match &dead_checkpoint {
            Some(text) => Some(text.parse::<Checkpoint>()?).filter(|at| at.incarnation == incarnation),
            None => None,
        };
        let of_another = (checkpoint.is_some() && at.is_none()) || (dead_checkpoint.is_some() && written.is_none());
        let is_new = at.is_none();
        let told = at.or_else(|| Some(Checkpoint { incarnation, sequence: in_ancestry()?, at: None }));
        // Letters that are ahead were written while the table was away, and nothing of theirs may become a row now.
        let ahead = written.filter(|written| told.is_none_or(|told| told.sequence < written.sequence));
        // The low watermark does not pass a letter before it is written.
        let freed = Checkpoint { incarnation, sequence: origin.watermark, at: None };
        let complete = match (told, ahead.or(told)) {
            (None, Some(ahead)) if ahead.sequence >= freed.sequence => ahead,
            (None, _) | (_, None) => freed,
            (Some(_), Some(complete)) => complete,
        };
        let (at, stored) = (complete.sequence, complete.at);
        let written = written.map_or(0, |at| at.sequence).max(origin.watermark);
        let positions = property(main, &shard.dead_letters_property());
        let mut letters = match &positions {
            Some(text) => decided(text, incarnation)?,
            None => Positions::default(),
        };
        letters.forget_through(written);
        Ok(Self {
            letters_of,
            is_new,
            of_another,
            shard,
            incarnation,
            at,
            stored,
            letters,
            checkpoint,
            positions,
            dead_checkpoint,
        })
    }

    /// Up to where the table is complete.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { incarnation: self.incarnation, sequence: self.at, at: self.stored }
    }

    /// The checkpoints in force that lie after `watermark`: messages that somebody has read in this log.
    pub(super) fn witnesses(&self, watermark: Sequence) -> impl Iterator<Item = Checkpoint> {
        let texts = [&self.checkpoint, &self.dead_checkpoint];
        let parsed = texts.into_iter().flatten().filter_map(|text| text.parse::<Checkpoint>().ok());
        parsed.filter(move |at| at.incarnation == self.incarnation && at.sequence > watermark)
    }

    /// Moves over a commit to the table; returns the properties that fence and record it, the letters' positions
    /// among them if there are any.
    pub(super) fn advance(&mut self, delta: &ShardDelta, letters: &[DeadLetter]) -> Vec<FencedProperty> {
        let value = self.moved(delta).to_string();
        let expected = self.checkpoint.replace(value.clone());
        let mut properties = vec![FencedProperty { key: self.shard.checkpoint_property(), expected, value }];
        let mut ours = letters.iter().filter(|letter| letter.shard == self.shard).peekable();
        if ours.peek().is_some() {
            // Added: what a predecessor decided and did not write must stay listed until it is written.
            ours.for_each(|letter| self.letters.insert(letter.sequence, letter.index));
            let value = format!("{}|{}", self.checkpoint(), self.letters);
            let expected = self.positions.replace(value.clone());
            properties.push(FencedProperty { key: self.shard.dead_letters_property(), expected, value });
        }
        properties
    }

    /// Moves over a commit of letters of `table`; returns the properties of the dead-letter table that fence and record
    /// it. No table: all events of the delta are letters, and this commit decides.
    pub(super) fn advance_letters(&mut self, delta: &ShardDelta, table: Option<Uuid>) -> [FencedProperty; 2] {
        if table.is_none() {
            self.moved(delta);
        }
        let end = Checkpoint { incarnation: self.incarnation, sequence: delta.delta.end, at: delta.end_at };
        self.letters.forget_through(end.sequence);
        let before = self.dead_checkpoint.as_deref().and_then(|text| text.parse::<Checkpoint>().ok());
        let later = before.filter(|at| at.covers(end.incarnation, end.sequence));
        let value = later.unwrap_or(end).to_string();
        let expected = self.dead_checkpoint.replace(value.clone());
        [FencedProperty { key: self.shard.checkpoint_property(), expected, value }, self.letters_for(table)]
    }

    /// What a claim of the dead-letter table for `table` moves; nothing if it is claimed already. The checkpoint stays,
    /// but it must be the one that was read.
    pub(super) fn claim(&mut self, table: Uuid) -> Option<[FencedProperty; 2]> {
        if self.letters_of == Some(table.to_string()) {
            return None;
        }
        let none = || Checkpoint { incarnation: self.incarnation, sequence: 0, at: None }.to_string();
        let value = self.dead_checkpoint.clone().unwrap_or_else(none);
        let expected = self.dead_checkpoint.replace(value.clone());
        Some([FencedProperty { key: self.shard.checkpoint_property(), expected, value }, self.letters_for(Some(table))])
    }

    fn letters_for(&mut self, table: Option<Uuid>) -> FencedProperty {
        let value = table.map_or_else(|| NO_TABLE.to_owned(), |uuid| uuid.to_string());
        let expected = self.letters_of.replace(value.clone());
        FencedProperty { key: self.shard.letters_of_property(), expected, value }
    }

    fn moved(&mut self, delta: &ShardDelta) -> Checkpoint {
        let next = delta.delta.apply_to(self.checkpoint()).expect("a batch starts at its table's checkpoint");
        if next.sequence > self.at {
            (self.at, self.stored) = (next.sequence, delta.end_at);
        }
        self.checkpoint()
    }
}

/// The letters that the property lists, if it is of this incarnation.
fn decided(text: &str, incarnation: Incarnation) -> Result<Positions, Cause> {
    let (checkpoint, positions) = text.split_once('|').ok_or_else(|| MalformedPositions::of(text))?;
    let current = checkpoint.parse::<Checkpoint>()?.incarnation == incarnation;
    let positions = positions.parse::<Positions>()?;
    Ok(Some(positions).filter(|_| current).unwrap_or_default())
}

fn newest_delta<T: SinkTable>(table: &T, shard: &Shard, incarnation: Incarnation) -> Option<Sequence> {
    let parse = |text: &str| text.parse::<CheckpointDelta>().ok().filter(|delta| delta.incarnation == incarnation);
    table
        .find_summary(&shard.delta_summary(), &|text| parse(text).is_some())
        .and_then(|text| parse(&text))
        .map(|d| d.end)
}
