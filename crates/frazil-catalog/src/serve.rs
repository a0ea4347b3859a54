//! Serving the router on a listener until told to stop. Binds nothing itself.

use std::future::IntoFuture;
use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;

/// How long requests may still run after the stop signal. Cutting one off is safe, only its answer is lost.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves `catalog` until `stop` is cancelled, then finishes running requests, for at most ten seconds.
///
/// # Errors
/// The listener's error, if it cannot accept connections any more.
pub async fn serve(listener: TcpListener, catalog: Catalog, stop: CancellationToken) -> io::Result<()> {
    let drained = stop.clone();
    let server = axum::serve(listener, catalog.router())
        .with_graceful_shutdown(async move { drained.cancelled().await })
        .into_future();
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        result = server => result,
        () = deadline => {
            tracing::warn!("requests were still running at the drain deadline");
            Ok(())
        }
    }
}
