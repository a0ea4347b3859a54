//! The life of a proxy on a listener: serve, and when told to stop, drain under a deadline.
//!
//! HTTP/1.1 and HTTP/2 share the port; what a client sends first tells them apart, within TLS as without.

mod patience;
mod preface;
mod stall;
pub(crate) mod tls;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::{BoxError, Router};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::core::Core;
use patience::{Lost, Patience, Watched};
use preface::{Replayed, Version};
use stall::Unstalled;

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
    let closing = CancellationToken::new();
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
        () = accept(&core, &app, &listener, &closing, &mut connections) => unreachable!("accepting never ends"),
        begun = drain_begins => begun,
    };
    drop(listener);
    // Connections that are served finish what they are at; the others have nothing to finish.
    closing.cancel();
    let closed = until(deadline, async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    })
    .await;
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
    if let Some(tls) = &core.tls {
        tasks.spawn(Arc::clone(tls).follow(cancel.clone()));
    }
    tasks
}

/// Accepts connections for ever, at most the configured number at once.
async fn accept(
    core: &Arc<Core>,
    app: &Router,
    listener: &TcpListener,
    closing: &CancellationToken,
    connections: &mut JoinSet<()>,
) {
    let places = Arc::new(Semaphore::new(core.config.max_connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(core, app.clone(), stream, closing.clone(), place));
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
    closing: CancellationToken,
    place: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + use<> {
    // Answers are small and complete: waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let serving = serve_connection(Arc::clone(core), app, stream, closing);
    let metrics = core.metrics.clone();
    async move {
        metrics.connections.inc();
        if let Err(error) = serving.await {
            if is_stall(error.as_ref()) {
                metrics.connection_cut("write_timeout");
            }
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
    closing: CancellationToken,
) -> Result<(), BoxError> {
    let opened = tokio::select! {
        opened = open(&core, stream) => opened?,
        () = closing.cancelled() => return Ok(()),
    };
    let Some((version, stream)) = opened else { return Ok(()) };
    let patience = Patience::new();
    let io = TokioIo::new(Unstalled::new(stream, core.config.write_timeout));
    let app = patience.watch(TowerToHyperService::new(app));
    match version {
        Version::Http1 => converse(http1(&core).serve_connection(io, app), &core, &patience, &closing).await?,
        Version::Http2 => converse(http2(&core).serve_connection(io, app), &core, &patience, &closing).await?,
    }
    Ok(())
}

/// Lets a connection go on until its client ends it, the proxy drains, or patience with the client is lost.
async fn converse<C: Conversation>(
    connection: C,
    core: &Core,
    patience: &Patience,
    closing: &CancellationToken,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    let mut ending = false;
    loop {
        let lost = patience.lost(core.config.write_timeout, core.config.idle_timeout);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = closing.cancelled(), if !ending => connection.as_mut().finish(),
            lost = lost => match lost {
                // What it may have sent in this moment is still served.
                Lost::Idle if !ending => {
                    core.metrics.connection_cut("idle");
                    connection.as_mut().finish();
                }
                Lost::Idle => return Ok(()),
                Lost::Untaken => {
                    core.metrics.connection_cut("untaken");
                    return Ok(());
                }
            },
        }
        ending = true;
    }
}

/// A connection that can be told to end.
trait Conversation: Future<Output = hyper::Result<()>> {
    /// Finishes what was begun, begins nothing more.
    fn finish(self: Pin<&mut Self>);
}

type Service = Watched<TowerToHyperService<Router>>;

impl<I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static> Conversation for http1::Connection<I, Service> {
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static> Conversation for http2::Connection<I, Service, Tasks> {
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Whether an error comes from [`Unstalled`].
fn is_stall(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut errors = std::iter::successors(Some(error), |error| error.source());
    errors
        .any(|error| error.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut))
}

/// What a connection is once its client has begun to speak, decrypted if this port speaks TLS. Nothing if the client
/// took too long.
async fn open(
    core: &Core,
    stream: TcpStream,
) -> Result<Option<(Version, Replayed<Either<TcpStream, Box<TlsStream<TcpStream>>>>)>, BoxError> {
    let limit = core.config.header_timeout;
    let stream = match &core.tls {
        Some(tls) => Either::Right(Box::new(tls.accept(stream, limit).await?)),
        None => Either::Left(stream),
    };
    match tokio::time::timeout(limit, preface::read(stream)).await {
        Ok(said) => Ok(Some(said?)),
        Err(_) => Ok(None),
    }
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
        .keep_alive_interval(core.config.ping_interval)
        .keep_alive_timeout(core.config.ping_timeout);
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
