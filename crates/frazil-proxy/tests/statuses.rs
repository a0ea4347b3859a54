//! Every status of the IOMETE table, and the others of the proxy, by sending what causes it.

use std::io::Write;
use std::time::Duration;

use frazil_core::receipt::Receipt;
use frazil_core::schema::Schema;
use frazil_proxy::ProxyConfig;
use frazil_proxy::publish::PublishError;
use frazil_proxy::publish::memory::Fault;
use frazil_proxy::tables::TableError;
use frazil_proxy::tables::memory::TableFault;
use futures::{StreamExt, stream};
use reqwest::Body;

use crate::rig::{Rig, accepted, clicks, expired, problem, shard, token};

fn event() -> &'static str {
    r#"{"id":1,"name":"x"}"#
}

#[tokio::test]
async fn ok_200() {
    let rig = Rig::start().await;
    let (body, _) = accepted(rig.iomete().body(event()).send().await.expect("sent"), 1).await;
    assert_eq!(body["code"], "OK");
    let array = r#"[{"id":1},{"id":2}]"#;
    accepted(rig.iomete().header("content-type", "application/json").body(array).send().await.expect("sent"), 2).await;
    let bearer = rig.post("/data-plane/x/event-stream/sales/ingest").header("table", "lake.web.clicks");
    accepted(bearer.body(event()).send().await.expect("sent"), 1).await;
    assert_eq!(rig.log.sections(&shard("sales", 0)).len(), 3);
}

#[tokio::test]
async fn bad_request_400_for_the_table_header() {
    let rig = Rig::start().await;
    let path = "/data-plane/spark/event-stream/sales/ingest";
    let missing = rig.post(path).body(event()).send().await.expect("sent");
    assert!(problem(missing, 400, "BAD_REQUEST").await["type"].as_str().expect("text").ends_with("missing-table"));
    for name in ["clicks", "web.clicks", "lake.web.eu.clicks", "lake..clicks"] {
        let answer = rig.post(path).header("table", name).body(event()).send().await.expect("sent");
        problem(answer, 400, "BAD_REQUEST").await;
    }
    let answer = rig.post("/v1/streams/open/events").body(event()).send().await.expect("sent");
    problem(answer, 400, "BAD_REQUEST").await;
}

