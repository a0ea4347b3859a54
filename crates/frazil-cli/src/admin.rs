//! Health and metrics of a role that serves no other HTTP: `/livez`, `/readyz`, `/metrics`.
//!
//! On its own thread and runtime, so that probes are answered while the role's runtime is busy. Loopback unless
//! configured otherwise; nothing secret is served.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

/// Whether the role can do its work now; the reason if not.
pub(crate) type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A running admin server; ends when dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    cancel: CancellationToken,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Admin {
    /// Serves on a bound listener.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be started.
    pub(crate) fn start(listener: TcpListener, registry: Arc<Registry>, ready: Readiness) -> anyhow::Result<Self> {
        Self::serve(listener, router(registry, ready))
    }

    /// Serves other routes in the same way.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be started.
    pub(crate) fn serve(listener: TcpListener, router: Router) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("admin listener")?;
        listener.set_nonblocking(true).context("admin listener")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("admin runtime")?;
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let serve = move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let stopped = stop.cancelled_owned();
                axum::serve(listener, router).with_graceful_shutdown(stopped).await
            });
            if let Err(error) = served {
                tracing::error!("admin server: {error}");
            }
        };
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(serve).context("admin thread")?;
        Ok(Self { cancel, thread: Some(thread), address })
    }

    /// The address with its real port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.cancel.cancel();
        // Not joined: a client that keeps its connection open must not hold up the end of the process.
        self.thread.take();
    }
}

fn router(registry: Arc<Registry>, ready: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move || std::future::ready(readyz(&ready))))
        .route("/metrics", get(move || std::future::ready(metrics(&registry))))
}

fn readyz(ready: &Readiness) -> (StatusCode, String) {
    match ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn metrics(registry: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn probes_and_metrics() {
        let mut registry = Registry::default();
        let counter: prometheus_client::metrics::counter::Counter = Default::default();
        registry.register("frazil_test", "A test", counter);
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let ready: Readiness = Arc::new(|| Err("no catalog yet".to_owned()));
        let admin = Admin::start(listener, Arc::new(registry), ready).expect("start");
        let fetch = async |path: &str| {
            let answer = reqwest::get(format!("http://{}{path}", admin.address())).await.expect("answer");
            (answer.status().as_u16(), answer.text().await.expect("text"))
        };
        assert_eq!(fetch("/livez").await, (200, "ok\n".to_owned()));
        assert_eq!(fetch("/readyz").await, (503, "no catalog yet\n".to_owned()));
        let (status, text) = fetch("/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("frazil_test_total 0"), "{text}");
    }
}
