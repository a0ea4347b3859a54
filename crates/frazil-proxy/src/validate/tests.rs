//! Verdicts over the in-memory catalog, in paused time.

use frazil_core::schema::{Field, Type};

use super::*;
use crate::body::Format;
use crate::config::ProxyConfig;
use crate::tables::memory::{MemoryTables, TableFault};

struct Rig {
    tables: Tables,
    source: MemoryTables,
    metrics: Metrics,
}

fn table() -> TableName {
    "lake.web.clicks".parse().expect("valid")
}

fn strict() -> Schema {
    Schema::new(vec![Field::optional(1, "id", Type::Long)])
}

impl Rig {
    fn new() -> Self {
        let (source, metrics) = (MemoryTables::new("lake"), Metrics::default());
        source.put(&table(), strict());
        let tables = Tables::new(Arc::new(source.clone()), Arc::new(ProxyConfig::default()), metrics.clone());
        Self { tables, source, metrics }
    }

    async fn accept(&self, body: &str) -> Result<(), Rejection> {
        let stream = StreamDefinition::new("sales".parse().expect("valid"), 1);
        let events = Arc::new(Events::split(body.as_bytes(), Format::Ndjson).expect("valid"));
        accept(&self.tables, &self.metrics, &stream, &table(), &events).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_altered_table_is_seen_when_the_old_schema_refuses() {
    let rig = Rig::new();
    let more = r#"{"id":1,"more":2}"#;
    assert!(matches!(rig.accept(more).await, Err(Rejection::InvalidEvents(_))));
    rig.source.put(&table(), strict().with_system_columns());
    assert!(matches!(rig.accept(more).await, Err(Rejection::InvalidEvents(_))), "looked a moment ago");
    assert_eq!(rig.source.calls().schema, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.accept(more).await.expect("the altered table takes it");
    assert_eq!(rig.source.calls().schema, 2);
    rig.accept(more).await.expect("from the cache");
    assert_eq!(rig.source.calls().schema, 2);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_bad_events_loads_the_table_once_a_second() {
    let rig = Rig::new();
    for _ in 0..100 {
        assert!(rig.accept("{\"id\":\"x\"}").await.is_err());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(rig.source.calls().schema, 10);
}

#[tokio::test(start_paused = true)]
async fn while_the_catalog_is_down_bad_events_are_still_refused_as_such() {
    let rig = Rig::new();
    rig.accept("{\"id\":1}").await.expect("valid");
    tokio::time::sleep(Duration::from_secs(100)).await;
    rig.source.set_fault(Some(TableFault::Error(TableError::Unavailable("down".to_owned()))));
    rig.accept("{\"id\":2}").await.expect("valid by what is known");
    assert!(matches!(rig.accept("{\"id\":\"x\"}").await, Err(Rejection::InvalidEvents(_))));
}

#[tokio::test(start_paused = true)]
async fn every_invalid_event_is_counted_and_the_first_are_listed() {
    let rig = Rig::new();
    let body = "{\"id\":1}\n{\"id\":\"x\"}\n".repeat(150);
    let Err(Rejection::InvalidEvents(verdicts)) = rig.accept(&body).await else { panic!("refused") };
    assert_eq!((verdicts.events, verdicts.invalid, verdicts.listed.len()), (300, 150, VERDICTS_MAX));
    assert_eq!((verdicts.listed[0].index, verdicts.listed[99].index), (1, 199));
    let count = |reason| rig.metrics.events_rejected.get_or_create(&ReasonLabel { reason }).get();
    assert_eq!((count("wrong_type"), count("unlisted")), (100, 50));
}

#[tokio::test(start_paused = true)]
async fn large_requests_are_judged_like_small_ones() {
    let rig = Rig::new();
    let body = format!("{{\"id\":1}}{}\n{{\"id\":\"x\"}}\n", " ".repeat(OFFLOAD_BYTES));
    let large = format!("{}{{\"id\":\"x\"}}\n", "{\"id\":1}\n".repeat(OFFLOAD_BYTES / 8));
    for body in [body, large] {
        assert!(matches!(rig.accept(&body).await, Err(Rejection::InvalidEvents(Verdicts { invalid: 1, .. }))));
    }
}
