//! Schema changes through the client that writers use, and what they leave readable.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray, new_null_array};
use frazil_iceberg::create::create_table;
use frazil_iceberg::data_file::{StageOptions, stage};
use frazil_iceberg::spec::{FormatVersion, TableIdent};
use frazil_iceberg::{FencedAppend, RestCatalog, RestCatalogConfig, SchemaUpdateError, Table, scan};
use futures::TryStreamExt;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::Server;

async fn connect(server: &Server) -> RestCatalog {
    RestCatalog::connect(RestCatalogConfig::new(server.api.base.clone())).await.expect("connects")
}

fn column(id: i32, name: &str, of: &str) -> Value {
    json!({ "id": id, "name": name, "required": false, "type": of })
}

fn schema(columns: &[Value]) -> String {
    json!({ "type": "struct", "schema-id": 0, "fields": columns }).to_string()
}

async fn create(server: &Server, catalog: &RestCatalog, columns: &[Value], spec: &str, version: &str) -> Table {
    server.api.create_namespace(&["ns"]).await;
    let properties = BTreeMap::from([("format-version".to_owned(), version.to_owned())]);
    let definition = create_table(&schema(columns), spec, "", properties, None).expect("definition");
    let ident = TableIdent::from_strs(["ns", "events"]).expect("a name");
    catalog.create_table(&ident, definition).await.expect("created")
}

async fn append(catalog: &RestCatalog, table: &Table, columns: Vec<ArrayRef>) -> Table {
    let rows = RecordBatch::try_new(table.arrow_schema().expect("convertible"), columns).expect("fits");
    let staged = stage(table, vec![rows], &StageOptions::new(Uuid::now_v7().to_string())).await.expect("staged");
    let append = FencedAppend {
        commit_id: Uuid::now_v7(),
        table_uuid: table.uuid(),
        data_files: vec![staged],
        fence: Vec::new(),
        summary: BTreeMap::new(),
    };
    catalog.append(table, &append).await.expect("appended").table
}

async fn read(table: &Table, columns: &[&str]) -> Vec<RecordBatch> {
    let scan = scan(table, columns).await.expect("begun");
    scan.batches.try_collect().await.expect("read")
}

fn numbers(batches: &[RecordBatch], column: usize) -> Vec<Option<i64>> {
    let mut numbers: Vec<_> =
        batches.iter().flat_map(|batch| batch.column(column).as_primitive::<Int64Type>().iter()).collect();
    numbers.sort();
    numbers
}

fn mark() -> BTreeMap<String, String> {
    BTreeMap::from([("frazil.columns-added".to_owned(), "1:1".to_owned())])
}

#[tokio::test]
async fn a_table_of_either_version_evolves_and_stays_readable() {
    for version in ["2", "3"] {
        let server = Server::start().await;
        let catalog = connect(&server).await;
        let table = create(&server, &catalog, &[column(1, "n", "int")], "bucket(4, n)", version).await;
        let rows: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1, 2]));
        let table = append(&catalog, &table, vec![rows]).await;

        let wider = schema(&[column(1, "n", "long"), column(2, "s", "string")]);
        let altered = catalog.update_schema(&table, &wider, mark()).await.expect("altered");
        assert_eq!(altered.property("frazil.columns-added"), Some("1:1"));
        assert_eq!((altered.last_column_id(), altered.metadata.current_schema_id()), (2, 1));
        let loaded = catalog.load_table(&table.ident).await.expect("loads");
        assert_eq!(loaded.metadata.current_schema(), altered.metadata.current_schema());

        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![i64::MAX])), Arc::new(StringArray::from(vec!["x"]))];
        let table = append(&catalog, &altered, columns).await;
        let rows = read(&table, &["s", "n"]).await;
        assert_eq!(numbers(&rows, 1), [Some(1), Some(2), Some(i64::MAX)], "format version {version}");
        let texts: usize = rows.iter().map(|rows| rows.num_rows() - rows.column(0).null_count()).sum();
        assert_eq!(texts, 1);
    }
}

