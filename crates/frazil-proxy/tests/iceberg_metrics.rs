//! Metrics reports of Iceberg clients over HTTP: what becomes of them, and every refusal in the protocol's own shape.

use std::io::Write;
use std::time::Duration;

use frazil_core::TableName;
use frazil_core::rate::{Rate, RateLimits};
use frazil_core::schema::{Field, Schema, Type};
use frazil_core::stream::{StreamDefinition, TableTemplate};
use frazil_proxy::publish::PublishError;
use frazil_proxy::publish::memory::Fault;
use frazil_proxy::{IcebergMetrics, ProxyConfig};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::rig::{Rig, expired, problem, record, shard, token, token_of};

const PATH: &str = "/v1/namespaces/sales%1Feu/tables/orders/metrics";
const WITH_PREFIX: &str = "/v1/main/namespaces/sales%1Feu/tables/orders/metrics";

/// Reports to the tables of `lake.web` by the stream.
fn reporting(stream: &str) -> ProxyConfig {
    let stream = stream.parse().expect("valid");
    let reports = IcebergMetrics { stream, namespace: "web".to_owned() };
    ProxyConfig { iceberg_metrics: Some(reports), ..ProxyConfig::default() }
}

async fn rig() -> Rig {
    Rig::with(reporting("sales")).await
}

fn scan_table() -> TableName {
    "lake.web.iceberg_scan_report".parse().expect("valid")
}

fn commit_table() -> TableName {
    "lake.web.iceberg_commit_report".parse().expect("valid")
}

fn scan() -> Value {
    json!({
        "report-type": "scan-report", "table-name": "lake.sales.eu.orders", "snapshot-id": 7, "filter": true,
        "schema-id": 0, "projected-field-ids": [1, 2], "projected-field-names": ["id", "name"],
        "metrics": {
            "total-planning-duration": {"count": 1, "time-unit": "microseconds", "total-duration": 15},
            "result-data-files": {"unit": "count", "value": 3},
            "dvs": {"unit": "count", "value": 0}
        }
    })
}

fn commit() -> Value {
    json!({
        "report-type": "commit-report", "table-name": "lake.sales.eu.orders", "snapshot-id": 8, "sequence-number": 2,
        "operation": "append", "metrics": {"added-files-size-bytes": {"unit": "bytes", "value": 1279}}
    })
}

fn report(rig: &Rig, path: &str, body: &Value) -> RequestBuilder {
    rig.post(path).header("content-type", "application/json").body(body.to_string())
}

async fn taken(response: Response) {
    let status = response.status();
    let text = response.text().await.expect("a body");
    assert_eq!((status.as_u16(), text.as_str()), (204, ""));
}

/// The message of a refusal, after checking what all of them have in common.
async fn refused(request: RequestBuilder, status: u16, kind: &str) -> String {
    let response = request.send().await.expect("sent");
    let (found, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    assert_eq!(found, status, "{text}");
    assert_eq!(headers["content-type"], "application/json", "{text}");
    assert_eq!(headers.contains_key("retry-after"), matches!(status, 429 | 503), "{text}");
    assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{text}");
    let body: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(body.as_object().expect("an object").len(), 1, "{text}");
    assert_eq!((&body["error"]["type"], &body["error"]["code"]), (&kind.into(), &status.into()), "{text}");
    body["error"]["message"].as_str().filter(|message| !message.is_empty()).expect("a message").to_owned()
}

#[tokio::test]
async fn a_report_becomes_an_event_of_the_table_of_its_kind() {
    let rig = rig().await;
    taken(report(&rig, WITH_PREFIX, &scan()).send().await.expect("sent")).await;
    taken(report(&rig, PATH, &commit()).send().await.expect("sent")).await;
    let sections = rig.log.sections(&shard("sales", 0));
    let tables: Vec<&TableName> = sections.iter().map(|(_, section)| &section.header.table).collect();
    assert_eq!(tables, [&scan_table(), &commit_table()]);
    let events: Vec<Value> =
        rig.admitted(&shard("sales", 0)).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events[0]["total_planning_duration_ns"], 15_000);
    assert_eq!(events[0]["projected_field_names"], "id,name");
    assert_eq!(events[0]["path"], json!({"prefix": "main", "namespace": ["sales", "eu"], "table": "orders"}));
    assert_eq!(events[0]["report"]["metrics"]["dvs"]["value"], 0);
    assert_eq!(events[1]["added_files_size_in_bytes"], 1279);
    assert_eq!(events[1]["path"], json!({"namespace": ["sales", "eu"], "table": "orders"}));
    for kind in ["scan-report", "commit-report"] {
        let name = format!("frazil_proxy_iceberg_reports_total{{type=\"{kind}\"}}");
        assert_eq!(rig.metric(&name).await, Some(1.0), "{kind}");
    }
    assert_eq!(rig.metric("frazil_proxy_events_accepted_total").await, Some(2.0));
}

