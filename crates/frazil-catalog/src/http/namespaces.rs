//! Handlers for namespaces.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::extract::{Body, NamespacePath, Paging, Parameters};
use crate::catalog::Catalog;
use crate::error::ApiError;
use crate::names::Namespace;
use crate::store::{Properties, PropertiesChanged};

#[derive(Deserialize)]
pub(super) struct ListParameters {
    parent: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ListResponse {
    namespaces: Vec<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

pub(super) async fn list(
    State(catalog): State<Catalog>,
    Parameters(parameters): Parameters<ListParameters>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<ListResponse>, ApiError> {
    let parent = parameters.parent.filter(|parent| !parent.is_empty());
    let parent = parent.map(|parent| Namespace::from_joined(&parent)).transpose()?;
    let page = paging.request()?;
    let around = parent.clone();
    let page = catalog.store(move |store| store.list_namespaces(around.as_ref(), &page)).await??;
    let levels = parent.map(|parent| parent.levels().to_vec()).unwrap_or_default();
    let full = |name: String| levels.iter().cloned().chain([name]).collect();
    let namespaces = page.names.into_iter().map(full).collect();
    Ok(Json(ListResponse { namespaces, next_page_token: page.next }))
}

#[derive(Serialize, Deserialize)]
pub(super) struct NamespaceBody {
    namespace: Namespace,
    #[serde(default)]
    properties: Properties,
}

pub(super) async fn create(
    State(catalog): State<Catalog>,
    Body(body): Body<NamespaceBody>,
) -> Result<Json<NamespaceBody>, ApiError> {
    let (namespace, properties) = (body.namespace.clone(), body.properties.clone());
    catalog.store(move |store| store.create_namespace(&namespace, &properties)).await??;
    tracing::info!(namespace = %body.namespace, "namespace created");
    Ok(Json(body))
}

pub(super) async fn load(
    State(catalog): State<Catalog>,
    NamespacePath(namespace): NamespacePath,
) -> Result<Json<NamespaceBody>, ApiError> {
    let wanted = namespace.clone();
    let properties = catalog.store(move |store| store.namespace_properties(&wanted)).await??;
    Ok(Json(NamespaceBody { namespace, properties }))
}

pub(super) async fn exists(
    State(catalog): State<Catalog>,
    NamespacePath(namespace): NamespacePath,
) -> Result<StatusCode, ApiError> {
    catalog.store(move |store| store.namespace_properties(&namespace)).await??;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct UpdateBody {
    #[serde(default)]
    removals: BTreeSet<String>,
    #[serde(default)]
    updates: Properties,
}

pub(super) async fn update(
    State(catalog): State<Catalog>,
    NamespacePath(namespace): NamespacePath,
    Body(UpdateBody { removals, updates }): Body<UpdateBody>,
) -> Result<Json<PropertiesChanged>, ApiError> {
    if let Some(both) = removals.iter().find(|key| updates.contains_key(*key)) {
        return Err(ApiError::Unprocessable(format!("property {both:?} is both updated and removed")));
    }
    let changed = catalog.store(move |store| store.update_namespace(&namespace, &removals, &updates)).await??;
    Ok(Json(changed))
}

pub(super) async fn drop_namespace(
    State(catalog): State<Catalog>,
    NamespacePath(namespace): NamespacePath,
) -> Result<StatusCode, ApiError> {
    catalog.store(move |store| store.drop_namespace(&namespace)).await??;
    Ok(StatusCode::NO_CONTENT)
}
