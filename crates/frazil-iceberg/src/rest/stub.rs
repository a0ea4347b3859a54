//! A small REST catalog in memory for this crate's tests, with faults on demand.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use iceberg::spec::{Schema, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec};
use iceberg::{TableCreation, TableIdent, TableRequirement, TableUpdate};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{CommitPolicy, RestCatalog, RestCatalogConfig, RetryPolicy};
use crate::sigv4::verifier::{Arrived, Verifier};

/// What happens to the next request that matches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Answers this status without doing anything.
    Refuse(u16),
    /// Does it, then answers this status.
    PerformThen(u16),
    /// Does it, then closes the connection in the middle of the answer.
    PerformThenClose,
    /// Another writer commits first, then the request is handled.
    ForeignCommitFirst,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) tables: HashMap<String, TableMetadata>,
    pub(crate) namespaces: Vec<Vec<String>>,
    /// Faults for the next requests of a method to a table path (or to `*`, any path).
    pub(crate) faults: VecDeque<(Method, Fault)>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) config: Value,
    /// `config` and `storage-credentials` of loaded tables.
    pub(crate) vended: Value,
    /// Tokens that are accepted; `None` accepts everything.
    pub(crate) tokens: Option<Vec<String>>,
    pub(crate) tokens_issued: u32,
    pub(crate) expires_in: Option<u64>,
    pub(crate) commits: u32,
    /// Who checks signatures; `None` asks for none.
    pub(crate) verifier: Option<Verifier>,
    /// The keys of the signatures that were good, in order.
    pub(crate) signed_by: Vec<String>,
    /// Where everything is now.
    pub(crate) moved: Option<String>,
    /// How the next requests are refused, with what date.
    pub(crate) refusals: VecDeque<(u16, &'static str, Option<&'static str>)>,
}

/// The running stub. Stops when dropped.
pub(crate) struct Stub {
    pub(crate) shared: Arc<Mutex<Shared>>,
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let shared =
            Arc::new(Mutex::new(Shared { config: json!({"defaults": {}, "overrides": {}}), ..Shared::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let router = axum::Router::new().fallback(handle).with_state(shared.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("serve") });
        Self { shared, address, _server: server }
    }

    pub(crate) fn config(&self) -> RestCatalogConfig {
        let retry = RetryPolicy { attempts: 4, base: Duration::from_millis(1), max: Duration::from_millis(20) };
        let mut config = RestCatalogConfig::new(format!("http://{}", self.address));
        config.retry = retry;
        config.commit = CommitPolicy { retry: RetryPolicy { attempts: 6, ..retry } };
        config
    }

    pub(crate) async fn connect(&self) -> RestCatalog {
        RestCatalog::connect(self.config()).await.expect("connect")
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        change(&mut self.shared.lock().expect("no panic while held"))
    }

    pub(crate) fn fault(&self, method: Method, fault: Fault) {
        self.with(|shared| shared.faults.push_back((method, fault)));
    }

    /// Requests of a method whose path contains a text.
    pub(crate) fn count(&self, method: &Method, path: &str) -> usize {
        self.with(|shared| shared.seen.iter().filter(|s| s.method == *method && s.path.contains(path)).count())
    }

    /// Changes the only table behind everybody's back.
    pub(crate) fn update(&self, updates: Vec<TableUpdate>) {
        self.with(|shared| {
            let metadata = shared.tables.values_mut().next().expect("a table");
            *metadata = apply(metadata, updates);
        });
    }
}

fn apply(metadata: &TableMetadata, updates: Vec<TableUpdate>) -> TableMetadata {
    let builder = metadata.clone().into_builder(Some("memory:///wh/previous.metadata.json".to_owned()));
    let builder = updates.into_iter().fold(builder, |builder, update| update.apply(builder).expect("update"));
    builder.build().expect("metadata").metadata
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Create {
    name: String,
    location: Option<String>,
    schema: Schema,
    partition_spec: Option<UnboundPartitionSpec>,
    write_order: Option<SortOrder>,
    #[serde(default)]
    properties: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Commit {
    identifier: TableIdent,
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
}

async fn handle(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("body");
    let mut shared = shared.lock().expect("no panic while held");
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    shared.seen.push(Seen { method: parts.method.clone(), path: path.clone(), headers: parts.headers.clone() });
    if path == "/v1/oauth/tokens" {
        return issue_token(&mut shared, &body);
    }
    if let Some(refused) = check_signature(&mut shared, &parts.method, &path, &parts.headers, &body) {
        return refused;
    }
    if let Some(elsewhere) = &shared.moved {
        return (StatusCode::TEMPORARY_REDIRECT, [("location", elsewhere.clone())]).into_response();
    }
    let token = parts.headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if let Some(tokens) = &shared.tokens
        && !token.is_some_and(|token| tokens.iter().any(|known| known == token))
    {
        return error(401, "NotAuthorizedException", "bad token");
    }
    let faulty =
        path.contains("/namespaces") && shared.faults.front().is_some_and(|(method, _)| *method == parts.method);
    let fault = if faulty { shared.faults.pop_front().map(|(_, fault)| fault) } else { None };
    match fault {
        Some(Fault::Refuse(status)) => {
            let mut answer = error(status, "Fault", "on demand");
            if let Some(seconds) = shared.retry_after {
                answer.headers_mut().insert("retry-after", seconds.into());
            }
            return answer;
        }
        Some(Fault::ForeignCommitFirst) => foreign_commit(&mut shared),
        Some(Fault::PerformThen(_) | Fault::PerformThenClose) | None => {}
    }
    let answer = route(&mut shared, &parts.method, &path, &body);
    match fault {
        Some(Fault::PerformThen(status)) => {
            assert!(answer.status().is_success(), "performed");
            error(status, "Fault", "performed, but")
        }
        Some(Fault::PerformThenClose) => {
            assert!(answer.status().is_success(), "performed");
            let broken = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("closed")) });
            Response::new(Body::from_stream(broken))
        }
        Some(Fault::Refuse(_) | Fault::ForeignCommitFirst) | None => answer,
    }
}

