//! Which dead letters were replayed: marks in a property of the table that they were replayed into.
//!
//! The property moves in the same commit as the rows, so that a letter is marked if and only if its row is in the
//! table. Text form: `<incarnation>|<seq>:<index>-<seq>:<index>,<seq>:<index>,…`, several incarnations of a shard joined
//! by `;`. A range means *the letters* between its ends: two ranges merge when no letter lies between them, however far
//! apart their numbers are. That is sound because letters of a shard are written in order and together with the
//! dead-letter table's checkpoint: below it no letter appears later. It is also why marks of letters of one
//! dead-letter table say nothing about those of another, and have a property of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::checkpoint::{Incarnation, Sequence};
use crate::name::Shard;

/// Longest value of a property with marks, in bytes: it is rewritten with every commit to the table. A replay that
/// would exceed it stops, because too many letters between the replayed ones are still invalid.
pub const MARKS_MAX_BYTES: usize = 64 * 1024;

/// Most letters of one dead-letter table that a replay looks at: it remembers the place of each, in 16 bytes. With
/// more it does not begin.
pub const LETTERS_MAX: usize = 20_000_000;

/// The place of a letter within one incarnation of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Its message.
    pub sequence: Sequence,
    /// Its index within the message.
    pub index: u32,
}

impl Place {
    /// The event `index` of the message `sequence`.
    pub fn new(sequence: Sequence, index: u32) -> Self {
        Self { sequence, index }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.index)
    }
}

/// Name of the property with the marks of letters of the table's own dead-letter table.
pub fn property(shard: &Shard) -> String {
    format!("frazil.replayed.{}.{}", shard.stream, shard.index)
}

/// Name of the property with the marks of letters that came from another table's dead-letter table, which is named by
/// its uuid.
pub fn property_from(shard: &Shard, dead_letter_table: &str) -> String {
    format!("{}.{dead_letter_table}", property(shard))
}

/// More letters than [`LETTERS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {LETTERS_MAX} dead letters; delete those that are replayed or given up from the table")]
pub struct TooManyLetters;

/// The places of all letters of a dead-letter table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Letters {
    places: BTreeMap<Shard, BTreeMap<Incarnation, Places>>,
}

/// The places of all letters of one incarnation of a shard, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(Vec<Place>);

/// Collects [`Letters`], in any order.
#[derive(Debug, Clone, Default)]
pub struct LettersBuilder {
    letters: Letters,
    len: usize,
}

impl LettersBuilder {
    /// Adds one letter.
    ///
    /// # Errors
    /// [`TooManyLetters`].
    pub fn add(&mut self, shard: &Shard, incarnation: Incarnation, place: Place) -> Result<(), TooManyLetters> {
        if self.len == LETTERS_MAX {
            return Err(TooManyLetters);
        }
        self.len += 1;
        if !self.letters.places.contains_key(shard) {
            self.letters.places.insert(shard.clone(), BTreeMap::new());
        }
        let incarnations = self.letters.places.get_mut(shard).expect("it was inserted if it was missing");
        incarnations.entry(incarnation).or_default().0.push(place);
        Ok(())
    }

    /// All of them.
    pub fn build(mut self) -> Letters {
        for places in self.letters.places.values_mut().flat_map(BTreeMap::values_mut) {
            places.0.sort_unstable();
            places.0.dedup();
            places.0.shrink_to_fit();
        }
        self.letters
    }
}

impl Letters {
    /// The places of the letters of one incarnation; empty if there are none.
    pub fn of(&self, shard: &Shard, incarnation: Incarnation) -> &Places {
        const NONE: &Places = &Places(Vec::new());
        self.places.get(shard).and_then(|incarnations| incarnations.get(&incarnation)).unwrap_or(NONE)
    }

