//! Which events of a shard were decided to be dead letters: a set of positions and its text form. Pure.
//!
//! It is part of the value of the table property named by
//! [`Shard::dead_letters_property`](frazil_core::Shard::dead_letters_property), see `table::fence`. Text form, items
//! joined by `;`: `<seq>:<index>,<first>-<last>,…`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use frazil_core::checkpoint::Sequence;

/// A set of events of one shard, each named by its message's sequence and its index within the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    /// Sorted, disjoint, non-adjacent inclusive ranges of event indices, per message.
    events: BTreeMap<Sequence, Vec<(u32, u32)>>,
}

/// A text that is no set of positions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed dead-letter positions {0:?}")]
pub struct MalformedPositions(String);

impl MalformedPositions {
    pub(crate) fn of(text: &str) -> Self {
        Self(text.chars().take(100).collect())
    }
}

impl Positions {
    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether the event is in the set.
    pub fn contains(&self, sequence: Sequence, index: u32) -> bool {
        self.events.get(&sequence).is_some_and(|ranges| {
            let after = ranges.partition_point(|(first, _)| *first <= index);
            after > 0 && index <= ranges[after - 1].1
        })
    }

    /// Adds one event.
    pub fn insert(&mut self, sequence: Sequence, index: u32) {
        self.insert_range(sequence, index, index);
    }

    fn insert_range(&mut self, sequence: Sequence, mut first: u32, mut last: u32) {
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

    /// Drops everything up to and including `sequence`.
    pub fn forget_through(&mut self, sequence: Sequence) {
        self.events = self.events.split_off(&(sequence + 1));
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
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
            .ok_or_else(|| MalformedPositions::of(text))?;
        Ok(positions)
    }
}

impl Positions {
    fn parse_item(&mut self, item: &str) -> Option<()> {
        let (sequence, ranges) = item.split_once(':')?;
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
        assert_eq!(positions.to_string(), "7:3;9:0-1,4");
        assert_eq!(Positions::default().to_string(), "");
        for bad in ["x", "1", "3-5", "3:", "3:2-1", "3:1,,2", "3:a"] {
            assert!(bad.parse::<Positions>().is_err(), "{bad:?} was accepted");
        }
    }

    proptest! {
        /// 1. It is a set. 2. Text round trip. 3. Forgetting drops exactly the prefix.
        #[test]
        fn models_a_set(events in prop::collection::vec((1u64..12, 0u32..8), 0..40), cut in 0u64..14) {
            let (mut positions, mut model) = (Positions::default(), BTreeSet::new());
            for (sequence, index) in events {
                positions.insert(sequence, index);
                model.insert((sequence, index));
            }
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
