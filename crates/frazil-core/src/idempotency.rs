//! Exactly once from client to log: hashes of idempotency keys, and the window in which a repeat is recognised.
//!
//! The decision is a pure function of the shard's log. A key always hashes to the same shard, the shard
//! has one order, and "now" is the log's own timestamp, so a replay, a restart and a zombie decide alike.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::Sequence;
use crate::name::{StreamName, TableName};

/// First 128 bits of the SHA-256 of an idempotency key and its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash(pub [u8; 16]);

impl KeyHash {
    /// Hashes a client's key. The scope is the stream, the table and the token, so that two senders
    /// that number their requests alike do not swallow each other's events. A request whose events choose their
    /// tables themselves has no table here.
    pub fn new(stream: &StreamName, table: Option<&TableName>, token_id: &str, key: &str) -> Self {
        let mut hasher = Sha256::new();
        let table = table.map(TableName::to_string).unwrap_or_default();
        for part in [stream.as_str(), &table, token_id, key] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let digest = hasher.finalize();
        Self(std::array::from_fn(|index| digest[index]))
    }

    /// The shard that gets every request with this key.
    pub fn shard(&self, shards: u32) -> u32 {
        let head = u64::from_be_bytes(std::array::from_fn(|index| self.0[index]));
        u32::try_from(head % u64::from(shards.max(1))).expect("a remainder of a u32")
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A key hash or keyed range that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed idempotency key hash")]
pub struct MalformedKey;

impl FromStr for KeyHash {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(MalformedKey);
        }
        let value = u128::from_str_radix(text, 16).map_err(|_| MalformedKey)?;
        Ok(Self(value.to_be_bytes()))
    }
}

impl TryFrom<String> for KeyHash {
    type Error = MalformedKey;

    fn try_from(text: String) -> Result<Self, MalformedKey> {
        text.parse()
    }
}

impl From<KeyHash> for String {
    fn from(key: KeyHash) -> Self {
        key.to_string()
    }
}

/// Events `first .. first + count` of the request with this key. Text form: `<32 hex>:<first>:<count>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedRange {
    /// The request's key.
    pub key: KeyHash,
    /// Index within the request of the first event.
    pub first: u32,
    /// Number of events.
    pub count: u32,
}

impl fmt::Display for KeyedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.key, self.first, self.count)
    }
}

impl FromStr for KeyedRange {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or(MalformedKey);
        let (key, first, count) = (next()?, next()?, next()?);
        let number = |text: &str| text.parse().map_err(|_| MalformedKey);
        let range = Self { key: key.parse()?, first: number(first)?, count: number(count)? };
        if parts.next().is_some() { Err(MalformedKey) } else { Ok(range) }
    }
}

/// The keys seen in the recent log of one shard.
///
/// Every occurrence of a key counts, dropped repeats too: a key is forgotten one window after it was
/// last seen. That makes the decision depend on one window of the log and nothing before it.
#[derive(Debug)]
pub struct DedupeWindow {
    window_nanos: i64,
    max_occurrences: usize,
    keys: HashMap<KeyHash, Seen>,
    occurrences: VecDeque<Occurrence>,
    forgotten_early: u64,
}

/// Where the events of a key end that the window has seen: the greatest end decides, and when its
/// occurrence is forgotten the next greatest of the later ones does (a sliding window maximum).
#[derive(Debug)]
struct Seen {
    greatest: (Sequence, u32),
    /// Later occurrences with ever smaller ends; only a key that was used again has any.
    #[expect(clippy::box_collection, reason = "a million keys are remembered, and hardly one has any")]
    later: Option<Box<VecDeque<(Sequence, u32)>>>,
    last: Sequence,
}

impl Seen {
    fn record(&mut self, sequence: Sequence, end: u32) {
        self.last = sequence;
        if end >= self.greatest.1 {
            (self.greatest, self.later) = ((sequence, end), None);
            return;
        }
        let later = self.later.get_or_insert_default();
        while later.back().is_some_and(|(_, smaller)| *smaller <= end) {
            later.pop_back();
        }
        later.push_back((sequence, end));
    }

    /// Forgets one occurrence, which is not the last.
    fn forget(&mut self, sequence: Sequence) {
        if self.greatest.0 == sequence {
            let later = self.later.as_mut().and_then(|later| later.pop_front());
            self.greatest = later.expect("the last occurrence is in the list");
        }
    }
}

#[derive(Debug)]
struct Occurrence {
    key: KeyHash,
    sequence: Sequence,
    at_nanos: i64,
}

impl DedupeWindow {
    /// An empty window of `window_nanos` that remembers at most `max_occurrences` keyed sections.
    pub fn new(window_nanos: i64, max_occurrences: usize) -> Self {
        let (keys, occurrences) = (HashMap::new(), VecDeque::new());
        Self { window_nanos, max_occurrences: max_occurrences.max(1), keys, occurrences, forgotten_early: 0 }
    }

    /// Records a keyed section stored at `sequence`, `at_nanos` by the log's clock, and tells how many
    /// of its leading events are repeats. Sections must come in log order.
    pub fn observe(&mut self, range: KeyedRange, sequence: Sequence, at_nanos: i64) -> u32 {
        self.expire(at_nanos);
        let end = range.first.saturating_add(range.count);
        let new = || Seen { greatest: (sequence, 0), later: None, last: sequence };
        let seen = self.keys.entry(range.key).or_insert_with(new);
        let repeats = seen.greatest.1.saturating_sub(range.first).min(range.count);
        seen.record(sequence, end);
        self.occurrences.push_back(Occurrence { key: range.key, sequence, at_nanos });
        if self.occurrences.len() > self.max_occurrences {
            self.forgotten_early += 1;
            self.forget_oldest();
        }
        repeats
    }

