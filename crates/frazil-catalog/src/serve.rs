//! Serving the router on a listener until told to stop. Binds nothing itself.

use std::future::IntoFuture;
use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::reports::Forwarder;

/// How long requests may still run after the stop signal. Cutting one off is safe, only its answer is lost.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves `catalog` until `stop` is cancelled, then finishes running requests and forwards the metrics reports that wait,
/// for at most ten seconds.
///
/// # Errors
/// The listener's error, if it cannot accept connections any more.
pub async fn serve(listener: TcpListener, catalog: Catalog, stop: CancellationToken) -> io::Result<()> {
    let forwarder = catalog.reports().take_forwarder();
    let ended = stop.child_token();
    let answered = async {
        let answered = answer(listener, catalog, &stop).await;
        ended.cancel();
        answered
    };
    let (answered, ()) = tokio::join!(answered, forward(forwarder, &ended));
    answered
}

async fn answer(listener: TcpListener, catalog: Catalog, stop: &CancellationToken) -> io::Result<()> {
    let drained = stop.clone();
    let server = axum::serve(listener, catalog.router())
        .with_graceful_shutdown(async move { drained.cancelled().await })
        .into_future();
    tokio::select! {
        result = server => result,
        () = deadline(stop) => {
            tracing::warn!("requests were still running at the drain deadline");
            Ok(())
        }
    }
}

async fn forward(forwarder: Option<Forwarder>, stop: &CancellationToken) {
    let Some(mut forwarder) = forwarder else { return };
    let in_time = tokio::select! {
        () = forwarder.run(stop) => true,
        () = deadline(stop) => false,
    };
    if !in_time {
        forwarder.give_up();
    }
}

async fn deadline(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_TIMEOUT).await;
}
