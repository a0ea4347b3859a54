//! Commits: requirements, refusals, several tables, old metadata files.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::server::{Api, EVENTS, Server, expect_error, expect_ok, now_ms, path, schema, set_property, snapshot};

/// Both requirements in turn: the first must hold, the second must fail and change nothing.
async fn holds_and_fails(api: &Api, kind: &str, field: &str, good: Value, bad: Value) {
    let requirement = |value: Value| json!([{ "type": kind, "ref": "main", field: value }]);
    expect_ok(api.commit(requirement(good), set_property(kind, field)).await);
    let before = api.get(EVENTS).await;
    let failed = api.commit(requirement(bad), set_property("never", kind)).await;
    expect_error(failed, 409, "CommitFailedException");
    assert_eq!(api.get(EVENTS).await, before, "{kind}");
}

#[tokio::test]
async fn every_requirement_is_checked() {
    let server = Server::with_table().await;
    let api = &server.api;
    let uuid = api.get(EVENTS).await["metadata"]["table-uuid"].clone();
    let other = json!("00000000-0000-0000-0000-000000000001");
    holds_and_fails(api, "assert-table-uuid", "uuid", uuid, other).await;
    holds_and_fails(api, "assert-ref-snapshot-id", "snapshot-id", Value::Null, json!(1)).await;
    expect_ok(api.commit(json!([]), snapshot(1, 1, None, now_ms())).await);
    holds_and_fails(api, "assert-ref-snapshot-id", "snapshot-id", json!(1), Value::Null).await;
    holds_and_fails(api, "assert-ref-snapshot-id", "snapshot-id", json!(1), json!(2)).await;
    holds_and_fails(api, "assert-last-assigned-field-id", "last-assigned-field-id", json!(2), json!(3)).await;
    holds_and_fails(api, "assert-current-schema-id", "current-schema-id", json!(0), json!(1)).await;
    let partition = "assert-last-assigned-partition-id";
    holds_and_fails(api, partition, "last-assigned-partition-id", json!(1000), json!(999)).await;
    holds_and_fails(api, "assert-default-spec-id", "default-spec-id", json!(0), json!(1)).await;
    holds_and_fails(api, "assert-default-sort-order-id", "default-sort-order-id", json!(1), json!(0)).await;
    let create = api.commit(json!([{ "type": "assert-create" }]), json!([])).await;
    expect_error(create, 409, "CommitFailedException");
}