#[tokio::test]
async fn bad_request_400_for_bodies_that_are_no_events() {
    let rig = Rig::start().await;
    for (body, detail) in [
        ("", "line 1"),
        ("{\"id\":1", "line 1, column 7"),
        ("[{\"id\":1},\n {\"id\":}]", "line 2, column 8"),
        ("{\"id\":1} trailing", "line 1"),
    ] {
        let found = problem(rig.iomete().body(body).send().await.expect("sent"), 400, "BAD_REQUEST").await;
        assert!(found["detail"].as_str().expect("text").contains(detail), "{body:?}: {found}");
    }
    for (body, index) in [("7", 0), ("\"text\"", 0), (r#"[{"id":1},[],{"id":2}]"#, 1)] {
        let found = problem(rig.iomete().body(body).send().await.expect("sent"), 400, "BAD_REQUEST").await;
        assert_eq!(found["errors"][0]["reason"], "not_an_object", "{found}");
        assert_eq!(found["errors"][0]["index"], index, "{found}");
    }
    assert_eq!(rig.log.attempts(), 0);
}

#[tokio::test]
async fn bad_request_400_for_fields_that_do_not_fit() {
    let rig = Rig::start().await;
    let body = r#"[{"id":1},{"id":"x"},{"name":"y"},{"id":3,"price":{}}]"#;
    let found = problem(rig.iomete().body(body).send().await.expect("sent"), 400, "BAD_REQUEST").await;
    assert_eq!(found["type"], "urn:frazil:problem:invalid-events");
    assert_eq!(found["invalid"], 3);
    let verdicts: Vec<_> = found["errors"].as_array().expect("verdicts").iter().collect();
    let summary: Vec<_> = verdicts.iter().map(|v| (v["index"].as_u64(), v["field"].as_str())).collect();
    assert_eq!(summary, [(Some(1), Some("id")), (Some(2), Some("id")), (Some(3), Some("price"))]);
    assert_eq!(verdicts[1]["reason"], "required");
    let many = format!("[{}]", vec![r#"{"id":"x"}"#; 250].join(","));
    let found = problem(rig.iomete().body(many).send().await.expect("sent"), 400, "BAD_REQUEST").await;
    assert_eq!((found["invalid"].as_u64(), found["errors"].as_array().map(Vec::len)), (Some(250), Some(100)));
    assert_eq!(rig.log.attempts(), 0, "all or nothing");
}

#[tokio::test]
async fn bad_request_400_for_parameters() {
    let rig = Rig::start().await;
    for query in ["?wait=visible", "?wait=committed&timeout=soon", "?table=x", "?table=a..b"] {
        problem(rig.events(query).body(event()).send().await.expect("sent"), 400, "BAD_REQUEST").await;
    }
    for key in ["", "two words", &"k".repeat(256)] {
        let request = rig.events("").header("idempotency-key", key).body(event());
        problem(request.send().await.expect("sent"), 400, "BAD_REQUEST").await;
    }
    let broken = rig.events("").header("content-encoding", "gzip").body(event());
    problem(broken.send().await.expect("sent"), 400, "BAD_REQUEST").await;
    problem(rig.get("/v1/receipts/nonsense").send().await.expect("sent"), 400, "BAD_REQUEST").await;
}

#[tokio::test]
async fn unauthorized_401() {
    let rig = Rig::start().await;
    let url = format!("{}/data-plane/spark/event-stream/sales/ingest", rig.url);
    let request = || rig.client.post(&url).header("table", "lake.web.clicks").body(event());
    problem(request().send().await.expect("sent"), 401, "UNAUTHORIZED").await;
    for bad in ["nonsense".to_owned(), format!("{}x", token()), expired(), format!("Bearer {}", expired())] {
        problem(request().header("authorization", bad).send().await.expect("sent"), 401, "UNAUTHORIZED").await;
    }
    let receipt = rig.client.get(format!("{}/v1/receipts/x", rig.url));
    problem(receipt.send().await.expect("sent"), 401, "UNAUTHORIZED").await;
}

#[tokio::test]
async fn forbidden_403() {
    let rig = Rig::start().await;
    let stream = rig.post("/v1/streams/hidden/events?table=lake.web.clicks").body(event());
    problem(stream.send().await.expect("sent"), 403, "FORBIDDEN").await;
    let table = rig.events("?table=lake.hr.pay").body(event());
    problem(table.send().await.expect("sent"), 403, "FORBIDDEN").await;
    rig.tables.set_fault(Some(TableFault::Error(TableError::Forbidden("no SELECT".to_owned()))));
    let catalog = rig.events("").body(event());
    problem(catalog.send().await.expect("sent"), 403, "FORBIDDEN").await;
    let (shard, table) = (shard("hidden", 0), clicks());
    let receipt = Receipt { shard, table, incarnation: frazil_core::checkpoint::Incarnation(1), first: 1, last: 1 };
    problem(rig.get(&format!("/v1/receipts/{receipt}")).send().await.expect("sent"), 403, "FORBIDDEN").await;
}

#[tokio::test]
async fn not_found_404() {
    let rig = Rig::start().await;
    for path in [
        "/v1/streams/sales/events?table=lake.web.none",
        "/v1/streams/sales/events?table=elsewhere.web.none",
        "/v1/streams/gone/events?table=lake.web.clicks",
        "/v1/streams/NO/events?table=lake.web.clicks",
        "/v1/nothing",
    ] {
        problem(rig.post(path).body(event()).send().await.expect("sent"), 404, "NOT_FOUND").await;
    }
    let catalog = rig.events("?table=elsewhere.web.none").body(event()).send().await.expect("sent");
    let detail = problem(catalog, 404, "NOT_FOUND").await["detail"].clone();
    assert!(detail.as_str().expect("text").contains("known are: lake"), "{detail}");
    let (_, receipt) = accepted(rig.events("").body(event()).send().await.expect("sent"), 1).await;
    rig.log.recreate(&shard("sales", 0));
    let gone = rig.get(&format!("/v1/receipts/{receipt}")).send().await.expect("sent");
    problem(gone, 404, "NOT_FOUND").await;
}

#[tokio::test]
async fn method_not_allowed_405() {
    let rig = Rig::start().await;
    let answer = rig.get("/v1/streams/sales/events").send().await.expect("sent");
    assert_eq!(answer.headers().get("allow").map(|value| value.to_str().expect("ASCII")), Some("POST"));
    problem(answer, 405, "METHOD_NOT_ALLOWED").await;
}

#[tokio::test]
async fn request_timeout_408() {
    let rig = Rig::with(ProxyConfig { body_timeout: Duration::from_millis(50), ..ProxyConfig::default() }).await;
    let begun = stream::once(async { Ok::<_, std::io::Error>("{") });
    let never = Body::wrap_stream(begun.chain(stream::pending()));
    problem(rig.events("").body(never).send().await.expect("sent"), 408, "REQUEST_TIMEOUT").await;
}

/// Larger than what sockets buffer: a server that answers and closes breaks the connection under the client.
#[tokio::test]
async fn a_refused_client_can_finish_sending_and_read_why() {
    let rig = Rig::start().await;
    let large = format!(r#"{{"id":1,"name":"{}"}}"#, "x".repeat(5_000_000));
    for _ in 0..5 {
        problem(rig.events("").body(large.clone()).send().await.expect("sent"), 413, "PAYLOAD_TOO_LARGE").await;
        let nameless = rig.events("?table=a..b").body(large.clone());
        problem(nameless.send().await.expect("sent"), 400, "BAD_REQUEST").await;
    }
}

#[tokio::test]
async fn payload_too_large_413() {
    let rig = Rig::with(ProxyConfig { body_max_bytes: 10_000, ..ProxyConfig::default() }).await;
    let large = format!(r#"{{"id":1,"name":"{}"}}"#, "x".repeat(20_000));
    problem(rig.events("").body(large.clone()).send().await.expect("sent"), 413, "PAYLOAD_TOO_LARGE").await;
    let chunked = Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(large.clone())]));
    problem(rig.events("").body(chunked).send().await.expect("sent"), 413, "PAYLOAD_TOO_LARGE").await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(large.as_bytes()).expect("into memory");
    let bomb = rig.events("").header("content-encoding", "gzip").body(gzip.finish().expect("into memory"));
    problem(bomb.send().await.expect("sent"), 413, "PAYLOAD_TOO_LARGE").await;
    rig.log.set_max_message_bytes(2000);
    let event = format!(r#"[{{"id":1}},{{"id":2,"name":"{}"}}]"#, "x".repeat(2000));
    let found = problem(rig.events("").body(event).send().await.expect("sent"), 413, "PAYLOAD_TOO_LARGE").await;
    assert!(found["detail"].as_str().expect("text").starts_with("event 1 is"), "{found}");
    assert_eq!(rig.log.attempts(), 0);
}

#[tokio::test]
async fn unsupported_media_type_415() {
    let rig = Rig::start().await;
    let csv = rig.events("").header("content-type", "text/csv").body("1,2");
    problem(csv.send().await.expect("sent"), 415, "UNSUPPORTED_MEDIA_TYPE").await;
    let brotli = rig.events("").header("content-encoding", "br").body(event());
    problem(brotli.send().await.expect("sent"), 415, "UNSUPPORTED_MEDIA_TYPE").await;
}

#[tokio::test]
async fn too_many_requests_429() {
    let config = ProxyConfig { max_requests: 1, publish_deadline: Duration::from_secs(20), ..ProxyConfig::default() };
    let rig = Rig::with(config).await;
    rig.log.script([Some(Fault::Hold), Some(Fault::Refuse(PublishError::Full))]);
    let first = async { accepted(rig.events("").body(event()).send().await.expect("sent"), 1).await };
    let second = async {
        rig.log.attempted(1).await;
        let answer = rig.iomete().body(event()).send().await.expect("sent");
        rig.log.release();
        problem(answer, 429, "TOO_MANY_REQUESTS").await
    };
    tokio::join!(first, second);
    let full = rig.iomete().body(event()).send().await.expect("sent");
    let found = problem(full, 429, "TOO_MANY_REQUESTS").await;
    assert_eq!(found["type"], "urn:frazil:problem:log-full");
}

#[tokio::test]
async fn too_many_bytes_429() {
    let config = ProxyConfig { body_max_bytes: 1000, max_in_flight_bytes: 1000, ..ProxyConfig::default() };
    let rig = Rig::with(config).await;
    rig.log.script([Some(Fault::Hold)]);
    let first = async { accepted(rig.events("").body(event()).send().await.expect("sent"), 1).await };
    let second = async {
        rig.log.attempted(1).await;
        // Its size is not known, so it asks for all there is.
        let chunked = Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(event())]));
        let answer = rig.events("").body(chunked).send().await.expect("sent");
        rig.log.release();
        problem(answer, 429, "TOO_MANY_REQUESTS").await
    };
    tokio::join!(first, second);
}

