//! The HTTP front: routes, and what surrounds every handler. Handlers decode, call and encode; nothing else.

mod admin;
mod answer;
mod events;
mod receipt;
mod wait;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures::FutureExt;
use prometheus_client::registry::Registry;

use crate::core::Core;
use crate::error::Rejection;
use crate::metrics::RequestLabels;
use answer::Code;

/// Every route of the proxy, the administrative ones included.
pub(crate) fn router(core: &Arc<Core>, registry: Arc<Registry>) -> Router {
    let events = Router::new()
        .route("/v1/streams/{stream}/events", post(events::native))
        .route("/data-plane/{namespace}/event-stream/{stream}/ingest", post(events::iomete))
        .route("/v1/receipts/{receipt}", get(receipt::get))
        .with_state(Arc::clone(core));
    surround(events.merge(admin_routes(core, registry)), core)
}

/// The administrative routes alone, for a listener of their own.
pub(crate) fn admin_router(core: &Arc<Core>, registry: Arc<Registry>) -> Router {
    surround(admin_routes(core, registry), core)
}

fn admin_routes(core: &Arc<Core>, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/livez", get(admin::livez))
        .route("/readyz", get(admin::readyz))
        .route("/metrics", get(admin::metrics))
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
        let core = Arc::new(Core::new(ProxyConfig::default(), log, directory, tables, Metrics::default()));
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
