//! What accepted requests do: what the log holds afterwards, and what receipts tell.

use std::io::Write;

use frazil_proxy::publish::memory::Fault;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::rig::{Rig, accepted, clicks, clicks_schema, problem, shard};

fn lines(rig: &Rig, stream: &str, index: u32) -> Vec<Value> {
    let sections = rig.log.sections(&shard(stream, index));
    let lines = sections.iter().flat_map(|(_, section)| section.lines());
    lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

#[tokio::test]
async fn every_form_of_body_becomes_the_same_events() {
    let rig = Rig::start().await;
    let expected = [json!({"id": 1, "name": "a\nb"}), json!({"id": 2})];
    let ndjson = "{\"id\":1,\"name\":\"a\\nb\"}\n{\"id\":2}\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(ndjson.as_bytes()).expect("into memory");
    let array = serde_json::to_vec_pretty(&expected).expect("plain");
    let zstd = zstd::encode_all(array.as_slice(), 1).expect("into memory");
    for request in [
        rig.events("").body(ndjson),
        rig.events("").header("content-type", "application/x-ndjson").body(ndjson),
        rig.events("").header("content-type", "application/json").body(array),
        rig.events("")
            .header("content-type", "application/jsonl")
            .header("content-encoding", "gzip")
            .body(gzip.finish().expect("into memory")),
        rig.events("").header("content-encoding", "zstd").body(zstd),
        rig.iomete().header("content-type", "application/x-ndjson").body(ndjson),
    ] {
        accepted(request.send().await.expect("sent"), 2).await;
    }
    let stored = lines(&rig, "sales", 0);
    assert_eq!(stored.len(), 12);
    assert!(stored.chunks(2).all(|pair| pair == expected), "{stored:?}");
}

#[tokio::test]
async fn the_table_comes_from_the_query_a_header_or_the_stream() {
    let rig = Rig::start().await;
    let other = "lake.web.other".parse().expect("valid");
    rig.tables.put(&other, clicks_schema());
    for request in [
        rig.events(""),
        rig.events("?table=lake.web.other"),
        rig.events("?table=web.other"),
        rig.events("").header("Frazil-Table", "web.other"),
        rig.events("").header("table", "lake.web.other"),
        rig.events("?table=web.other").header("table", "lake.web.clicks"),
    ] {
        accepted(request.body(r#"{"id":1}"#).send().await.expect("sent"), 1).await;
    }
    let sections = rig.log.sections(&shard("sales", 0));
    let tables: Vec<_> = sections.iter().map(|(_, section)| section.header.table.table()).collect();
    assert_eq!(tables, ["clicks", "other", "other", "other", "other", "other"]);
}

#[tokio::test]
async fn a_request_without_events_is_accepted_and_stores_nothing() {
    let rig = Rig::start().await;
    for request in [rig.events("").body("[]"), rig.events("").header("content-type", "application/x-ndjson").body("\n")]
    {
        let answer = request.send().await.expect("sent");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({"accepted": 0}));
    }
    assert_eq!(rig.log.attempts(), 0);
}

#[tokio::test]
async fn a_key_always_goes_to_the_same_shard_and_its_hash_is_scoped() {
    let rig = Rig::start().await;
    let send = async |key: &str| {
        let request = rig.post("/v1/streams/open/events?table=lake.web.clicks").header("idempotency-key", key);
        accepted(request.body(r#"{"id":1}"#).send().await.expect("sent"), 1).await.1.shard.index
    };
    let mut shards = std::collections::BTreeSet::new();
    for number in 0..12 {
        let key = format!("key-{number}");
        let first = send(&key).await;
        assert_eq!(send(&format!("\"{key}\"")).await, first, "quotes do not count");
        shards.insert(first);
        let sections = rig.log.sections(&shard("open", first));
        let hashes: Vec<_> = sections.iter().rev().take(2).map(|(_, section)| section.header.key).collect();
        assert!(hashes[0].is_some() && hashes[0] == hashes[1]);
    }
    assert_eq!(shards.len(), 3);
}

#[tokio::test]
async fn requests_without_a_key_take_turns() {
    let rig = Rig::start().await;
    for _ in 0..6 {
        let request = rig.post("/v1/streams/open/events?table=lake.web.clicks").body(r#"{"id":1}"#);
        accepted(request.send().await.expect("sent"), 1).await;
    }
    let counts: Vec<_> = (0..3).map(|index| rig.log.sections(&shard("open", index)).len()).collect();
    assert_eq!(counts, [2, 2, 2]);
}

#[tokio::test]
async fn a_large_request_is_stored_part_after_part() {
    let rig = Rig::start().await;
    rig.log.set_max_message_bytes(4000);
    rig.log.script([Some(Fault::Hold)]);
    let events: Vec<Value> = (0..20).map(|id| json!({"id": id, "name": "x".repeat(500)})).collect();
    let request = rig.events("").header("idempotency-key", "large").body(Value::from(events.clone()).to_string());
    let checks = async {
        rig.log.attempted(1).await;
        assert_eq!(rig.log.attempts(), 1, "the second part waits for the first");
        rig.log.release();
    };
    let (answer, ()) = tokio::join!(request.send(), checks);
    let (_, receipt) = accepted(answer.expect("sent"), 20).await;
    let sections = rig.log.sections(&shard("sales", 0));
    assert!(sections.len() > 3, "{}", sections.len());
    assert_eq!((receipt.first, receipt.last), (1, sections.len() as u64));
    let mut next = 0;
    for (position, (sequence, section)) in (1..).zip(&sections) {
        assert_eq!((*sequence, section.header.first), (position, next));
        assert_eq!(section.header.key, sections[0].1.header.key);
        assert_eq!(section.header.received, sections[0].1.header.received);
        next += section.header.count;
    }
    assert_eq!(lines(&rig, "sales", 0), events);
    for message in rig.log.messages(&shard("sales", 0)) {
        let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        assert!(headers + message.payload.len() <= 4000);
    }
}

#[tokio::test]
async fn a_large_request_that_breaks_off_is_not_accepted() {
    let rig = Rig::start().await;
    rig.log.set_max_message_bytes(4000);
    let full = Fault::Refuse(frazil_proxy::publish::PublishError::Full);
    rig.log.script([None, Some(full)]);
    let events: Vec<Value> = (0..20).map(|id| json!({"id": id, "name": "x".repeat(500)})).collect();
    let answer = rig.events("").body(Value::from(events).to_string()).send().await.expect("sent");
    let found = problem(answer, 503, "SERVICE_UNAVAILABLE").await;
    assert_eq!(found["type"], "urn:frazil:problem:outcome-unknown", "some parts are stored");
}

#[tokio::test]
async fn missing_tables_are_created_once_and_strictly_validated_from_then_on() {
    let rig = Rig::start().await;
    let post = |body: &'static str| rig.post("/v1/streams/open/events?table=lake.web.fresh").body(body).send();
    let nothing = post(r#"[{"a":1},7]"#).await.expect("sent");
    problem(nothing, 400, "BAD_REQUEST").await;
    assert_eq!(rig.tables.calls().create, 0, "a request that is refused leaves no table behind");
    let table = "lake.web.fresh".parse().expect("valid");
    let sent = join_all((0..10).map(|_| post(r#"[{"a":1,"b":"2026-01-02T03:04:05Z"},{"c":{"d":[true]}}]"#))).await;
    for answer in sent {
        accepted(answer.expect("sent"), 2).await;
    }
    assert_eq!(rig.tables.calls().create, 1);
    let schema = rig.tables.get(&table).expect("created");
    let columns: Vec<_> = schema.fields.iter().map(|field| format!("{} {}", field.name, field.ty)).collect();
    assert_eq!(columns[..3], ["a long", "b timestamptz", "c struct<d: list<boolean>>"]);
    assert_eq!(columns[3..], ["__id__ string", "__ts__ timestamptz", "__write_id__ string", "__extra__ string"]);
    problem(post(r#"{"a":"text"}"#).await.expect("sent"), 400, "BAD_REQUEST").await;
    accepted(post(r#"{"unknown":1}"#).await.expect("sent"), 1).await;
}

#[tokio::test]
async fn receipts_tell_how_far_a_request_has_come() {
    let rig = Rig::start().await;
    let (body, receipt) = accepted(rig.events("").body(r#"{"id":1}"#).send().await.expect("sent"), 1).await;
    assert_eq!(body, json!({"accepted": 1, "receipt": receipt.to_string()}));
    let get = async |query: &str| {
        let answer = rig.get(&format!("/v1/receipts/{receipt}{query}")).send().await.expect("sent");
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.expect("JSON")
    };
    assert_eq!(get("").await, json!({"state": "stored", "table": "lake.web.clicks"}));
    assert_eq!(get("?wait=committed&timeout=10ms").await["state"], "stored");
    rig.commit(&receipt, 77);
    let committed = json!({"state": "committed", "snapshot_id": 77, "table": "lake.web.clicks"});
    assert_eq!(get("?wait=committed").await, committed);
    assert_eq!(get("").await, committed);
}

#[tokio::test]
async fn a_post_can_wait_until_its_events_are_visible() {
    let rig = Rig::start().await;
    let request = rig.events("?wait=committed&timeout=20s").body(r#"{"id":1}"#);
    let commit = async {
        rig.log.attempted(1).await;
        // The receipt of the first message of a shard is known beforehand.
        let receipt = frazil_core::receipt::Receipt {
            shard: shard("sales", 0),
            incarnation: frazil_core::checkpoint::Incarnation(1),
            first: 1,
            last: 1,
            table: clicks(),
        };
        rig.commit(&receipt, 5);
    };
    let (answer, ()) = tokio::join!(request.send(), commit);
    let (body, _) = accepted(answer.expect("sent"), 1).await;
    assert_eq!((&body["state"], &body["snapshot_id"]), (&json!("committed"), &json!(5)));
    let (body, _) =
        accepted(rig.events("?wait=committed&timeout=10ms").body(r#"{"id":1}"#).send().await.expect("sent"), 1).await;
    assert_eq!((&body["state"], body.get("snapshot_id")), (&json!("stored"), None));
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let rig = Rig::start().await;
    accepted(rig.events("").body(r#"[{"id":1},{"id":2}]"#).send().await.expect("sent"), 2).await;
    problem(rig.events("").body(r#"{"id":"x"}"#).send().await.expect("sent"), 400, "BAD_REQUEST").await;
    let text = rig.get("/metrics").send().await.expect("sent").text().await.expect("a body");
    for line in [
        r#"frazil_proxy_requests_total{route="/v1/streams/{stream}/events",status="200",code="OK"} 1"#,
        r#"frazil_proxy_requests_total{route="/v1/streams/{stream}/events",status="400",code="BAD_REQUEST"} 1"#,
        "frazil_proxy_events_accepted_total 2",
        "frazil_proxy_bytes_accepted_total 18",
        "frazil_proxy_in_flight_requests 0",
        "frazil_proxy_in_flight_bytes 0",
        "frazil_proxy_permits_requests 4096",
        "frazil_proxy_publish_seconds_count 1",
        r#"frazil_proxy_publish_attempts_total{outcome="stored"} 1"#,
        r#"frazil_proxy_table_loads_total{outcome="loaded"} 1"#,
        r#"frazil_proxy_events_rejected_total{reason="wrong_type"} 1"#,
        "frazil_proxy_pack_sections_count 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