/// Requirements that do not hold are conflicts; a schema that was there before is taken again by its id; an illegal
/// change is refused.
#[tokio::test]
async fn outcomes_of_a_schema_change() {
    let server = Server::start().await;
    let catalog = connect(&server).await;
    let table = create(&server, &catalog, &[column(1, "n", "int")], "", "2").await;
    let added = schema(&[column(1, "n", "int"), column(2, "a", "string")]);
    let altered = catalog.update_schema(&table, &added, mark()).await.expect("altered");
    let late = schema(&[column(1, "n", "int"), column(2, "b", "string")]);
    let conflict = catalog.update_schema(&table, &late, mark()).await.expect_err("conflict");
    assert!(matches!(conflict, SchemaUpdateError::Conflict { .. }), "{conflict}");
    let back = catalog
        .update_schema(&altered, &schema(&[column(1, "n", "int")]), BTreeMap::new())
        .await
        .expect("dropped the column");
    assert_eq!((back.metadata.current_schema_id(), back.last_column_id()), (0, 2));
    let illegal = schema(&[column(1, "n", "string")]);
    let rejected = catalog.update_schema(&back, &illegal, BTreeMap::new()).await.expect_err("illegal");
    assert!(matches!(rejected, SchemaUpdateError::Rejected(_)), "{rejected}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_proposals_exactly_one_wins_each_round() {
    let server = Server::start().await;
    let catalog = connect(&server).await;
    let mut table = create(&server, &catalog, &[column(1, "n", "int")], "", "2").await;
    for round in 0..6 {
        let attempts = (0..4).map(|number| {
            let mut value: Value = serde_json::from_str(&table.schema_json().expect("renders")).expect("JSON");
            let fields = value["fields"].as_array_mut().expect("fields");
            fields.push(column(table.last_column_id() + 1, &format!("c{round}_{number}"), "string"));
            let (catalog, table) = (catalog.clone(), table.clone());
            async move { catalog.update_schema(&table, &value.to_string(), mark()).await }
        });
        let outcomes = futures::future::join_all(attempts).await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1, "round {round}");
        let lost = |outcome: &Result<Table, _>| matches!(outcome, Err(SchemaUpdateError::Conflict { .. }));
        assert_eq!(outcomes.iter().filter(|outcome| lost(outcome)).count(), 3);
        table = catalog.load_table(&table.ident).await.expect("loads");
        assert_eq!(table.metadata.current_schema().as_struct().fields().len(), round + 2);
    }
}

/// Nanoseconds: the format version is chosen by the schema, rows are split by the floored hour, and come back whole.
#[tokio::test]
async fn a_table_of_nanoseconds() {
    let server = Server::start().await;
    let catalog = connect(&server).await;
    server.api.create_namespace(&["ns"]).await;
    let columns = [column(1, "ns", "timestamptz_ns"), column(2, "local", "timestamp_ns")];
    let definition = create_table(&schema(&columns), "hour(ns), bucket(8, local)", "ns desc", BTreeMap::new(), None)
        .expect("defined");
    let ident = TableIdent::from_strs(["ns", "events"]).expect("a name");
    let table = catalog.create_table(&ident, definition).await.expect("created");
    assert_eq!(table.metadata.format_version(), FormatVersion::V3);

    let hour = 3_600_000_000_000_i64;
    let values = vec![Some(-1), Some(1), Some(hour + 123_456_789), None, Some(i64::MAX), Some(i64::MIN)];
    let instants = TimestampNanosecondArray::from(values.clone());
    let local: ArrayRef = new_null_array(instants.data_type(), values.len());
    let columns: Vec<ArrayRef> = vec![Arc::new(instants.with_timezone("+00:00")), local];
    let table = append(&catalog, &table, columns).await;
    let rows = read(&table, &["ns"]).await;
    let mut read: Vec<Option<i64>> = rows
        .iter()
        .flat_map(|rows| rows.column(0).as_primitive::<arrow_array::types::TimestampNanosecondType>().iter())
        .collect();
    read.sort();
    let mut expected = values;
    expected.sort();
    assert_eq!(read, expected);
    assert_eq!(table.metadata.next_row_id(), 6, "row lineage of format version 3");
    let manifests = table.metadata.current_snapshot().expect("a snapshot").summary().additional_properties.clone();
    assert_eq!(manifests.get("added-data-files").map(String::as_str), Some("6"));
}
