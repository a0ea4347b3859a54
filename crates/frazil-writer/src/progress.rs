//! The low watermark of a shard: up to where every event is in its table. Pure.
//!
//! The reader says what it hands out ([`ShardProgress::dispatched`]) and how far it has read; the tables say what
//! they contain. Only a [`Committed`], or a checkpoint that was read from a table, moves a table forward.

use std::collections::{HashMap, VecDeque};

use frazil_core::TableName;
use frazil_core::checkpoint::{Checkpoint, Incarnation, Sequence};
use frazil_core::rewind::distance;
use tokio::time::Instant;

use crate::sink::Committed;

/// What of one shard is read, and what is not in its tables yet.
#[derive(Debug)]
pub struct ShardProgress {
    incarnation: Incarnation,
    read: Sequence,
    /// Messages handed to each table and not in it yet, in order.
    waiting: HashMap<TableName, Waiting>,
    /// All that was handed out since the beginning.
    total: Size,
    /// Messages read since the beginning.
    messages: u64,
}

/// Events, and their bytes as JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Number of events.
    pub events: u64,
    /// Bytes of their text.
    pub bytes: u64,
}

/// What of a table is not committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uncommitted {
    /// Number of events.
    pub events: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// When the oldest of them was handed out.
    pub oldest: Option<Instant>,
}

impl Uncommitted {
    /// Adds the same of another shard or table.
    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.bytes += other.bytes;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
    }
}

/// What waits for the commits of one table.
#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Handed>,
    size: Size,
}

/// A message in the hands of a table.
#[derive(Debug, Clone, Copy)]
struct Handed {
    sequence: Sequence,
    at: Instant,
    /// When the log stored it, in nanoseconds since the Unix epoch.
    stored_nanos: i64,
    size: Size,
}

impl ShardProgress {
    /// Everything up to `watermark` is done.
    pub fn new(incarnation: Incarnation, watermark: Sequence) -> Self {
        Self { incarnation, read: watermark, waiting: HashMap::new(), total: Size::default(), messages: 0 }
    }

    /// Message `sequence`, stored by the log at `stored_nanos`, is about to be handed to `table`. Must come before
    /// [`read_through`](Self::read_through) of the same message.
    pub fn dispatched(&mut self, table: &TableName, sequence: Sequence, size: Size, stored_nanos: i64, now: Instant) {
        debug_assert!(sequence > self.read, "a message is handed out before it counts as read");
        let handed = Handed { sequence, at: now, stored_nanos, size };
        if !self.waiting.contains_key(table) {
            self.waiting.insert(table.clone(), Waiting::default());
        }
        if let Some(waiting) = self.waiting.get_mut(table) {
            waiting.messages.push_back(handed);
            waiting.size.add(size);
        }
        self.total.add(size);
    }

    /// Everything up to `sequence` is read and handed out.
    pub fn read_through(&mut self, sequence: Sequence) {
        self.messages += distance(self.read, sequence);
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
        let Some(waiting) = self.waiting.get_mut(table) else { return };
        while let Some(done) = waiting.messages.pop_front_if(|handed| handed.sequence <= end) {
            waiting.size.subtract(done.size);
        }
        if waiting.messages.is_empty() {
            self.waiting.remove(table);
        }
    }

    /// Every event up to and including this sequence is in its table.
    pub fn watermark(&self) -> Sequence {
        let oldest = self.fronts().map(|handed| handed.sequence).min();
        oldest.map_or(self.read, |sequence| self.read.min(sequence - 1))
    }

    /// When the event that has waited longest was handed out.
    pub fn oldest(&self) -> Option<Instant> {
        self.fronts().map(|handed| handed.at).min()
    }

    /// When the log stored the oldest event that is handed out and not committed, in nanoseconds since the Unix epoch.
    pub fn oldest_stored_nanos(&self) -> Option<i64> {
        self.fronts().map(|handed| handed.stored_nanos).min()
    }

