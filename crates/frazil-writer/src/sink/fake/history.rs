//! All that was ever committed, whatever became of it, and what commits must never do.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow_array::RecordBatch;
use frazil_core::TableName;
use frazil_core::checkpoint::Checkpoint;
use frazil_core::schema::ID_COLUMN;
use uuid::Uuid;

use super::table::strings;

/// Begin of the properties whose values are checkpoints.
const CHECKPOINTS: &str = "frazil.checkpoint.";

/// What happened to the events.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Ids of the events committed to each table that ever was, by the table's uuid.
    committed: HashMap<Uuid, HashSet<String>>,
    ever: HashSet<String>,
    /// Events that are in no table because a user took them away, or their log.
    excused: HashSet<String>,
    violations: Vec<String>,
}

impl History {
    /// A commit of rows or letters: no event may come into a table twice, though it be gone by now.
    pub(super) fn committed(&mut self, table: &TableName, uuid: Uuid, rows: &RecordBatch) {
        // Tables of users may have no ids.
        if rows.column_by_name(ID_COLUMN).is_none() {
            return;
        }
        let known = self.committed.entry(uuid).or_default();
        for id in strings(rows, ID_COLUMN) {
            self.excused.remove(&id);
            self.ever.insert(id.clone());
            if !known.insert(id.clone()) {
                self.violations.push(format!("{id} was committed again to {table}"));
            }
        }
    }

    /// A commit moves properties: no checkpoint may go back.
    pub(super) fn moved<'a>(
        &mut self,
        table: &TableName,
        before: &BTreeMap<String, String>,
        after: impl Iterator<Item = (&'a String, &'a String)>,
    ) {
        let parse = |text: &String| text.parse::<Checkpoint>().ok().map(|at| (at.incarnation, at.sequence));
        for (key, value) in after.filter(|(key, _)| key.starts_with(CHECKPOINTS)) {
            let old = before.get(key);
            if old.and_then(parse) > parse(value) {
                self.violations.push(format!("{key} of {table} went back from {old:?} to {value}"));
            }
        }
    }

    /// A user took away what is in `before` and not in `after`.
    pub(super) fn removed(&mut self, before: Vec<String>, after: &[String]) {
        let after: HashSet<&String> = after.iter().collect();
        self.excused.extend(before.into_iter().filter(|id| !after.contains(id)));
    }

    /// The event is gone with its log, unless it comes to be committed all the same.
    pub(crate) fn orphaned(&mut self, id: &str) {
        if !self.ever.contains(id) {
            self.excused.insert(id.to_owned());
        }
    }

    /// Whether the event may be in no table.
    pub(crate) fn is_excused(&self, id: &str) -> bool {
        self.excused.contains(id)
    }

    /// Whether the event was ever committed, wherever it is now.
    pub(crate) fn was_committed(&self, id: &str) -> bool {
        self.ever.contains(id)
    }

    /// What commits did that they must not.
    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }
}
