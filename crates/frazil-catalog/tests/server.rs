//! A catalog on a free port and a directory of its own, and a client that speaks JSON to it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use frazil_catalog::{Catalog, CatalogConfig, serve};
use frazil_iceberg::Roots;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const EVENTS: &str = "/v1/namespaces/ns/tables/events";

pub(crate) struct Server {
    pub(crate) api: Api,
    directory: Arc<TempDir>,
    config: CatalogConfig,
    stop: CancellationToken,
    tasks: JoinSet<std::io::Result<()>>,
}

pub(crate) fn config(directory: &Path) -> CatalogConfig {
    CatalogConfig {
        database: directory.join("catalog.db"),
        warehouse: format!("file://{}/warehouse", directory.display()),
        storage_properties: HashMap::new(),
        name: "frazil".to_owned(),
        token: None,
        storage_roots: Roots::default(),
        reports: None,
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut CatalogConfig)) -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("directory"));
        let mut config = config(directory.path());
        adjust(&mut config);
        Self::run(directory, config).await
    }

    /// With namespace `ns` and table `events` in it.
    pub(crate) async fn with_table() -> Self {
        let server = Self::start().await;
        server.api.create_namespace(&["ns"]).await;
        server.api.create_table("ns", "events", json!({})).await;
        server
    }

    async fn run(directory: Arc<TempDir>, config: CatalogConfig) -> Self {
        let catalog = Catalog::open(config.clone()).expect("opens");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, catalog, stop.clone()));
        Self { api: Api::new(base), directory, config, stop, tasks }
    }

    /// Drains, closes the database, and opens it again on another port.
    pub(crate) async fn restart(mut self) -> Self {
        self.stop.cancel();
        self.tasks.join_next().await.expect("one task").expect("no panic").expect("served");
        Self::run(self.directory, self.config).await
    }

    /// A second server on the same database and warehouse.
    pub(crate) async fn sibling(&self) -> Self {
        Self::run(self.directory.clone(), self.config.clone()).await
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Names of the metadata files of `ns.events`, sorted.
    pub(crate) fn metadata_files(&self) -> Vec<String> {
        let directory = self.directory().join("warehouse/ns/events/metadata");
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .expect("listed")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Status and JSON body (null if empty) of an answer.
pub(crate) type Answer = (StatusCode, Value);

#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) base: String,
    pub(crate) client: reqwest::Client,
}

impl Api {
    pub(crate) fn new(base: String) -> Self {
        Self { base, client: reqwest::Client::builder().no_proxy().build().expect("client") }
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.try_call(method, path, body).await.expect("answered")
    }

    pub(crate) async fn try_call(&self, method: Method, path: &str, body: Option<&Value>) -> reqwest::Result<Answer> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let bytes = response.bytes().await?;
        let value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON answer") };
        Ok((status, value))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        expect_ok(self.call(Method::GET, path, None).await)
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    pub(crate) async fn create_namespace(&self, levels: &[&str]) {
        expect_ok(self.post("/v1/namespaces", json!({ "namespace": levels })).await);
    }

    /// Creates a table with [`schema`], partitioned by day, and returns the answer.
    pub(crate) async fn create_table(&self, namespace: &str, name: &str, properties: Value) -> Value {
        let body = table_body(name, properties);
        expect_ok(self.post(&format!("/v1/namespaces/{namespace}/tables"), body).await)
    }

    pub(crate) async fn commit(&self, requirements: Value, updates: Value) -> Answer {
        self.post(EVENTS, json!({ "requirements": requirements, "updates": updates })).await
    }
}

pub(crate) fn expect_ok((status, body): Answer) -> Value {
    assert!(status.is_success(), "{status}: {body}");
    body
}

/// Asserts the protocol's error shape and returns the message.
pub(crate) fn expect_error((status, body): Answer, code: u16, kind: &str) -> String {
    assert_eq!(status.as_u16(), code, "{body}");
    assert_eq!(body["error"]["code"], code, "{body}");
    assert_eq!(body["error"]["type"], kind, "{body}");
    body["error"]["message"].as_str().expect("a message").to_owned()
}

pub(crate) fn schema() -> Value {
    json!({ "type": "struct", "schema-id": 0, "fields": [
        { "id": 1, "name": "id", "required": false, "type": "int" },
        { "id": 2, "name": "ts", "required": false, "type": "timestamptz" },
    ]})
}

pub(crate) fn table_body(name: &str, properties: Value) -> Value {
    json!({
        "name": name, "schema": schema(), "properties": properties,
        "partition-spec": { "spec-id": 0, "fields": [
            { "source-id": 2, "field-id": 1000, "name": "ts_day", "transform": "day" },
        ]},
        "write-order": { "order-id": 1, "fields": [
            { "source-id": 1, "transform": "identity", "direction": "asc", "null-order": "nulls-first" },
        ]},
    })
}

/// Updates that add a snapshot and point `main` to it.
pub(crate) fn snapshot(id: i64, sequence_number: i64, parent: Option<i64>, timestamp_ms: i64) -> Value {
    let mut snapshot = json!({
        "snapshot-id": id, "sequence-number": sequence_number, "timestamp-ms": timestamp_ms, "schema-id": 0,
        "manifest-list": format!("file:///nowhere/{id}.avro"), "summary": { "operation": "append" },
    });
    if let Some(parent) = parent {
        snapshot["parent-snapshot-id"] = json!(parent);
    }
    json!([
        { "action": "add-snapshot", "snapshot": snapshot },
        { "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id },
    ])
}

pub(crate) fn set_property(key: &str, value: &str) -> Value {
    json!([{ "action": "set-properties", "updates": { key: value } }])
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("fits")
}

/// The local path of a `file://` location.
pub(crate) fn path(location: &Value) -> PathBuf {
    PathBuf::from(location.as_str().and_then(|location| location.strip_prefix("file://")).expect("a local location"))
}
