//! What may go wrong, and what users do to their tables meanwhile.

use frazil_core::schema::{Field, SYSTEM_COLUMNS, Schema, Type};

use super::{Random, TableName, World};
use crate::sink::fake::{FakeSink, Fault, Op};

/// Scripts faults and users.
pub(super) fn unleash(world: &World, mut random: Random, tables: Vec<TableName>) {
    let sink = world.sink.clone();
    world.sink.script(move |op, _| {
        if random.one_in(20) {
            let table = &tables[random.below(tables.len() as u64) as usize];
            alter(&sink, table, &mut random);
        }
        fault(op, &mut random)
    });
}

fn fault(op: Op, random: &mut Random) -> Fault {
    let deed = matches!(op, Op::Commit | Op::Evolve);
    match random.below(12) {
        0 => Fault::Unavailable,
        1 if deed => Fault::LoseRequest,
        2 if deed => Fault::LoseAnswer,
        3 if deed => Fault::HangBefore,
        4 if deed => Fault::HangAfter,
        5 | 6 if op == Op::Evolve => Fault::Conflict,
        7 if op == Op::Evolve => Fault::Rejected,
        3 if random.one_in(4) => Fault::HangBefore,
        4 if random.one_in(4) => Fault::HangAfter,
        _ => Fault::None,
    }
}

/// One change as an engine makes it: ids are never used again, and the system columns stay.
fn alter(sink: &FakeSink, table: &TableName, random: &mut Random) {
    let policy = ["evolve", "capture", "reject", "nonsense", "Evolve"];
    match random.below(8) {
        0 => sink.set_property(table, "frazil.unknown-fields", Some(policy[random.below(5) as usize])),
        1 => sink.set_property(table, "frazil.unknown-fields", None),
        2 => sink.set_property(table, "frazil.columns-per-hour", Some(&random.below(6).to_string())),
        3 => sink.set_property(table, "frazil.columns-added", [None, Some("x")][random.below(2) as usize]),
        _ => sink.alter(table, |schema, last| alter_columns(schema, last, random)),
    }
}

fn alter_columns(schema: &mut Schema, last: i32, random: &mut Random) {
    let own = |field: &Field| SYSTEM_COLUMNS.iter().any(|(name, _)| *name == field.name);
    let theirs: Vec<usize> = (0..schema.fields.len()).filter(|at| !own(&schema.fields[*at])).collect();
    let one = theirs.get(random.below(theirs.len().max(1) as u64) as usize).copied();
    let name = format!("{}{}", ["f", "u", "F", "n"][random.below(4) as usize], random.below(8));
    let taken = schema.field(&name).is_some();
    match (random.below(5), one) {
        (0, Some(at)) => drop(schema.fields.remove(at)),
        (1, Some(at)) if !taken => schema.fields[at].name = name,
        (2, Some(at)) if schema.fields[at].ty == Type::Int => schema.fields[at].ty = Type::Long,
        // The column that nearly all events have: gone and back, of another type.
        (3, _) => {
            schema.fields.retain(|field| field.name != "n");
            let ty = [Type::Int, Type::Long, Type::String][random.below(3) as usize].clone();
            schema.fields.push(Field::optional(last + 1, "n", ty));
        }
        (4, _) if !taken => {
            let ty = [Type::Int, Type::String, Type::Double, Type::Boolean][random.below(4) as usize].clone();
            schema.fields.push(Field::optional(last + 1, name, ty));
        }
        _ => {}
    }
}
