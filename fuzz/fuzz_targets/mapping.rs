//! Any event against any schema and policy: the proxy accepts exactly what the writer can make a row of, and a refused
//! event leaves nothing behind in the columns.
#![no_main]

use frazil_core::evolve::evolve;
use frazil_core::mapping::{NoColumn, Plan, RowMeta};
use frazil_core::policy::{TablePolicy, UnknownFieldPolicy};
use frazil_core::schema::Schema;
use frazil_fuzz::{byte, policy, split_at_zero};
use frazil_writer::columns::{Columns, arrow_schema};
use libfuzzer_sys::fuzz_target;

const META: RowMeta<'static> = RowMeta { id: "id", ts_micros: 1, write_id: "write" };

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let policy = policy(byte(&mut data));
    let (schema, events) = split_at_zero(data);
    let Ok(schema) = Schema::from_json(schema) else { return };
    let events: Vec<&[u8]> = events.split(|byte| *byte == b'\n').take(16).collect();
    let Ok(plan) = policy.writing_plan(&schema) else { return };
    writes_what_it_accepts(&schema, &plan, &events);
    evolves_for_what_it_accepts(&schema, &policy, &events);
});

fn accepts(plan: &Plan, event: &[u8]) -> bool {
    plan.row(event, &META, &mut NoColumn).is_ok()
}

fn writes_what_it_accepts(schema: &Schema, plan: &Plan, events: &[&[u8]]) {
    let Ok(mut columns) = Columns::new(&arrow_schema(schema)) else { return };
    let mut rows = 0;
    for event in events {
        let written = plan.row(event, &META, columns.root()).is_ok();
        assert_eq!(written, accepts(plan, event), "{:?}", String::from_utf8_lossy(event));
        rows += usize::from(written);
        if !written {
            columns.truncate(rows);
        }
        assert_eq!(columns.len(), rows);
    }
    assert_eq!(columns.finish().num_rows(), rows);
}

/// What the proxy accepts fits the table after the change that is proposed for it, if there may be `__extra__`.
fn evolves_for_what_it_accepts(schema: &Schema, policy: &TablePolicy, events: &[&[u8]]) {
    let Ok(accepting) = policy.accepting_plan(schema) else { return };
    let evolved = evolve(schema, policy, schema.highest_field_id(), 100, events.iter().copied());
    let after = evolved.map_or_else(|| schema.clone(), |evolved| evolved.schema);
    assert_eq!(Schema::from_value(&after.to_value()).as_ref(), Ok(&after), "a proposal is a schema");
    let Ok(writing) = policy.writing_plan(&after) else { panic!("a proposal has a plan") };
    let captures = after.field("__extra__").is_some();
    if policy.unknown_fields == UnknownFieldPolicy::Evolve && !captures {
        return;
    }
    for event in events.iter().filter(|event| accepts(&accepting, event)) {
        assert!(accepts(&writing, event), "{:?} in {after:?}", String::from_utf8_lossy(event));
    }
}
