//! The document and the router agree, in both directions.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use frazil_log::Directory;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tower::ServiceExt;

use crate::config::ProxyConfig;
use crate::core::Core;
use crate::metrics::Metrics;
use crate::publish::memory::MemoryLog;
use crate::tables::memory::MemoryTables;

fn router() -> axum::Router {
    let (log, tables) = (Arc::new(MemoryLog::default()), Arc::new(MemoryTables::new("lake")));
    let directory = Directory::fixed(Vec::new(), Vec::new());
    let core = Core::new(ProxyConfig::default(), log, directory, tables, None, Metrics::default());
    super::super::router(&Arc::new(core), Arc::new(Registry::default()))
}

async fn ask(method: Method, path: &str) -> (StatusCode, Vec<u8>, String) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    let response = router().oneshot(request).await.expect("infallible");
    let content_type = response.headers().get("content-type");
    let content_type = content_type.map_or_else(String::new, |value| value.to_str().expect("text").to_owned());
    let status = response.status();
    (status, to_bytes(response.into_body(), 10_000_000).await.expect("a body").into(), content_type)
}

async fn document() -> Value {
    let (status, body, content_type) = ask(Method::GET, "/openapi.json").await;
    assert_eq!((status, content_type.as_str()), (StatusCode::OK, "application/json"));
    serde_json::from_slice(&body).expect("JSON")
}

/// Operations of the document: path and method.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("an item");
            methods.iter().map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect()
}

/// A router names its paths in its debug form, and nowhere else. The fallback is among them, as these two.
fn served() -> BTreeSet<String> {
    const FALLBACK: [&str; 2] = ["/", "/{*__private__axum_fallback}"];
    let text = format!("{:?}", router());
    let paths = text.split('"').filter(|word| word.starts_with('/') && !FALLBACK.contains(word)).map(str::to_owned);
    let paths: BTreeSet<String> = paths.collect();
    assert!(paths.contains("/livez"), "the debug form has no paths any more: {text}");
    paths
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_served() {
    let document = document().await;
    let described: BTreeSet<String> = operations(&document).iter().map(|(path, ..)| (*path).to_owned()).collect();
    // The page itself, and gRPC, which has its own description.
    let elsewhere =
        |path: &String| path.starts_with("/docs") || path.starts_with("/frazil.v1.") || path.starts_with("/grpc.");
    let served: BTreeSet<String> = served().into_iter().filter(|path| !elsewhere(path)).collect();
    assert_eq!(described, served);
    assert_eq!(ask(Method::GET, "/").await.0, StatusCode::NOT_FOUND);
    for (path, method, _) in operations(&document) {
        let real = path.replace(['{', '}'], "");
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let (status, body, _) = ask(method.clone(), &real).await;
        let body = String::from_utf8_lossy(&body);
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert!(!body.contains("no-route"), "{method} {path}: {body}");
        for other in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let known = document["paths"][path][other.as_str().to_lowercase()].is_object();
            let refused = ask(other.clone(), &real).await.0 == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(refused, !known, "{other} {path}");
        }
    }
}

#[tokio::test]
async fn the_document_is_complete() {
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no id"));
        assert!(ids.insert(id), "{id} is used twice");
        assert!(operation["summary"].is_string(), "{method} {path} has no summary");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let declared = parameters.iter().any(|parameter| parameter["in"] == "path" && parameter["name"] == name);
            assert!(declared, "{method} {path} does not describe {name}");
        }
        for (status, response) in operation["responses"].as_object().expect("responses") {
            assert_eq!(response["content"].is_object(), status != "204", "{method} {path} {status}");
        }
        if path.starts_with("/v1/") || path.starts_with("/data-plane/") {
            assert!(operation["security"][0]["token"].is_array(), "{method} {path} needs a token");
        }
        if method == "post" {
            let described: BTreeSet<u16> = operation["responses"]
                .as_object()
                .expect("responses")
                .keys()
                .filter_map(|key| key.parse().ok())
                .collect();
            assert!(super::refusals::statuses().all(|status| described.contains(&status)), "{path}: {described:?}");
            assert!(operation["requestBody"]["content"]["application/json"].is_object(), "{path}");
        }
    }
    for reference in references(&document) {
        let place = reference.strip_prefix('#').expect("only references into the document");
        assert!(document.pointer(place).is_some(), "nothing at {reference}");
    }
}

/// Every `$ref` of the document.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(values) => values.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn the_page_comes_from_this_binary() {
    let (status, page, content_type) = ask(Method::GET, "/docs/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(content_type.starts_with("text/html"), "{content_type}");
    assert!(!page.is_empty());
    let (status, start, _) = ask(Method::GET, "/docs/swagger-initializer.js").await;
    let start = String::from_utf8(start).expect("text");
    assert_eq!(status, StatusCode::OK);
    assert!(start.contains("/openapi.json") && start.contains("\"validatorUrl\": \"none\""), "{start}");
    assert!(!start.contains("https://"), "{start}");
    for file in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-ui-standalone-preset.js"] {
        assert_eq!(ask(Method::GET, &format!("/docs/{file}")).await.0, StatusCode::OK, "{file}");
    }
}