/// The answer of an AWS gateway to a request whose signature it does not accept.
fn check_signature(
    shared: &mut Shared,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<Response> {
    let verifier = shared.verifier.as_ref()?;
    let text = |value: &axum::http::HeaderValue| value.to_str().expect("text").to_owned();
    let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let verified = verifier.verify(&Arrived { method: method.as_str(), target, headers, body });
    let (status, message, date) = match (verified, shared.refusals.pop_front()) {
        (Err(message), _) => (403, message, None),
        (Ok(_), Some((status, message, date))) => (status, message.to_owned(), date),
        (Ok(key), None) => {
            shared.signed_by.push(key);
            return None;
        }
    };
    let body = json!({ "message": message }).to_string();
    let mut answer = (StatusCode::from_u16(status).expect("status"), body).into_response();
    if let Some(date) = date {
        answer.headers_mut().insert("date", date.parse().expect("a date"));
    }
    Some(answer)
}

/// An append by somebody else, of no file of ours: `main` moves on.
pub(crate) fn foreign_commit(shared: &mut Shared) {
    use iceberg::spec::{Operation, Snapshot, SnapshotReference, SnapshotRetention, Summary};
    let metadata = shared.tables.values_mut().next().expect("a table");
    let parent = metadata.current_snapshot();
    let id = metadata.snapshots().len() as i64 + 1000;
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(chrono::Utc::now().timestamp_millis())
        .with_manifest_list(
            parent.map(|p| p.manifest_list().to_owned()).unwrap_or_else(|| "memory:///empty".to_owned()),
        )
        .with_summary(Summary { operation: Operation::Append, additional_properties: HashMap::new() })
        .build();
    let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
    let updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef { ref_name: "main".to_owned(), reference },
    ];
    *metadata = apply(metadata, updates);
}

fn issue_token(shared: &mut Shared, body: &Bytes) -> Response {
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    let expected =
        [("client_id", "me"), ("client_secret", "s:cret"), ("grant_type", "client_credentials"), ("scope", "catalog")];
    if !expected.iter().all(|(key, value)| form.get(*key).is_some_and(|found| found == value)) {
        return (StatusCode::BAD_REQUEST, json!({"error": "invalid_client"}).to_string()).into_response();
    }
    shared.tokens_issued += 1;
    let token = format!("token-{}", shared.tokens_issued);
    shared.tokens = Some(vec![token.clone()]);
    let mut answer = json!({"access_token": token, "token_type": "bearer"});
    if let Some(seconds) = shared.expires_in {
        answer["expires_in"] = seconds.into();
    }
    answer.to_string().into_response()
}

