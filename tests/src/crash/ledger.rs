//! What the load sent and was told, request by request: the truth that the tables are held against.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::journal::now_ms;

/// What is known about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged: each of its events must be in the table exactly once.
    Acked,
    /// No answer that says either way: its events may be in the table once, or not at all.
    Unknown,
    /// Refused: none of its events may be in the table.
    Refused,
}

impl Outcome {
    /// The word in the ledger's file.
    fn word(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }
}

/// A request: a stretch of ids for one table.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Index of the table.
    pub table: usize,
    /// First id.
    pub first: u64,
    /// Number of events.
    pub events: u64,
    /// Whether it had an idempotency key, and was retried.
    pub keyed: bool,
    /// What came of it.
    pub outcome: Outcome,
    /// When that was known, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Attempts made.
    pub attempts: u32,
    /// The receipt, if it was acknowledged.
    pub receipt: Option<Box<str>>,
}

/// All requests of a run that have an outcome.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<Vec<Entry>>,
    acked_events: AtomicU64,
    last_ack_ms: AtomicU64,
    odd: Mutex<Vec<String>>,
}

/// Sums over a ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sums {
    /// Requests with an outcome.
    pub requests: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Acknowledged events.
    pub acked_events: u64,
    /// Those of them that were sent without a key.
    pub acked_keyless_events: u64,
    /// Events of requests without a known outcome.
    pub unknown_events: u64,
    /// Events of refused requests.
    pub refused_events: u64,
}

impl Ledger {
    /// Adds a request whose outcome is known by now.
    pub fn add(&self, entry: Entry) {
        if entry.outcome == Outcome::Acked {
            self.acked_events.fetch_add(entry.events, Ordering::Relaxed);
            self.last_ack_ms.fetch_max(entry.at_ms, Ordering::Relaxed);
        }
        self.entries.lock().expect("no panic while held").push(entry);
    }

    /// Notes an answer that a correct service never gives to this load, the first hundred of them.
    pub fn odd(&self, text: String) {
        let mut odd = self.odd.lock().expect("no panic while held");
        if odd.len() < 100 {
            odd.push(text);
        }
    }

    /// The answers that a correct service never gives.
    pub fn odd_answers(&self) -> Vec<String> {
        self.odd.lock().expect("no panic while held").clone()
    }

    /// Events acknowledged so far.
    pub fn acked_events(&self) -> u64 {
        self.acked_events.load(Ordering::Relaxed)
    }

    /// Time since the last acknowledgement, in milliseconds.
    pub fn since_ack_ms(&self) -> u64 {
        now_ms().saturating_sub(self.last_ack_ms.load(Ordering::Relaxed))
    }

    /// A copy of all requests.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().expect("no panic while held").clone()
    }

    /// The sums.
    pub fn sums(&self) -> Sums {
        let entries = self.entries.lock().expect("no panic while held");
        let events = |of: fn(&Entry) -> bool| entries.iter().filter(|entry| of(entry)).map(|entry| entry.events).sum();
        Sums {
            requests: entries.len() as u64,
            retries: entries.iter().map(|entry| u64::from(entry.attempts.saturating_sub(1))).sum(),
            acked_events: events(|entry| entry.outcome == Outcome::Acked),
            acked_keyless_events: events(|entry| entry.outcome == Outcome::Acked && !entry.keyed),
            unknown_events: events(|entry| entry.outcome == Outcome::Unknown),
            refused_events: events(|entry| entry.outcome == Outcome::Refused),
        }
    }

    /// Writes the ledger for the checker: one line `table,first,events,outcome` per request.
    pub fn write(&self, path: &Path, tables: &[String]) {
        let file = std::fs::File::create(path).expect("the run's folder is writable");
        let mut out = BufWriter::new(file);
        for entry in self.entries.lock().expect("no panic while held").iter() {
            let Entry { table, first, events, outcome, .. } = entry;
            writeln!(out, "{},{first},{events},{}", tables[*table], outcome.word()).expect("the ledger is writable");
        }
        out.flush().expect("the ledger is writable");
    }
}

#[cfg(test)]
mod tests;
