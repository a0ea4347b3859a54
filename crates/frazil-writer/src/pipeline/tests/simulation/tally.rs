//! Counts what happened in the histories, so that none of it is left out unnoticed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

/// Everything that must come up.
pub(super) const KINDS: &[&str] = &[
    "catalog: answer late",
    "catalog: answer lost",
    "catalog: conflict",
    "catalog: delayed",
    "catalog: hangs",
    "catalog: outage",
    "catalog: refuses for good",
    "catalog: request late",
    "catalog: request lost",
    "catalog: unavailable",
    "log: answer late",
    "log: answer lost",
    "log: delayed",
    "log: hangs",
    "log: messages again",
    "log: outage",
    "log: refuses for good",
    "log: request late",
    "log: unavailable",
    "outcome: altered",
    "outcome: adopted",
    "outcome: conflict",
    "outcome: fenced",
    "outcome: refused",
    "outcome: replaced",
    "outcome: shard gone",
    "outcome: unavailable",
    "stream: created again",
    "stream: deleted",
    "user: alters",
    "user: appends",
    "user: compacts",
    "user: creates a table",
    "user: creates a table anew",
    "user: drops a table",
    "user: drops the letters",
    "user: expires snapshots",
    "user: rolls back",
    "user: sets a property",
    "writers: another number",
    "writers: crash",
    "writers: drained",
    "writers: old and new overlap",
    "writers: two with one ordinal",
];

/// How often each kind came up. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Tally {
    pub(super) fn note(&self, kind: &'static str) {
        self.note_many(kind, 1);
    }

    pub(super) fn note_many(&self, kind: &'static str, count: u64) {
        debug_assert!(KINDS.contains(&kind), "{kind} is listed");
        *self.0.lock().expect("no panic").entry(kind).or_default() += count;
    }

    pub(super) fn count(&self, kind: &str) -> u64 {
        self.0.lock().expect("no panic").get(kind).copied().unwrap_or_default()
    }

    /// Both together.
    pub(super) fn add(self, other: Self) -> Self {
        for (kind, count) in other.0.lock().expect("no panic").iter() {
            self.note_many(kind, *count);
        }
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in self.0.lock().expect("no panic").iter() {
            write!(f, "\n  {count:>9} {kind}")?;
        }
        Ok(())
    }
}
