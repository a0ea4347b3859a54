//! Verdicts over the in-memory catalog, in paused time.

use frazil_core::limits::VERDICTS_MAX;
use frazil_core::policy::{SystemColumns, UnknownFieldPolicy};
use frazil_core::routing::Routing;
use frazil_core::schema::{Field, Schema, Type};
use frazil_core::stream::{OnMissingTable, TableTemplate};

use super::*;
use crate::body::{Events, Format, Tolerance};
use crate::config::ProxyConfig;
use crate::tables::TableError;
use crate::tables::memory::{MemoryTables, TableFault};

struct Rig {
    tables: Tables,
    source: MemoryTables,
    metrics: Metrics,
    stream: StreamDefinition,
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
        let stream = StreamDefinition::new("sales".parse().expect("valid"), 1);
        Self { tables, source, metrics, stream }
    }

    /// All for the table.
    async fn accept(&self, body: &str) -> Result<(), Rejection> {
        self.accept_for(body, &table()).await.map(drop)
    }

    async fn accept_for(&self, body: &str, table: &TableName) -> Result<Verdicts, Rejection> {
        let batch = Arc::new(Batch::of_one(events(body)));
        let targets = vec![Target::Table(Arc::new(table.clone()))];
        let accepted = accept(&self.tables, &self.metrics, &self.stream, &batch, targets).await;
        accepted.map(|(_, verdicts)| verdicts)
    }

    /// Each for the table `lake.web.<its field t>`.
    async fn route(&self, body: &str) -> Result<(Vec<Target>, Verdicts), Rejection> {
        let rule = Routing { table: "web.{t}".to_owned(), allow: Vec::new(), fallback: None };
        let router = rule.compile("lake", false).expect("a valid rule");
        let (batch, targets) = Batch::routed(router, events(body)).expect("few tables");
        accept(&self.tables, &self.metrics, &self.stream, &Arc::new(batch), targets).await
    }

    fn counted(&self, metric: impl Fn(&Metrics) -> &ByReason, reason: &'static str) -> u64 {
        metric(&self.metrics).get_or_create(&ReasonLabel { reason }).get()
    }
}

fn events(body: &str) -> Events {
    Events::split(body.as_bytes(), Format::Ndjson, Tolerance::KeepLines).expect("valid")
}

