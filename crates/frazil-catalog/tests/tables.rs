//! Tables apart from commits: create, stage, load, rename, drop, register.

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::server::{
    EVENTS, Server, expect_error, expect_ok, now_ms, path, schema, set_property, snapshot, table_body,
};

const TABLES: &str = "/v1/namespaces/ns/tables";

#[tokio::test]
async fn create_load_exists_and_drop() {
    let server = Server::with_table().await;
    let api = &server.api;
    let loaded = api.get(EVENTS).await;
    let metadata = &loaded["metadata"];
    let location = format!("file://{}/warehouse/ns/events", server.directory().display());
    assert_eq!(metadata["location"], location);
    assert_eq!((&metadata["format-version"], &metadata["last-column-id"]), (&json!(2), &json!(2)));
    assert_eq!(metadata["partition-specs"][0]["fields"][0]["name"], "ts_day");
    assert_eq!(metadata["default-sort-order-id"], 1);
    assert_eq!(metadata["properties"]["write.metadata.delete-after-commit.enabled"], "true");
    assert_eq!(metadata["properties"]["write.metadata.previous-versions-max"], "20");
    let file = path(&loaded["metadata-location"]);
    assert!(file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("00000-")), "{file:?}");
    let on_disk: Value = serde_json::from_slice(&std::fs::read(&file).expect("read")).expect("JSON");
    assert_eq!(&on_disk, metadata);

    expect_error(api.post(TABLES, table_body("events", json!({}))).await, 409, "AlreadyExistsException");
    let elsewhere = api.post("/v1/namespaces/none/tables", table_body("t", json!({}))).await;
    expect_error(elsewhere, 404, "NoSuchNamespaceException");
    assert_eq!(api.call(Method::HEAD, EVENTS, None).await.0, StatusCode::NO_CONTENT);

    expect_error(api.delete(&format!("{EVENTS}?purgeRequested=True")).await, 406, "UnsupportedOperationException");
    assert_eq!(api.delete(&format!("{EVENTS}?purgeRequested=False")).await.0, StatusCode::NO_CONTENT);
    assert!(file.exists(), "dropping deletes no file");
    assert_eq!(api.call(Method::HEAD, EVENTS, None).await.0, StatusCode::NOT_FOUND);
    expect_error(api.call(Method::GET, EVENTS, None).await, 404, "NoSuchTableException");
    expect_error(api.delete(EVENTS).await, 404, "NoSuchTableException");
    expect_error(api.commit(json!([]), json!([])).await, 404, "NoSuchTableException");
}

#[tokio::test]
async fn the_location_of_a_dropped_table_is_not_reused() {
    let server = Server::with_table().await;
    let old = server.api.get(EVENTS).await["metadata"]["location"].clone();
    expect_ok(server.api.delete(EVENTS).await);
    let new = server.api.create_table("ns", "events", json!({})).await["metadata"]["location"].clone();
    assert_ne!(old, new);
    let (old, new) = (old.as_str().expect("text"), new.as_str().expect("text"));
    assert!(new.starts_with(&format!("{old}-")) && new.len() == old.len() + 9, "{new}");
}

#[tokio::test]
async fn creation_is_validated() {
    let server = Server::with_table().await;
    let api = &server.api;
    let with_type = |name: &str, kind: Value, properties: Value| {
        let fields = json!([{ "id": 1, "name": "x", "required": false, "type": kind }]);
        let schema = json!({ "type": "struct", "schema-id": 0, "fields": fields });
        json!({ "name": name, "schema": schema, "properties": properties })
    };
    for (kind, properties) in [
        (json!("timestamptz_ns"), json!({})),
        (json!({ "type": "list", "element-id": 2, "element": "timestamp_ns", "element-required": false }), json!({})),
        (json!("nonsense"), json!({})),
        (json!("long"), json!({ "format-version": "9" })),
        (json!("long"), json!({ "uuid": "x" })),
    ] {
        expect_error(api.post(TABLES, with_type("bad", kind, properties)).await, 400, "BadRequestException");
    }
    let third = with_type("third", json!("timestamptz_ns"), json!({ "format-version": "3" }));
    assert_eq!(expect_ok(api.post(TABLES, third).await)["metadata"]["format-version"], 3);
    let first = with_type("first", json!("long"), json!({ "format-version": "1" }));
    assert_eq!(expect_ok(api.post(TABLES, first).await)["metadata"]["format-version"], 1);
    let mut body = table_body("partitioned", json!({}));
    body["partition-spec"]["fields"][0]["source-id"] = json!(77);
    expect_error(api.post(TABLES, body).await, 400, "BadRequestException");
    let mut body = table_body("elsewhere", json!({}));
    body["location"] = json!("gs://other/place");
    expect_error(api.post(TABLES, body).await, 400, "BadRequestException");
    let mut body = table_body("elsewhere", json!({}));
    let place = format!("file://{}/elsewhere", server.directory().display());
    body["location"] = json!(place);
    assert_eq!(expect_ok(api.post(TABLES, body).await)["metadata"]["location"], place);
}