#[tokio::test]
async fn the_tables_are_made_though_the_stream_makes_none() {
    let rig = rig().await;
    for (body, table, columns) in [(scan(), scan_table(), 22 + 4), (commit(), commit_table(), 28 + 4)] {
        assert_eq!(rig.tables.created(&table), None);
        taken(report(&rig, PATH, &body).send().await.expect("sent")).await;
        let created = rig.tables.created(&table).expect("made");
        assert_eq!((created.partition_by.as_str(), created.sort_by.as_str()), ("day(__ts__)", ""));
        assert_eq!(created.schema.fields.len(), columns);
        assert_eq!(created.schema.field("__extra__").expect("a column").ty, Type::String);
        assert_eq!(created.properties["frazil.unknown-fields"], "capture");
    }
    let calls = rig.tables.calls();
    taken(report(&rig, PATH, &scan()).send().await.expect("sent")).await;
    assert_eq!(rig.tables.calls().create, calls.create, "made once");
}

#[tokio::test]
async fn what_the_stream_says_of_new_tables_counts_where_it_can() {
    let create = TableTemplate {
        schema: Some(Schema::new(vec![Field::required(1, "id", Type::Long)]).to_value()),
        partition_by: Some("bucket(4, id)".to_owned()),
        properties: [("write.parquet.compression-codec".to_owned(), "zstd".to_owned())].into(),
        strict_namespace: true,
        ..TableTemplate::default()
    };
    let sales = StreamDefinition { create, ..StreamDefinition::new("sales".parse().expect("valid"), 1) };
    let rig = Rig::of(reporting("sales"), vec![sales], vec![record(&token_of(1), None)]).await;
    taken(report(&rig, PATH, &scan()).send().await.expect("sent")).await;
    let created = rig.tables.created(&scan_table()).expect("made");
    assert_eq!(created.partition_by, "day(__ts__)");
    assert_eq!(created.properties["write.parquet.compression-codec"], "zstd");
    assert!(created.schema.field("id").is_none() && created.schema.field("snapshot_id").is_some());
    assert!(created.strict_namespace);
}

#[tokio::test]
async fn a_repeated_report_with_a_key_adds_nothing() {
    let rig = rig().await;
    for _ in 0..2 {
        let keyed = report(&rig, PATH, &commit()).header("idempotency-key", "0190-7f");
        taken(keyed.send().await.expect("sent")).await;
    }
    assert_eq!(rig.admitted(&shard("sales", 0)).len(), 1);
    taken(report(&rig, PATH, &commit()).send().await.expect("sent")).await;
    assert_eq!(rig.admitted(&shard("sales", 0)).len(), 2);
}

#[tokio::test]
async fn compressed_and_pretty_printed_reports() {
    let rig = rig().await;
    let pretty = serde_json::to_string_pretty(&scan()).expect("JSON");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(pretty.as_bytes()).expect("into memory");
    let body = gzip.finish().expect("into memory");
    taken(rig.post(PATH).header("content-encoding", "gzip").body(body).send().await.expect("sent")).await;
    assert_eq!(rig.admitted(&shard("sales", 0)).len(), 1);
}