    /// Every shard that letters came from.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.places.keys()
    }

    /// How many letters there are; one that stands in the table twice counts once.
    pub fn len(&self) -> usize {
        self.places.values().flat_map(BTreeMap::values).map(|places| places.0.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl Places {
    /// Whether a letter lies between the two places, neither included.
    fn any_between(&self, first: Place, last: Place) -> bool {
        let after = self.0.partition_point(|place| *place <= first);
        self.0.get(after).is_some_and(|place| *place < last)
    }
}

/// The replayed letters of one shard: the value of [`property`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Sorted, disjoint, inclusive.
    ranges: BTreeMap<Incarnation, Vec<(Place, Place)>>,
}

impl Replayed {
    /// Whether the letter was replayed.
    pub fn contains(&self, incarnation: Incarnation, place: Place) -> bool {
        self.ranges.get(&incarnation).is_some_and(|ranges| {
            let at = ranges.partition_point(|(_, last)| *last < place);
            ranges.get(at).is_some_and(|(first, _)| *first <= place)
        })
    }

    /// Marks one letter. `letters` are all of its incarnation.
    pub fn mark(&mut self, incarnation: Incarnation, place: Place, letters: &Places) {
        let ranges = self.ranges.entry(incarnation).or_default();
        let at = ranges.partition_point(|(_, last)| *last < place);
        if ranges.get(at).is_some_and(|(first, _)| *first <= place) {
            return;
        }
        let joins_left = at > 0 && !letters.any_between(ranges[at - 1].1, place);
        let joins_right = ranges.get(at).is_some_and(|(first, _)| !letters.any_between(place, *first));
        match (joins_left, joins_right) {
            (true, true) => ranges[at - 1].1 = ranges.remove(at).1,
            (true, false) => ranges[at - 1].1 = place,
            (false, true) => ranges[at].0 = place,
            (false, false) => ranges.insert(at, (place, place)),
        }
    }

    /// Merges ranges that no letter of the shard separates any more, because it was deleted from its table.
    pub fn compact(&mut self, letters: &Letters, shard: &Shard) {
        for (incarnation, ranges) in &mut self.ranges {
            let places = letters.of(shard, *incarnation);
            ranges.dedup_by(|next, kept| {
                let joins = !places.any_between(kept.1, next.0);
                if joins {
                    kept.1 = next.1;
                }
                joins
            });
        }
    }

    /// Number of ranges: what the length of the text grows with.
    pub fn ranges(&self) -> usize {
        self.ranges.values().map(Vec::len).sum()
    }

    /// Whether nothing was replayed.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut semicolon = "";
        for (incarnation, ranges) in &self.ranges {
            write!(f, "{semicolon}{incarnation}|")?;
            semicolon = ";";
            for (at, (first, last)) in ranges.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
            }
        }
        Ok(())
    }
}

/// A text that is no set of marks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed marks of replayed dead letters {0:?}")]
pub struct MalformedMarks(String);

impl FromStr for Replayed {
    type Err = MalformedMarks;

    fn from_str(text: &str) -> Result<Self, MalformedMarks> {
        let mut replayed = Self::default();
        for item in text.split(';').filter(|item| !item.is_empty()) {
            let parsed = parse_incarnation(item);
            let fresh = parsed.filter(|(incarnation, _)| !replayed.ranges.contains_key(incarnation));
            let (incarnation, ranges) = fresh.ok_or_else(|| MalformedMarks(text.chars().take(100).collect()))?;
            replayed.ranges.insert(incarnation, ranges);
        }
        Ok(replayed)
    }
}

/// Refuses ranges that are empty, overlap, or are out of order: nothing but a defect or a hand makes such.
fn parse_incarnation(item: &str) -> Option<(Incarnation, Vec<(Place, Place)>)> {
    let (incarnation, list) = item.split_once('|')?;
    let ranges = list.split(',').map(parse_range).collect::<Option<Vec<_>>>()?;
    let ordered = ranges.iter().all(|(first, last)| first <= last) && ranges.windows(2).all(|two| two[0].1 < two[1].0);
    ordered.then_some((incarnation.parse().ok()?, ranges))
}

fn parse_range(text: &str) -> Option<(Place, Place)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((parse_place(first)?, parse_place(last)?))
}

