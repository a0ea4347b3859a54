//! Metrics reports of Iceberg clients, from the request of an engine to a row that another engine reads: straight to a
//! proxy, and by way of the embedded catalog of `frazil dev`.

use std::path::Path;
use std::time::Duration;

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::lake::Lake;
use frazil_tests::process::Process;
use frazil_tests::role::Role;
use frazil_tests::tools;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::process::Command;

const SCANS: &str = "frazil_system.iceberg_scan_report";
const COMMITS: &str = "frazil_system.iceberg_commit_report";
const LIMIT: Duration = Duration::from_secs(60);

fn count(value: i64) -> Value {
    json!({"unit": "count", "value": value})
}

/// As Spark sends it: after planning `SELECT customer, amount … WHERE amount > 10`.
fn scan() -> Value {
    json!({
        "report-type": "scan-report",
        "table-name": "lake.mycat.sales",
        "snapshot-id": 6_656_377_125_404_557_408_i64,
        "filter": {"type": "gt", "term": "amount", "value": "(2-digit-int)"},
        "schema-id": 0,
        "projected-field-ids": [2, 3],
        "projected-field-names": ["customer", "amount"],
        "metrics": {
            "total-planning-duration": {"count": 1, "time-unit": "nanoseconds", "total-duration": 24_518_916},
            "result-data-files": count(1),
            "total-data-manifests": count(2),
            "scanned-data-manifests": count(1),
            "skipped-data-manifests": count(1),
            "total-file-size-in-bytes": {"unit": "bytes", "value": 1279},
            "dvs": count(0)
        },
        "metadata": {"engine-name": "spark", "engine-version": "3.5.5"}
    })
}

/// As Spark sends it after `INSERT INTO`.
fn commit() -> Value {
    json!({
        "report-type": "commit-report",
        "table-name": "lake.mycat.sales",
        "snapshot-id": 6_656_377_125_404_557_408_i64,
        "sequence-number": 1,
        "operation": "append",
        "metrics": {
            "total-duration": {"count": 1, "time-unit": "nanoseconds", "total-duration": 370_474_587},
            "attempts": count(1),
            "added-data-files": count(1),
            "total-data-files": count(1),
            "added-records": count(1),
            "total-records": count(1),
            "added-files-size-bytes": {"unit": "bytes", "value": 1279},
            "total-files-size-bytes": {"unit": "bytes", "value": 1279}
        },
        "metadata": {"engine-name": "spark"}
    })
}

async fn post(url: &str, token: Option<&str>, report: &Value) -> Response {
    let client = Client::builder().timeout(LIMIT).build().expect("client builds");
    let request = client.post(url).header("content-type", "application/json").body(report.to_string());
    token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth).send().await.expect("answers")
}

/// Asserts that a row has these values, is null elsewhere, and has its system columns.
fn assert_row(read: &Value, expected: &Value, extra: &Value) {
    let row = read["rows"][0].as_object().expect("a row");
    for (column, value) in row.iter().filter(|(column, _)| !column.starts_with("__")) {
        assert_eq!(value, expected.get(column).unwrap_or(&Value::Null), "{column} of {row:?}");
    }
    for column in expected.as_object().expect("columns").keys() {
        assert!(row.contains_key(column), "no column {column} in {row:?}");
    }
    for column in ["__id__", "__ts__", "__write_id__"] {
        assert!(row[column].as_str().is_some_and(|text| !text.is_empty()), "{column} of {row:?}");
    }
    let found: Value = serde_json::from_str(row["__extra__"].as_str().expect("text")).expect("JSON");
    assert_eq!(&found, extra);
    assert_eq!(read["partition"], json!(["day(__ts__)"]));
}

