//! What users and their engines do to tables meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use frazil_core::schema::{Field, SYSTEM_COLUMNS, Schema, Type};

use super::tally::Tally;
use super::{Arc, Random, TableName, World, number_schema, traffic};
use crate::sink::fake::FakeSink;

/// How far the users of one history go.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manners {
    /// Nothing that takes rows away.
    Tidy,
    /// They roll tables back.
    RollBack,
    /// They drop and create tables all the time, and do little else.
    Drop,
    /// All of it.
    Wild,
}

/// The users of one history.
#[derive(Clone)]
pub(super) struct Users {
    sink: FakeSink,
    /// Tables of events, the one without a route last.
    tables: Vec<TableName>,
    /// They come in between one operation of the catalog in so many.
    rarity: u64,
    manners: Manners,
    appended: Arc<AtomicU64>,
    tally: Tally,
}

impl Users {
    pub(super) fn new(world: &World, tables: &[TableName], random: &mut Random, tally: &Tally) -> Self {
        let tables = tables.iter().cloned().chain([traffic::catch_all(world)]).collect();
        let manners = *random.pick(&[Manners::Tidy, Manners::RollBack, Manners::Drop, Manners::Wild]);
        let (sink, appended, tally) = (world.sink.clone(), Arc::default(), tally.clone());
        Self { sink, tables, rarity: 5 + random.below(40), manners, appended, tally }
    }

    /// Perhaps somebody does something.
    pub(super) fn act_between(&self, random: &mut Random) {
        if random.one_in(self.rarity) {
            self.act(random);
        }
    }

    /// Somebody does something.
    pub(super) fn act(&self, random: &mut Random) {
        let table = random.pick(&self.tables).clone();
        match self.manners {
            Manners::Drop | Manners::Wild if random.one_in(3) => self.drop_or_create(&table, random),
            Manners::Drop if random.one_in(2) => {}
            Manners::RollBack | Manners::Wild if random.one_in(5) => {
                let table = if random.one_in(3) { table.dead_letter() } else { table };
                let back = 1 + random.below(4) as usize;
                self.note("user: rolls back", self.sink.roll_back(&table, back).is_some());
            }
            Manners::Tidy | Manners::RollBack | Manners::Drop | Manners::Wild => self.work(&table, random),
        }
    }

    /// What takes nothing away.
    fn work(&self, table: &TableName, random: &mut Random) {
        let (sink, either) = (&self.sink, if random.one_in(3) { table.dead_letter() } else { table.clone() });
        match random.below(8) {
            0 => self.append(&either),
            1 => self.note("user: compacts", sink.compact(&either).is_some()),
            2 => self.note("user: expires snapshots", sink.expire(&either).is_some()),
            3 => self.set_property(table, random),
            _ => {
                sink.alter(table, |schema, last| alter_columns(schema, last, random));
                self.note("user: alters", true);
            }
        }
    }

    fn drop_or_create(&self, table: &TableName, random: &mut Random) {
        let sink = &self.sink;
        match (random.below(5), sink.table(table).is_some()) {
            (0, _) => self.note("user: drops the letters", sink.drop_table(&table.dead_letter())),
            (1 | 2, true) => self.note("user: drops a table", sink.drop_table(table)),
            (3 | 4, true) => {
                sink.create_table(table, number_schema());
                self.note("user: creates a table anew", true);
            }
            (_, false) => {
                sink.create_table(table, number_schema());
                self.note("user: creates a table", true);
            }
            (_, true) => {}
        }
    }

    fn note(&self, kind: &'static str, done: bool) {
        if done {
            self.tally.note(kind);
        }
    }

    fn append(&self, table: &TableName) {
        let id = format!("user-{}", self.appended.fetch_add(1, Ordering::Relaxed));
        self.note("user: appends", self.sink.append_foreign(table, &id).is_some());
    }

    fn set_property(&self, table: &TableName, random: &mut Random) {
        let policy = ["evolve", "capture", "reject", "nonsense", "Evolve"];
        let sink = &self.sink;
        match random.below(4) {
            0 => sink.set_property(table, "frazil.unknown-fields", Some(*random.pick(&policy))),
            1 => sink.set_property(table, "frazil.unknown-fields", None),
            2 => sink.set_property(table, "frazil.columns-per-hour", Some(&random.below(6).to_string())),
            _ => sink.set_property(table, "frazil.columns-added", *random.pick(&[None, Some("x")])),
        }
        self.note("user: sets a property", true);
    }
}

/// One change as an engine makes it: ids are never used again, and the system columns stay.
fn alter_columns(schema: &mut Schema, last: i32, random: &mut Random) {
    let own = |field: &Field| SYSTEM_COLUMNS.iter().any(|(name, _)| *name == field.name);
    let theirs: Vec<usize> = (0..schema.fields.len()).filter(|at| !own(&schema.fields[*at])).collect();
    let one = theirs.get(random.below(theirs.len().max(1) as u64) as usize).copied();
    let name = format!("{}{}", random.pick(&["f", "u", "F", "n"]), random.below(8));
    let taken = schema.field(&name).is_some();
    match (random.below(5), one) {
        (0, Some(at)) => drop(schema.fields.remove(at)),
        (1, Some(at)) if !taken => schema.fields[at].name = name,
        (2, Some(at)) if schema.fields[at].ty == Type::Int => schema.fields[at].ty = Type::Long,
        // The column that nearly all events have: gone and back, of another type.
        (3, _) => {
            schema.fields.retain(|field| field.name != "n");
            let ty = random.pick(&[Type::Int, Type::Long, Type::String]).clone();
            schema.fields.push(Field::optional(last + 1, "n", ty));
        }
        (4, _) if !taken => {
            let ty = random.pick(&[Type::Int, Type::String, Type::Double, Type::Boolean]).clone();
            schema.fields.push(Field::optional(last + 1, name, ty));
        }
        _ => {}
    }
}
