//! The life of a proxy on a listener: serve, and when told to stop, drain under a deadline.
//!
//! HTTP/1.1 and HTTP/2 share the port; what a client sends first tells them apart.

mod preface;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::{BoxError, Router};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::core::Core;
use preface::Version;

/// Most header fields of a request. More: the connection is closed with 431.
const MAX_HEADERS: usize = 100;

/// Largest head of an HTTP/2 request, decompressed, in bytes. More: the stream is refused.
const HTTP2_HEADERS_MAX_BYTES: u32 = 16 * 1024;

/// Calls at once on one HTTP/2 connection. More wait in the client.
const HTTP2_STREAMS_MAX: u32 = 256;

/// What a client may send ahead on one HTTP/2 stream, in bytes. More waits in the client until it is read.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 512 * 1024;

/// The same for all streams of a connection together; so much memory a connection can hold besides admitted requests.
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Answers that wait for a client to take them, per HTTP/2 stream, in bytes.
const HTTP2_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Streams that a client opened and reset before they were looked at ("rapid reset"). More: the connection is closed.
const HTTP2_PENDING_RESETS_MAX: usize = 20;

/// Streams reset for errors of the client. More: the connection is closed.
const HTTP2_ERROR_RESETS_MAX: usize = 256;

/// How often a silent HTTP/2 connection is asked whether it still lives, and how long it may take to answer.
const HTTP2_PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Pause after a failed accept, which mostly means that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a drain ended before everything in flight did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the drain did not finish within {} s; what was left was cut off, and its clients will retry", .0.as_secs())]
pub struct DrainTimeout(pub Duration);

/// How connections are told to end: those that are served finish what they are at, the others have nothing to finish.
#[derive(Debug)]
struct Doors {
    graceful: GracefulShutdown,
    closing: CancellationToken,
}

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
    let doors = Doors { graceful: GracefulShutdown::new(), closing: CancellationToken::new() };
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
        () = accept(&core, &app, &listener, &doors, &mut connections) => unreachable!("accepting never ends"),
        begun = drain_begins => begun,
    };
    drop(listener);
    doors.closing.cancel();
    let closed = until(deadline, doors.graceful.shutdown()).await;
    connections.shutdown().await;
    // Without its connection a task has nobody to work for, and ends.
    core.tasks.close();
    let ended = until(deadline, core.tasks.wait()).await;
    let flushed = until(deadline, core.lanes.drain()).await;
    background.cancel();
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
    if idle && closed && ended && flushed { Ok(()) } else { Err(DrainTimeout(core.config.drain_deadline)) }
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
async fn accept(core: &Arc<Core>, app: &Router, listener: &TcpListener, doors: &Doors, connections: &mut JoinSet<()>) {
    let places = Arc::new(Semaphore::new(core.config.max_connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(core, app.clone(), stream, doors, place));
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
    doors: &Doors,
    place: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + use<> {
    // Answers are small and complete: waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let serving = serve_connection(Arc::clone(core), app, stream, doors.graceful.watcher(), doors.closing.clone());
    let metrics = core.metrics.clone();
    async move {
        metrics.connections.inc();
        if let Err(error) = serving.await {
            tracing::debug!(%error, "a connection ended early");
        }
        metrics.connections.dec();
        drop(place);
    }
}

/// Serves a connection in the version that its client speaks.
async fn serve_connection(
    core: Arc<Core>,
    app: Router,
    stream: TcpStream,
    watcher: Watcher,
    closing: CancellationToken,
) -> Result<(), BoxError> {
    let said = tokio::select! {
        said = tokio::time::timeout(core.config.header_timeout, preface::read(stream)) => said,
        () = closing.cancelled() => return Ok(()),
    };
    let Ok(said) = said else { return Ok(()) };
    let (version, stream) = said?;
    let (io, app) = (TokioIo::new(stream), TowerToHyperService::new(app));
    match version {
        Version::Http1 => watcher.watch(http1(&core).serve_connection(io, app)).await?,
        Version::Http2 => watcher.watch(http2(&core).serve_connection(io, app)).await?,
    }
    Ok(())
}

fn http1(core: &Core) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(core.config.header_timeout).max_headers(MAX_HEADERS);
    http
}

fn http2(core: &Core) -> http2::Builder<Tasks> {
    let mut http = http2::Builder::new(Tasks(core.tasks.clone()));
    http.timer(TokioTimer::new())
        .max_header_list_size(HTTP2_HEADERS_MAX_BYTES)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS_MAX)
        .max_local_error_reset_streams(HTTP2_ERROR_RESETS_MAX)
        .keep_alive_interval(HTTP2_PING.0)
        .keep_alive_timeout(HTTP2_PING.1);
    http
}

/// Where the streams of HTTP/2 connections run, each as a task.
#[derive(Debug, Clone)]
struct Tasks(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && !error.is_cancelled()
    {
        tracing::error!(%error, "a task of the server panicked");
    }
}