fn path(prefix: &str) -> Value {
    json!({"prefix": prefix, "namespace": ["mycat"], "table": "sales"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_to_a_proxy_becomes_a_row() {
    let cluster = Cluster::start(Options::default()).await;
    let url = |prefix: &str| format!("{}/v1{prefix}/namespaces/mycat/tables/sales/metrics", cluster.api.url);
    let token = Some(cluster.api.token.as_str());
    for report in [scan(), commit()] {
        let answer = post(&url("/main"), token, &report).await;
        let status = answer.status().as_u16();
        assert_eq!((status, answer.text().await.expect("a body")), (204, String::new()));
    }
    let read = cluster.lake.rows(SCANS, 1, LIMIT).await;
    let expected = json!({
        "table_name": "lake.mycat.sales",
        "snapshot_id": 6_656_377_125_404_557_408_i64,
        "filter_expression": scan()["filter"].to_string(),
        "schema_id": 0,
        "projected_field_ids": "2,3",
        "projected_field_names": "customer,amount",
        "total_planning_duration_ns": 24_518_916,
        "result_data_files": 1,
        "total_data_manifests": 2,
        "scanned_data_manifests": 1,
        "skipped_data_manifests": 1,
        "total_file_size_in_bytes": 1279
    });
    let rest = json!({"metadata": scan()["metadata"], "metrics": {"dvs": count(0)}});
    assert_row(&read, &expected, &json!({"path": path("main"), "report": rest}));
    let types = ["table_name", "snapshot_id", "schema_id", "projected_field_ids"].map(|column| &read["types"][column]);
    assert_eq!(types, ["string", "long", "int", "string"]);

    let read = cluster.lake.rows(COMMITS, 1, LIMIT).await;
    let expected = json!({
        "table_name": "lake.mycat.sales",
        "snapshot_id": 6_656_377_125_404_557_408_i64,
        "sequence_number": 1,
        "operation": "append",
        "total_duration_ns": 370_474_587,
        "attempts": 1,
        "added_data_files": 1,
        "total_data_files": 1,
        "added_records": 1,
        "total_records": 1,
        "added_files_size_in_bytes": 1279,
        "total_files_size_in_bytes": 1279
    });
    assert_row(&read, &expected, &json!({"path": path("main"), "report": {"metadata": {"engine-name": "spark"}}}));

    // What is refused is said in the protocol's own words.
    let answer = post(&url(""), None, &scan()).await;
    assert_eq!(answer.status(), 401);
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!((&body["error"]["type"], &body["error"]["code"]), (&"NotAuthorizedException".into(), &401.into()));
    assert_eq!(post(&url(""), token, &json!({"report-type": "scan-report"})).await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_names_stream_and_namespace_or_switches_reports_off() {
    let cluster = Cluster::start(Options::default()).await;
    let (stream, namespace) = ("proxy.iceberg_metrics.stream", "proxy.iceberg_metrics.namespace");
    let token = Some(cluster.api.token.as_str());
    let path = "/v1/namespaces/mycat/tables/sales/metrics";
    // Two levels: the first is the catalog.
    let proxy = Role::proxy(&cluster, &[(namespace, "frazil.ops")]).await;
    assert_eq!(post(&format!("{}{path}", proxy.url), token, &scan()).await.status(), 204);
    cluster.lake.rows("ops.iceberg_scan_report", 1, LIMIT).await;
    let proxy = Role::proxy(&cluster, &[(stream, "nowhere")]).await;
    let answer = post(&format!("{}{path}", proxy.url), token, &scan()).await;
    assert_eq!(answer.status(), 404);
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(body["error"]["message"], "there is no event stream \"nowhere\"");
    let proxy = Role::proxy(&cluster, &[("proxy.iceberg_metrics.enabled", "false")]).await;
    assert_eq!(post(&format!("{}{path}", proxy.url), token, &scan()).await.status(), 404);
}

async fn start_dev(dir: &Path) -> Process {
    let mut command = Command::new(tools::frazil());
    command.args(["dev", "--listen", "127.0.0.1:0", "--catalog-listen", "127.0.0.1:0", "--flush-interval", "1s"]);
    command.arg("--data-dir").arg(dir).arg("--nats-server").arg(tools::tool("bin/nats-server"));
    let mut process = Process::spawn("frazil dev", command, &dir.join("dev.log"));
    process.wait_line("ready", LIMIT).await;
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_catalog_of_dev_forwards_what_engines_report() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut dev = start_dev(dir.path()).await;
    let text = std::fs::read_to_string(dir.path().join("dev.json")).expect("dev says where it listens");
    let state: Value = serde_json::from_str(&text).expect("JSON");
    let uri = state["catalog"]["uri"].as_str().expect("the catalog's address").to_owned();
    let lake = Lake { uri: uri.clone(), properties: Vec::new() };

    let client = Client::new();
    let config: Value =
        client.get(format!("{uri}/v1/config")).send().await.expect("answers").json().await.expect("JSON");
    let endpoint = "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics";
    assert!(config["endpoints"].as_array().expect("endpoints").contains(&endpoint.into()), "{config}");
    for report in [scan(), commit()] {
        let answer = post(&format!("{uri}/v1/namespaces/mycat/tables/sales/metrics"), None, &report).await;
        assert_eq!(answer.status(), 204);
    }
    let read = lake.rows(SCANS, 1, LIMIT).await;
    assert_eq!(read["rows"][0]["result_data_files"], 1);
    let read = lake.rows(COMMITS, 1, LIMIT).await;
    assert_eq!(read["rows"][0]["total_duration_ns"], 370_474_587);
    let extra: Value = serde_json::from_str(read["rows"][0]["__extra__"].as_str().expect("text")).expect("JSON");
    assert_eq!(extra["path"], path("frazil"), "the prefix tells of the catalog");

    let proxy = state["proxy"].as_str().expect("the proxy's address");
    let metrics = client.get(format!("{proxy}/metrics")).send().await.expect("answers").text().await.expect("text");
    let forwarded = "frazil_catalog_metrics_reports_total{outcome=\"forwarded\"} 2";
    assert!(metrics.lines().any(|line| line == forwarded), "{metrics}");
    assert!(dev.stop(LIMIT).await, "dev ends with success\n{}", dev.log_tail());
}
