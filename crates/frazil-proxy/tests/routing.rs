//! One request, many tables: who names the table, how the groups are stored, and what the answers tell.

use std::collections::BTreeSet;

use frazil_core::limits::TABLES_PER_REQUEST_MAX;
use frazil_core::receipt::Receipt;
use frazil_core::schema::{Field, Schema, Type};
use frazil_proxy::ProxyConfig;
use frazil_proxy::publish::PublishError;
use frazil_proxy::publish::memory::Fault;
use serde_json::{Value, json};

use crate::rig::{Rig, accepted, clicks, clicks_schema, problem, shard, success};

fn typed() -> Schema {
    let id = Field::optional(1, "id", Type::Long);
    Schema::new(vec![id, Field::optional(2, "type", Type::String)])
}

fn put(rig: &Rig, tables: &[&str]) {
    for table in tables {
        rig.tables.put(&format!("lake.web.{table}").parse().expect("valid"), typed());
    }
}

fn events(types: &[&str]) -> String {
    let events = types.iter().enumerate().map(|(id, kind)| json!({"id": id, "type": kind}));
    Value::from(events.collect::<Vec<_>>()).to_string()
}

/// Of every section: sequence, table, first, and the ids of its events.
fn stored(rig: &Rig, stream: &str) -> Vec<(u64, String, u32, Vec<i64>)> {
    let sections = rig.log.sections(&shard(stream, 0));
    let described = sections.iter().map(|(sequence, section)| {
        let id = |line: &[u8]| serde_json::from_slice::<Value>(line).expect("JSON")["id"].as_i64().expect("an id");
        let header = &section.header;
        (*sequence, header.table.table().to_owned(), header.first, section.lines().map(id).collect())
    });
    described.collect()
}

