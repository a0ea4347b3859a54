//! What all endpoints share: configuration, error shape, access, body limits.

use std::collections::HashMap;

use frazil_catalog::{Catalog, OpenError};
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::server::{EVENTS, Server, config, expect_error, expect_ok};

#[tokio::test]
async fn config_lists_what_there_is_and_takes_any_warehouse() {
    let server = Server::start().await;
    let answer = server.api.get("/v1/config?warehouse=whatever%3A%2F%2Fit").await;
    let endpoints: Vec<_> = answer["endpoints"].as_array().expect("list").iter().filter_map(Value::as_str).collect();
    assert!(endpoints.contains(&"POST /v1/{prefix}/transactions/commit"));
    assert!(endpoints.iter().all(|endpoint| !endpoint.contains("view") && !endpoint.contains("oauth")));
    assert_eq!((&answer["defaults"], &answer["overrides"]), (&json!({}), &json!({})));
}

#[tokio::test]
async fn unknown_routes_and_methods_have_the_error_shape() {
    let api = Server::start().await;
    let api = &api.api;
    expect_error(api.call(Method::GET, "/v1/nothing", None).await, 404, "NoSuchEndpointException");
    expect_error(api.call(Method::GET, "/v1/namespaces/ns/views", None).await, 404, "NoSuchEndpointException");
    expect_error(api.call(Method::GET, "/", None).await, 404, "NoSuchEndpointException");
    expect_error(api.call(Method::PUT, "/v1/namespaces", None).await, 405, "MethodNotAllowedException");
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let server = Server::with_table().await;
    let send = async |content_type: Option<&str>, body: Vec<u8>| {
        let mut request = server.api.client.post(format!("{}/v1/namespaces", server.api.base)).body(body);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let response = request.send().await.expect("answered");
        (response.status(), response.json::<Value>().await.expect("JSON"))
    };
    let json_type = Some("application/json; charset=utf-8");
    expect_error(send(None, b"{}".to_vec()).await, 415, "BadRequestException");
    expect_error(send(Some("text/plain"), b"{\"namespace\":[\"x\"]}".to_vec()).await, 415, "BadRequestException");
    expect_error(send(json_type, b"{".to_vec()).await, 400, "BadRequestException");
    expect_error(send(json_type, b"{\"namespace\":\"a.b\"}".to_vec()).await, 400, "BadRequestException");
    expect_error(send(json_type, vec![b' '; 32 * 1024 * 1024 + 1]).await, 413, "BadRequestException");
    expect_ok(send(json_type, b"{\"namespace\":[\"a.b\"]}".to_vec()).await);

    let odd = json!([{ "action": "no-such-action" }]);
    expect_error(server.api.commit(json!([]), odd).await, 400, "BadRequestException");
    let odd = json!([{ "type": "assert-nothing" }]);
    expect_error(server.api.commit(odd, json!([])).await, 400, "BadRequestException");
}

#[tokio::test]
async fn bad_names_are_refused() {
    let server = Server::start().await;
    let api = &server.api;
    let long = "x".repeat(256);
    for levels in [json!([]), json!([""]), json!(["a", ""]), json!(["a\u{1f}b"]), json!(["a\n"]), json!([long])] {
        let answer = api.post("/v1/namespaces", json!({ "namespace": levels })).await;
        expect_error(answer, 400, "BadRequestException");
    }
    expect_error(api.call(Method::GET, "/v1/namespaces/a%1F", None).await, 400, "BadRequestException");
    expect_error(api.call(Method::GET, "/v1/namespaces/a%FF", None).await, 400, "BadRequestException");
    expect_error(api.call(Method::GET, "/v1/namespaces/a/tables/b%0A", None).await, 400, "BadRequestException");
}

#[tokio::test]
async fn a_token_is_required_when_one_is_set() {
    let server = Server::start_with(|config| config.token = Some("s3cret".to_owned())).await;
    let call = async |path: &str, value: Option<&str>| {
        let mut request = server.api.client.get(format!("{}{path}", server.api.base));
        if let Some(value) = value {
            request = request.header(header::AUTHORIZATION, value);
        }
        let response = request.send().await.expect("answered");
        (response.status(), response.json::<Value>().await.expect("JSON"))
    };
    for wrong in
        [None, Some("Bearer"), Some("Bearer "), Some("Bearer s3cre"), Some("Bearer s3cret2"), Some("Basic s3cret")]
    {
        expect_error(call("/v1/config", wrong).await, 401, "NotAuthorizedException");
        expect_error(call("/v1/unknown", wrong).await, 401, "NotAuthorizedException");
    }
    expect_ok(call("/v1/config", Some("Bearer s3cret")).await);
    expect_ok(call("/v1/namespaces", Some("bearer s3cret")).await);
}

#[tokio::test]
async fn secrets_of_the_storage_are_never_handed_out() {
    let properties = [
        ("s3.endpoint", "http://127.0.0.1:1"),
        ("s3.region", "us-east-1"),
        ("s3.access-key-id", "HUSH"),
        ("s3.secret-access-key", "HUSH"),
        ("s3.session-token", "HUSH"),
    ];
    let properties: HashMap<_, _> = properties.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let server = Server::start_with(|config| config.storage_properties = properties).await;
    server.api.create_namespace(&["ns"]).await;
    let created = server.api.create_table("ns", "events", json!({})).await;
    let config = json!({ "s3.endpoint": "http://127.0.0.1:1", "s3.region": "us-east-1" });
    assert_eq!(created["config"], config);
    let loaded = server.api.get(EVENTS).await;
    assert_eq!(loaded["config"], config);
    assert!(!loaded.to_string().contains("HUSH") && !server.api.get("/v1/config").await.to_string().contains("HUSH"));
}

#[test]
fn wrong_configurations_do_not_open() {
    let directory = tempfile::tempdir().expect("directory");
    for warehouse in ["", "/plain/path", "file://", "file:///", "file://relative", "s3://", "s3:///x", "gs://bucket"] {
        let config = frazil_catalog::CatalogConfig { warehouse: warehouse.to_owned(), ..config(directory.path()) };
        assert!(matches!(Catalog::open(config), Err(OpenError::Warehouse { .. })), "{warehouse:?}");
    }
    let config = frazil_catalog::CatalogConfig { token: Some(String::new()), ..config(directory.path()) };
    assert!(matches!(Catalog::open(config), Err(OpenError::EmptyToken)));
}