    /// Forgets what lies more than one window before `now_nanos` (the log's clock).
    pub fn expire(&mut self, now_nanos: i64) {
        let horizon = now_nanos.saturating_sub(self.window_nanos);
        while self.occurrences.front().is_some_and(|oldest| oldest.at_nanos < horizon) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.occurrences.pop_front() else { return };
        if let Some(seen) = self.keys.get_mut(&oldest.key) {
            if seen.last == oldest.sequence {
                self.keys.remove(&oldest.key);
            } else {
                seen.forget(oldest.sequence);
            }
        }
    }

    /// The oldest log position the window still depends on: the log must be retained from here.
    pub fn oldest_sequence(&self) -> Option<Sequence> {
        self.occurrences.front().map(|oldest| oldest.sequence)
    }

    /// Keys remembered now.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Occurrences forgotten before their time because of the bound.
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(key: u8, first: u32, count: u32) -> KeyedRange {
        KeyedRange { key: KeyHash([key; 16]), first, count }
    }

    #[test]
    fn the_scope_separates_equal_keys() {
        let stream = "s".parse().expect("valid");
        let table = |name: &str| name.parse().expect("valid");
        let hash = |t: &str, token: &str, key: &str| KeyHash::new(&stream, Some(&table(t)), token, key);
        assert_eq!(hash("a.b.c", "t", "k"), hash("a.b.c", "t", "k"));
        assert_ne!(hash("a.b.c", "t", "k"), hash("a.b.d", "t", "k"));
        assert_ne!(hash("a.b.c", "t", "k"), hash("a.b.c", "u", "k"));
        assert_ne!(hash("a.b.c", "tk", ""), hash("a.b.c", "t", "k"));
    }

    #[test]
    fn a_retry_that_overlaps_a_partly_stored_request_keeps_only_the_rest() {
        let mut window = DedupeWindow::new(100, 10);
        assert_eq!(window.observe(range(1, 0, 10), 1, 0), 0);
        assert_eq!(window.observe(range(1, 0, 25), 2, 1), 10, "the first part was stored");
        assert_eq!(window.observe(range(1, 10, 15), 3, 2), 15, "the late second part of the first try");
        assert_eq!(window.observe(range(2, 0, 5), 4, 2), 0, "another key");
    }

    #[test]
    fn every_occurrence_prolongs_the_memory() {
        let mut window = DedupeWindow::new(100, 10);
        assert_eq!(window.observe(range(1, 0, 1), 1, 0), 0);
        assert_eq!(window.observe(range(1, 0, 1), 2, 100), 1, "exactly one window later is inside");
        assert_eq!(window.observe(range(1, 0, 1), 3, 200), 1);
        assert_eq!(window.observe(range(1, 0, 1), 4, 301), 0, "later than one window after the last");
        assert_eq!(window.oldest_sequence(), Some(4));
    }

    #[test]
    fn what_a_forgotten_occurrence_added_is_forgotten_with_it() {
        let mut window = DedupeWindow::new(100, 10);
        window.observe(range(1, 0, 10), 1, 0);
        assert_eq!(window.observe(range(1, 0, 3), 2, 60), 3);
        assert_eq!(window.observe(range(1, 0, 10), 3, 120), 3, "a log that begins at 2 must decide alike");
    }

    #[test]
    fn the_bound_forgets_the_oldest_first() {
        let mut window = DedupeWindow::new(1_000, 2);
        for (sequence, key) in [(1, 1), (2, 2), (3, 3)] {
            assert_eq!(window.observe(range(key, 0, 1), sequence, 0), 0);
        }
        assert_eq!((window.len(), window.forgotten_early(), window.oldest_sequence()), (2, 1, Some(2)));
        assert_eq!(window.observe(range(2, 0, 1), 4, 0), 1);
        assert_eq!(window.observe(range(1, 0, 1), 5, 0), 0);
    }

    proptest! {
        /// 1. A window rebuilt from the retained log (from `oldest_sequence` on) decides the rest of the log alike.
        /// 2. Within the window each event index of a key is admitted at most once.
        #[test]
        fn rebuilt_windows_decide_alike(
            log in prop::collection::vec((0u8..6, 0u32..3, 1u32..4, 0i64..30), 1..80), cut in 0usize..80
        ) {
            let cut = cut.min(log.len());
            let mut now = 0;
            let log: Vec<(Sequence, KeyedRange, i64)> = log.iter().enumerate().map(|(index, (key, first, count, step))| {
                now += step;
                (index as u64 + 1, range(*key, *first, *count), now)
            }).collect();
            let mut full = DedupeWindow::new(50, 12);
            let mut decisions = Vec::new();
            let mut retained_from = None;
            for (index, (sequence, range, at)) in log.iter().enumerate() {
                if index == cut {
                    retained_from = full.oldest_sequence();
                }
                decisions.push(full.observe(*range, *sequence, *at));
            }
            let mut rebuilt = DedupeWindow::new(50, 12);
            for (index, (sequence, range, at)) in log.iter().enumerate() {
                if index < cut && retained_from.is_none_or(|from| *sequence < from) { continue; }
                let decision = rebuilt.observe(*range, *sequence, *at);
                if index >= cut {
                    prop_assert_eq!(decision, decisions[index], "at {}", index);
                }
            }
        }

        /// 3. Text round trip.
        #[test]
        fn ranges_round_trip(key: [u8; 16], first: u32, count: u32) {
            let range = KeyedRange { key: KeyHash(key), first, count };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }
}
