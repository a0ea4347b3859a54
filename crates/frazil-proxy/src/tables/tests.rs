//! The cache over the in-memory catalog, in paused time.

use std::collections::BTreeMap;

use frazil_core::mapping::MappingPolicy;
use frazil_core::policy::{OnInvalid, SystemColumns, UnknownFieldPolicy};
use frazil_core::schema::{Field, Schema, Type};
use futures::future::join_all;

use super::memory::{Calls, MemoryTables, TableFault};
use super::*;

const POLICY: TablePolicy = TablePolicy {
    mapping: MappingPolicy {
        epoch_unit: frazil_core::mapping::EpochUnit::Millis,
        case_insensitive: false,
        numbers_in_strings: false,
        non_finite: frazil_core::mapping::NonFinite::Reject,
    },
    unknown_fields: UnknownFieldPolicy::Capture,
    on_invalid: OnInvalid::Reject,
    system_columns: SystemColumns::OnDemand,
    columns_per_hour: 100,
};

fn name(table: &str) -> TableName {
    format!("lake.web.{table}").parse().expect("valid")
}

fn schema(columns: &[&str]) -> Schema {
    Schema::new((1..).zip(columns).map(|(id, column)| Field::optional(id, *column, Type::Long)).collect())
}

fn new(columns: &[&str]) -> NewTable {
    NewTable {
        schema: schema(columns),
        partition_by: String::new(),
        sort_by: String::new(),
        properties: BTreeMap::new(),
        strict_namespace: false,
    }
}

fn cache() -> (Tables, MemoryTables) {
    with(ProxyConfig::default())
}

fn with(config: ProxyConfig) -> (Tables, MemoryTables) {
    let source = MemoryTables::new("lake");
    source.put(&name("t"), schema(&["a"]));
    (Tables::new(Arc::new(source.clone()), Arc::new(config), Metrics::default()), source)
}

