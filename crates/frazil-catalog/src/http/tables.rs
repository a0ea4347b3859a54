//! Handlers for tables.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use frazil_iceberg::spec::{Schema, SortOrder, TableRequirement, TableUpdate, UnboundPartitionSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::extract::{Body, NamespacePath, Paging, Parameters, TablePath};
use crate::catalog::Catalog;
use crate::change::Creation;
use crate::commit::{self, TableChange};
use crate::error::ApiError;
use crate::metadata_file::Loaded;
use crate::names::{Name, TableKey};
use crate::tables::{self, Created};

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ListResponse {
    identifiers: Vec<Identifier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

#[derive(Serialize)]
struct Identifier {
    namespace: Vec<String>,
    name: String,
}

pub(super) async fn list(
    State(catalog): State<Catalog>,
    NamespacePath(namespace): NamespacePath,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<ListResponse>, ApiError> {
    let page = paging.request()?;
    let wanted = namespace.clone();
    let page = catalog.store(move |store| store.list_tables(&wanted, &page)).await??;
    let identifier = |name| Identifier { namespace: namespace.levels().to_vec(), name };
    let identifiers = page.names.into_iter().map(identifier).collect();
    Ok(Json(ListResponse { identifiers, next_page_token: page.next }))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateBody {
    name: Name,
    #[serde(default)]
    location: Option<String>,
    schema: Schema,
    #[serde(default)]
    partition_spec: Option<UnboundPartitionSpec>,
    #[serde(default)]
    write_order: Option<SortOrder>,
    #[serde(default)]
    stage_create: Option<bool>,
    #[serde(default)]
    properties: Option<HashMap<String, String>>,
}

pub(super) async fn create(
    State(catalog): State<Catalog>,
    NamespacePath(namespace): NamespacePath,
    Body(body): Body<CreateBody>,
) -> Result<Response, ApiError> {
    let key = TableKey { namespace, name: body.name };
    let creation = Creation {
        location: body.location.unwrap_or_default(),
        schema: body.schema,
        partition_spec: body.partition_spec,
        sort_order: body.write_order,
        properties: body.properties.unwrap_or_default(),
    };
    match tables::create(&catalog, &key, creation, body.stage_create.unwrap_or(false)).await? {
        Created::Registered(loaded) => Ok(table_response(&catalog, Some(&loaded.location), &loaded.json)),
        Created::Staged(loaded) => Ok(table_response(&catalog, None, &loaded.json)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RegisterBody {
    name: Name,
    metadata_location: String,
    #[serde(default)]
    overwrite: bool,
}

pub(super) async fn register(
    State(catalog): State<Catalog>,
    NamespacePath(namespace): NamespacePath,
    Body(body): Body<RegisterBody>,
) -> Result<Response, ApiError> {
    if body.overwrite {
        return Err(ApiError::Unsupported("registering over an existing table is not supported".to_owned()));
    }
    let key = TableKey { namespace, name: body.name };
    let loaded = tables::register(&catalog, &key, body.metadata_location).await?;
    Ok(table_response(&catalog, Some(&loaded.location), &loaded.json))
}

/// Which snapshots of a table a client wants to see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Snapshots {
    #[default]
    All,
    Refs,
}

#[derive(Deserialize)]
pub(super) struct LoadParameters {
    #[serde(default)]
    snapshots: Snapshots,
}

pub(super) async fn load(
    State(catalog): State<Catalog>,
    TablePath(key): TablePath,
    Parameters(LoadParameters { snapshots }): Parameters<LoadParameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let loaded = catalog.current(&key).await?.ok_or_else(|| ApiError::NoSuchTable(key.to_string()))?;
    let tag = entity_tag(&loaded, snapshots);
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if known.flat_map(|value| value.split(',')).any(|known| known.trim() == tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let location = loaded.location.clone();
    let mut response = match snapshots {
        Snapshots::All => table_response(&catalog, Some(&location), &loaded.json),
        Snapshots::Refs => {
            let json = tokio::task::spawn_blocking(move || only_referenced(&loaded)).await??;
            table_response(&catalog, Some(&location), &json)
        }
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// A metadata file never changes, so its unique name (and what is shown of it) identifies the answer.
fn entity_tag(loaded: &Loaded, snapshots: Snapshots) -> String {
    let file = loaded.location.rsplit('/').next().unwrap_or_default();
    let file: String = file.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    let shown = match snapshots {
        Snapshots::All => "all",
        Snapshots::Refs => "refs",
    };
    format!("\"{file}-{}-{shown}\"", loaded.metadata.uuid())
}

fn only_referenced(loaded: &Loaded) -> Result<Box<RawValue>, ApiError> {
    let internal = |error: serde_json::Error| ApiError::Internal(error.into());
    let mut json: Value = serde_json::from_str(loaded.json.get()).map_err(internal)?;
    let named = tables::referenced_snapshots(&loaded.metadata, &json);
    if let Some(snapshots) = json.get_mut("snapshots").and_then(Value::as_array_mut) {
        let id = |snapshot: &Value| snapshot.get("snapshot-id").and_then(Value::as_i64);
        snapshots.retain(|snapshot| id(snapshot).is_some_and(|id| named.contains(&id)));
    }
    serde_json::value::to_raw_value(&json).map_err(internal)
}

pub(super) async fn exists(State(catalog): State<Catalog>, TablePath(key): TablePath) -> Result<StatusCode, ApiError> {
    let wanted = key.clone();
    match catalog.store(move |store| store.pointer(&wanted)).await?? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(ApiError::NoSuchTable(key.to_string())),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DropParameters {
    #[serde(default)]
    purge_requested: Option<String>,
}

/// Dropping forgets the name. Purging is refused: files may be shared with a registered copy or a reader, and a
/// catalog call that destroys data cannot be taken back.
pub(super) async fn drop_table(
    State(catalog): State<Catalog>,
    TablePath(key): TablePath,
    Parameters(DropParameters { purge_requested }): Parameters<DropParameters>,
) -> Result<StatusCode, ApiError> {
    // PyIceberg writes `True`.
    if purge_requested.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(ApiError::Unsupported(format!(
            "purging is not supported: drop table {key} without purge, then delete its files"
        )));
    }
    let dropped = key.clone();
    catalog.store(move |store| store.drop_table(&dropped)).await??;
    tracing::info!(table = %key, "table dropped, its files stay");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct RenameBody {
    source: TableKey,
    destination: TableKey,
}

pub(super) async fn rename(
    State(catalog): State<Catalog>,
    Body(RenameBody { source, destination }): Body<RenameBody>,
) -> Result<StatusCode, ApiError> {
    catalog.store(move |store| store.rename_table(&source, &destination)).await??;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct CommitBody {
    #[serde(default)]
    identifier: Option<TableKey>,
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
}

pub(super) async fn commit(
    State(catalog): State<Catalog>,
    TablePath(key): TablePath,
    Body(body): Body<CommitBody>,
) -> Result<Response, ApiError> {
    if body.identifier.is_some_and(|identifier| identifier != key) {
        return Err(ApiError::BadRequest(format!("the body names another table than {key}")));
    }
    let change = TableChange { key, requirements: body.requirements, updates: body.updates };
    let committed = commit::commit(&catalog, vec![change]).await?;
    let loaded: &Arc<Loaded> = committed.first().expect("one change gives one result");
    Ok(table_response(&catalog, Some(&loaded.location), &loaded.json))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TransactionBody {
    table_changes: Vec<CommitBody>,
}

pub(super) async fn transaction(
    State(catalog): State<Catalog>,
    Body(body): Body<TransactionBody>,
) -> Result<StatusCode, ApiError> {
    let mut changes = Vec::with_capacity(body.table_changes.len());
    let mut seen = HashSet::new();
    for change in body.table_changes {
        let key = change
            .identifier
            .ok_or_else(|| ApiError::BadRequest("every table change must name its table".to_owned()))?;
        if !seen.insert(key.clone()) {
            return Err(ApiError::BadRequest(format!("table {key} is named twice")));
        }
        changes.push(TableChange { key, requirements: change.requirements, updates: change.updates });
    }
    if !changes.is_empty() {
        commit::commit(&catalog, changes).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Reports of scans and commits are taken as they are; whoever gets them forwarded judges them.
pub(super) async fn metrics(
    State(catalog): State<Catalog>,
    TablePath(key): TablePath,
    headers: HeaderMap,
    report: Bytes,
) -> StatusCode {
    catalog.reports().offer(key, report, headers.get(header::CONTENT_ENCODING).cloned());
    StatusCode::NO_CONTENT
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TableResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_location: Option<&'a str>,
    metadata: &'a RawValue,
    config: BTreeMap<&'a str, &'a str>,
}

fn table_response(catalog: &Catalog, metadata_location: Option<&str>, metadata: &RawValue) -> Response {
    let config = catalog.client_config().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    Json(TableResponse { metadata_location, metadata, config }).into_response()
}
