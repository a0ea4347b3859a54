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

use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, CheckpointDelta, Incarnation, Sequence};

use crate::dead_letter::DeadLetter;
use crate::positions::{MalformedPositions, Positions};
use crate::shard::ShardState;
use crate::sink::{Cause, FencedProperty, SinkTable};

/// One shard in one table.
#[derive(Debug, Clone)]
pub(super) struct ShardFence {
    pub(super) shard: Shard,
    pub(super) incarnation: Incarnation,
    /// Every event of the table up to here is in it. While there is no table: is a dead letter.
    pub(super) at: Sequence,
    /// Letters up to `at` that the table's commits decided and that are not in the dead-letter table yet.
    pub(super) letters: Positions,
    /// The table's two properties, as they stand there.
    checkpoint: Option<String>,
    positions: Option<String>,
    /// The dead-letter table's checkpoint property, as it stands there.
    dead_checkpoint: Option<String>,
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
        let written = match &dead_checkpoint {
            Some(text) => Some(text.parse::<Checkpoint>()?).filter(|at| at.incarnation == incarnation),
            None => None,
        };
        // The low watermark does not pass a letter before it is written.
        let written = written.map_or(0, |at| at.sequence).max(origin.watermark);
        let at = at.map(|at| at.sequence).or_else(in_ancestry).unwrap_or(written);
        let positions = property(main, &shard.dead_letters_property());
        let mut letters = match &positions {
            Some(text) => decided(text, incarnation)?,
            None => Positions::default(),
        };
        letters.forget_through(written);
        Ok(Self { shard, incarnation, at, letters, checkpoint, positions, dead_checkpoint })
    }

    /// Up to where the table is complete.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { incarnation: self.incarnation, sequence: self.at }
    }

    /// Moves over a commit to the table; returns the properties that fence and record it, the letters' positions
    /// among them if there are any.
    pub(super) fn advance(&mut self, delta: &CheckpointDelta, letters: &[DeadLetter]) -> Vec<FencedProperty> {
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

    /// Moves over a commit of letters; returns the property of the dead-letter table that fences and records it.
    /// `alone` says that there is no table: all events of the delta are letters, and this commit decides.
    pub(super) fn advance_letters(&mut self, delta: &CheckpointDelta, alone: bool) -> FencedProperty {
        if alone {
            self.moved(delta);
        }
        self.letters.forget_through(delta.end);
        let before = self.dead_checkpoint.as_deref().and_then(|text| text.parse::<Checkpoint>().ok());
        let before = before.filter(|at| at.incarnation == self.incarnation).map_or(0, |at| at.sequence);
        let value = Checkpoint { incarnation: self.incarnation, sequence: before.max(delta.end) }.to_string();
        let expected = self.dead_checkpoint.replace(value.clone());
        FencedProperty { key: self.shard.checkpoint_property(), expected, value }
    }

    fn moved(&mut self, delta: &CheckpointDelta) -> Checkpoint {
        let next = delta.apply_to(self.checkpoint()).expect("a batch starts at its table's checkpoint");
        self.at = next.sequence;
        next
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
