//! Requests to the embedded catalog: any method, path and body gets an answer that is no server error, and the one table
//! that is always there can still be loaded afterwards.
#![no_main]

use std::sync::LazyLock;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, StatusCode};
use frazil_catalog::{Catalog, CatalogConfig};
use frazil_fuzz::{byte, split_at_zero};
use libfuzzer_sys::fuzz_target;
use tower::ServiceExt;

const TABLE: &str = "/v1/namespaces/fixed/tables/t";

struct Server {
    router: Router,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = CatalogConfig {
        database: folder.path().join("catalog.db"),
        warehouse: format!("file://{}", folder.path().join("warehouse").display()),
        storage_properties: Default::default(),
        name: "fuzz".to_owned(),
        token: None,
        storage_roots: Default::default(),
        reports: None,
    };
    let router = Catalog::open(config).expect("a new catalog").router();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = Server { router, runtime, _folder: folder };
    for (path, body) in [
        ("/v1/namespaces", r#"{"namespace":["fixed"]}"#),
        ("/v1/namespaces/fixed/tables", r#"{"name":"t","schema":{"type":"struct","fields":[]}}"#),
    ] {
        let status = server.ask(Method::POST, path, body.as_bytes());
        assert_eq!(status, Some(StatusCode::OK), "{path}");
    }
    server
});

impl Server {
    fn ask(&self, method: Method, path: &str, body: &[u8]) -> Option<StatusCode> {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Body::from(Bytes::copy_from_slice(body))).ok()?;
        self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await.expect("the router does not fail");
            let status = answer.status();
            to_bytes(answer.into_body(), usize::MAX).await.expect("a whole body");
            Some(status)
        })
    }
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let choice = byte(&mut data);
    let (path, body) = split_at_zero(data);
    let Ok(path) = std::str::from_utf8(path) else { return };
    let method = [Method::POST, Method::GET, Method::DELETE, Method::HEAD][usize::from(choice) % 4].clone();
    let (method, path) = match choice >> 2 & 3 {
        0 => (Method::POST, TABLE.to_owned()),
        1 => (Method::POST, "/v1/namespaces/fixed/tables".to_owned()),
        2 => (Method::POST, "/v1/namespaces".to_owned()),
        _ => (method, format!("/{path}")),
    };
    // The one table stays.
    if method == Method::DELETE || path.contains("rename") {
        return;
    }
    if let Some(status) = SERVER.ask(method, &path, body) {
        assert!(!status.is_server_error() || status == StatusCode::NOT_IMPLEMENTED, "{path}: {status}");
    }
    assert_eq!(SERVER.ask(Method::GET, TABLE, b""), Some(StatusCode::OK));
});