    /// What of each table is handed out and not committed.
    pub fn uncommitted(&self) -> impl Iterator<Item = (&TableName, Uncommitted)> {
        self.waiting.iter().map(|(table, waiting)| {
            let Size { events, bytes } = waiting.size;
            (table, Uncommitted { events, bytes, oldest: waiting.messages.front().map(|handed| handed.at) })
        })
    }

    /// What is handed out and not committed, and with it an estimate of `unread` messages by those that were read.
    pub fn size_with(&self, unread: u64) -> Size {
        let mut size = Size::default();
        self.waiting.values().for_each(|waiting| size.add(waiting.size));
        let share = |total: u64| (u128::from(total) * u128::from(unread)).checked_div(u128::from(self.messages));
        let estimate = |total| share(total).and_then(|share| u64::try_from(share).ok()).unwrap_or(0);
        size.add(Size { events: estimate(self.total.events), bytes: estimate(self.total.bytes) });
        size
    }

    fn fronts(&self) -> impl Iterator<Item = &Handed> {
        self.waiting.values().filter_map(|waiting| waiting.messages.front())
    }
}

impl Size {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }

    fn subtract(&mut self, other: Self) {
        self.events -= other.events;
        self.bytes -= other.bytes;
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
        Checkpoint { incarnation: Incarnation(1), sequence, at: None }
    }

    #[test]
    fn another_incarnation_proves_nothing() {
        let mut progress = ShardProgress::new(Incarnation(1), 0);
        progress.dispatched(&table(1), 1, Size::default(), 0, Instant::now());
        progress.read_through(1);
        progress.contained(&table(1), Checkpoint { incarnation: Incarnation(2), sequence: 9, at: None });
        assert_eq!(progress.watermark(), 0);
        progress.contained(&table(1), at(9));
        assert_eq!(progress.watermark(), 1);
    }

    fn size(n: u8) -> Size {
        Size { events: u64::from(n), bytes: u64::from(n) * 10 }
    }

    #[test]
    fn what_is_unread_is_estimated_by_what_was_read() {
        let mut progress = ShardProgress::new(Incarnation(1), 0);
        assert_eq!(progress.size_with(100), Size::default(), "nothing is known");
        for sequence in 1..=4 {
            progress.dispatched(&table(1), sequence, size(3), 0, Instant::now());
            progress.read_through(sequence);
        }
        progress.contained(&table(1), at(3));
        assert_eq!(progress.size_with(0), size(3));
        assert_eq!(progress.size_with(2), Size { events: 9, bytes: 90 });
    }

    #[test]
    fn a_message_without_events_counts_as_soon_as_it_is_read() {
        let mut progress = ShardProgress::new(Incarnation(1), 5);
        progress.read_through(8);
        assert_eq!((progress.watermark(), progress.oldest()), (8, None));
    }

    proptest! {
        /// 1. The watermark is never at or past an event that is not in its table. 2. It never moves back.
        /// 3. When all is done it is what was read. 4. What is uncommitted is counted exactly.
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
                    progress.dispatched(&table(*n), sequence, size(*n), sequence.cast_signed(), now);
                    pending.insert((sequence, *n), ());
                }
                progress.read_through(sequence);
                for (_, n, end) in commits.iter().filter(|(when, ..)| *when == index) {
                    let end = (*end).min(sequence);
                    progress.contained(&table(*n), at(end));
                    pending.retain(|(seq, table), ()| !(table == n && *seq <= end));
                    let watermark = progress.watermark();
                    prop_assert!(pending.keys().all(|(seq, _)| *seq > watermark));
                    let events: u64 = pending.keys().map(|(_, table)| u64::from(*table)).sum();
                    prop_assert_eq!(progress.size_with(0).events, events);
                    prop_assert_eq!(progress.uncommitted().map(|(_, waiting)| waiting.bytes).sum::<u64>(), events * 10);
                    let oldest = pending.keys().map(|(seq, _)| seq.cast_signed()).min();
                    prop_assert_eq!(progress.oldest_stored_nanos(), oldest);
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
