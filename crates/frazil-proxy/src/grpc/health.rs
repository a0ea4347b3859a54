//! `grpc.health.v1`: what `/readyz` tells, for those who ask by gRPC. Asks the core each time and keeps nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use crate::core::Core;

/// How often a watched state is looked at, besides the beginning of the drain, which is told at once.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The services that have a state; the empty name is the server as a whole.
const SERVICES: [&str; 2] = ["", "frazil.v1.Ingest"];

/// The service.
#[derive(Debug)]
pub(super) struct Health {
    core: Arc<Core>,
}

impl Health {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }
}

fn state(core: &Core, service: &str) -> ServingStatus {
    if !SERVICES.contains(&service) {
        ServingStatus::ServiceUnknown
    } else if core.not_ready().is_empty() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

/// The state now and whenever it is another. The drain ends the stream, after it has told.
fn watch(core: Arc<Core>, service: String) -> impl futures::Stream<Item = ServingStatus> {
    stream::unfold(
        (core, None, service),
        |(core, told, service): (Arc<Core>, Option<ServingStatus>, String)| async move {
            loop {
                let draining = core.draining.is_cancelled();
                let now = state(&core, &service);
                if told != Some(now) {
                    return Some((now, (core, Some(now), service)));
                }
                if draining {
                    return None;
                }
                tokio::select! {
                    () = core.draining.cancelled() => {}
                    () = tokio::time::sleep(WATCH_INTERVAL) => {}
                }
            }
        },
    )
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match state(&self.core, &request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("there is no such service here")),
            known => Ok(Response::new(HealthCheckResponse { status: known.into() })),
        }
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let states = watch(Arc::clone(&self.core), request.into_inner().service);
        Ok(Response::new(states.map(|state| Ok(HealthCheckResponse { status: state.into() })).boxed()))
    }
}
