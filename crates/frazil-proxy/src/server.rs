//! The life of a proxy on a listener: serve, and when told to stop, drain under a deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::Core;

/// Most header fields of a request. More: the connection is closed with 431.
const MAX_HEADERS: usize = 100;

/// Pause after a failed accept, which mostly means that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a drain ended before everything in flight did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the drain did not finish within {} s; what was left was cut off, and its clients will retry", .0.as_secs())]
pub struct DrainTimeout(pub Duration);

/// Serves until cancelled, then drains: not ready first, then `503` for what comes while what is in flight ends,
/// then no connections, then the lanes.
pub(crate) async fn serve(
    core: Arc<Core>,
    app: Router,
    listener: TcpListener,
    cancel: CancellationToken,
) -> Result<(), DrainTimeout> {
    let background = CancellationToken::new();
    let mut tasks = background_tasks(&core, &background);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let drain_begins = async {
        cancel.cancelled().await;
        tracing::info!("draining");
        core.draining.cancel();
        let deadline = Instant::now() + core.config.drain_deadline;
        let idle = until(deadline, core.admission.idle()).await;
        (deadline, idle)
    };
    let (deadline, idle) = tokio::select! {
        () = accept(&core, &app, &listener, &graceful, &mut connections) => unreachable!("accepting never ends"),
        begun = drain_begins => begun,
    };
    drop(listener);
    let closed = until(deadline, graceful.shutdown()).await;
    connections.shutdown().await;
    let flushed = until(deadline, core.lanes.drain()).await;
    background.cancel();
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
    if idle && closed && flushed { Ok(()) } else { Err(DrainTimeout(core.config.drain_deadline)) }
}

/// Whether the work was done before the deadline.
async fn until(deadline: Instant, work: impl Future<Output = ()>) -> bool {
    tokio::time::timeout_at(deadline, work).await.is_ok()
}

fn background_tasks(core: &Arc<Core>, cancel: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let (shared, stop) = (Arc::clone(core), cancel.clone());
    tasks.spawn(async move { shared.lanes.follow(&shared.directory, &stop).await });
    let (shared, stop) = (Arc::clone(core), cancel.clone());
    tasks.spawn(async move { shared.receipts.follow(&stop).await });
    tasks
}

/// Accepts connections for ever, at most the configured number at once.
async fn accept(
    core: &Arc<Core>,
    app: &Router,
    listener: &TcpListener,
    graceful: &GracefulShutdown,
    connections: &mut JoinSet<()>,
) {
    let places = Arc::new(Semaphore::new(core.config.max_connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(core, app.clone(), stream, graceful, place));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while let Some(ended) = connections.try_join_next() {
            report(ended);
        }
    }
}

/// One connection, from its first request to its end.
fn connection(
    core: &Arc<Core>,
    app: Router,
    stream: TcpStream,
    graceful: &GracefulShutdown,
    place: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + use<> {
    // Answers are small and complete: waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(core.config.header_timeout).max_headers(MAX_HEADERS);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let connection = graceful.watch(connection);
    let metrics = core.metrics.clone();
    async move {
        metrics.connections.inc();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
        metrics.connections.dec();
        drop(place);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && !error.is_cancelled()
    {
        tracing::error!(%error, "a task of the server panicked");
    }
}