fn down() -> TableFault {
    TableFault::Error(TableError::Unavailable("down".to_owned()))
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_schema_is_loaded_once_per_ttl_however_many_ask() {
    let (tables, source) = cache();
    let table = name("t");
    let asked = join_all((0..50).map(|_| tables.plan(&table, &POLICY))).await;
    assert!(asked.iter().all(Result::is_ok));
    sleep(29).await;
    tables.plan(&table, &POLICY).await.expect("cached");
    assert_eq!(source.calls().load, 1);
    sleep(1).await;
    join_all((0..50).map(|_| tables.plan(&table, &POLICY))).await;
    assert_eq!(source.calls().load, 2);
}

#[tokio::test(start_paused = true)]
async fn only_one_request_waits_for_a_refresh() {
    let (tables, source) = cache();
    let table = name("t");
    tables.plan(&table, &POLICY).await.expect("loaded");
    sleep(30).await;
    source.set_fault(Some(TableFault::Hang));
    let begun = Instant::now();
    let (waits, does_not) = tokio::join!(tables.plan(&table, &POLICY), async {
        let answer = tables.plan(&table, &POLICY).await;
        (answer, begun.elapsed())
    });
    waits.expect("stale, after the timeout");
    does_not.0.expect("stale");
    assert_eq!(does_not.1, Duration::ZERO);
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn while_the_catalog_is_down_what_is_known_is_used() {
    let (tables, source) = cache();
    tables.plan(&name("t"), &POLICY).await.expect("loaded");
    source.set_fault(Some(down()));
    sleep(3600).await;
    for _ in 0..10 {
        tables.plan(&name("t"), &POLICY).await.expect("stale");
    }
    assert_eq!(source.calls().load, 2, "a failed load is not repeated at once");
    let unknown = tables.plan(&name("other"), &POLICY).await;
    assert_eq!(unknown.err(), Some(TableError::Unavailable("down".to_owned())));
    source.set_fault(None);
    sleep(1).await;
    tables.plan(&name("t"), &POLICY).await.expect("fresh");
    assert_eq!(source.calls().load, 4);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_catalog_that_hangs_waits_once() {
    let (tables, source) = cache();
    source.set_fault(Some(TableFault::Hang));
    let begun = Instant::now();
    let table = name("t");
    let asked = join_all((0..20).map(|_| tables.plan(&table, &POLICY))).await;
    assert!(asked.iter().all(|answer| matches!(answer, Err(TableError::Unavailable(_)))));
    assert_eq!(begun.elapsed(), Duration::from_secs(10), "not 20 times");
    assert_eq!(source.calls().load, 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_table_is_believed_missing_for_a_second() {
    let (tables, source) = cache();
    let table = name("new");
    for _ in 0..5 {
        assert_eq!(tables.plan(&table, &POLICY).await.err(), Some(TableError::Missing));
    }
    source.put(&table, schema(&["a"]));
    assert_eq!(tables.plan(&table, &POLICY).await.err(), Some(TableError::Missing));
    assert_eq!(source.calls().load, 1);
    sleep(1).await;
    tables.plan(&table, &POLICY).await.expect("found");
    source.drop_table(&table);
    sleep(30).await;
    assert_eq!(tables.plan(&table, &POLICY).await.err(), Some(TableError::Missing), "a dropped table is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_newer_schema_can_be_asked_for() {
    let (tables, source) = cache();
    let table = name("t");
    let first = tables.plan(&table, &POLICY).await.expect("loaded");
    sleep(2).await;
    let second = tables.newer_plan(&table, &POLICY, Duration::from_secs(1)).await.expect("loaded");
    assert!(second.loaded > first.loaded);
    let third = tables.newer_plan(&table, &POLICY, Duration::from_secs(1)).await.expect("young enough");
    assert_eq!(third.loaded, second.loaded);
    assert_eq!(source.calls().load, 2);
}

#[tokio::test(start_paused = true)]
async fn a_table_is_created_once() {
    let (tables, source) = cache();
    let table = name("new");
    let new = new(&["a"]);
    let created = join_all((0..20).map(|_| tables.create(&table, &POLICY, &new))).await;
    assert!(created.iter().all(Result::is_ok));
    assert_eq!(source.calls(), Calls { create: 1, load: 1, commits: 0 });
    let columns: Vec<String> = source.get(&table).expect("made").fields.iter().map(|f| f.name.clone()).collect();
    assert_eq!(columns, ["a"], "as it was asked for");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_somebody_else_creates_is_taken_as_it_is() {
    let (tables, source) = cache();
    let table = name("new");
    assert!(tables.plan(&table, &POLICY).await.is_err());
    source.put(&table, schema(&["theirs"]));
    tables.create(&table, &POLICY, &new(&["ours"])).await.expect("theirs");
    assert_eq!(source.get(&table).expect("theirs").fields[0].name, "theirs");
    source.set_fault(Some(down()));
    let failed = tables.create(&name("another"), &POLICY, &new(&["a"])).await;
    assert_eq!(failed.err(), Some(TableError::Unavailable("down".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_bounded_and_forgets_the_least_used() {
    let (tables, source) = with(ProxyConfig { tables_max: 3, ..ProxyConfig::default() });
    for table in ["a", "b", "c", "d"] {
        source.put(&name(table), schema(&["x"]));
    }
    for table in ["a", "b", "c", "a", "d", "a", "c", "d"] {
        tables.plan(&name(table), &POLICY).await.expect("exists");
    }
    assert_eq!(source.calls().load, 4);
    tables.plan(&name("b"), &POLICY).await.expect("exists");
    assert_eq!(source.calls().load, 5, "b was forgotten");
    assert_eq!(tables.slots.lock().expect("not poisoned").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_schema_frazil_cannot_fill_is_refused() {
    let (tables, source) = cache();
    source.put(&name("t"), schema(&["same", "same"]));
    assert!(matches!(tables.plan(&name("t"), &POLICY).await, Err(TableError::Unusable(_))));
    source.put(&name("t"), schema(&["one", "other"]));
    sleep(1).await;
    tables.plan(&name("t"), &POLICY).await.expect("mended, and noticed before the cached schema is old");
}

#[tokio::test(start_paused = true)]
async fn a_tables_properties_win_over_the_policy_of_each_stream() {
    let (tables, source) = cache();
    let table = name("t");
    source.set_property(&table, "frazil.on-invalid", "dead-letter");
    let other = TablePolicy { unknown_fields: UnknownFieldPolicy::Ignore, ..POLICY };
    for policy in [POLICY, other, POLICY] {
        let cached = tables.plan(&table, &policy).await.expect("loaded");
        assert_eq!(cached.policy, TablePolicy { on_invalid: OnInvalid::DeadLetter, ..policy });
    }
    let plans = join_all([POLICY, other].iter().map(|policy| tables.plan(&table, policy))).await;
    let plans: Vec<_> = plans.into_iter().map(|cached| cached.expect("loaded").plan).collect();
    assert!(!Arc::ptr_eq(&plans[0], &plans[1]), "one plan per policy");
    let again = tables.plan(&table, &POLICY).await.expect("cached");
    assert!(Arc::ptr_eq(&plans[0], &again.plan), "compiled once");
    assert_eq!(source.calls().load, 1, "loaded once for all streams");
}

#[tokio::test(start_paused = true)]
async fn a_malformed_property_makes_a_table_unusable() {
    let (tables, source) = cache();
    source.set_property(&name("t"), "frazil.on-invalid", "perhaps");
    let refused = tables.plan(&name("t"), &POLICY).await.err();
    let text = "the table property frazil.on-invalid has the value \"perhaps\"; expected reject or dead_letter";
    assert_eq!(refused, Some(TableError::Unusable(text.to_owned())));
}

#[test]
fn policy_properties_are_told_from_those_of_the_writers() {
    for (key, yes) in [
        ("frazil.on-invalid", true),
        ("frazil.checkpoint.sales.0", false),
        ("write.format.default", false),
        ("on-invalid", false),
    ] {
        assert_eq!(is_policy_property(key), yes, "{key}");
    }
}