#[tokio::test]
async fn the_table_in_the_path_comes_first() {
    let rig = Rig::start().await;
    rig.tables.put(&"lake.web.other".parse().expect("valid"), clicks_schema());
    for (path, header) in [
        ("/v1/streams/sales/tables/web.other/events", "lake.web.clicks"),
        ("/v1/streams/sales/tables/lake.web.other/events?table=lake.web.clicks", "lake.web.clicks"),
        ("/v1/streams/routed/tables/lake.web.other/events", "lake.web.clicks"),
        ("/v1/streams/routed/events?table=web.other", "lake.web.clicks"),
        ("/v1/streams/routed/events", "web.other"),
    ] {
        let request = rig.post(path).header("frazil-table", header).body(r#"{"id":1,"type":"tea"}"#);
        let (_, receipt) = accepted(request.send().await.expect("sent"), 1).await;
        assert_eq!(receipt.table.to_string(), "lake.web.other", "{path}");
    }
    for path in ["/v1/streams/sales/tables/other/events", "/v1/streams/sales/tables/a..b/events"] {
        problem(rig.post(path).body("{}").send().await.expect("sent"), 400, "BAD_REQUEST").await;
    }
    let forbidden = rig.post("/v1/streams/sales/tables/lake.hr.pay/events").body("{}");
    problem(forbidden.send().await.expect("sent"), 403, "FORBIDDEN").await;
}

#[tokio::test]
async fn events_go_where_their_fields_say_in_the_order_of_first_appearance() {
    let rig = Rig::start().await;
    put(&rig, &["tea", "coffee"]);
    let body = events(&["tea", "coffee", "tea", "coffee", "coffee"]);
    let answer = rig.post("/v1/streams/routed/events").header("idempotency-key", "k\"1").body(body).send().await;
    let answer = answer.expect("sent");
    assert!(answer.headers().get("frazil-receipt").is_none(), "there are two");
    let body = success(answer).await;
    assert_eq!((&body["accepted"], body.get("receipt"), body.get("invalid")), (&json!(5), None, None));
    let tables = body["tables"].as_array().expect("tables");
    for (table, (name, accepted)) in tables.iter().zip([("lake.web.tea", 2), ("lake.web.coffee", 3)]) {
        assert_eq!((&table["table"], &table["accepted"]), (&json!(name), &json!(accepted)));
        let receipt: Receipt = table["receipt"].as_str().expect("text").parse().expect("a receipt");
        assert_eq!((receipt.table.to_string().as_str(), receipt.first, receipt.last), (name, 1, 1));
    }
    let expected = [(1, "tea".to_owned(), 0, vec![0, 2]), (1, "coffee".to_owned(), 2, vec![1, 3, 4])];
    assert_eq!(stored(&rig, "routed"), expected, "one message, one numbering");
    let sections = rig.log.sections(&shard("routed", 0));
    let keys: BTreeSet<_> = sections.iter().map(|(_, section)| section.header.key.expect("keyed").0).collect();
    assert_eq!(keys.len(), 1, "one key for all");
    assert!(sections.iter().all(|(_, section)| section.header.request_key.as_deref() == Some("k\"1")));
}

#[tokio::test]
async fn one_table_is_answered_as_if_it_were_named() {
    let rig = Rig::start().await;
    put(&rig, &["tea"]);
    let request = rig.post("/v1/streams/routed/events").body(events(&["tea", "tea"]));
    let (body, receipt) = accepted(request.send().await.expect("sent"), 2).await;
    assert_eq!((body.get("tables"), receipt.table.table()), (None, "tea"));
}

#[tokio::test]
async fn a_thousand_tables_cost_one_message() {
    let rig = Rig::start().await;
    let names: Vec<String> = (0..TABLES_PER_REQUEST_MAX).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    put(&rig, &names);
    let send = |types: &[&str]| rig.post("/v1/streams/routed/events").body(events(types)).send();
    let body = success(send(&[names.clone(), names.clone()].concat()).await.expect("sent")).await;
    assert_eq!(body["tables"].as_array().map(Vec::len), Some(TABLES_PER_REQUEST_MAX));
    assert_eq!(rig.log.attempts(), 1);
    let mut next = 0;
    for (position, (sequence, table, first, ids)) in stored(&rig, "routed").into_iter().enumerate() {
        let position_of = i64::try_from(position).expect("small");
        assert_eq!((sequence, table.as_str(), first), (1, names[position], next));
        assert_eq!(ids, [position_of, position_of + 1000]);
        next += 2;
    }
    let too_many = [names.clone(), vec!["t_one_more"]].concat();
    let found = problem(send(&too_many).await.expect("sent"), 400, "BAD_REQUEST").await;
    assert_eq!(found["type"], "urn:frazil:problem:too-many-tables");
}

#[tokio::test]
async fn what_does_not_fit_one_message_is_stored_strictly_in_order() {
    let rig = Rig::start().await;
    rig.log.set_max_message_bytes(4000);
    rig.log.script([Some(Fault::Hold)]);
    put(&rig, &["tea", "coffee"]);
    let events: Vec<Value> = (0..40)
        .map(|id| json!({"id": id, "type": if id % 2 == 0 { "tea" } else { "coffee" }, "x": "x".repeat(300)}))
        .collect();
    let name = |table: &str| format!("lake.web.{table}").parse().expect("valid");
    for table in ["tea", "coffee"] {
        rig.tables.put(&name(table), typed().with_system_columns());
    }
    let request =
        rig.post("/v1/streams/routed/events").header("idempotency-key", "k").body(Value::from(events).to_string());
    let checks = async {
        rig.log.attempted(1).await;
        assert_eq!(rig.log.attempts(), 1, "the second message waits for the first");
        rig.log.release();
    };
    let (answer, ()) = tokio::join!(request.send(), checks);
    let body = success(answer.expect("sent")).await;
    let stored = stored(&rig, "routed");
    let messages = rig.log.messages(&shard("routed", 0));
    assert!(messages.len() > 3 && messages.iter().all(|message| message.payload.len() < 4000), "{}", messages.len());
    let ids: Vec<i64> = stored.iter().flat_map(|(.., ids)| ids.clone()).collect();
    assert_eq!(ids, (0..20).map(|n| n * 2).chain((0..20).map(|n| n * 2 + 1)).collect::<Vec<_>>());
    let mut next = 0;
    for (_, _, first, ids) in &stored {
        assert_eq!(*first, next);
        next += u32::try_from(ids.len()).expect("few");
    }
    for (table, name) in body["tables"].as_array().expect("tables").iter().zip(["tea", "coffee"]) {
        let receipt: Receipt = table["receipt"].as_str().expect("text").parse().expect("a receipt");
        let sequences: Vec<u64> = stored.iter().filter(|s| s.1 == name).map(|s| s.0).collect();
        assert_eq!((Some(&receipt.first), Some(&receipt.last)), (sequences.first(), sequences.last()), "{name}");
    }
}

#[tokio::test]
async fn a_routed_request_that_breaks_off_is_not_accepted() {
    let rig = Rig::start().await;
    rig.log.set_max_message_bytes(4000);
    rig.log.script([None, Some(Fault::Refuse(PublishError::Full))]);
    let tables: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    put(&rig, &tables);
    let answer = rig.post("/v1/streams/routed/events").body(events(&tables)).send().await.expect("sent");
    let found = problem(answer, 503, "SERVICE_UNAVAILABLE").await;
    assert_eq!(found["type"], "urn:frazil:problem:outcome-unknown");
}

#[tokio::test]
async fn a_request_is_refused_as_a_whole_if_one_event_cannot_go_where_it_says() {
    let rig = Rig::start().await;
    put(&rig, &["tea"]);
    let send = |body: String| rig.post("/v1/streams/routed/events").body(body).send();
    let unroutable = r#"[{"id":1,"type":"tea"},{"id":2},{"id":"x","type":"tea"},{"type":"secret"},{"type":"a.b"},7]"#;
    let found = problem(send(unroutable.to_owned()).await.expect("sent"), 400, "BAD_REQUEST").await;
    let listed = found["errors"].as_array().expect("verdicts").iter();
    let listed: Vec<_> = listed.map(|v| (v["index"].as_u64(), v["reason"].as_str(), v["got"].as_str())).collect();
    let expected = [
        (1, "unroutable", ""),
        (2, "wrong_type", "\"x\""),
        (3, "unroutable", "web.secret"),
        (4, "unroutable", "web.a_b"),
        (5, "unroutable", "7"),
    ];
    assert_eq!(listed, expected.map(|(index, reason, got)| (Some(index), Some(reason), Some(got))), "{found}");
    let found = problem(send(events(&["tea", "cold"])).await.expect("sent"), 404, "NOT_FOUND").await;
    assert!(found["detail"].as_str().expect("text").contains("lake.web.cold"), "{found}");
    assert_eq!(rig.log.attempts(), 0);
}

#[tokio::test]
async fn the_token_must_be_for_every_table() {
    let rig = Rig::start().await;
    put(&rig, &["tea"]);
    rig.tables.put(&"lake.hr.pay".parse().expect("valid"), typed());
    let send = |body: &'static str| rig.post("/v1/streams/anywhere/events").body(body).send();
    let both = r#"[{"namespace":"web","type":"tea"},{"namespace":"hr","type":"pay"}]"#;
    let found = problem(send(both).await.expect("sent"), 403, "FORBIDDEN").await;
    assert_eq!(found["type"], "urn:frazil:problem:table-forbidden");
    assert!(found["detail"].as_str().expect("text").contains("lake.hr.pay"), "{found}");
    let system = r#"{"namespace":"frazil_system","type":"anywhere"}"#;
    let found = problem(send(system).await.expect("sent"), 400, "BAD_REQUEST").await;
    assert_eq!(found["errors"][0]["reason"], "unroutable", "{found}");
    assert_eq!((rig.log.attempts(), rig.tables.calls().load), (0, 0), "no catalog is asked for it");
}

#[tokio::test]
async fn case_is_folded_where_the_stream_says_so() {
    let rig = Rig::start().await;
    rig.tables.put(&"lake.web.tea".parse().expect("valid"), typed().with_system_columns());
    for (path, body) in [
        ("/v1/streams/folded/events", r#"{"type":"TEA","id":1}"#),
        ("/v1/streams/folded/events?table=Web.TEA", "{}"),
        ("/v1/streams/folded/tables/lake.WEB.tea/events", r#"{"type":"coffee"}"#),
    ] {
        let (_, receipt) = accepted(rig.post(path).body(body).send().await.expect("sent"), 1).await;
        assert_eq!(receipt.table.to_string(), "lake.web.tea", "{path}");
    }
    let rest = rig.post("/v1/streams/folded/events").body(r#"{"id":1}"#).send().await.expect("sent");
    assert_eq!(accepted(rest, 1).await.1.table, clicks(), "the fallback");
    let exact = rig.post("/v1/streams/sales/tables/lake.web.Clicks/events").body(r#"{"id":1}"#);
    problem(exact.send().await.expect("sent"), 404, "NOT_FOUND").await;
}

#[tokio::test]
async fn waiting_for_a_commit_means_all_tables() {
    let config = ProxyConfig { max_waiters: 1, ..ProxyConfig::default() };
    let rig = Rig::with(config).await;
    put(&rig, &["tea", "coffee"]);
    let send = |timeout: &str| {
        let path = format!("/v1/streams/routed/events?wait=committed&timeout={timeout}");
        rig.post(&path).body(events(&["tea", "coffee"])).send()
    };
    let commit = |table: &str, snapshot_id: i64| {
        let receipt = Receipt {
            shard: shard("routed", 0),
            incarnation: frazil_core::checkpoint::Incarnation(1),
            first: 1,
            last: 1,
            table: format!("lake.web.{table}").parse().expect("valid"),
        };
        rig.commit(&receipt, snapshot_id);
    };
    let commits = async {
        rig.log.attempted(1).await;
        commit("coffee", 8);
        commit("tea", 7);
    };
    let (answer, ()) = tokio::join!(send("20s"), commits);
    let body = success(answer.expect("sent")).await;
    assert_eq!((&body["state"], body.get("snapshot_id")), (&json!("committed"), None));
    let snapshots: Vec<_> =
        body["tables"].as_array().expect("tables").iter().map(|t| t["snapshot_id"].clone()).collect();
    assert_eq!(snapshots, [7, 8]);
    let body = success(send("10ms").await.expect("sent")).await;
    assert_eq!((&body["state"], &body["tables"][1]["state"]), (&json!("stored"), &json!("stored")));
}

#[tokio::test]
async fn the_same_key_gives_the_same_shard_and_hash_whatever_the_tables() {
    let rig = Rig::start().await;
    put(&rig, &["tea", "coffee"]);
    for types in [["tea", "coffee"], ["coffee", "tea"]] {
        let request = rig.post("/v1/streams/routed/events").header("idempotency-key", "k").body(events(&types));
        success(request.send().await.expect("sent")).await;
    }
    let sections = rig.log.sections(&shard("routed", 0));
    let keys: BTreeSet<_> = sections.iter().map(|(_, section)| section.header.key.expect("keyed").0).collect();
    assert_eq!((sections.len(), keys.len()), (4, 1));
}
