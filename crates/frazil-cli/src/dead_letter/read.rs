//! Reaching dead-letter tables, and where each letter in them stands. Read only.

use anyhow::Context;
use frazil_core::TableName;
use frazil_iceberg::{CatalogError, RestCatalog, Scan, Table, table_ident};
use frazil_writer::replay::{LetterRow, Marks, Settled, State};

use crate::config::Config;
use crate::exit::Failure;
use crate::reach;

/// What the name of a dead-letter table ends with.
const SUFFIX: &str = "__dead_letter";

/// A dead-letter table, and the table its letters were meant for.
#[derive(Debug)]
pub(super) struct DeadLetters {
    /// Name of the table that the letters were meant for.
    pub(super) main_name: TableName,
    /// That table, if it exists.
    pub(super) main: Option<Table>,
    /// The table of the letters.
    pub(super) table: Table,
    settled: Settled,
    marks: Marks,
}

/// The name of the main table: as given, or of the dead-letter table that was given.
pub(super) fn main_name(config: &Config, text: &str) -> Result<TableName, Failure> {
    reach::table_name(config, main_of(text).unwrap_or(text))
}

/// The main table of a dead-letter table, by name.
pub(super) fn main_of(dead_letter_table: &str) -> Option<&str> {
    dead_letter_table.strip_suffix(SUFFIX).filter(|main| !main.is_empty() && !main.ends_with('.'))
}

impl DeadLetters {
    /// Loads both tables; `None` if there is no dead-letter table.
    pub(super) async fn load(catalog: &RestCatalog, main_name: TableName) -> anyhow::Result<Option<Self>> {
        let Some(table) = load(catalog, &main_name.dead_letter()).await? else { return Ok(None) };
        let main = load(catalog, &main_name).await?;
        Ok(Some(Self { main_name, main, table, settled: Settled::default(), marks: Marks::new(None) }))
    }

    /// The same, where there must be one.
    pub(super) async fn require(catalog: &RestCatalog, main_name: TableName) -> anyhow::Result<Self> {
        let missing = format!("{main_name} has no dead letters: there is no table {}", main_name.dead_letter());
        Self::load(catalog, main_name).await?.context(missing)
    }

    /// Begins to read columns of the letters.
    pub(super) async fn scan(&self, columns: &[&str]) -> anyhow::Result<Scan> {
        let scan = frazil_iceberg::scan(&self.table, columns).await;
        scan.with_context(|| format!("cannot read {}", self.main_name.dead_letter()))
    }

    /// Where a letter stands with regard to the main table.
    pub(super) fn state(&mut self, letter: &LetterRow<'_>) -> anyhow::Result<State> {
        let Self { table, main, settled, marks, .. } = self;
        let main_property = |key: &str| main.as_ref().and_then(|main| main.property(key));
        let mark = marks.of(&letter.shard, main_property)?;
        if mark.replayed.contains(letter.incarnation, letter.place) {
            return Ok(State::Replayed);
        }
        let covered = settled.covers(&letter.shard, letter.incarnation, letter.place, |key| table.property(key))?;
        Ok(if covered { State::Pending } else { State::Unsettled })
    }
}

/// A table, if it exists.
pub(super) async fn load(catalog: &RestCatalog, name: &TableName) -> anyhow::Result<Option<Table>> {
    match catalog.load_table(&table_ident(name.namespace(), name.table())).await {
        Ok(table) => Ok(Some(table)),
        Err(CatalogError::NoSuchTable { .. } | CatalogError::NoSuchNamespace { .. }) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot load {name}")),
    }
}

/// A time as programs read it.
pub(super) fn rfc3339(micros: i64) -> Option<String> {
    chrono::DateTime::from_timestamp_micros(micros)
        .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}