#[tokio::test]
async fn a_staged_table_appears_with_its_commit() {
    let server = Server::start().await;
    let api = &server.api;
    api.create_namespace(&["ns"]).await;
    let mut body = table_body("events", json!({ "format-version": "2", "p": "1" }));
    body["stage-create"] = json!(true);
    let staged = expect_ok(api.post(TABLES, body).await);
    assert_eq!(staged.get("metadata-location"), None);
    let metadata = &staged["metadata"];
    assert_eq!(api.call(Method::HEAD, EVENTS, None).await.0, StatusCode::NOT_FOUND);

    let updates = |uuid: &Value| {
        let mut updates = json!([
            { "action": "assign-uuid", "uuid": uuid },
            { "action": "upgrade-format-version", "format-version": 2 },
            { "action": "add-schema", "schema": metadata["schemas"][0], "last-column-id": 2 },
            { "action": "set-current-schema", "schema-id": -1 },
            { "action": "add-spec", "spec": metadata["partition-specs"][0] },
            { "action": "set-default-spec", "spec-id": -1 },
            { "action": "add-sort-order", "sort-order": metadata["sort-orders"][0] },
            { "action": "set-default-sort-order", "sort-order-id": -1 },
            { "action": "set-location", "location": metadata["location"] },
            { "action": "set-properties", "updates": metadata["properties"] },
        ]);
        let snapshot = snapshot(7, 1, None, now_ms());
        updates.as_array_mut().expect("list").extend(snapshot.as_array().expect("list").iter().cloned());
        updates
    };
    let without = api.commit(json!([]), updates(&metadata["table-uuid"])).await;
    expect_error(without, 404, "NoSuchTableException");
    let create = json!([{ "type": "assert-create" }]);
    let committed = expect_ok(api.commit(create.clone(), updates(&metadata["table-uuid"])).await);
    let made = &committed["metadata"];
    for same in [
        "table-uuid",
        "location",
        "schemas",
        "partition-specs",
        "default-spec-id",
        "sort-orders",
        "default-sort-order-id",
        "last-column-id",
        "last-partition-id",
        "properties",
        "current-schema-id",
    ] {
        assert_eq!(made[same], metadata[same], "{same}");
    }
    assert_eq!(made["current-snapshot-id"], 7);
    assert_eq!(made.get("metadata-log").and_then(Value::as_array).map_or(0, Vec::len), 0);
    expect_error(api.commit(create, updates(&metadata["table-uuid"])).await, 409, "CommitFailedException");

    let no_schema = json!({ "requirements": [{ "type": "assert-create" }], "updates": set_property("a", "b") });
    expect_error(api.post(&format!("{TABLES}/empty"), no_schema).await, 400, "BadRequestException");
    let plain = json!({ "requirements": [{ "type": "assert-create" }], "updates": [
        { "action": "add-schema", "schema": schema() }, { "action": "set-current-schema", "schema-id": 0 },
    ]});
    let plain_made = expect_ok(api.post(&format!("{TABLES}/plain"), plain.clone()).await);
    assert_eq!(plain_made["metadata"]["properties"]["write.metadata.previous-versions-max"], "20");
    let nowhere = api.post("/v1/namespaces/none/tables/plain", plain).await;
    expect_error(nowhere, 404, "NoSuchNamespaceException");
}