fn parse_place(text: &str) -> Option<Place> {
    let (sequence, index) = text.split_once(':')?;
    Some(Place::new(sequence.parse().ok()?, index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const NOW: Incarnation = Incarnation(0x18a2);

    fn shard() -> Shard {
        Shard::new("sales".parse().expect("valid"), 3)
    }

    fn letters(places: impl IntoIterator<Item = (Sequence, u32)>) -> Letters {
        let mut builder = LettersBuilder::default();
        for (sequence, index) in places {
            builder.add(&shard(), NOW, Place::new(sequence, index)).expect("few");
        }
        builder.build()
    }

    fn marked(letters: &Letters, places: impl IntoIterator<Item = (Sequence, u32)>) -> Replayed {
        let mut replayed = Replayed::default();
        for (sequence, index) in places {
            replayed.mark(NOW, Place::new(sequence, index), letters.of(&shard(), NOW));
        }
        replayed
    }

    #[test]
    fn names_and_text_form_are_pinned() {
        assert_eq!(property(&shard()), "frazil.replayed.sales.3");
        assert_eq!(property_from(&shard(), "6f9a"), "frazil.replayed.sales.3.6f9a");
        let all = letters([(7, 3), (9, 0), (9, 1), (40, 0), (90, 5)]);
        let mut replayed = marked(&all, [(90, 5), (7, 3), (9, 0)]);
        assert_eq!(replayed.to_string(), "00000000000018a2|7:3-9:0,90:5");
        replayed.mark(Incarnation(0x18a1), Place::new(5, 0), &Places::default());
        assert_eq!(replayed.to_string(), "00000000000018a1|5:0;00000000000018a2|7:3-9:0,90:5");
        assert_eq!(replayed.to_string().parse::<Replayed>().expect("own form"), replayed);
        assert_eq!("".parse::<Replayed>().expect("nothing marked"), Replayed::default());
    }

    #[test]
    fn malformed_marks_are_refused() {
        let of = |ranges: &str| format!("00000000000018a2|{ranges}");
        let twice = format!("{};{}", of("1:0"), of("2:0"));
        let bad = [of(""), of("x"), of("1"), of("1:0,"), of("2:0-1:0"), of("2:0,1:0"), of("1:0-3:0,3:0"), twice];
        for bad in bad.iter().map(String::as_str).chain(["1:0", "18a2|1:0", "|"]) {
            assert!(bad.parse::<Replayed>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_letter_that_is_deleted_separates_no_longer() {
        let mut replayed = marked(&letters([(1, 0), (2, 0), (3, 0), (4, 0)]), [(1, 0), (3, 0)]);
        replayed.compact(&letters([(1, 0), (2, 0), (3, 0), (4, 0)]), &shard());
        assert_eq!(replayed.ranges(), 2);
        replayed.compact(&letters([(3, 0), (4, 0)]), &shard());
        assert_eq!(replayed.to_string(), "00000000000018a2|1:0-3:0");
    }

    proptest! {
        /// Against a set: 1. Exactly the marked letters are marked, in whatever order they were. 2. Text round trip.
        /// 3. As few ranges as letters allow. 4. Marking everything leaves one range. 5. Letters that come later, after
        /// the last one, are not marked.
        #[test]
        fn models_a_set(
            all in prop::collection::btree_set((1u64..30, 0u32..4), 1..60),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
            later in prop::collection::btree_set((30u64..40, 0u32..4), 0..10),
        ) {
            let index = letters(all.iter().copied());
            let ordered: Vec<_> = all.iter().copied().collect();
            let picked: Vec<_> = picks.iter().map(|pick| ordered[pick.index(ordered.len())]).collect();
            let model: BTreeSet<_> = picked.iter().copied().collect();
            let mut replayed = marked(&index, picked);
            prop_assert_eq!(&replayed.to_string().parse::<Replayed>().expect("own form"), &replayed);
            for (sequence, event) in ordered.iter().chain(&later) {
                let expected = model.contains(&(*sequence, *event));
                prop_assert_eq!(replayed.contains(NOW, Place::new(*sequence, *event)), expected);
                prop_assert!(!replayed.contains(Incarnation(1), Place::new(*sequence, *event)));
            }
            let runs = ordered.iter().enumerate().filter(|(at, place)| {
                model.contains(place) && (*at == 0 || !model.contains(&ordered[at - 1]))
            });
            prop_assert_eq!(replayed.ranges(), runs.count());
            let before = replayed.clone();
            replayed.compact(&index, &shard());
            prop_assert_eq!(&replayed, &before);
            for (sequence, event) in ordered {
                replayed.mark(NOW, Place::new(sequence, event), index.of(&shard(), NOW));
            }
            prop_assert_eq!(replayed.ranges(), 1);
        }
    }
}
