//! A front before the REST catalog that lets commits through and then loses the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How an answer is lost after the catalog did the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// `500 Internal Server Error`.
    InternalServerError,
    /// `504 Gateway Timeout`.
    GatewayTimeout,
    /// The connection is closed without an answer.
    Closed,
}

/// A running front.
#[derive(Debug)]
pub struct Front {
    /// Base URL to give to Frazil as its catalog.
    pub url: String,
    /// Commits whose answer was lost so far.
    pub lost: Arc<AtomicU64>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Forward {
    client: reqwest::Client,
    upstream: String,
    losses: Arc<Vec<Loss>>,
    commits: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

impl Front {
    /// Forwards to `upstream`; every second successful commit's answer is lost, in the given ways in turn.
    pub async fn start(upstream: &str, losses: &[Loss]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let lost = Arc::new(AtomicU64::new(0));
        let forward = Forward {
            client: reqwest::Client::new(),
            upstream: upstream.to_owned(),
            losses: Arc::new(losses.to_vec()),
            commits: Arc::default(),
            lost: lost.clone(),
        };
        let app = Router::new().fallback(handle).with_state(forward);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.expect("the front serves") });
        Self { url, lost, _server: server }
    }
}

async fn handle(State(forward): State<Forward>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let is_commit = parts.method == "POST" && parts.uri.path().contains("/tables/");
    let mut headers = parts.headers.clone();
    headers.remove("host");
    let body = axum::body::to_bytes(body, 64 << 20).await.expect("a bounded request body");
    let upstream = forward.client.request(parts.method, format!("{}{path}", forward.upstream));
    let Ok(answer) = upstream.headers(headers).body(body).send().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    if is_commit && answer.status().is_success() && forward.commits.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
        let turn = forward.lost.fetch_add(1, Ordering::Relaxed) as usize;
        return lose(forward.losses[turn % forward.losses.len()]);
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
        response = response.header(name, value);
    }
    let body = answer.bytes().await.expect("upstream body");
    response.body(Body::from(body)).expect("a valid answer")
}

fn lose(loss: Loss) -> Response {
    match loss {
        Loss::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Loss::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT.into_response(),
        // An error in the body's stream makes the server drop the connection in the middle of the answer.
        Loss::Closed => {
            let broken =
                futures::stream::once(async { Err::<bytes::Bytes, _>(std::io::Error::other("lost on purpose")) });
            Response::builder()
                .header("content-length", "1000")
                .body(Body::from_stream(broken))
                .expect("a valid answer")
        }
    }
}