#[tokio::test]
async fn refusals_that_blame_the_request() {
    let rig = Rig::with(ProxyConfig { body_max_bytes: 10_000, ..reporting("sales") }).await;
    let bad = "BadRequestException";
    let post = |body: &str| rig.post(PATH).body(body.to_owned());
    assert!(refused(post("{\"report-type\":"), 400, bad).await.contains("line 1, column 15"));
    assert!(refused(post("[]"), 400, bad).await.contains("expected a JSON object"));
    assert!(refused(post(""), 400, bad).await.contains("invalid JSON"));
    let mut wrong = scan();
    wrong["metrics"]["result-data-files"] = json!(3);
    let message = refused(report(&rig, PATH, &wrong), 400, bad).await;
    assert!(message.contains("`metrics.result-data-files` must be a counter"), "{message}");
    wrong = commit();
    wrong["report-type"] = json!("profile");
    assert!(refused(report(&rig, PATH, &wrong), 400, bad).await.contains("`report-type` must be"));
    for path in [
        "/v1/namespaces/a%1F/tables/t/metrics",
        "/v1/main/namespaces/%1Fa/tables/t/metrics",
        "/v1/namespaces/%FF/tables/t/metrics",
    ] {
        refused(report(&rig, path, &scan()), 400, bad).await;
    }
    refused(post(&" ".repeat(10_001)), 413, bad).await;
    refused(post("{}").header("content-type", "application/vnd.apache.arrow.stream"), 415, bad).await;
    refused(post("{}").header("content-type", "text/csv"), 415, bad).await;
    refused(post("{}").header("content-encoding", "br"), 415, bad).await;
    assert_eq!(rig.log.attempts(), 0);
    assert_eq!(rig.tables.calls().create, 0, "nothing is made for what is refused");
}

#[tokio::test]
async fn refusals_that_blame_the_credentials() {
    let rig = rig().await;
    let with = |token: Option<String>| {
        let request = rig.client.post(format!("{}{PATH}", rig.url)).body(scan().to_string());
        token.into_iter().fold(request, RequestBuilder::bearer_auth)
    };
    for token in [None, Some("frz_nonsense".to_owned()), Some(expired())] {
        refused(with(token), 401, "NotAuthorizedException").await;
    }
    let hidden = Rig::with(reporting("hidden")).await;
    let message = refused(report(&hidden, PATH, &scan()), 403, "ForbiddenException").await;
    assert!(message.contains("\"hidden\""), "{message}");
    // A token for one of the two tables is not enough: which one it is, only the body says.
    for namespace in ["hr", "frazil_system"] {
        let reports = IcebergMetrics { stream: "sales".parse().expect("valid"), namespace: namespace.to_owned() };
        let rig = Rig::with(ProxyConfig { iceberg_metrics: Some(reports), ..ProxyConfig::default() }).await;
        let message = refused(report(&rig, PATH, &scan()), 403, "ForbiddenException").await;
        assert!(message.contains(&format!("lake.{namespace}.iceberg_scan_report")), "{message}");
    }
    assert_eq!(rig.log.attempts(), 0);
}

#[tokio::test]
async fn a_stream_or_a_catalog_that_does_not_exist_is_named() {
    let rig = Rig::with(reporting("gone")).await;
    let message = refused(report(&rig, PATH, &scan()), 404, "NotFoundException").await;
    assert_eq!(message, "there is no event stream \"gone\"");
    let reports = IcebergMetrics { stream: "sales".parse().expect("valid"), namespace: "elsewhere.web".to_owned() };
    let rig = Rig::with(ProxyConfig { iceberg_metrics: Some(reports), ..ProxyConfig::default() }).await;
    let message = refused(report(&rig, PATH, &scan()), 404, "NotFoundException").await;
    assert!(message.contains("there is no catalog \"elsewhere\""), "{message}");
}

