//! What a table and its dead-letter table say about one shard, and the properties that a commit moves. Pure.
//!
//! The letters of a batch are committed before its rows. After a crash between the two, the dead-letter table's
//! positions list events beyond the table's checkpoint: exactly these are skipped, everything else is decoded again,
//! by whatever the schema is then. Each commit of letters therefore lists all letters beyond the table's checkpoint,
//! old and new; what lies before that checkpoint is never read again and is dropped from the list.

use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, CheckpointDelta, Incarnation, Sequence};

use crate::dead_letter::DeadLetter;
use crate::positions::Positions;
use crate::shard::ShardState;
use crate::sink::{Cause, FencedProperty, SinkTable};

/// One shard in one table.
#[derive(Debug, Clone)]
pub(super) struct ShardFence {
    pub(super) shard: Shard,
    pub(super) incarnation: Incarnation,
    /// Every event of the table up to here is in it. While there is no table: is a dead letter.
    pub(super) at: Sequence,
    /// Letters beyond `at`.
    pub(super) letters: Positions,
    /// The table's checkpoint property, as it stands there.
    checkpoint: Option<String>,
    /// The dead-letter table's two properties, as they stand there.
    dead_checkpoint: Option<String>,
    dead_positions: Option<String>,
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
        let at = at.map(|at| at.sequence).or_else(in_ancestry).unwrap_or(origin.watermark);
        let dead_checkpoint = property(dead, &shard.checkpoint_property());
        let dead_positions = property(dead, &shard.dead_letters_property());
        let mut letters = Positions::default();
        if let (Some(checkpoint), Some(positions)) = (&dead_checkpoint, &dead_positions)
            && checkpoint.parse::<Checkpoint>()?.incarnation == incarnation
        {
            letters = positions.parse()?;
            letters.forget_through(at);
        }
        Ok(Self { shard, incarnation, at, letters, checkpoint, dead_checkpoint, dead_positions })
    }

    /// Up to where the table is complete.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { incarnation: self.incarnation, sequence: self.at }
    }

    /// What the table's checkpoint property must be when the batch is committed.
    pub(super) fn expected(&self) -> Option<&str> {
        self.checkpoint.as_deref()
    }

    /// Moves over a commit of rows; returns the property that fences and records it.
    pub(super) fn advance(&mut self, delta: &CheckpointDelta) -> FencedProperty {
        let expected = self.checkpoint.take();
        let value = self.moved(delta).to_string();
        self.checkpoint = Some(value.clone());
        self.letters.forget_through(self.at);
        FencedProperty { key: self.shard.checkpoint_property(), expected, value }
    }

    /// Moves over a commit of letters; returns the properties of the dead-letter table that fence and record it.
    /// `alone` says that there is no table: all events of the delta are letters, and this commit decides alone.
    pub(super) fn advance_letters(
        &mut self,
        delta: &CheckpointDelta,
        letters: &[DeadLetter],
        alone: bool,
    ) -> [FencedProperty; 2] {
        for letter in letters.iter().filter(|letter| letter.shard == self.shard) {
            self.letters.insert(letter.sequence, letter.index);
        }
        if alone {
            self.letters.insert_messages(delta.start, delta.end);
            self.moved(delta);
        }
        let before = self.dead_checkpoint.as_deref().and_then(|text| text.parse::<Checkpoint>().ok());
        let before = before.filter(|at| at.incarnation == self.incarnation).map_or(0, |at| at.sequence);
        let checkpoint = Checkpoint { incarnation: self.incarnation, sequence: before.max(delta.end) }.to_string();
        let positions = self.letters.to_string();
        [
            FencedProperty {
                key: self.shard.checkpoint_property(),
                expected: self.dead_checkpoint.replace(checkpoint.clone()),
                value: checkpoint,
            },
            FencedProperty {
                key: self.shard.dead_letters_property(),
                expected: self.dead_positions.replace(positions.clone()),
                value: positions,
            },
        ]
    }

    fn moved(&mut self, delta: &CheckpointDelta) -> Checkpoint {
        let next = delta.apply_to(self.checkpoint()).expect("a batch starts at its table's checkpoint");
        self.at = next.sequence;
        next
    }
}

fn newest_delta<T: SinkTable>(table: &T, shard: &Shard, incarnation: Incarnation) -> Option<Sequence> {
    let parse = |text: &str| text.parse::<CheckpointDelta>().ok().filter(|delta| delta.incarnation == incarnation);
    table
        .find_summary(&shard.delta_summary(), &|text| parse(text).is_some())
        .and_then(|text| parse(&text))
        .map(|d| d.end)
}