#[tokio::test(start_paused = true)]
async fn an_altered_table_is_seen_when_the_old_schema_refuses() {
    let mut rig = Rig::new();
    rig.stream.policy.unknown_fields = UnknownFieldPolicy::Reject;
    let more = r#"{"id":1,"more":2}"#;
    assert!(matches!(rig.accept(more).await, Err(Rejection::InvalidEvents(_))));
    let altered = [strict().fields, vec![Field::optional(2, "more", Type::Long)]].concat();
    rig.source.put(&table(), Schema::new(altered));
    assert!(matches!(rig.accept(more).await, Err(Rejection::InvalidEvents(_))), "looked a moment ago");
    assert_eq!(rig.source.calls().load, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.accept(more).await.expect("the altered table takes it");
    assert_eq!(rig.source.calls().load, 2);
    rig.accept(more).await.expect("from the cache");
    assert_eq!(rig.source.calls().load, 2);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_bad_events_loads_the_table_once_a_second() {
    let rig = Rig::new();
    for _ in 0..100 {
        assert!(rig.accept("{\"id\":\"x\"}").await.is_err());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(rig.source.calls().load, 10);
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
    assert_eq!(rig.counted(|metrics| &metrics.events_rejected, "wrong_type"), 150);
    assert_eq!(rig.counted(|metrics| &metrics.events_invalid, "wrong_type"), 0);
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

fn invalid(outcome: Result<Verdicts, Rejection>) -> Verdicts {
    match outcome {
        Err(Rejection::InvalidEvents(verdicts)) => verdicts,
        other => panic!("{other:?}"),
    }
}

fn fresh() -> TableName {
    "lake.new.fresh".parse().expect("valid")
}

#[tokio::test(start_paused = true)]
async fn invalid_events_are_accepted_if_the_stream_or_the_table_says_so() {
    let body = "{\"id\":1}\n{\"id\":\"x\"}\nnot JSON\n";
    let mut rig = Rig::new();
    assert_eq!(invalid(rig.accept_for(body, &table()).await).invalid, 2);
    rig.stream.policy.on_invalid = OnInvalid::DeadLetter;
    let verdicts = rig.accept_for(body, &table()).await.expect("accepted");
    let listed: Vec<_> = verdicts.listed.iter().map(|verdict| (verdict.index, verdict.reason)).collect();
    assert_eq!((verdicts.invalid, listed), (2, vec![(1, "wrong_type"), (2, "malformed_json")]));
    assert_eq!(rig.counted(|metrics| &metrics.events_invalid, "malformed_json"), 1);
    assert_eq!(rig.counted(|metrics| &metrics.events_rejected, "malformed_json"), 1);

    let mut rig = Rig::new();
    rig.source.set_property(&table(), "frazil.on-invalid", "dead_letter");
    assert_eq!(on_invalid(&rig.tables, &rig.stream, &table()).await, OnInvalid::DeadLetter);
    assert_eq!(rig.accept_for(body, &table()).await.expect("the table's owner has the last word").invalid, 2);
    rig.stream.policy.on_invalid = OnInvalid::DeadLetter;
    rig.source.put(&fresh(), strict());
    rig.source.set_property(&fresh(), "frazil.on-invalid", "reject");
    assert_eq!(on_invalid(&rig.tables, &rig.stream, &fresh()).await, OnInvalid::Reject);
    invalid(rig.accept_for(body, &fresh()).await);
}

#[tokio::test(start_paused = true)]
async fn what_a_new_table_looks_like_is_the_templates_or_inferred() {
    let declared = Schema::new(vec![Field::required(7, "id", Type::Int), Field::optional(9, "at", Type::Date)]);
    let mut rig = Rig::new();
    rig.stream.on_missing_table = OnMissingTable::Create;
    rig.stream.create = TableTemplate {
        schema: Some(declared.to_value()),
        partition_by: Some("bucket(4, id)".to_owned()),
        sort_by: Some("at desc".to_owned()),
        properties: [("owner".to_owned(), "me".to_owned())].into(),
        strict_namespace: false,
    };
    for misfit in [r#"{"id":"text"}"#, r#"{"at":"2020-01-01"}"#, "{\"id\":1}\n{\"id\":1.5}", "[]"] {
        invalid(rig.accept_for(misfit, &fresh()).await);
    }
    assert_eq!(rig.source.calls().create, 0, "events are measured before the table is made");
    rig.accept_for(r#"{"id":1,"at":"2020-01-01","more":1}"#, &fresh()).await.expect("fits");
    let made = rig.source.created(&fresh()).expect("made");
    assert_eq!(made.schema, declared.with_system_columns());
    assert_eq!((made.partition_by.as_str(), made.sort_by.as_str()), ("bucket(4, id)", "at desc"));
    assert_eq!(made.properties["owner"], "me");

    rig.stream.create = TableTemplate::default();
    let other: TableName = "lake.new.other".parse().expect("valid");
    rig.accept_for(r#"{"a":1}"#, &other).await.expect("fits what it is inferred to be");
    let made = rig.source.created(&other).expect("made");
    assert_eq!((made.partition_by.as_str(), made.schema.fields.len()), ("day(__ts__)", 5));

    rig.stream.policy.system_columns = SystemColumns::Never;
    let bare: TableName = "lake.new.bare".parse().expect("valid");
    rig.accept_for(r#"{"a":1}"#, &bare).await.expect("fits");
    let made = rig.source.created(&bare).expect("made");
    assert_eq!((made.partition_by.as_str(), made.schema.fields.len()), ("", 1));
}

#[tokio::test(start_paused = true)]
async fn no_table_is_made_for_a_request_that_is_refused() {
    let mut rig = Rig::new();
    rig.stream.on_missing_table = OnMissingTable::Create;
    rig.stream.policy.unknown_fields = UnknownFieldPolicy::Reject;
    let verdicts = invalid(rig.accept_for("{\"a\":1}\n{\"b\":null}\n", &fresh()).await);
    assert_eq!((verdicts.invalid, verdicts.listed[0].reason), (1, "unknown_field"), "nulls give no column");
    rig.stream.policy.on_invalid = OnInvalid::DeadLetter;
    invalid(rig.accept_for("7\nnonsense\n", &fresh()).await);
    assert_eq!(rig.source.calls().create, 0);
    rig.stream.create.properties = [("frazil.on-invalid".to_owned(), "perhaps".to_owned())].into();
    let malformed = rig.accept_for("{\"a\":1}", &fresh()).await;
    assert!(matches!(malformed, Err(Rejection::TableUnusable { .. })), "{malformed:?}");
    rig.stream.create.properties.clear();
    rig.stream.create.schema = Some(serde_json::json!({"type": "list"}));
    let malformed = rig.accept_for("{\"a\":1}", &fresh()).await;
    assert!(matches!(malformed, Err(Rejection::TableUnusable { .. })), "{malformed:?}");
    assert_eq!(rig.source.calls().create, 0);
}

#[tokio::test(start_paused = true)]
async fn a_table_is_inferred_from_the_valid_events_alone() {
    let mut rig = Rig::new();
    rig.stream.on_missing_table = OnMissingTable::Create;
    rig.stream.policy.on_invalid = OnInvalid::DeadLetter;
    let body = "{\"a\":1}\n{\"x\":1,\"x\":2}\nnot JSON\n{\"b\":true}\n";
    let verdicts = rig.accept_for(body, &fresh()).await.expect("accepted");
    assert_eq!(verdicts.invalid, 2);
    let schema = rig.source.created(&fresh()).expect("made").schema;
    let names: Vec<_> = schema.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names[..2], ["a", "b"]);
    assert_eq!(names.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_missing_namespace_is_respected_if_it_must_be() {
    let mut rig = Rig::new();
    rig.stream.on_missing_table = OnMissingTable::Create;
    rig.stream.create.strict_namespace = true;
    let refused = rig.accept_for("{\"a\":1}", &fresh()).await.expect_err("no such namespace");
    assert_eq!(
        refused.to_string(),
        "the namespace new of the table lake.new.fresh does not exist, and the stream sales does not create namespaces"
    );
    rig.accept_for("{\"a\":1}", &"lake.web.more".parse().expect("valid")).await.expect("the namespace has a table");
    rig.stream.create.strict_namespace = false;
    rig.accept_for("{\"a\":1}", &fresh()).await.expect("made with its namespace");
}

#[tokio::test(start_paused = true)]
async fn routed_events_are_judged_by_their_tables_and_named_by_their_positions() {
    let rig = Rig::new();
    rig.source.put(&"lake.web.text".parse().expect("valid"), {
        Schema::new(vec![Field::optional(1, "id", Type::String), Field::optional(2, "t", Type::String)])
    });
    rig.source.put(&table(), Schema::new([strict().fields, vec![Field::optional(2, "t", Type::String)]].concat()));
    let good = "{\"t\":\"clicks\",\"id\":1}\n{\"t\":\"text\",\"id\":\"x\"}\n{\"t\":\"clicks\",\"id\":2}\n";
    let (targets, verdicts) = rig.route(good).await.expect("accepted");
    assert_eq!((targets.len(), verdicts.invalid), (2, 0));
    let bad =
        "{\"t\":\"clicks\",\"id\":\"x\"}\n{\"t\":\"text\"}\n{\"id\":2}\n{\"t\":\"clicks\",\"id\":\"y\"}\n{\"t\":1.5}\n";
    let verdicts = invalid(rig.route(bad).await.map(|(_, verdicts)| verdicts));
    let listed: Vec<_> =
        verdicts.listed.iter().map(|v| (v.index, v.reason, v.field.as_str(), v.got.as_str())).collect();
    let expected = [
        (0, "wrong_type", "id", "\"x\""),
        (2, "unroutable", "t", ""),
        (3, "wrong_type", "id", "\"y\""),
        (4, "unroutable", "t", "1.5"),
    ];
    assert_eq!(listed, expected);
    assert_eq!(verdicts.listed[1].message, "no table for the event, by its field `t`: the field is missing");
    assert_eq!(rig.counted(|metrics| &metrics.events_rejected, "unroutable"), 2);
}

#[tokio::test(start_paused = true)]
async fn one_event_for_a_missing_table_does_not_stop_the_others_where_invalid_events_are_taken() {
    let mut rig = Rig::new();
    rig.source.put(&table(), strict().with_system_columns());
    let body = "{\"t\":\"clicks\"}\n{\"t\":\"none\"}\n";
    assert!(matches!(rig.route(body).await, Err(Rejection::TableNotFound { .. })));
    rig.stream.policy.on_invalid = OnInvalid::DeadLetter;
    let (targets, verdicts) = rig.route(body).await.expect("accepted");
    let Target::Nowhere(unroutable) = &targets[1] else { panic!("{targets:?}") };
    assert_eq!(unroutable.field, "t");
    let why = "the table lake.web.none does not exist, and the stream does not create missing tables";
    assert_eq!((unroutable.message.as_str(), verdicts.invalid, verdicts.listed[0].index), (why, 1, 1));
    rig.source.set_fault(Some(TableFault::Error(TableError::Unavailable("down".to_owned()))));
    let down = rig.route("{\"t\":\"others\"}\n").await;
    assert!(matches!(down, Err(Rejection::CatalogUnavailable { .. })), "nobody knows: {down:?}");
}

#[tokio::test(start_paused = true)]
async fn the_tables_of_a_request_are_asked_for_side_by_side() {
    let rig = Rig::new();
    let body: String = (0..1000).map(|n| format!("{{\"t\":\"t{n}\"}}\n")).collect();
    for number in 0..1000 {
        rig.source.put(&format!("lake.web.t{number}").parse().expect("valid"), strict().with_system_columns());
    }
    let (targets, _) = rig.route(&body).await.expect("accepted");
    assert_eq!((targets.len(), rig.source.calls().load), (1000, 1000));
}
