//! Refusals as the document describes them: by status, all of a route with the same kind of body.

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{Object, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, Header, Ref, Response, ResponseBuilder};

/// Refusals of every route that needs a token.
const COMMON: [(u16, &str); 7] = [
    (400, "Something in the request is malformed; nothing was stored"),
    (401, "No token, or one that is unknown or has expired"),
    (403, "The token is not for this stream or table, or the catalog refuses Frazil"),
    (404, "No such stream, catalog, table, or log"),
    (429, "Too many bytes or requests at once, or the log is full; nothing was stored"),
    (500, "A defect; events may have been stored"),
    (503, "Shutting down; log or catalog out of reach; or nobody knows whether the events are stored"),
];

/// Refusals of bodies besides.
const OF_BODIES: [(u16, &str); 3] = [
    (408, "The body came too slowly; nothing was stored"),
    (413, "The body, or one event, is too large; nothing was stored"),
    (415, "A content type or content encoding that is not supported"),
];

/// How a refusal is written.
pub(super) struct Dialect {
    pub(super) media: &'static str,
    pub(super) body: Ref,
}

impl Dialect {
    /// A problem document.
    pub(super) fn problem() -> Self {
        Self { media: "application/problem+json", body: Ref::from_schema_name("Problem") }
    }
}

/// Adds the refusals that the operation does not describe itself.
pub(super) fn add(operation: &mut Operation, takes_body: bool, dialect: &Dialect) {
    let of_bodies = OF_BODIES.iter().filter(|_| takes_body);
    for (status, description) in COMMON.iter().chain(of_bodies) {
        let response = refusal(*status, description, dialect).into();
        operation.responses.responses.entry(status.to_string()).or_insert(response);
    }
}

fn refusal(status: u16, description: &str, dialect: &Dialect) -> Response {
    let body = ContentBuilder::new().schema(Some(dialect.body.clone())).build();
    let mut response = ResponseBuilder::new().description(description).content(dialect.media, body).build();
    let mut header = |name: &str, ty, description: &str| {
        let mut header = Header::new(Object::with_type(SchemaType::Type(ty)));
        header.description = Some(description.to_owned());
        response.headers.insert(name.to_owned(), header.into());
    };
    match status {
        401 => header("WWW-Authenticate", Type::String, "`Bearer`"),
        429 | 503 => header("Retry-After", Type::Integer, "Seconds until the request should be sent again"),
        _ => {}
    }
    response
}

/// Every status that is described for some route.
#[cfg(test)]
pub(super) fn statuses() -> impl Iterator<Item = u16> {
    COMMON.iter().chain(&OF_BODIES).map(|(status, _)| *status)
}