#[tokio::test]
async fn loading_can_leave_out_snapshots_and_unchanged_answers() {
    let server = Server::with_table().await;
    let api = &server.api;
    let now = now_ms();
    expect_ok(api.commit(json!([]), snapshot(1, 1, None, now)).await);
    expect_ok(api.commit(json!([]), snapshot(2, 2, Some(1), now)).await);
    let ids = |answer: &Value| -> Vec<i64> {
        let snapshots = answer["metadata"]["snapshots"].as_array().expect("list");
        let mut ids: Vec<i64> = snapshots.iter().filter_map(|snapshot| snapshot["snapshot-id"].as_i64()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&api.get(EVENTS).await), [1, 2]);
    assert_eq!(ids(&api.get(&format!("{EVENTS}?snapshots=all")).await), [1, 2]);
    assert_eq!(ids(&api.get(&format!("{EVENTS}?snapshots=refs")).await), [2]);
    let wrong = api.call(Method::GET, &format!("{EVENTS}?snapshots=some"), None).await;
    expect_error(wrong, 400, "BadRequestException");

    let url = format!("{}{EVENTS}", api.base);
    let first = api.client.get(&url).send().await.expect("answered");
    let tag = first.headers()[header::ETAG].clone();
    let again = async |url: &str| {
        let request = api.client.get(url).header(header::IF_NONE_MATCH, &tag);
        request.send().await.expect("answered").status()
    };
    assert_eq!(again(&url).await, StatusCode::NOT_MODIFIED);
    assert_eq!(again(&format!("{url}?snapshots=refs")).await, StatusCode::OK);
    expect_ok(api.commit(json!([]), set_property("a", "b")).await);
    assert_eq!(again(&url).await, StatusCode::OK);
}

#[tokio::test]
async fn rename_moves_the_name_only() {
    let server = Server::with_table().await;
    let api = &server.api;
    api.create_namespace(&["other", "deep"]).await;
    api.create_table("ns", "taken", json!({})).await;
    let before = api.get(EVENTS).await;
    let identifier = |namespace: &[&str], name: &str| json!({ "namespace": namespace, "name": name });
    let rename = |from: Value, to: Value| api.post("/v1/tables/rename", json!({ "source": from, "destination": to }));
    let events = identifier(&["ns"], "events");
    let taken = rename(events.clone(), identifier(&["ns"], "taken")).await;
    expect_error(taken, 409, "AlreadyExistsException");
    let nowhere = rename(events.clone(), identifier(&["none"], "x")).await;
    expect_error(nowhere, 404, "NoSuchNamespaceException");
    let missing = rename(identifier(&["ns"], "none"), events.clone()).await;
    expect_error(missing, 404, "NoSuchTableException");
    assert_eq!(rename(events, identifier(&["other", "deep"], "moved")).await.0, StatusCode::NO_CONTENT);
    assert_eq!(api.get("/v1/namespaces/other%1Fdeep/tables/moved").await, before);
    expect_error(api.call(Method::GET, EVENTS, None).await, 404, "NoSuchTableException");
}

#[tokio::test]
async fn register_takes_existing_metadata() {
    let server = Server::with_table().await;
    let api = &server.api;
    let before = api.get(EVENTS).await;
    let register = |name: &str, location: Value| {
        let body = json!({ "name": name, "metadata-location": location });
        let api = api.clone();
        async move { api.post("/v1/namespaces/ns/register", body).await }
    };
    let taken = register("events", before["metadata-location"].clone()).await;
    expect_error(taken, 409, "AlreadyExistsException");
    expect_ok(api.delete(EVENTS).await);
    assert_eq!(expect_ok(register("again", before["metadata-location"].clone()).await), before);
    let missing = json!(format!("file://{}/none.metadata.json", server.directory().display()));
    expect_error(register("x", missing).await, 400, "BadRequestException");
    let garbage = server.directory().join("garbage.metadata.json");
    std::fs::write(&garbage, b"{\"format-version\": 2}").expect("written");
    let answer = register("x", json!(format!("file://{}", garbage.display()))).await;
    expect_error(answer, 400, "BadRequestException");
    let body = json!({ "name": "x", "metadata-location": before["metadata-location"], "overwrite": true });
    let answer = api.post("/v1/namespaces/ns/register", body).await;
    expect_error(answer, 406, "UnsupportedOperationException");
}

#[tokio::test]
async fn metrics_reports_are_taken() {
    let server = Server::with_table().await;
    let report = json!({ "report-type": "commit-report" });
    assert_eq!(server.api.post(&format!("{EVENTS}/metrics"), report).await.0, StatusCode::NO_CONTENT);
}