fn route(shared: &mut Shared, method: &Method, path: &str, body: &Bytes) -> Response {
    let path = path.split('?').next().unwrap_or_default();
    if path == "/v1/config" {
        return shared.config.to_string().into_response();
    }
    let rest = path.strip_prefix("/v1/").unwrap_or(path);
    let rest = rest.strip_prefix("pre/fix/").unwrap_or(rest).strip_prefix("namespaces").unwrap_or(rest);
    let parts: Vec<&str> = rest.split('/').skip(1).collect();
    match (method.as_str(), parts.as_slice()) {
        ("POST", []) => create_namespace(shared, body),
        ("GET", []) => {
            let levels: Vec<_> = shared.namespaces.iter().filter(|levels| levels.len() == 1).collect();
            json!({ "namespaces": levels }).to_string().into_response()
        }
        ("GET", [namespace]) => {
            let known =
                shared.namespaces.iter().any(|levels| super::names::encode(&levels.join("\u{1f}")) == *namespace);
            if known { "{}".into_response() } else { error(404, "NoSuchNamespaceException", "no namespace") }
        }
        ("POST", [_, "tables"]) => create_table(shared, body, path),
        ("GET", [_, "tables"]) => json!({"identifiers": []}).to_string().into_response(),
        ("GET" | "HEAD", [_, "tables", _]) => load(shared, path),
        ("DELETE", [_, "tables", _]) => match shared.tables.remove(path) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => error(404, "NoSuchTableException", "no table"),
        },
        ("POST", [_, "tables", _]) => commit(shared, body, path),
        _ => error(404, "NotFound", path),
    }
}

fn create_namespace(shared: &mut Shared, body: &Bytes) -> Response {
    let request: Value = serde_json::from_slice(body).expect("body");
    let levels: Vec<String> = serde_json::from_value(request["namespace"].clone()).expect("levels");
    if shared.namespaces.contains(&levels) {
        return error(409, "AlreadyExistsException", "namespace exists");
    }
    let parent_missing =
        levels.len() > 1 && !shared.namespaces.iter().any(|known| *known == levels[..levels.len() - 1]);
    if parent_missing {
        return error(404, "NoSuchNamespaceException", "no parent");
    }
    shared.namespaces.push(levels);
    request.to_string().into_response()
}

fn create_table(shared: &mut Shared, body: &Bytes, path: &str) -> Response {
    let request: Create = serde_json::from_slice(body).expect("create table");
    let path = format!("{path}/{}", super::names::encode(&request.name));
    if shared.tables.contains_key(&path) {
        return error(409, "AlreadyExistsException", "table exists");
    }
    let location = request.location.unwrap_or_else(|| format!("memory:///wh/{}", uuid::Uuid::new_v4()));
    let creation = TableCreation::builder()
        .name(request.name)
        .location(location)
        .schema(request.schema)
        .partition_spec_opt(request.partition_spec)
        .sort_order_opt(request.write_order)
        .format_version(match request.properties.get("format-version").map(String::as_str) {
            Some("1") => iceberg::spec::FormatVersion::V1,
            Some("3") => iceberg::spec::FormatVersion::V3,
            _ => iceberg::spec::FormatVersion::V2,
        })
        .properties(request.properties.into_iter().filter(|(key, _)| key != "format-version"))
        .build();
    let built = TableMetadataBuilder::from_table_creation(creation).and_then(TableMetadataBuilder::build);
    shared.tables.insert(path.clone(), built.expect("metadata").metadata);
    load(shared, &path)
}

fn load(shared: &Shared, path: &str) -> Response {
    let Some(metadata) = shared.tables.get(path) else {
        return error(404, "NoSuchTableException", "no table");
    };
    let mut answer = json!({"metadata-location": "memory:///wh/current.metadata.json", "metadata": metadata});
    if let Value::Object(vended) = &shared.vended {
        for (key, value) in vended {
            answer[key] = value.clone();
        }
    }
    answer.to_string().into_response()
}

fn commit(shared: &mut Shared, body: &Bytes, path: &str) -> Response {
    let request: Commit = serde_json::from_slice(body).expect("commit");
    let Some(metadata) = shared.tables.get(path) else {
        return error(404, "NoSuchTableException", &request.identifier.to_string());
    };
    if let Some(failed) = request.requirements.iter().find_map(|requirement| requirement.check(Some(metadata)).err()) {
        return error(409, "CommitFailedException", failed.message());
    }
    let metadata = apply(metadata, request.updates);
    shared.commits += 1;
    let answer = json!({"metadata-location": "memory:///wh/next.metadata.json", "metadata": metadata});
    shared.tables.insert(path.to_owned(), metadata);
    answer.to_string().into_response()
}

fn error(status: u16, kind: &str, message: &str) -> Response {
    let body = json!({"error": {"message": message, "type": kind, "code": status}});
    (StatusCode::from_u16(status).expect("status"), body.to_string()).into_response()
}
