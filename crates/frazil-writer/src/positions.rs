//! Which events of a shard are dead letters of a table already: a set of positions and its text form. Pure.
//!
//! It is the value of the property named by [`Shard::dead_letters_property`](frazil_core::Shard::dead_letters_property)
//! in a dead-letter table. Letters are committed before the good rows of the same batch; after a crash between
//! the two commits exactly these events must not be decoded again. Text form, items joined by `;`:
//! `<seq>:<index>,<first>-<last>,…` for single events of a message, `<seq>-<seq>` for whole messages.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use frazil_core::checkpoint::Sequence;

/// A set of events of one shard, each named by its message's sequence and its index within the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    /// First to last sequence of messages that are in the set as a whole; disjoint, not adjacent.
    whole: BTreeMap<Sequence, Sequence>,
    /// Sorted, disjoint, non-adjacent inclusive ranges of event indices, per message.
    events: BTreeMap<Sequence, Vec<(u32, u32)>>,
}

/// A text that is no set of positions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed dead-letter positions {0:?}")]
pub struct MalformedPositions(String);

impl Positions {
    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.events.is_empty()
    }

    /// Whether the event is in the set.
    pub fn contains(&self, sequence: Sequence, index: u32) -> bool {
        self.contains_message(sequence)
            || self.events.get(&sequence).is_some_and(|ranges| {
                let after = ranges.partition_point(|(first, _)| *first <= index);
                after > 0 && index <= ranges[after - 1].1
            })
    }

    fn contains_message(&self, sequence: Sequence) -> bool {
        self.whole.range(..=sequence).next_back().is_some_and(|(_, last)| sequence <= *last)
    }

    /// Adds one event.
    pub fn insert(&mut self, sequence: Sequence, index: u32) {
        self.insert_range(sequence, index, index);
    }

    fn insert_range(&mut self, sequence: Sequence, mut first: u32, mut last: u32) {
        if self.contains_message(sequence) {
            return;
        }
        let ranges = self.events.entry(sequence).or_default();
        // Swallow every range that overlaps or touches the new one.
        let start = ranges.partition_point(|(_, end)| end.saturating_add(1) < first);
        let end = start + ranges[start..].partition_point(|(begin, _)| *begin <= last.saturating_add(1));
        if start < end {
            first = first.min(ranges[start].0);
            last = last.max(ranges[end - 1].1);
        }
        ranges.splice(start..end, [(first, last)]);
    }

    /// Adds every event of the messages `after < sequence <= through`.
    pub fn insert_messages(&mut self, after: Sequence, through: Sequence) {
        if after >= through {
            return;
        }
        let (mut first, mut last) = (after + 1, through);
        while let Some((begin, end)) = self.whole.range(..=last.saturating_add(1)).next_back().map(|(b, e)| (*b, *e))
            && end.saturating_add(1) >= first
        {
            self.whole.remove(&begin);
            (first, last) = (first.min(begin), last.max(end));
        }
        self.whole.insert(first, last);
        self.events.retain(|sequence, _| !(first..=last).contains(sequence));
    }

    /// Adds everything that is in `other`.
    pub fn extend(&mut self, other: &Self) {
        for (first, last) in &other.whole {
            self.insert_messages(first - 1, *last);
        }
        for (sequence, ranges) in &other.events {
            for (first, last) in ranges {
                self.insert_range(*sequence, *first, *last);
            }
        }
    }

    /// Drops everything up to and including `sequence`.
    pub fn forget_through(&mut self, sequence: Sequence) {
        self.events = self.events.split_off(&(sequence + 1));
        let rest = self.whole.split_off(&(sequence + 1));
        let cut = self.whole.values().next_back().copied().filter(|last| *last > sequence);
        self.whole = rest;
        if let Some(last) = cut {
            self.whole.insert(sequence + 1, last);
        }
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (first, last) in &self.whole {
            write!(f, "{separator}{first}-{last}")?;
            separator = ";";
        }
        for (sequence, ranges) in &self.events {
            write!(f, "{separator}{sequence}:")?;
            separator = ";";
            for (at, (first, last)) in ranges.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
            }
        }
        Ok(())
    }
}

impl FromStr for Positions {
    type Err = MalformedPositions;

    fn from_str(text: &str) -> Result<Self, MalformedPositions> {
        let mut positions = Self::default();
        let items = text.split(';').filter(|item| !item.is_empty());
        items
            .map(|item| positions.parse_item(item))
            .collect::<Option<Vec<()>>>()
            .ok_or_else(|| MalformedPositions(text.chars().take(100).collect()))?;
        Ok(positions)
    }
}

impl Positions {
    fn parse_item(&mut self, item: &str) -> Option<()> {
        let Some((sequence, ranges)) = item.split_once(':') else {
            let (first, last) = item.split_once('-')?;
            let (first, last): (Sequence, Sequence) = (first.parse().ok()?, last.parse().ok()?);
            (0 < first && first <= last).then(|| self.insert_messages(first - 1, last))?;
            return Some(());
        };
        let sequence = sequence.parse().ok()?;
        for range in ranges.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then(|| self.insert_range(sequence, first, last))?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_form_is_pinned() {
        let mut positions = Positions::default();
        for (sequence, index) in [(9, 4), (9, 0), (9, 1), (7, 3)] {
            positions.insert(sequence, index);
        }
        positions.insert_messages(2, 4);
        positions.insert_messages(4, 5);
        assert_eq!(positions.to_string(), "3-5;7:3;9:0-1,4");
        assert_eq!(Positions::default().to_string(), "");
        for bad in ["x", "1", "5-4", "0-3", "3:", "3:2-1", "3:1,,2", "3:a"] {
            assert!(bad.parse::<Positions>().is_err(), "{bad:?} was accepted");
        }
    }

    proptest! {
        /// 1. It is a set. 2. Text round trip. 3. Forgetting drops exactly the prefix. 4. Extending is the union.
        #[test]
        fn models_a_set(
            events in prop::collection::vec((1u64..12, 0u32..8), 0..40),
            more in prop::collection::vec((1u64..12, 0u32..8), 0..10),
            whole in prop::collection::vec((0u64..12, 0u64..4), 0..4),
            cut in 0u64..14,
        ) {
            let (mut positions, mut model) = (Positions::default(), BTreeSet::new());
            for (at, (sequence, index)) in events.iter().enumerate() {
                positions.insert(*sequence, *index);
                model.insert((*sequence, *index));
                if let Some((after, len)) = whole.get(at) {
                    positions.insert_messages(*after, after + len);
                    model.extend((after + 1..=after + len).flat_map(|seq| (0..8).map(move |index| (seq, index))));
                }
            }
            let mut other = Positions::default();
            for (sequence, index) in more {
                other.insert(sequence, index);
                model.insert((sequence, index));
            }
            positions.extend(&other);
            prop_assert_eq!(&positions.to_string().parse::<Positions>().expect("own form"), &positions);
            positions.forget_through(cut);
            for sequence in 1..20 {
                for index in 0..8 {
                    let expected = sequence > cut && model.contains(&(sequence, index));
                    prop_assert_eq!(positions.contains(sequence, index), expected, "{}:{}", sequence, index);
                }
            }
        }
    }
}