#[tokio::test]
async fn refusals_for_the_moment() {
    let busy = "TooManyRequestsException";
    let limits = RateLimits { events: Some(Rate::new(1, Some(1)).expect("in bounds")), bytes: None };
    let sales = StreamDefinition { limits, ..StreamDefinition::new("sales".parse().expect("valid"), 1) };
    let rig = Rig::of(reporting("sales"), vec![sales], vec![record(&token_of(1), None)]).await;
    taken(report(&rig, PATH, &scan()).send().await.expect("sent")).await;
    refused(report(&rig, PATH, &scan()), 429, busy).await;

    let short = Duration::from_millis(40);
    let rig = Rig::with(ProxyConfig { publish_deadline: short, publish_timeout: short, ..reporting("sales") }).await;
    let away = "ServiceUnavailableException";
    rig.log.script([Some(Fault::Refuse(PublishError::NotSent("no connection".to_owned())))]);
    assert!(refused(report(&rig, PATH, &scan()), 503, away).await.contains("the log is unavailable"));
    rig.log.script([Some(Fault::StoreThenLose), Some(Fault::StoreThenLose)]);
    assert!(refused(report(&rig, PATH, &scan()), 503, away).await.contains("may be stored or not"));
}

#[tokio::test]
async fn a_table_of_the_same_name_that_is_another_is_judged_like_any() {
    let other = || Schema::new(vec![Field::optional(1, "snapshot_id", Type::Date)]).with_system_columns();
    let rig = rig().await;
    rig.tables.put(&scan_table(), other());
    let mut report_of = scan();
    report_of["snapshot-id"] = json!(i64::MAX);
    let message = refused(report(&rig, PATH, &report_of), 400, "BadRequestException").await;
    assert!(message.contains("field `snapshot_id`"), "{message}");
    // Where the stream takes what does not fit, it becomes a dead letter.
    let letters = Rig::with(reporting("letters")).await;
    letters.tables.put(&scan_table(), other());
    taken(report(&letters, PATH, &report_of).send().await.expect("sent")).await;
    assert_eq!(letters.admitted(&shard("letters", 0)).len(), 1);
    // But what is no report is no event.
    refused(letters.post(PATH).body("{}"), 400, "BadRequestException").await;
}

#[tokio::test]
async fn the_routes_clash_with_none() {
    let rig = rig().await;
    for prefix in ["streams", "namespaces", "receipts", "a%2Fb", "%F0%9F%A7%8A"] {
        let path = format!("/v1/{prefix}/namespaces/namespaces/tables/events/metrics");
        taken(report(&rig, &path, &scan()).send().await.expect("sent")).await;
    }
    taken(report(&rig, "/v1/namespaces/tables/tables/tables/metrics", &scan()).send().await.expect("sent")).await;
    let count = rig.admitted(&shard("sales", 0)).len();
    assert_eq!(count, 6);
    // The other routes are where they were, also for streams of such names.
    for path in ["/v1/streams/namespaces/events", "/v1/streams/namespaces/tables/web.metrics/events"] {
        problem(rig.post(path).body("{}").send().await.expect("sent"), 403, "FORBIDDEN").await;
    }
    problem(rig.get("/v1/receipts/metrics").send().await.expect("sent"), 400, "BAD_REQUEST").await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = rig.client.request(method, format!("{}{PATH}", rig.url)).bearer_auth(token());
        problem(request.send().await.expect("sent"), 405, "METHOD_NOT_ALLOWED").await;
    }
}

#[tokio::test]
async fn switched_off_there_is_no_such_path() {
    let rig = Rig::with(ProxyConfig { iceberg_metrics: None, ..ProxyConfig::default() }).await;
    for path in [PATH, WITH_PREFIX] {
        problem(report(&rig, path, &scan()).send().await.expect("sent"), 404, "NOT_FOUND").await;
    }
    let document: Value = rig.get("/openapi.json").send().await.expect("sent").json().await.expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.keys().all(|path| !path.ends_with("/tables/{table}/metrics")), "{:?}", paths.keys());
}
