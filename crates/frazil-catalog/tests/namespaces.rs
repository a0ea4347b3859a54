//! Namespaces: nesting, properties, pages, drop.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Api, Server, expect_error, expect_ok};

async fn head(api: &Api, path: &str) -> StatusCode {
    api.call(Method::HEAD, path, None).await.0
}

#[tokio::test]
async fn create_load_exists_and_drop() {
    let server = Server::start().await;
    let api = &server.api;
    let body = json!({ "namespace": ["a"], "properties": { "owner": "me" } });
    assert_eq!(expect_ok(api.post("/v1/namespaces", body.clone()).await), body);
    expect_error(api.post("/v1/namespaces", body.clone()).await, 409, "AlreadyExistsException");
    assert_eq!(api.get("/v1/namespaces/a").await, body);
    assert_eq!(head(api, "/v1/namespaces/a").await, StatusCode::NO_CONTENT);
    assert_eq!(head(api, "/v1/namespaces/b").await, StatusCode::NOT_FOUND);
    expect_error(api.call(Method::GET, "/v1/namespaces/b", None).await, 404, "NoSuchNamespaceException");

    api.create_table("a", "t", json!({})).await;
    expect_error(api.delete("/v1/namespaces/a").await, 409, "NamespaceNotEmptyException");
    expect_ok(api.delete("/v1/namespaces/a/tables/t").await);
    assert_eq!(api.delete("/v1/namespaces/a").await.0, StatusCode::NO_CONTENT);
    expect_error(api.delete("/v1/namespaces/a").await, 404, "NoSuchNamespaceException");
}

#[tokio::test]
async fn nesting_creates_what_is_missing_above() {
    let server = Server::start().await;
    let api = &server.api;
    api.create_namespace(&["a", "b", "c.d"]).await;
    assert_eq!(api.get("/v1/namespaces").await["namespaces"], json!([["a"]]));
    assert_eq!(api.get("/v1/namespaces?parent=a").await["namespaces"], json!([["a", "b"]]));
    assert_eq!(api.get("/v1/namespaces?parent=a%1Fb").await["namespaces"], json!([["a", "b", "c.d"]]));
    assert_eq!(api.get("/v1/namespaces/a%1Fb%1Fc.d").await["namespace"], json!(["a", "b", "c.d"]));
    // A dot separates nothing.
    expect_error(api.call(Method::GET, "/v1/namespaces/a.b", None).await, 404, "NoSuchNamespaceException");
    let missing = api.call(Method::GET, "/v1/namespaces?parent=x", None).await;
    expect_error(missing, 404, "NoSuchNamespaceException");
    expect_error(api.delete("/v1/namespaces/a%1Fb").await, 409, "NamespaceNotEmptyException");
    expect_ok(api.delete("/v1/namespaces/a%1Fb%1Fc.d").await);
    expect_ok(api.delete("/v1/namespaces/a%1Fb").await);
}

#[tokio::test]
async fn properties_are_updated_together() {
    let server = Server::start().await;
    let api = &server.api;
    api.create_namespace(&["a"]).await;
    let update = |removals: Value, updates: Value| {
        api.post("/v1/namespaces/a/properties", json!({ "removals": removals, "updates": updates }))
    };
    expect_ok(update(json!([]), json!({ "x": "1", "y": "2" })).await);
    let changed = expect_ok(update(json!(["x", "gone"]), json!({ "y": "3" })).await);
    assert_eq!(changed, json!({ "updated": ["y"], "removed": ["x"], "missing": ["gone"] }));
    expect_error(update(json!(["y"]), json!({ "y": "4" })).await, 422, "UnprocessableEntityException");
    assert_eq!(api.get("/v1/namespaces/a").await["properties"], json!({ "y": "3" }));
    let missing = api.post("/v1/namespaces/b/properties", json!({ "updates": {} })).await;
    expect_error(missing, 404, "NoSuchNamespaceException");
}

/// Follows the tokens and returns all pages.
async fn pages(api: &Api, path: &str, list: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let answer = api.get(&format!("{path}?pageSize=2&pageToken={token}")).await;
        let last = |entry: &Value| {
            let name = entry.get("name").or_else(|| entry.as_array().and_then(|levels| levels.last()));
            name.and_then(Value::as_str).expect("a name").to_owned()
        };
        pages.push(answer[list].as_array().expect("list").iter().map(last).collect());
        match answer["next-page-token"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn listings_come_in_pages() {
    let server = Server::start().await;
    let api = &server.api;
    for name in ["a", "b", "c", "d", "e"] {
        api.create_namespace(&[name]).await;
        api.create_table("a", name, json!({})).await;
    }
    let expected = [vec!["a", "b"], vec!["c", "d"], vec!["e"]];
    assert_eq!(pages(api, "/v1/namespaces", "namespaces").await, expected);
    assert_eq!(pages(api, "/v1/namespaces/a/tables", "identifiers").await, expected);
    let all = api.get("/v1/namespaces/a/tables").await;
    assert_eq!(all["identifiers"].as_array().expect("list").len(), 5);
    assert_eq!(all["identifiers"][0], json!({ "namespace": ["a"], "name": "a" }));
    assert_eq!(all.get("next-page-token"), None);
    let wrong = api.call(Method::GET, "/v1/namespaces?pageSize=0", None).await;
    expect_error(wrong, 400, "BadRequestException");
    let wrong = api.call(Method::GET, "/v1/namespaces?pageSize=many", None).await;
    expect_error(wrong, 400, "BadRequestException");
    let missing = api.call(Method::GET, "/v1/namespaces/none/tables", None).await;
    expect_error(missing, 404, "NoSuchNamespaceException");
}
