//! Requests with events as the document describes them: bodies, headers, and what an accepted one is answered.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{Array, Object, OneOfBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, Header, Ref, RefOr, Required};
use utoipa::{PartialSchema, ToSchema};

/// One event: any JSON object. Its fields are matched to the columns of its table.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"user": "ada", "action": "login", "at": "2026-01-01T12:00:00Z"}))]
pub(super) struct Event {
    #[serde(flatten)]
    #[expect(dead_code, reason = "describes a shape")]
    fields: BTreeMap<String, Value>,
}

/// A CloudEvent 1.0 in the structured form; extension attributes are further members.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a shape")]
pub(super) struct CloudEvent {
    #[schema(pattern = "^1\\.0$", example = "1.0")]
    specversion: String,
    #[schema(min_length = 1)]
    id: String,
    #[schema(min_length = 1)]
    source: String,
    #[schema(min_length = 1)]
    r#type: String,
    /// Any JSON value.
    #[schema(value_type = Option<Value>)]
    data: Option<Value>,
}

/// Adds body, headers of the request, and the header of the answer.
pub(super) fn add(operation: &mut Operation) {
    operation.request_body = Some(body().into());
    let headers = headers(operation).into_iter().map(RefOr::T);
    operation.parameters.get_or_insert_default().extend(headers);
    if let Some(RefOr::T(success)) = operation.responses.responses.get_mut("200") {
        let mut receipt = Header::new(Object::with_type(SchemaType::Type(Type::String)));
        receipt.description = Some("The receipt, if all events are for one table".to_owned());
        success.headers.insert("Frazil-Receipt".to_owned(), receipt.into());
    }
}

fn body() -> RequestBody {
    let event = || Ref::from_schema_name("Event");
    let cloud_event = || Ref::from_schema_name("CloudEvent");
    let bytes = || Object::builder().schema_type(Type::String).format(Some(SchemaFormat::Custom("binary".to_owned())));
    let one_or_many = OneOfBuilder::new().item(event()).item(Array::new(event()));
    let json = ContentBuilder::new().schema(Some(Schema::from(one_or_many))).build();
    let ndjson = bytes().description(Some("One JSON object per line"));
    let arrow = bytes().description(Some("An Arrow IPC stream; each row is an event"));
    RequestBodyBuilder::new()
        .description(Some(
            "The events, at most 5,000,000 bytes after decompression unless configured. A CloudEvent in the binary form is \
             recognised by the header `ce-specversion`, whatever its content type.",
        ))
        .required(Some(Required::True))
        .content("application/json", json)
        .content("application/x-ndjson", ContentBuilder::new().schema(Some(Schema::from(ndjson))).build())
        .content("application/cloudevents+json", ContentBuilder::new().schema(Some(cloud_event())).build())
        .content(
            "application/cloudevents-batch+json",
            ContentBuilder::new().schema(Some(Schema::from(Array::new(cloud_event())))).build(),
        )
        .content("application/vnd.apache.arrow.stream", ContentBuilder::new().schema(Some(Schema::from(arrow))).build())
        .build()
}

/// The headers besides what the path and the query say; a path that has the table leaves no choice.
fn headers(operation: &Operation) -> Vec<Parameter> {
    let mut headers = common_headers();
    let named = |place: ParameterIn| {
        let parameters = operation.parameters.iter().flatten();
        parameters
            .filter_map(|one| if let RefOr::T(one) = one { Some(one) } else { None })
            .any(|parameter| parameter.name == "table" && parameter.parameter_in == place)
    };
    if !named(ParameterIn::Path) {
        let required = if named(ParameterIn::Query) { Required::False } else { Required::True };
        headers.push(header("table", required, "The table, `catalog.namespace.table`", String::schema()));
    }
    headers
}

/// The headers of every request with a body.
pub(super) fn common_headers() -> Vec<Parameter> {
    let encodings =
        Object::builder().schema_type(Type::String).enum_values(Some(["identity", "gzip", "zstd", "deflate"]));
    let key = Object::builder()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(frazil_core::limits::IDEMPOTENCY_KEY_MAX_BYTES))
        .pattern(Some("^[!-~]+$"));
    vec![
        header(
            "Idempotency-Key",
            Required::False,
            "Names the request: repeated with the same key within the stream's window, it adds no rows",
            Schema::from(key).into(),
        ),
        header("Content-Encoding", Required::False, "How the body is compressed", Schema::from(encodings).into()),
    ]
}

fn header(name: &str, required: Required, description: &str, schema: RefOr<Schema>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}
