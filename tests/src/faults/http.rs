//! An HTTP front with faults: `Front` stands before a catalog or an object store and answers in its place, before or
//! after the work was done.
//!
//! Requests and answers pass as streams, byte by byte and with the `Host` header of the client, so that signed
//! requests stay valid. Each request goes upstream on a connection of its own: a kept connection that the server
//! closes meanwhile would be a fault that nobody asked for.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections that are open at a time; more wait in the backlog of the listening socket.
pub const MAX_CONNECTIONS: usize = 1024;

/// What is wrong with a front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpFault {
    /// Nothing.
    #[default]
    None,
    /// An answer with this status and no body.
    Status {
        /// The status.
        status: u16,
        /// Seconds in the header `Retry-After`.
        retry_after: Option<u64>,
        /// Whether the server got the request, and did what it asks for.
        after_work: bool,
    },
    /// No answer until the fault is changed; then the connection is closed.
    Hang {
        /// Whether the server got the request, and did what it asks for.
        after_work: bool,
    },
    /// The connection is closed without an answer.
    Close {
        /// Whether the server got the request, and did what it asks for.
        after_work: bool,
    },
    /// One request in `one_in` meets one of the others, chosen by the seed: 429, 500, 503 or a close before the work,
    /// 500, 502, 504 or a close after it. Hanging is left out: each would cost the client's whole timeout.
    Mixed {
        /// Of the random numbers. Requests that come at the same time decide the order.
        seed: u64,
        /// At least 1.
        one_in: u32,
    },
}

/// Which requests a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Requests {
    /// All.
    #[default]
    All,
    /// Commits of the Iceberg REST protocol to existing tables.
    Commits,
}

/// What went through a front so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontCounts {
    /// Requests that were answered by the server.
    pub passed: u64,
    /// Requests that met a fault.
    pub injected: u64,
    /// Of those: the server had done the work.
    pub after_work: u64,
}

/// A running front on a port of the loopback interface. Dropping it closes what is open.
#[derive(Debug)]
pub struct Front {
    /// Base URL to give to clients in place of the upstream's.
    pub url: String,
    control: watch::Sender<Control>,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

/// What the owner of a front wants now.
#[derive(Debug, Clone, Copy, Default)]
struct Control {
    fault: HttpFault,
    requests: Requests,
}

#[derive(Debug)]
struct Shared {
    client: Client<HttpConnector, Incoming>,
    /// Scheme and address of the upstream.
    upstream: Uri,
    random: Mutex<StdRng>,
    passed: AtomicU64,
    injected: AtomicU64,
    after_work: AtomicU64,
}

/// The connection is closed in place of an answer.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for Closed {}

type Body = Either<Incoming, Full<Bytes>>;

impl Front {
    /// Starts a front to `upstream`, such as `http://127.0.0.1:8181`, on a free port.
    ///
    /// # Panics
    /// If `upstream` is no `http` URL without a path, or no port is free.
    pub async fn start(upstream: &str) -> Self {
        Self::start_on(0, upstream).await
    }

    /// The same on this port of the loopback interface; 0 is any free one.
    ///
    /// # Panics
    /// If `upstream` is no `http` URL without a path, or the port is taken.
    pub async fn start_on(port: u16, upstream: &str) -> Self {
        let upstream: Uri = upstream.parse().unwrap_or_else(|error| panic!("{upstream}: {error}"));
        let plain = upstream.scheme_str() == Some("http") && upstream.path() == "/" && upstream.authority().is_some();
        assert!(plain, "{upstream} is no http URL without a path");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is free");
        let addr = listener.local_addr().expect("a listening socket has an address");
        let shared = Arc::new(Shared {
            client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http(),
            upstream,
            random: Mutex::new(StdRng::seed_from_u64(0)),
            passed: AtomicU64::new(0),
            injected: AtomicU64::new(0),
            after_work: AtomicU64::new(0),
        });
        let control = watch::Sender::new(Control::default());
        let mut server = JoinSet::new();
        server.spawn(serve(listener, control.subscribe(), Arc::clone(&shared)));
        Self { url: url(addr), control, shared, _server: server }
    }

    /// Puts this fault in place of the one before, for all requests.
    ///
    /// # Panics
    /// As [`Front::set_for`].
    pub fn set(&self, fault: HttpFault) {
        self.set_for(Requests::All, fault);
    }

