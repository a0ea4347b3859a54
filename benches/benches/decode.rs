//! Section of the log to Arrow record batch, as the writer's table task does it: one core, MB/s of event bytes.

#![allow(missing_docs, reason = "criterion_group! makes undocumented functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use frazil_core::mapping::{MappingPolicy, Plan, RowMeta};
use frazil_core::schema::{Field, Schema, Type};
use frazil_writer::columns::{Columns, arrow_schema};
use std::hint::black_box;

const EVENTS: usize = 2000;

fn flat() -> (Schema, Vec<u8>) {
    let fields = vec![
        Field::required(1, "event_id", Type::String),
        Field::optional(2, "event_time", Type::Timestamptz),
        Field::optional(3, "user_id", Type::Long),
        Field::optional(4, "url", Type::String),
        Field::optional(5, "duration_ms", Type::Double),
        Field::optional(6, "country", Type::String),
        Field::optional(7, "bot", Type::Boolean),
    ];
    let line = |n: usize| {
        format!(
            "{{\"event_id\":\"evt-{n:012}\",\"event_time\":\"2026-11-21T20:{:02}:{:02}.123Z\",\"user_id\":{},\
             \"url\":\"https://shop.example/products/{n}?ref=mail\",\"duration_ms\":{}.25,\"country\":\"DE\",\"bot\":{}}}\n",
            n / 60 % 60,
            n % 60,
            n * 7919,
            n % 1000,
            n.is_multiple_of(9),
        )
    };
    (Schema::new(fields).with_system_columns(), (0..EVENTS).flat_map(|n| line(n).into_bytes()).collect())
}

fn nested() -> (Schema, Vec<u8>) {
    let (mut schema, _) = flat();
    let properties = vec![
        Field::optional(21, "browser", Type::String),
        Field::optional(22, "version", Type::Int),
        Field::optional(23, "experiment", Type::String),
    ];
    schema.fields.insert(0, Field::optional(20, "properties", Type::Struct(properties)));
    schema.fields.insert(0, Field::optional(30, "tags", Type::list(31, Type::String)));
    let line = |n: usize| {
        format!(
            "{{\"event_id\":\"evt-{n:012}\",\"user_id\":{},\"properties\":{{\"browser\":\"Fire\\u0066ox\",\"version\":{},\
             \"experiment\":\"checkout-b\"}},\"tags\":[\"new\",\"mobile\",\"caf\u{e9}\"],\"unknown\":{{\"kept\":[1,2,3]}}}}\n",
            n * 7919,
            n % 130,
        )
    };
    (schema, (0..EVENTS).flat_map(|n| line(n).into_bytes()).collect())
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, (schema, text)) in [("flat", flat()), ("nested", nested())] {
        let plan = Plan::new(&schema, &MappingPolicy::default()).expect("plain schema");
        let arrow = arrow_schema(&schema);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut columns = Columns::new(&arrow).expect("Iceberg types");
                let meta =
                    RowMeta { id: "0000018a2b3c4d5e-0-123456-789", ts_micros: 1, write_id: "0191f7a2-0000-7000" };
                for line in black_box(&text).split_inclusive(|byte| *byte == b'\n') {
                    plan.row(&line[..line.len() - 1], &meta, columns.root()).expect("valid event");
                }
                columns.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
