//! `frazil dead-letter list`: how many letters there are, why, and what became of them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use frazil_core::TableName;
use frazil_iceberg::spec::NamespaceIdent;
use frazil_iceberg::{CatalogError, RestCatalog};
use frazil_writer::replay::{COUNT_COLUMNS, LetterRows, State};
use futures::TryStreamExt;
use serde_json::json;

use super::read::{self, DeadLetters};
use crate::exit::Failure;
use crate::reach::{self, ReachArgs};

/// Most namespaces of a catalog that are looked through; a catalog with more wants a table's name.
const NAMESPACES_MAX: usize = 10_000;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  frazil dead-letter list                every dead-letter table of the catalogs
  frazil dead-letter list shop.orders

`replayed` means: is a row of the table itself; letters replayed into another table (replay --into) stay pending here.")]
pub(super) struct ListArgs {
    /// Table that the events were meant for [default: all that have dead letters]
    table: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Letters of one reason in one state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) count: u64,
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
}

/// The letters of one table.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) table: TableName,
    pub(super) groups: BTreeMap<(String, State), Group>,
    /// Rows that do not say which event they are.
    pub(super) unidentified: u64,
}

pub(super) async fn run(args: ListArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let mut counts = Vec::new();
    match &args.table {
        Some(text) => {
            let name = read::main_name(&config, text)?;
            let catalog = reach::catalog_of(&config, &name).await?;
            counts.push(Count::of(DeadLetters::require(&catalog, name).await?).await?);
        }
        None => {
            let catalogs = reach::catalogs(&config).await?;
            for (catalog_name, catalog) in catalogs.iter() {
                for name in find(catalog_name, catalog).await? {
                    // It may be gone by now.
                    let letters = DeadLetters::load(catalog, name).await?;
                    if let Some(letters) = letters {
                        counts.push(Count::of(letters).await?);
                    }
                }
            }
        }
    }
    if args.json {
        println!("{}", json!({"tables": counts.iter().map(Count::json).collect::<Vec<_>>()}));
    } else if counts.is_empty() {
        println!("no table has dead letters");
    } else {
        print!("{}", counts.iter().map(Count::text).collect::<Vec<_>>().join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Main tables of all dead-letter tables in a catalog: one listing for each namespace.
pub(super) async fn find(catalog_name: &str, catalog: &RestCatalog) -> anyhow::Result<Vec<TableName>> {
    let unlisted = || format!("cannot list catalog {catalog_name}; name a table");
    let mut namespaces: Vec<NamespaceIdent> = catalog.list_namespaces(None).await.with_context(unlisted)?;
    let (mut next, mut found) = (0, Vec::new());
    while let Some(namespace) = namespaces.get(next).cloned() {
        next += 1;
        for table in catalog.list_tables(&namespace).await.with_context(unlisted)? {
            let main = read::main_of(&table.name).map(|main| format!("{catalog_name}.{}.{main}", namespace.join(".")));
            // A name that Frazil cannot have written is none of ours.
            found.extend(main.and_then(|name| TableName::parse_full(&name).ok()));
        }
        let below = match catalog.list_namespaces(Some(&namespace)).await {
            Ok(below) => below,
            // It has no nested namespaces, and does not like the question.
            Err(CatalogError::BadRequest { .. } | CatalogError::NoSuchNamespace { .. }) => Vec::new(),
            Err(error) => return Err(error).with_context(unlisted),
        };
        // A catalog that does not understand the question may answer another one.
        namespaces.extend(below.into_iter().filter(|inner| is_below(inner, &namespace)));
        anyhow::ensure!(
            namespaces.len() <= NAMESPACES_MAX,
            "catalog {catalog_name} has more than {NAMESPACES_MAX} namespaces; name a table"
        );
    }
    found.sort();
    Ok(found)
}

fn is_below(inner: &NamespaceIdent, outer: &NamespaceIdent) -> bool {
    inner.len() == outer.len() + 1 && inner.iter().zip(outer.iter()).all(|(inner, outer)| inner == outer)
}

impl Count {
    /// Reads the letters of one table, without their payloads.
    pub(super) async fn of(mut letters: DeadLetters) -> anyhow::Result<Self> {
        let mut count = Self { table: letters.main_name.clone(), groups: BTreeMap::new(), unidentified: 0 };
        let name = letters.main_name.dead_letter();
        let mut batches = letters.scan(&COUNT_COLUMNS).await?.batches;
        while let Some(batch) = batches.try_next().await.with_context(|| format!("cannot read {name}"))? {
            for letter in LetterRows::new(&batch).with_context(|| name.to_string())?.iter() {
                let Some(letter) = letter else {
                    count.unidentified += 1;
                    continue;
                };
                let key = (letter.reason.unwrap_or("unknown").to_owned(), letters.state(&letter)?);
                count.groups.entry(key).or_default().add(letter.received);
            }
        }
        Ok(count)
    }

    fn in_state(&self, state: State) -> u64 {
        self.groups.iter().filter(|((_, other), _)| *other == state).map(|(_, group)| group.count).sum()
    }

    fn json(&self) -> serde_json::Value {
        let group = |((reason, state), group): (&(String, State), &Group)| {
            json!({
                "reason": reason,
                "state": state.as_str(),
                "count": group.count,
                "first_received": group.first.and_then(read::rfc3339),
                "last_received": group.last.and_then(read::rfc3339),
            })
        };
        json!({
            "table": self.table.to_string(),
            "dead_letter_table": self.table.dead_letter().to_string(),
            "pending": self.in_state(State::Pending),
            "replayed": self.in_state(State::Replayed),
            "unsettled": self.in_state(State::Unsettled),
            "unidentified": self.unidentified,
            "groups": self.groups.iter().map(group).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let (pending, replayed) = (self.in_state(State::Pending), self.in_state(State::Replayed));
        let mut text = format!("{}: {pending} pending, {replayed} replayed\n", self.table);
        if !self.groups.is_empty() {
            text += &format!(
                "  {:<20} {:<9} {:>12}  {:<20} {}\n",
                "REASON", "STATE", "LETTERS", "FIRST RECEIVED (UTC)", "LAST RECEIVED (UTC)"
            );
        }
        let time = |micros: Option<i64>| micros.map_or_else(|| "-".to_owned(), reach::show_micros);
        for ((reason, state), group) in &self.groups {
            let (first, last) = (time(group.first), time(group.last));
            text += &format!("  {reason:<20} {:<9} {:>12}  {first:<20} {last}\n", state.as_str(), group.count);
        }
        if self.unidentified > 0 {
            text += &format!("  {} row(s) do not say which event they are\n", self.unidentified);
        }
        text
    }
}

impl Group {
    fn add(&mut self, received: Option<i64>) {
        self.count += 1;
        let Some(received) = received else { return };
        self.first = Some(self.first.map_or(received, |first| first.min(received)));
        self.last = Some(self.last.map_or(received, |last| last.max(received)));
    }
}
