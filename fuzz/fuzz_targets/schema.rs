//! Schemas as users declare them, and as they are inferred from events: what is accepted can be written and read again.
#![no_main]

use frazil_core::infer::infer_schema;
use frazil_core::mapping::{MappingPolicy, NoColumn, Plan, RowMeta};
use frazil_core::schema::{Schema, json_schema};
use frazil_fuzz::byte;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let schema = match byte(&mut data) % 3 {
        0 => json_schema::parse_any(data).ok(),
        1 => Schema::from_json(data).ok(),
        _ => inferred(data),
    };
    let Some(schema) = schema else { return };
    assert_eq!(Schema::from_value(&schema.to_value()).as_ref(), Ok(&schema));
});

/// The events fit the schema that was inferred from them.
fn inferred(data: &[u8]) -> Option<Schema> {
    let events: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(16).collect();
    let schema = infer_schema(events.iter().copied()).ok()?.with_system_columns();
    let plan = Plan::new(&schema, &MappingPolicy::default()).expect("an inferred schema has a plan");
    let meta = RowMeta { id: "id", ts_micros: 1, write_id: "write" };
    for event in events {
        if let Err(error) = plan.row(event, &meta, &mut NoColumn) {
            panic!("{:?} does not fit its own schema: {error}", String::from_utf8_lossy(event));
        }
    }
    Some(schema)
}
