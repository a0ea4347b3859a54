//! The gRPC front: mounts the services, and makes of each call what the ingest path takes.
//!
//! It decodes, calls and encodes, as the HTTP front does, and decides nothing about events. What surrounds the calls of
//! `frazil.v1.Ingest` is in `guard`; a stream of requests has an owner task, in `stream`.

mod answer;
mod guard;
mod health;
mod meter;
mod request;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::middleware;
use frazil_proto::v1::ingest_server::{self, IngestServer};
use frazil_proto::v1::{IngestRequest, IngestResponse, IngestStreamRequest, IngestStreamResponse};
use futures::stream::BoxStream;
use tokio::sync::Semaphore;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::health_server::HealthServer;

use crate::core::Core;
use crate::error::Rejection;
use crate::ingest::{Accepted, ingest};
use crate::metrics::RequestLabels;
use health::Health;

/// What a message may have besides its events: names, key, framing. In bytes.
const MESSAGE_OVERHEAD_MAX_BYTES: usize = 64 * 1024;

/// Path of the unary call; also the label of its metrics.
const INGEST: &str = "/frazil.v1.Ingest/Ingest";

/// Path of the stream of requests; also the label of the metrics of each request of it.
const INGEST_STREAM: &str = "/frazil.v1.Ingest/IngestStream";

/// The services on their paths. gRPC paths are exact, so they lie beside those of HTTP.
pub(crate) fn routes(core: &Arc<Core>) -> Router {
    let front = Front::new(core);
    let ingest = IngestServer::new(front.clone())
        .max_decoding_message_size(front.message_max_bytes())
        .accept_compressed(CompressionEncoding::Gzip);
    let ingest = Router::new()
        .route_service(INGEST, ingest.clone())
        .route_service(INGEST_STREAM, ingest)
        .layer(middleware::from_fn_with_state(front.clone(), guard::ingest));
    let health = Router::new().route_service("/grpc.health.v1.Health/{method}", HealthServer::new(Health::new(core)));
    let reflection = reflection().layer(middleware::from_fn_with_state(front, guard::until_drain));
    ingest.merge(health.merge(reflection).layer(middleware::from_fn(guard::only_grpc)))
}

fn reflection() -> Router {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(frazil_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1().expect("the descriptors are compiled in");
    let v1alpha = builder().build_v1alpha().expect("the descriptors are compiled in");
    Router::new()
        .route_service("/grpc.reflection.v1.ServerReflection/{method}", v1)
        .route_service("/grpc.reflection.v1alpha.ServerReflection/{method}", v1alpha)
}

/// What the calls share. Clones share it too.
#[derive(Debug, Clone)]
struct Front {
    core: Arc<Core>,
    /// Bytes of messages that are being received. Nobody is refused for lack of them: reading waits, and flow control
    /// holds the client back. What is received completely needs a permit of the admission like any request.
    receiving: Arc<Semaphore>,
}

impl Front {
    fn new(core: &Arc<Core>) -> Self {
        let receiving = Arc::new(Semaphore::new(core.config.max_in_flight_bytes));
        Self { core: Arc::clone(core), receiving }
    }

    /// Largest message taken.
    fn message_max_bytes(&self) -> usize {
        self.core.config.body_max_bytes + MESSAGE_OVERHEAD_MAX_BYTES
    }

    /// Takes one request in and counts the answer, whichever call it came by.
    async fn take(
        &self,
        route: &'static str,
        request: Option<IngestRequest>,
        authorization: &HeaderMap,
        wait: Option<Duration>,
    ) -> Result<Accepted, Rejection> {
        let outcome = match request::ingest_request(request, authorization, wait) {
            Ok(request) => ingest(&self.core, request).await,
            Err(rejection) => Err(rejection),
        };
        let (status, code) = match &outcome {
            Ok(_) => (200, "OK"),
            Err(rejection) => (rejection.shape().status.as_u16(), rejection.shape().code),
        };
        self.count(route, status, code);
        outcome
    }

    /// The status of a call that is refused before it comes to a request of its own, counted.
    fn refuse(&self, route: &str, rejection: &Rejection) -> Status {
        let shape = rejection.shape();
        self.count(route, shape.status.as_u16(), shape.code);
        answer::status(rejection)
    }

    fn count(&self, route: &str, status: u16, code: &str) {
        let labels = RequestLabels { route: route.to_owned(), status, code: code.to_owned() };
        self.core.metrics.requests.get_or_create(&labels).inc();
    }
}

#[tonic::async_trait]
impl ingest_server::Ingest for Front {
    async fn ingest(&self, request: Request<IngestRequest>) -> Result<Response<IngestResponse>, Status> {
        let authorization = request::authorization(request.metadata());
        let request = request.into_inner();
        let millis = u64::from(request.wait_committed_ms);
        let wait = (millis > 0).then(|| Duration::from_millis(millis));
        match self.take(INGEST, Some(request), &authorization, wait).await {
            Ok(accepted) => Ok(Response::new(answer::response(&accepted))),
            Err(rejection) => Err(answer::status(&rejection)),
        }
    }

    type IngestStreamStream = BoxStream<'static, Result<IngestStreamResponse, Status>>;

    async fn ingest_stream(
        &self,
        request: Request<Streaming<IngestStreamRequest>>,
    ) -> Result<Response<Self::IngestStreamStream>, Status> {
        let authorization = request::authorization(request.metadata());
        Ok(Response::new(stream::open(self, authorization, request.into_inner())))
    }
}
