//! The routes of the Iceberg REST protocol. Parses requests, calls the rest of the crate, shapes answers; decides
//! nothing about tables.

mod extract;
mod namespaces;
mod tables;

use std::collections::BTreeMap;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use subtle::ConstantTimeEq;

use crate::catalog::Catalog;
use crate::error::ApiError;

/// Largest request body, in bytes: a commit with tens of thousands of snapshots or columns fits.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// What `/v1/config` says can be called. Clients do not even try the rest (views, scan planning, OAuth2).
const ENDPOINTS: [&str; 17] = [
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "POST /v1/{prefix}/tables/rename",
    "POST /v1/{prefix}/transactions/commit",
    "GET /v1/config",
];

pub(crate) fn router(catalog: Catalog) -> Router {
    let namespace = get(namespaces::load).head(namespaces::exists).delete(namespaces::drop_namespace);
    let table = get(tables::load).head(tables::exists).post(tables::commit).delete(tables::drop_table);
    Router::new()
        .route("/v1/config", get(config))
        .route("/v1/namespaces", get(namespaces::list).post(namespaces::create))
        .route("/v1/namespaces/{namespace}", namespace)
        .route("/v1/namespaces/{namespace}/properties", post(namespaces::update))
        .route("/v1/namespaces/{namespace}/tables", get(tables::list).post(tables::create))
        .route("/v1/namespaces/{namespace}/register", post(tables::register))
        .route("/v1/namespaces/{namespace}/tables/{table}", table)
        .route("/v1/namespaces/{namespace}/tables/{table}/metrics", post(tables::metrics))
        .route("/v1/tables/rename", post(tables::rename))
        .route("/v1/transactions/commit", post(tables::transaction))
        .fallback(|| std::future::ready(ApiError::NoSuchEndpoint))
        .method_not_allowed_fallback(|| std::future::ready(ApiError::MethodNotAllowed))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(catalog.clone(), authorize))
        .with_state(catalog)
}

#[derive(Serialize)]
struct ConfigResponse {
    defaults: BTreeMap<&'static str, String>,
    overrides: BTreeMap<&'static str, String>,
    endpoints: &'static [&'static str],
}

/// Any `warehouse` is taken: there is only one.
async fn config() -> Json<ConfigResponse> {
    Json(ConfigResponse { defaults: BTreeMap::new(), overrides: BTreeMap::new(), endpoints: &ENDPOINTS })
}

async fn authorize(State(catalog): State<Catalog>, request: Request, next: Next) -> Result<Response, ApiError> {
    if let Some(token) = catalog.token() {
        let header = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let given = header.and_then(strip_bearer).unwrap_or_default();
        if !bool::from(given.ct_eq(token.as_bytes())) {
            return Err(ApiError::NotAuthorized);
        }
    }
    Ok(next.run(request).await)
}

/// The scheme's name is case-insensitive.
fn strip_bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}
