//! Holds the tables against the ledger. The comparison itself is `tests/python/crash_check.py`, which reads with
//! PyIceberg and counts again with DuckDB.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::lake::{Lake, python};

/// Some ids, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<u64>,
}

/// What was found in a table.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TableVerdict {
    /// The table.
    pub table: String,
    /// Rows, as PyIceberg reads them.
    pub rows: u64,
    /// Rows, as DuckDB counts them.
    pub duckdb_rows: u64,
    /// Acknowledged events.
    pub acked: u64,
    /// Events of requests without a known outcome.
    pub unknown: u64,
    /// How many of them are there.
    pub unknown_found: u64,
    /// Events of refused requests.
    pub refused: u64,
    /// Acknowledged and not there.
    pub lost: Ids,
    /// There more than once; the count is that of the rows too many.
    pub doubled: Ids,
    /// Refused and there.
    pub refused_found: Ids,
    /// There and never sent to this table.
    pub foreign: Ids,
    /// Rows of its dead-letter table. The load sends none that do not fit.
    pub dead_letters: u64,
    /// When each commit was made, in milliseconds since the Unix epoch.
    pub commits_ms: Vec<u64>,
}

impl TableVerdict {
    /// What is wrong, in words; empty if all is right.
    pub fn violations(&self) -> Vec<String> {
        let wrong = [
            ("acknowledged and not there", &self.lost),
            ("there more than once", &self.doubled),
            ("refused and there", &self.refused_found),
            ("there and never sent", &self.foreign),
        ];
        let some = wrong.into_iter().filter(|(_, ids)| ids.count > 0);
        let words = |(what, ids): (&str, &Ids)| format!("{}: {} ids {what}: {:?}", self.table, ids.count, ids.first);
        let mut found: Vec<String> = some.map(words).collect();
        if self.dead_letters > 0 {
            found.push(format!("{}: {} dead letters of events that fit", self.table, self.dead_letters));
        }
        if self.rows != self.duckdb_rows {
            let (rows, duckdb) = (self.rows, self.duckdb_rows);
            found.push(format!("{}: PyIceberg reads {rows} rows, DuckDB {duckdb}", self.table));
        }
        found
    }
}

/// What was found in all tables.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Table by table.
    pub tables: Vec<TableVerdict>,
    /// Versions of the engines.
    pub versions: BTreeMap<String, String>,
}

impl Verdict {
    /// What is wrong in any table.
    pub fn violations(&self) -> Vec<String> {
        self.tables.iter().flat_map(TableVerdict::violations).collect()
    }

    /// When any table was committed to, in order.
    pub fn commits_ms(&self) -> Vec<u64> {
        let mut times: Vec<u64> = self.tables.iter().flat_map(|table| table.commits_ms.iter().copied()).collect();
        times.sort_unstable();
        times
    }
}

/// Reads the tables that the ledger names.
///
/// # Panics
/// If the script fails; shows what it said.
pub async fn check(ledger: &Path, lake: &Lake) -> Verdict {
    let own = ["tables".to_owned(), "--ledger".into(), text(ledger)];
    run(&own.into_iter().chain(lake.script_arguments()).collect::<Vec<_>>()).await
}

/// Takes the ids that are said to be in the tables from a file of lines `table,id`.
///
/// # Panics
/// If the script fails; shows what it said.
pub async fn check_ids(ledger: &Path, found: &Path) -> Verdict {
    run(&["ids".to_owned(), "--ledger".into(), text(ledger), "--found".into(), text(found)]).await
}

async fn run(arguments: &[String]) -> Verdict {
    let answer = python("crash_check.py", arguments).await;
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
