//! Speed of the mapping walk alone: JSON bytes to a verdict, with the sink that ignores everything.
//!
//! MB/s of event bytes on one core. It must not measure splitting, Arrow or I/O.

#![allow(missing_docs, reason = "criterion_group! makes an undocumented function")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use frazil_core::infer::infer_schema;
use frazil_core::mapping::{MappingPolicy, NoColumn, NonFinite, Plan, RowMeta, Unknown};
use frazil_core::schema::Schema;

/// About 150 bytes, flat.
const FLAT: &str = r#"{"event_id":"01J9ZK3T7Q4W","user_id":184467,"ts":"2026-11-21T06:59:00.123Z","action":"click","amount":12.75,"ok":true,"country":"DE","n":1042,"k":7}"#;

/// About 490 bytes, nested.
const NESTED: &str = r#"{"event_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","ts":"2026-11-21T06:59:00.123456Z","user_id":1844674407,"session":"s-93f2c1d4","name":"page_view","score":0.8731,"properties":{"url":"https://example.com/products/1042?ref=mail","referrer":"https://news.example.org/","title":"Caf\u00e9 \"M\u00fcller\"","width":1920,"height":1080,"value":42,"logged_in":true,"campaign":null,"experiment":{"id":"exp-17","variant":"B","share":0.25}},"tags":["web","mobile","beta","tag-17","spring-sale"],"version":"2.14.3"}"#;

const META: RowMeta<'_> = RowMeta { id: "18a2b3c4d5e6f708-0-1042-7", ts_micros: 1_795_000_000_000_000, write_id: "" };

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mapping");
    for (name, event) in [("flat", FLAT), ("nested", NESTED)] {
        let event = event.as_bytes();
        let schema = infer_schema(std::iter::once(event)).expect("a valid event");
        let in_order = schema.clone().with_system_columns();
        // Every key misses the guess that fields come in the schema's order.
        let mut reversed = in_order.clone();
        reversed.fields.reverse();
        // Most of the event is unknown and goes to `__extra__`.
        let known = schema.fields.iter().take(2).cloned().collect();
        let unknown = Schema::new(known).with_system_columns();
        // Values that may be written in more ways must cost nothing when they are not.
        let lenient = MappingPolicy { numbers_in_strings: true, non_finite: NonFinite::Accept, ..Default::default() };
        let default = MappingPolicy::default();
        group.throughput(Throughput::Bytes(event.len() as u64));
        for (case, schema, policy, mode) in [
            ("", &in_order, default, Unknown::Capture),
            ("_reversed", &reversed, default, Unknown::Capture),
            ("_lenient", &in_order, lenient, Unknown::Capture),
            ("_unknown", &unknown, default, Unknown::Capture),
            ("_ignored", &unknown, default, Unknown::Ignore),
        ] {
            let plan = Plan::with(schema, &policy, mode).expect("a plan");
            plan.row(event, &META, &mut NoColumn).expect("a valid event");
            group.bench_function(format!("{name}_{}B{case}", event.len()), |bencher| {
                bencher.iter(|| plan.row(black_box(event), &META, &mut NoColumn));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, rows);
criterion_main!(benches);
