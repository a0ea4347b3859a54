//! The low watermark of a shard: up to where every event is in its table. Pure.
//!
//! The reader says what it hands out ([`ShardProgress::dispatched`]) and how far it has read; the tables say what
//! they contain. Only a [`Committed`], or a checkpoint that was read from a table, moves a table forward.

use std::collections::{HashMap, VecDeque};

use frazil_core::TableName;
use frazil_core::checkpoint::{Checkpoint, Incarnation, Sequence};
use tokio::time::Instant;

use crate::sink::Committed;

/// What of one shard is read, and what is not in its tables yet.
#[derive(Debug)]
pub struct ShardProgress {
    incarnation: Incarnation,
    read: Sequence,
    /// Messages handed to each table and not in it yet, in order.
    waiting: HashMap<TableName, VecDeque<(Sequence, Instant)>>,
}

impl ShardProgress {
    /// Everything up to `watermark` is done.
    pub fn new(incarnation: Incarnation, watermark: Sequence) -> Self {
        Self { incarnation, read: watermark, waiting: HashMap::new() }
    }

    /// Message `sequence` is about to be handed to `table`. Must come before [`read_through`](Self::read_through)
    /// of the same message.
    pub fn dispatched(&mut self, table: &TableName, sequence: Sequence, now: Instant) {
        debug_assert!(sequence > self.read, "a message is handed out before it counts as read");
        match self.waiting.get_mut(table) {
            Some(queue) => queue.push_back((sequence, now)),
            None => {
                self.waiting.insert(table.clone(), VecDeque::from([(sequence, now)]));
            }
        }
    }

    /// Everything up to `sequence` is read and handed out.
    pub fn read_through(&mut self, sequence: Sequence) {
        self.read = self.read.max(sequence);
    }

    /// A commit put every event up to `end` into `table` (or its dead-letter table).
    pub fn committed(&mut self, table: &TableName, _proof: &Committed, end: Sequence) {
        self.complete(table, end);
    }

    /// The table says that it already contains everything up to `checkpoint`.
    pub fn contained(&mut self, table: &TableName, checkpoint: Checkpoint) {
        if checkpoint.incarnation == self.incarnation {
            self.complete(table, checkpoint.sequence);
        }
    }

    fn complete(&mut self, table: &TableName, end: Sequence) {
        let Some(queue) = self.waiting.get_mut(table) else { return };
        while queue.front().is_some_and(|(sequence, _)| *sequence <= end) {
            queue.pop_front();
        }
        if queue.is_empty() {
            self.waiting.remove(table);
        }
    }

    /// Every event up to and including this sequence is in its table.
    pub fn watermark(&self) -> Sequence {
        let oldest = self.waiting.values().filter_map(VecDeque::front).map(|(sequence, _)| *sequence).min();
        oldest.map_or(self.read, |sequence| self.read.min(sequence - 1))
    }

    /// When the event that has waited longest was handed out.
    pub fn oldest(&self) -> Option<Instant> {
        self.waiting.values().filter_map(VecDeque::front).map(|(_, at)| *at).min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn table(n: u8) -> TableName {
        format!("c.ns.t{n}").parse().expect("valid")
    }

    fn at(sequence: Sequence) -> Checkpoint {
        Checkpoint { incarnation: Incarnation(1), sequence }
    }

    #[test]
    fn another_incarnation_proves_nothing() {
        let mut progress = ShardProgress::new(Incarnation(1), 0);
        progress.dispatched(&table(1), 1, Instant::now());
        progress.read_through(1);
        progress.contained(&table(1), Checkpoint { incarnation: Incarnation(2), sequence: 9 });
        assert_eq!(progress.watermark(), 0);
        progress.contained(&table(1), at(9));
        assert_eq!(progress.watermark(), 1);
    }

    #[test]
    fn a_message_without_events_counts_as_soon_as_it_is_read() {
        let mut progress = ShardProgress::new(Incarnation(1), 5);
        progress.read_through(8);
        assert_eq!((progress.watermark(), progress.oldest()), (8, None));
    }

    proptest! {
        /// 1. The watermark is never at or past an event that is not in its table. 2. It never moves back.
        /// 3. When all is done it is what was read.
        #[test]
        fn never_ahead(
            messages in prop::collection::vec(prop::collection::btree_set(0u8..4, 0..3), 1..30),
            commits in prop::collection::vec((0usize..30, 0u8..4, 0u64..30), 0..60),
        ) {
            let now = Instant::now();
            let mut progress = ShardProgress::new(Incarnation(1), 0);
            let mut pending: BTreeMap<(Sequence, u8), ()> = BTreeMap::new();
            let mut last = 0;
            for (index, tables) in messages.iter().enumerate() {
                let sequence = index as u64 + 1;
                for n in tables {
                    progress.dispatched(&table(*n), sequence, now);
                    pending.insert((sequence, *n), ());
                }
                progress.read_through(sequence);
                for (_, n, end) in commits.iter().filter(|(when, ..)| *when == index) {
                    let end = (*end).min(sequence);
                    progress.contained(&table(*n), at(end));
                    pending.retain(|(seq, table), ()| !(table == n && *seq <= end));
                    let watermark = progress.watermark();
                    prop_assert!(pending.keys().all(|(seq, _)| *seq > watermark));
                    prop_assert!(watermark >= last);
                    last = watermark;
                }
            }
            for n in 0..4 {
                progress.contained(&table(n), at(1000));
            }
            prop_assert_eq!(progress.watermark(), messages.len() as u64);
        }
    }
}