#[tokio::test]
async fn one_failing_requirement_among_many_is_enough() {
    let server = Server::with_table().await;
    let requirements = json!([
        { "type": "assert-current-schema-id", "current-schema-id": 0 },
        { "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 9 },
    ]);
    let answer = server.api.commit(requirements, set_property("a", "b")).await;
    expect_error(answer, 409, "CommitFailedException");
    assert_eq!(server.metadata_files().len(), 1);
}

#[tokio::test]
async fn a_location_that_cannot_be_written_is_the_clients_mistake() {
    let server = Server::with_table().await;
    let before = server.api.get(EVENTS).await;
    let folder = server.directory().join("x".repeat(256));
    for location in [folder.to_str().expect("a plain path"), "nowhere://bucket/t"] {
        let updates = json!([{ "action": "set-location", "location": location }]);
        let message = expect_error(server.api.commit(json!([]), updates).await, 400, "BadRequestException");
        assert!(message.contains(location), "{message}");
    }
    assert_eq!(server.api.get(EVENTS).await, before);
}

#[tokio::test]
async fn a_commit_that_changes_nothing_writes_nothing() {
    let server = Server::with_table().await;
    let before = server.api.get(EVENTS).await;
    assert_eq!(expect_ok(server.api.commit(json!([]), json!([])).await), before);
    let same = json!([{ "action": "set-current-schema", "schema-id": 0 }]);
    assert_eq!(expect_ok(server.api.commit(json!([]), same).await), before);
    assert_eq!(server.metadata_files().len(), 1);
}

fn schema_with(id: i64, kind: Value) -> Value {
    let mut schema = schema();
    schema["schema-id"] = json!(1);
    match id {
        1 => schema["fields"][0]["type"] = kind,
        _ => {
            let field = json!({ "id": id, "name": format!("c{id}"), "required": false, "type": kind });
            schema["fields"].as_array_mut().expect("list").push(field);
        }
    }
    schema
}

fn evolve(schema: Value) -> Value {
    json!([{ "action": "add-schema", "schema": schema }, { "action": "set-current-schema", "schema-id": -1 }])
}

#[tokio::test]
async fn illegal_type_changes_are_refused() {
    let server = Server::with_table().await;
    let api = &server.api;
    for kind in [json!("string"), json!("double"), json!("boolean"), json!({ "type": "struct", "fields": [] })] {
        let message =
            expect_error(api.commit(json!([]), evolve(schema_with(1, kind))).await, 400, "BadRequestException");
        assert!(message.contains("illegal type change"), "{message}");
    }
    expect_ok(api.commit(json!([]), evolve(schema_with(1, json!("long")))).await);
    expect_error(api.commit(json!([]), evolve(schema_with(1, json!("int")))).await, 400, "BadRequestException");
    // The old schema is still known: making it current again would narrow the column as well.
    let back = json!([{ "action": "set-current-schema", "schema-id": 0 }]);
    expect_error(api.commit(json!([]), back).await, 400, "BadRequestException");

    let mut wide = schema_with(3, json!("decimal(9, 2)"));
    wide["fields"][0]["type"] = json!("long");
    expect_ok(api.commit(json!([]), evolve(wide.clone())).await);
    for (kind, legal) in [("decimal(9, 3)", false), ("decimal(8, 2)", false), ("decimal(12, 2)", true)] {
        wide["fields"][2]["type"] = json!(kind);
        assert_eq!(api.commit(json!([]), evolve(wide.clone())).await.0.is_success(), legal, "{kind}");
    }
    // Dropped, then the id comes back with another type.
    let fields = wide["fields"].as_array_mut().expect("list");
    fields.pop();
    expect_ok(api.commit(json!([]), evolve(wide.clone())).await);
    let mut reused = wide;
    let field = json!({ "id": 3, "name": "again", "required": false, "type": "string" });
    reused["fields"].as_array_mut().expect("list").push(field);
    expect_error(api.commit(json!([]), evolve(reused)).await, 400, "BadRequestException");
}

#[tokio::test]
async fn what_the_builder_would_accept_or_break_on_is_refused() {
    let server = Server::with_table().await;
    let api = &server.api;
    let now = now_ms();
    let refuse = async |updates: Value| {
        expect_error(api.commit(json!([]), updates).await, 400, "BadRequestException");
    };
    refuse(evolve(schema_with(3, json!("timestamp_ns")))).await;
    refuse(json!([{ "action": "assign-uuid", "uuid": "00000000-0000-0000-0000-000000000001" }])).await;
    refuse(json!([{ "action": "upgrade-format-version", "format-version": 1 }])).await;
    refuse(set_property("format-version", "1")).await;
    refuse(set_property("uuid", "x")).await;
    refuse(json!([{ "action": "set-default-spec", "spec-id": 5 }])).await;
    refuse(json!([{ "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 5 }])).await;
    expect_ok(api.commit(json!([]), snapshot(1, 1, None, now)).await);
    refuse(json!([{ "action": "remove-snapshots", "snapshot-ids": [1] }])).await;
    // Numbers from an older state are a lost race: the client may try again.
    for stale in [snapshot(2, 1, Some(1), now), snapshot(2, 0, None, now)] {
        expect_error(api.commit(json!([]), stale).await, 409, "CommitFailedException");
    }
    expect_ok(api.commit(json!([]), set_property("format-version", "3")).await);
    assert_eq!(api.get(EVENTS).await["metadata"]["format-version"], 3);
    assert_eq!(api.get(EVENTS).await["metadata"]["properties"].get("format-version"), None);
}

/// A clock set back must not produce metadata that no reader accepts.
#[tokio::test]
async fn the_time_of_the_last_update_never_goes_back() {
    let server = Server::with_table().await;
    let future = snapshot(1, 1, None, now_ms() + 600_000);
    let message = expect_error(server.api.commit(json!([]), future).await, 400, "BadRequestException");
    assert!(message.contains("ahead of this server's clock"), "{message}");
    let ahead = now_ms() + 45_000;
    expect_ok(server.api.commit(json!([]), snapshot(1, 1, None, ahead)).await);
    let past = snapshot(2, 2, Some(1), ahead - 61_000);
    expect_error(server.api.commit(json!([]), past).await, 409, "CommitFailedException");
    expect_ok(server.api.commit(json!([]), set_property("a", "b")).await);
    let server = server.restart().await;
    let loaded = server.api.get(EVENTS).await;
    assert_eq!(loaded["metadata"]["last-updated-ms"], ahead);
    assert_eq!(loaded["metadata"]["properties"]["a"], "b");
}

#[tokio::test]
async fn several_tables_change_together_or_not_at_all() {
    let server = Server::with_table().await;
    let api = &server.api;
    api.create_table("ns", "second", json!({})).await;
    let change = |name: &str, requirements: Value, value: &str| {
        json!({
            "identifier": { "namespace": ["ns"], "name": name },
            "requirements": requirements, "updates": set_property("v", value),
        })
    };
    let transaction = |changes: Value| api.post("/v1/transactions/commit", json!({ "table-changes": changes }));
    let value = async |name: &str| {
        api.get(&format!("/v1/namespaces/ns/tables/{name}")).await["metadata"]["properties"]["v"].clone()
    };
    let both = json!([change("events", json!([]), "1"), change("second", json!([]), "1")]);
    assert_eq!(transaction(both).await.0, StatusCode::NO_CONTENT);
    assert_eq!((value("events").await, value("second").await), (json!("1"), json!("1")));

    let stale = json!([{ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 3 }]);
    let second_stale = json!([change("events", json!([]), "2"), change("second", stale, "2")]);
    expect_error(transaction(second_stale).await, 409, "CommitFailedException");
    let missing = json!([change("events", json!([]), "2"), change("none", json!([]), "2")]);
    expect_error(transaction(missing).await, 404, "NoSuchTableException");
    let twice = json!([change("events", json!([]), "2"), change("events", json!([]), "2")]);
    expect_error(transaction(twice).await, 400, "BadRequestException");
    let nameless = json!([{ "requirements": [], "updates": [] }]);
    expect_error(transaction(nameless).await, 400, "BadRequestException");
    assert_eq!((value("events").await, value("second").await), (json!("1"), json!("1")));
    assert_eq!(server.metadata_files().len(), 2, "no file of a refused transaction remains");
    let mixed = json!({ "identifier": { "namespace": ["ns"], "name": "second" }, "requirements": [], "updates": [] });
    expect_error(api.post(EVENTS, mixed).await, 400, "BadRequestException");
}

#[tokio::test]
async fn old_metadata_files_go_when_the_log_drops_them() {
    let server = Server::with_table().await;
    let api = &server.api;
    let first = api.get(EVENTS).await;
    let body = json!({ "name": "copy", "metadata-location": first["metadata-location"] });
    expect_ok(api.post("/v1/namespaces/ns/register", body).await);
    expect_ok(api.commit(json!([]), set_property("write.metadata.previous-versions-max", "2")).await);
    for i in 0..6 {
        expect_ok(api.commit(json!([]), set_property("i", &i.to_string())).await);
    }
    let loaded = api.get(EVENTS).await;
    let log = loaded["metadata"]["metadata-log"].as_array().expect("list");
    assert_eq!(log.len(), 2);
    let mut expected: Vec<_> = log.iter().map(|entry| path(&entry["metadata-file"])).collect();
    expected.push(path(&loaded["metadata-location"]));
    // The copy still points to it.
    expected.push(path(&first["metadata-location"]));
    let mut names: Vec<_> =
        expected.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    names.sort();
    assert_eq!(server.metadata_files(), names);
    assert!(path(&loaded["metadata-location"]).to_string_lossy().contains("/00007-"));

    expect_ok(api.commit(json!([]), set_property("write.metadata.delete-after-commit.enabled", "false")).await);
    let kept = server.metadata_files().len();
    expect_ok(api.commit(json!([]), set_property("j", "1")).await);
    assert_eq!(server.metadata_files().len(), kept + 1);
}

#[tokio::test]
async fn compressed_metadata_is_written_and_read() {
    let server = Server::with_table().await;
    expect_ok(server.api.commit(json!([]), set_property("write.metadata.compression-codec", "gzip")).await);
    let server = server.restart().await;
    let loaded = server.api.get(EVENTS).await;
    let file = path(&loaded["metadata-location"]);
    assert!(file.to_string_lossy().ends_with(".gz.metadata.json"), "{file:?}");
    assert!(std::fs::read(&file).expect("read").starts_with(&[0x1f, 0x8b]));
    expect_ok(server.api.commit(json!([]), set_property("write.metadata.compression-codec", "none")).await);
    assert!(server.api.get(EVENTS).await["metadata-location"].as_str().is_some_and(|l| !l.contains(".gz.")));
}
