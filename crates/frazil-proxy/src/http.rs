//! The HTTP front: routes, and what surrounds every handler. Handlers decode, call and encode; nothing else.

mod admin;
mod answer;
mod cors;
mod events;
mod openapi;
mod receipt;
mod reports;
mod wait;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use futures::FutureExt;
use prometheus_client::registry::Registry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::core::Core;
use crate::error::Rejection;
use crate::grpc;
use crate::metrics::RequestLabels;
use answer::Code;

/// Every route of the proxy, the administrative ones included.
pub(crate) fn router(core: &Arc<Core>, registry: Arc<Registry>) -> Router {
    let mut events = OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(events::native))
        .routes(routes!(events::to_table))
        .routes(routes!(events::iomete))
        .routes(routes!(receipt::get));
    if core.config.iceberg_metrics.is_some() {
        events = events.routes(routes!(reports::to_table)).routes(routes!(reports::to_table_of_prefix));
    }
    let events = events.with_state(Arc::clone(core));
    let described = events.merge(admin_routes(core, registry)).routes(routes!(openapi::document));
    let (routes, document) = described.split_for_parts();
    let routes = routes.layer(Extension(openapi::Document::of(document))).merge(openapi::page());
    cors::allow(surround(routes, core), &core.config.cors_allowed_origins).merge(grpc::routes(core))
}

/// The administrative routes alone, for a listener of their own.
pub(crate) fn admin_router(core: &Arc<Core>, registry: Arc<Registry>) -> Router {
    surround(admin_routes(core, registry).into(), core)
}

fn admin_routes(core: &Arc<Core>, registry: Arc<Registry>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(admin::livez))
        .routes(routes!(admin::readyz))
        .routes(routes!(admin::metrics))
        .layer(Extension(registry))
        .with_state(Arc::clone(core))
}

/// Refusals of the router itself in the common shape; panics caught; answers counted.
fn surround(routes: Router, core: &Arc<Core>) -> Router {
    routes
        .method_not_allowed_fallback(|| async { Rejection::MethodNotAllowed })
        .fallback(|| async { Rejection::NoRoute })
        // Bodies are read by the ingest path, under its own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(core), observe))
}

/// Counts every answer, and turns a panic into one.
async fn observe(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = outcome.unwrap_or_else(|_| {
        tracing::error!(route, "a handler panicked");
        Rejection::Internal.into_response()
    });
    let code = response.extensions().get::<Code>().map_or("OK", |code| code.0);
    let code = if response.status() == StatusCode::OK { "OK" } else { code };
    let labels = RequestLabels { route, status: response.status().as_u16(), code: code.to_owned() };
    core.metrics.requests.get_or_create(&labels).inc();
    response
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use frazil_log::Directory;
    use tower::ServiceExt;

    use super::*;
    use crate::config::ProxyConfig;
    use crate::metrics::Metrics;
    use crate::publish::memory::MemoryLog;
    use crate::tables::memory::MemoryTables;

    #[tokio::test]
    async fn a_panic_is_answered_like_any_other_error() {
        let log = Arc::new(MemoryLog::default());
        let tables = Arc::new(MemoryTables::new("lake"));
        let directory = Directory::fixed(Vec::new(), Vec::new());
        let core = Arc::new(Core::new(ProxyConfig::default(), log, directory, tables, None, Metrics::default()));
        async fn panics() {
            panic!("on purpose");
        }
        let app = surround(Router::new().route("/panics", get(panics)), &core);
        let request = Request::get("/panics").body(Body::empty()).expect("a request");
        let response = app.oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
        let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(problem["code"], "INTERNAL_SERVER_ERROR");
        assert_eq!(problem["type"], "urn:frazil:problem:internal");
        let labels = RequestLabels { route: "/panics".into(), status: 500, code: "INTERNAL_SERVER_ERROR".into() };
        assert_eq!(core.metrics.requests.get_or_create(&labels).get(), 1);
    }
}