#[tokio::test]
async fn service_unavailable_503_for_an_unknown_outcome() {
    let config = ProxyConfig {
        publish_deadline: Duration::from_millis(40),
        publish_timeout: Duration::from_millis(40),
        ..ProxyConfig::default()
    };
    let rig = Rig::with(config).await;
    rig.log.script([Some(Fault::StoreThenLose), Some(Fault::StoreThenLose)]);
    let keyed = rig.events("").header("idempotency-key", "k1").body(event());
    let found = problem(keyed.send().await.expect("sent"), 503, "SERVICE_UNAVAILABLE").await;
    assert_eq!(found["type"], "urn:frazil:problem:outcome-unknown");
    assert!(found["detail"].as_str().expect("text").contains("same Idempotency-Key"), "{found}");
    let keyless = rig.events("").body(event()).send().await.expect("sent");
    let found = problem(keyless, 503, "SERVICE_UNAVAILABLE").await;
    assert!(found["detail"].as_str().expect("text").contains("twice"), "{found}");
}

#[tokio::test]
async fn service_unavailable_503_without_log_or_catalog() {
    let config = ProxyConfig {
        publish_deadline: Duration::from_millis(40),
        publish_timeout: Duration::from_millis(40),
        ..ProxyConfig::default()
    };
    let rig = Rig::with(config).await;
    rig.log.script([Some(Fault::Refuse(PublishError::NotSent("no connection".to_owned())))]);
    let found = problem(rig.events("").body(event()).send().await.expect("sent"), 503, "SERVICE_UNAVAILABLE").await;
    assert_eq!(found["type"], "urn:frazil:problem:log-unavailable");
    rig.tables.set_fault(Some(TableFault::Error(TableError::Unavailable("down".to_owned()))));
    accepted(rig.events("").body(event()).send().await.expect("sent"), 1).await;
    let other = rig.events("?table=lake.web.other").body(event()).send().await.expect("sent");
    assert_eq!(problem(other, 503, "SERVICE_UNAVAILABLE").await["type"], "urn:frazil:problem:catalog-unavailable");
}

#[tokio::test]
async fn a_table_with_a_schema_frazil_cannot_fill_is_a_bad_request() {
    let rig = Rig::start().await;
    let mut schema = Schema::default().with_system_columns();
    schema.fields.push(schema.fields[0].clone());
    let table = "lake.web.odd".parse().expect("valid");
    rig.tables.put(&table, schema);
    let answer = rig.events("?table=lake.web.odd").body(event()).send().await.expect("sent");
    assert_eq!(problem(answer, 400, "BAD_REQUEST").await["type"], "urn:frazil:problem:table-unusable");
}
