//! The OpenAPI 3.1 document of the HTTP API, made of the routes' own descriptions, and a page that shows it.
//!
//! A route is registered together with its description, so the document cannot lack one. What many routes have in
//! common is added here: security, refusals, the forms of a request's events. gRPC is described by its proto file.

mod events;
mod refusals;
pub(super) mod reports;
#[cfg(test)]
mod tests;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use bytes::Bytes;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Info, LicenseBuilder, OpenApi};
use utoipa::{OpenApi as _, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::answer::Problem;
use super::reports::IcebergErrorResponse;
use crate::error::Verdict;
use refusals::Dialect;

/// Tag of the routes that take events.
pub(super) const EVENTS: &str = "events";
/// Tag of the routes about accepted events.
pub(super) const RECEIPTS: &str = "receipts";
/// Tag of the routes of the Iceberg REST protocol.
pub(super) const METRICS: &str = "metrics reports";
/// Tag of the routes for operators and their machines.
pub(super) const OPERATIONS: &str = "operations";

const DOCUMENT_PATH: &str = "/openapi.json";
const PAGE_PATH: &str = "/docs";
const TOKEN: &str = "token";

#[derive(utoipa::OpenApi)]
#[openapi(
    components(schemas(Problem, Verdict, IcebergErrorResponse, events::Event, events::CloudEvent)),
    tags(
        (name = EVENTS, description = "Storing events"),
        (name = RECEIPTS, description = "Asking what became of them"),
        (name = METRICS, description = "Iceberg metrics reports, as the Iceberg REST protocol has them"),
        (name = OPERATIONS, description = "Health, metrics, this document"),
    )
)]
struct Base;

/// What every description begins with.
pub(super) fn base() -> OpenApi {
    let mut base = Base::openapi();
    base.info = Info::new("Frazil", env!("CARGO_PKG_VERSION"));
    base.info.description = Some(
        "Event ingestion into Apache Iceberg: a request is answered with 200 after every event of it has been synced to \
         disk; rows and dead letters follow exactly once."
            .to_owned(),
    );
    base.info.license = Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build());
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.description = Some("A token made by `frazil token create`; also taken without the word Bearer.".to_owned());
    let components = base.components.get_or_insert_with(Components::new);
    components.add_security_scheme(TOKEN, SecurityScheme::Http(scheme));
    base
}

/// The finished document.
#[derive(Debug, Clone)]
pub(super) struct Document(Bytes);

impl Document {
    /// Adds to the routes' descriptions what many have in common.
    pub(super) fn of(mut described: OpenApi) -> Self {
        for item in described.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                complete(operation);
            }
        }
        let json = serde_json::to_vec(&described).expect("descriptions are plain values");
        Self(json.into())
    }
}

fn complete(operation: &mut Operation) {
    let tagged = |tag: &str| operation.tags.iter().flatten().any(|own| own == tag);
    let (takes_events, asks, takes_reports) = (tagged(EVENTS), tagged(RECEIPTS), tagged(METRICS));
    if takes_events || asks || takes_reports {
        operation.security = Some(vec![SecurityRequirement::new(TOKEN, [""; 0])]);
    }
    if takes_events || asks {
        refusals::add(operation, takes_events, &Dialect::problem());
    }
    if takes_events {
        events::add(operation);
    }
    if takes_reports {
        reports::add(operation);
    }
}

/// This API as an OpenAPI 3.1 document.
#[utoipa::path(
    get,
    path = DOCUMENT_PATH,
    operation_id = "openapi",
    tag = OPERATIONS,
    responses((status = 200, description = "The document", body = Object, content_type = "application/json")),
)]
pub(super) async fn document(Extension(document): Extension<Document>) -> Response {
    ([(CONTENT_TYPE, "application/json")], document.0).into_response()
}

/// Swagger UI, from files in this binary. It loads nothing from elsewhere and asks no outside service.
pub(super) fn page() -> Router {
    SwaggerUi::new(PAGE_PATH).config(Config::new([DOCUMENT_PATH]).validator_url("none")).into()
}

/// Whether the process takes requests.
#[derive(Debug, serde::Serialize, ToSchema)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// What is missing; empty if ready.
    pub(super) reasons: Vec<&'static str>,
    /// What an operator should see to although requests are taken, such as a certificate that could not be renewed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
}
