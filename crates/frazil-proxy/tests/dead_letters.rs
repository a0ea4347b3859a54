//! Streams that take invalid events: what is stored of them, and what senders are told.

use frazil_core::schema::{Field, Schema, Type};
use frazil_proxy::tables::TableError;
use frazil_proxy::tables::memory::TableFault;
use serde_json::{Value, json};

use crate::rig::{Rig, accepted, clicks, clicks_schema, problem, shard, success};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn lines(rig: &Rig, stream: &str) -> Vec<Vec<u8>> {
    let sections = rig.log.sections(&shard(stream, 0));
    sections.iter().flat_map(|(_, section)| section.lines().map(<[u8]>::to_vec).collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn everything_is_stored_and_the_misfits_are_named() {
    let rig = Rig::start().await;
    let body: &[u8] = b"{\"id\":1}\n{\"id\":\"x\"}\nnot JSON\r\n{\"name\":\"\xff\"}\n\n[]\n{\"id\":2}\n";
    let request = rig.post("/v1/streams/letters/events").header(NDJSON.0, NDJSON.1).header("idempotency-key", "k");
    let (answer, receipt) = accepted(request.body(body.to_vec()).send().await.expect("sent"), 6).await;
    assert_eq!((&answer["invalid"], &receipt.table), (&json!(4), &clicks()));
    let errors = answer["errors"].as_array().expect("verdicts");
    let listed: Vec<_> = errors.iter().map(|v| (v["index"].as_u64(), v["reason"].as_str())).collect();
    let expected = [(1, "wrong_type"), (2, "malformed_json"), (3, "invalid_utf8"), (4, "not_an_object")];
    assert_eq!(listed, expected.map(|(index, reason)| (Some(index), Some(reason))));
    let stored = lines(&rig, "letters");
    let expected: [&[u8]; 6] =
        [b"{\"id\":1}", b"{\"id\":\"x\"}", b"not JSON", b"{\"name\":\"\xff\"}", b"[]", b"{\"id\":2}"];
    assert_eq!(stored, expected);
    let (_, section) = rig.log.sections(&shard("letters", 0)).remove(0);
    assert_eq!((section.header.request_key.as_deref(), section.header.unroutable), (Some("k"), None));
    let metrics = rig.get("/metrics").send().await.expect("sent").text().await.expect("a body");
    for line in [
        r#"frazil_proxy_events_invalid_total{reason="malformed_json"} 1"#,
        r#"frazil_proxy_events_invalid_total{reason="wrong_type"} 1"#,
        "frazil_proxy_events_accepted_total 6",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_body_whose_framing_cannot_be_read_is_refused_all_the_same() {
    let rig = Rig::start().await;
    for body in ["[{\"id\":1},", "{\"id\":1} {\"id\":2}", "{\"id\":"] {
        let answer = rig.post("/v1/streams/letters/events").body(body).send().await.expect("sent");
        let found = problem(answer, 400, "BAD_REQUEST").await;
        assert_eq!(found["type"], "urn:frazil:problem:invalid-json", "{body}");
    }
    let large = format!("{{\"id\":1}}\n{}\n", "x".repeat(1 << 20));
    let request = rig.post("/v1/streams/letters/events").header(NDJSON.0, NDJSON.1).body(large);
    let found = problem(request.send().await.expect("sent"), 413, "PAYLOAD_TOO_LARGE").await;
    assert!(found["detail"].as_str().expect("text").starts_with("event 1 is"), "no message can hold it: {found}");
    assert_eq!(rig.log.attempts(), 0);
}

#[tokio::test]
async fn answers_list_the_first_hundred_and_count_all() {
    let rig = Rig::start().await;
    let body = Value::from(vec![json!({"id": "x"}); 250]).to_string();
    let (answer, _) =
        accepted(rig.post("/v1/streams/letters/events").body(body).send().await.expect("sent"), 250).await;
    assert_eq!((&answer["invalid"], answer["errors"].as_array().map(Vec::len)), (&json!(250), Some(100)));
    let (answer, _) =
        accepted(rig.post("/v1/streams/letters/events").body(r#"{"id":1}"#).send().await.expect("sent"), 1).await;
    assert_eq!((answer.get("invalid"), answer.get("errors")), (None, None));
}

#[tokio::test]
async fn the_tables_owner_has_the_last_word() {
    let rig = Rig::start().await;
    let send = |path: &str| rig.post(path).header(NDJSON.0, NDJSON.1).body("{\"id\":1}\nnonsense\n").send();
    rig.tables.set_property(&clicks(), "frazil.on-invalid", "dead_letter");
    assert_eq!(success(send("/v1/streams/sales/events").await.expect("sent")).await["invalid"], 1);
    let strict = "lake.web.strict".parse().expect("valid");
    rig.tables.put(&strict, clicks_schema());
    rig.tables.set_property(&strict, "frazil.on-invalid", "reject");
    let refused = send("/v1/streams/letters/events?table=web.strict").await.expect("sent");
    assert_eq!(problem(refused, 400, "BAD_REQUEST").await["type"], "urn:frazil:problem:invalid-json");
    rig.tables.set_property(&strict, "frazil.on-invalid", "maybe");
    let odd = "lake.web.odd".parse().expect("valid");
    rig.tables.put(&odd, clicks_schema());
    rig.tables.set_property(&odd, "frazil.unknown-fields", "maybe");
    let refused = rig.post("/v1/streams/letters/events?table=web.odd").body("{}").send().await.expect("sent");
    let found = problem(refused, 400, "BAD_REQUEST").await;
    assert_eq!(found["type"], "urn:frazil:problem:table-unusable");
    let detail = "the table property frazil.unknown-fields has the value \"maybe\"";
    assert!(found["detail"].as_str().expect("text").contains(detail), "{found}");
}

#[tokio::test]
async fn events_without_a_table_are_stored_as_such() {
    let rig = Rig::start().await;
    let fields = vec![Field::optional(1, "type", Type::String)];
    rig.tables.put(&"lake.web.tea".parse().expect("valid"), Schema::new(fields));
    let body = "{\"type\":\"tea\"}\n{\"type\":\"secret\"}\nnonsense\n{\"type\":\"tea\"}\n{\"type\":\"x\"}\n";
    let request = rig.post("/v1/streams/mixed/events").header(NDJSON.0, NDJSON.1).header("idempotency-key", "k");
    let answer = success(request.body(body).send().await.expect("sent")).await;
    assert_eq!((&answer["accepted"], &answer["invalid"]), (&json!(5), &json!(3)));
    let tables: Vec<_> = answer["tables"]
        .as_array()
        .expect("tables")
        .iter()
        .map(|t| (t["table"].clone(), t["accepted"].clone()))
        .collect();
    assert_eq!(tables, [(json!("lake.web.tea"), json!(2)), (json!("lake.frazil_system.mixed"), json!(3))]);
    let sections = rig.log.sections(&shard("mixed", 0));
    let described: Vec<_> = sections
        .iter()
        .map(|(_, section)| {
            let why = section.header.unroutable.as_ref().map(|why| (why.field.as_str(), why.message.as_str()));
            (section.header.table.table(), section.header.first, section.header.count, why)
        })
        .collect();
    let not_allowed = "the table is not among those that the routing rule allows";
    let expected = [
        ("tea", 0, 2, None),
        ("mixed", 2, 2, Some(("type", not_allowed))),
        ("mixed", 4, 1, Some(("", "the event is not valid JSON"))),
    ];
    assert_eq!(described, expected);
    let receipt = answer["tables"][1]["receipt"].as_str().expect("text");
    let state = rig.get(&format!("/v1/receipts/{receipt}")).send().await.expect("sent");
    assert_eq!(success(state).await["state"], "stored", "whoever may send may ask");
}

#[tokio::test]
async fn tables_are_made_of_the_valid_events() {
    let rig = Rig::start().await;
    let send = |body: &'static str| rig.post("/v1/streams/mixed/events").header(NDJSON.0, NDJSON.1).body(body).send();
    let answer =
        send("{\"type\":\"new1\",\"a\":1}\n{\"type\":\"new1\",\"b\":1,\"b\":2}\n{\"type\":\"new2\",\"x\":1,\"x\":1}\n");
    let answer = success(answer.await.expect("sent")).await;
    assert_eq!((&answer["accepted"], &answer["invalid"]), (&json!(3), &json!(2)));
    let created = rig.tables.created(&"lake.web.new1".parse().expect("valid")).expect("made");
    let columns: Vec<_> = created.schema.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(columns, ["type", "a", "__id__", "__ts__", "__write_id__", "__extra__"]);
    assert_eq!(rig.tables.created(&"lake.web.new2".parse().expect("valid")), None, "no event fits any table");
    let (_, unroutable) = rig.log.sections(&shard("mixed", 0)).remove(1);
    let why = "the table lake.web.new2 does not exist, and none of these events fits one that would be made";
    assert_eq!(unroutable.header.unroutable.expect("no table").message, why);
    rig.tables.set_fault(Some(TableFault::Error(TableError::Unavailable("down".to_owned()))));
    let down = send("{\"type\":\"new3\"}\n").await.expect("sent");
    problem(down, 503, "SERVICE_UNAVAILABLE").await;
}