    /// Puts this fault in place of the one before, for some requests; the others pass.
    ///
    /// # Panics
    /// If the fault has a status that does not exist, or is one request in 0.
    pub fn set_for(&self, requests: Requests, fault: HttpFault) {
        match fault {
            HttpFault::Status { status, .. } => drop(StatusCode::from_u16(status).expect("a status of HTTP")),
            HttpFault::Mixed { seed, one_in } => {
                assert!(one_in > 0, "one request in none");
                *self.shared.random.lock().expect("nobody panics with the lock") = StdRng::seed_from_u64(seed);
            }
            HttpFault::None | HttpFault::Hang { .. } | HttpFault::Close { .. } => {}
        }
        self.control.send_replace(Control { fault, requests });
    }

    /// Ends the fault. Requests that hang are closed.
    pub fn heal(&self) {
        self.set(HttpFault::None);
    }

    /// What went through so far.
    pub fn counts(&self) -> FrontCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { passed, injected, after_work, .. } = &*self.shared;
        FrontCounts { passed: read(passed), injected: read(injected), after_work: read(after_work) }
    }
}

fn url(addr: SocketAddr) -> String {
    format!("http://{addr}")
}

/// Accepts until the front is dropped.
async fn serve(listener: TcpListener, control: watch::Receiver<Control>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            Some(ended) = connections.join_next() => ended.expect("a connection does not panic"),
            // Failures are those of single connections that ended in the backlog.
            Ok((stream, _)) = listener.accept(), if room => {
                connections.spawn(connection(stream, control.clone(), Arc::clone(&shared)));
            }
            else => {}
        }
    }
}

async fn connection(stream: TcpStream, control: watch::Receiver<Control>, shared: Arc<Shared>) {
    let handle = service_fn(|request| answer(request, control.clone(), Arc::clone(&shared)));
    // An error is what `Closed` is for, or the client's own end.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), handle).await;
}

async fn answer(
    request: Request<Incoming>,
    mut control: watch::Receiver<Control>,
    shared: Arc<Shared>,
) -> Result<Response<Body>, Closed> {
    let Control { fault, requests } = *control.borrow_and_update();
    let meant = requests == Requests::All || is_commit(&request);
    let fault = shared.chosen(if meant { fault } else { HttpFault::None });
    let after_work = match fault {
        HttpFault::None | HttpFault::Mixed { .. } => {
            let answer = shared.forward(request).await?;
            shared.passed.fetch_add(1, Ordering::Relaxed);
            return Ok(answer.map(Either::Left));
        }
        HttpFault::Status { after_work, .. } | HttpFault::Hang { after_work } | HttpFault::Close { after_work } => {
            after_work
        }
    };
    if after_work {
        // To the end of the answer: then the work is done for sure.
        shared.forward(request).await?.into_body().collect().await.map_err(|_| Closed)?;
        shared.after_work.fetch_add(1, Ordering::Relaxed);
    }
    shared.injected.fetch_add(1, Ordering::Relaxed);
    match fault {
        HttpFault::Status { status, retry_after, .. } => Ok(refusal(status, retry_after)),
        HttpFault::Hang { .. } => {
            // Ends with the fault, or with the front: closed in both cases.
            let _ = control.changed().await;
            Err(Closed)
        }
        HttpFault::None | HttpFault::Mixed { .. } | HttpFault::Close { .. } => Err(Closed),
    }
}

impl Shared {
    /// The fault for one request.
    fn chosen(&self, fault: HttpFault) -> HttpFault {
        let HttpFault::Mixed { one_in, .. } = fault else { return fault };
        let mut random = self.random.lock().expect("nobody panics with the lock");
        if random.random_range(0..one_in) > 0 {
            return HttpFault::None;
        }
        let status = |status, retry_after, after_work| HttpFault::Status { status, retry_after, after_work };
        match random.random_range(0..8) {
            0 => status(429, Some(1), false),
            1 => status(500, None, false),
            2 => status(503, Some(1), false),
            3 => HttpFault::Close { after_work: false },
            4 => status(500, None, true),
            5 => status(502, None, true),
            6 => status(504, None, true),
            _ => HttpFault::Close { after_work: true },
        }
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Incoming>, Closed> {
        let (mut parts, body) = request.into_parts();
        let mut target = self.upstream.clone().into_parts();
        target.path_and_query = parts.uri.into_parts().path_and_query.or(target.path_and_query);
        parts.uri = Uri::from_parts(target).map_err(|_| Closed)?;
        self.client.request(Request::from_parts(parts, body)).await.map_err(|_| Closed)
    }
}

fn is_commit(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    let table = path.contains("/tables/") && !path.ends_with("/metrics");
    request.method() == Method::POST && (table || path.ends_with("/transactions/commit"))
}

fn refusal(status: u16, retry_after: Option<u64>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(Either::Right(Full::default())).expect("the status was checked")
}

#[cfg(test)]
mod tests;
