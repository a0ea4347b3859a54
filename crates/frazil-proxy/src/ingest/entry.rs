//! What is decided before the body is read, from the headers alone: who sends, to which table or by which rule, and
//! whether there is room.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::HeaderMap;
use frazil_core::TableName;
use frazil_core::idempotency::KeyHash;
use frazil_core::limits::IDEMPOTENCY_KEY_MAX_BYTES;
use frazil_core::routing::Router;
use frazil_core::stream::StreamDefinition;

use super::TableText;
use super::report::{self, Report};
use crate::admission::Permit;
use crate::auth::{self, Caller};
use crate::body::BodyHead;
use crate::core::Core;
use crate::error::Rejection;
use crate::rate::Cost;

/// A request that may bring its body.
pub(super) struct Entry {
    pub(super) caller: Caller,
    pub(super) stream: Arc<StreamDefinition>,
    pub(super) destination: Destination,
    pub(super) key: Option<Key>,
    pub(super) head: BodyHead,
    pub(super) permit: Permit,
}

/// Where the events of a request go.
pub(super) enum Destination {
    /// All to one table.
    Table(Arc<TableName>),
    /// Each where its fields say.
    ByRule(Box<Router>),
    /// A metrics report, to the table of its kind.
    Report(Box<Report>),
}

impl Destination {
    /// Refuses what the caller may not insert into, as far as it is known before the body is read.
    fn permit(&self, core: &Core, caller: &Caller) -> Result<(), Rejection> {
        match self {
            Self::Table(table) => permit_table(core, caller, table),
            Self::ByRule(_) => Ok(()),
            // Which of them it is, the body says.
            Self::Report(report) => report.tables().try_for_each(|table| permit_table(core, caller, table)),
        }
    }
}

/// A client's idempotency key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// What is compared.
    pub(super) hash: KeyHash,
    /// What the client gave, without the quotes of the structured-header form.
    pub(super) text: String,
}

impl Entry {
    /// Lets a request in, or not.
    ///
    /// # Errors
    /// Every refusal that needs no body.
    pub(super) fn open(
        core: &Core,
        stream: &str,
        table: TableText,
        headers: &HeaderMap,
        received: i64,
    ) -> Result<Self, Rejection> {
        core.refuse_if_draining()?;
        let caller = auth::authenticate(headers, &core.directory, received)?;
        let stream = caller.stream(&core.directory, stream)?;
        let destination = destination(core, table, &stream)?;
        destination.permit(core, &caller)?;
        let table = match &destination {
            Destination::Table(table) => Some(table.as_ref()),
            Destination::ByRule(_) | Destination::Report(_) => None,
        };
        let text = idempotency_key(headers)?;
        let key = text.map(|text| Key { hash: KeyHash::new(&stream.name, table, caller.token_id(), &text), text });
        let head = BodyHead::parse(headers)?;
        if matches!(destination, Destination::Report(_)) {
            report::check_media(headers, &head)?;
        }
        let limit = core.config.body_max_bytes;
        if head.length.is_some_and(|length| length > limit) {
            return Err(Rejection::BodyTooLarge { limit });
        }
        core.rates.check(&caller, &stream, Cost { events: 1, bytes: head.length.unwrap_or(1) })?;
        let permit = core.admission.admit(head.reservation(limit))?;
        Ok(Self { caller, stream, destination, key, head, permit })
    }
}

/// Refuses tables of catalogs that are not there, and those the caller may not insert into.
///
/// # Errors
/// `404`, `403`.
pub(super) fn permit_table(core: &Core, caller: &Caller, table: &TableName) -> Result<(), Rejection> {
    let known = core.tables.source().known_catalogs();
    if !known.iter().any(|name| name == table.catalog()) {
        return Err(Rejection::CatalogNotFound { catalog: table.catalog().to_owned(), known });
    }
    caller.may_insert(table)
}

fn destination(core: &Core, text: TableText, stream: &StreamDefinition) -> Result<Destination, Rejection> {
    let default_catalog = core.tables.source().default_catalog();
    let fold = stream.policy.mapping.case_insensitive;
    let table = match (text, &stream.routing, &stream.default_table) {
        (TableText::Native(Some(text)), _, _) => TableName::parse(&text, default_catalog)?.as_sent()?,
        (TableText::ThreeParts(Some(text)), _, _) => three_parts(&text)?,
        (TableText::ThreeParts(None), _, _) => {
            return Err(Rejection::MissingTable("the header `table: catalog.database.table` is missing"));
        }
        (TableText::Report(path), _, _) => {
            return Report::new(core, path, fold).map(|report| Destination::Report(Box::new(report)));
        }
        (TableText::Native(None), Some(rule), _) => {
            let router = rule.compile(default_catalog, fold);
            let message =
                |error| Rejection::RoutingUnusable { stream: stream.name.clone(), message: format!("{error}") };
            return router.map(|router| Destination::ByRule(Box::new(router))).map_err(message);
        }
        (TableText::Native(None), None, Some(table)) => table.clone(),
        (TableText::Native(None), None, None) => {
            return Err(Rejection::MissingTable(
                "name the table in the path, in ?table= or in the header Frazil-Table; \
                 the stream has neither a routing rule nor a default table",
            ));
        }
    };
    let table = if fold { table.to_lowercase()? } else { table };
    Ok(Destination::Table(Arc::new(table)))
}

fn three_parts(text: &str) -> Result<TableName, Rejection> {
    let table = TableName::parse_full(text)?.as_sent()?;
    if table.namespace().len() == 1 {
        return Ok(table);
    }
    let message = format!("{text:?} is not in three parts; use /v1/streams/…/events for deeper namespaces");
    Err(Rejection::Malformed { name: "table", message })
}

/// The client's idempotency key, without the quotes of the structured-header form.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Rejection> {
    const NAME: &str = "Idempotency-Key";
    let malformed = |message: String| Err(Rejection::Malformed { name: NAME, message });
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return malformed("given more than once".to_owned());
    }
    let text = value.to_str().unwrap_or("\u{0}").trim();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_MAX_BYTES {
        return malformed(format!("must have 1 to {IDEMPOTENCY_KEY_MAX_BYTES} characters"));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return malformed("must be visible ASCII without spaces".to_owned());
    }
    Ok(Some(key.to_owned()))
}
