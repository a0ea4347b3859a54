//! Metrics reports of Iceberg clients: the body of such a request is one report, which becomes one event of a table that
//! the configuration and the report's kind name. From there on it is an event like any other.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use frazil_core::TableName;
use frazil_core::metrics_report::{self, ReportError, ReportKind, ReportPath};
use frazil_core::schema::TS_COLUMN;
use frazil_core::stream::{OnMissingTable, StreamDefinition, TableTemplate};

use super::Decoded;
use super::groups::{Batch, Target};
use crate::body::{BodyHead, Encoding, Events, Format, Media, Tolerance, plain};
use crate::core::Core;
use crate::error::Rejection;

/// Properties that the tables of reports are made with: what has no column is kept, whatever the stream does.
const PROPERTIES: [(&str, &str); 2] = [("frazil.unknown-fields", "capture"), ("frazil.system-columns", "on_demand")];

/// A report that may come.
#[derive(Debug)]
pub(super) struct Report {
    path: ReportPath,
    scan: Arc<TableName>,
    commit: Arc<TableName>,
}

impl Report {
    /// A report about the table at `path`. With `fold` the tables' names are taken in lower case.
    ///
    /// # Errors
    /// `404` if there is no endpoint for reports; `400` for a name that is too long.
    pub(super) fn new(core: &Core, path: ReportPath, fold: bool) -> Result<Self, Rejection> {
        let settings = core.config.iceberg_metrics.as_ref().ok_or(Rejection::NoRoute)?;
        let table = |kind| {
            let table = settings.table(kind, core.tables.source().default_catalog())?;
            Ok::<_, Rejection>(Arc::new(if fold { table.to_lowercase()? } else { table }))
        };
        Ok(Self { path, scan: table(ReportKind::Scan)?, commit: table(ReportKind::Commit)? })
    }

    /// The tables that the event may go to. Which it is, the body says.
    pub(super) fn tables(&self) -> impl Iterator<Item = &TableName> {
        [&self.scan, &self.commit].into_iter().map(Arc::as_ref)
    }

    /// The event of a body, and the stream as it is for such events. Computes only.
    ///
    /// # Errors
    /// `400` for what is no report, `413` for what is too large after decompression.
    pub(super) fn decode(
        self,
        stream: &StreamDefinition,
        raw: &Bytes,
        encoding: Encoding,
        limit: usize,
    ) -> Result<Decoded, Rejection> {
        let event = metrics_report::to_event(&plain(raw, encoding, limit)?, &self.path)?;
        let events = Events::split(event.json.as_bytes(), Format::Json, Tolerance::Strict)?;
        let table = match event.kind {
            ReportKind::Scan => self.scan,
            ReportKind::Commit => self.commit,
        };
        Ok(Decoded {
            stream: Arc::new(making(stream, event.kind)),
            batch: Batch::of_one(events),
            targets: vec![Target::Table(table)],
            report: Some(event.kind),
        })
    }
}

/// Refuses bodies that are not JSON text.
///
/// # Errors
/// `415`.
pub(super) fn check_media(headers: &HeaderMap, head: &BodyHead) -> Result<(), Rejection> {
    match head.media {
        Media::Text(_) => Ok(()),
        Media::CloudEvent | Media::CloudEventBatch | Media::CloudEventData(_) | Media::Arrow => {
            let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("of a CloudEvent");
            Err(Rejection::UnsupportedType(named.chars().take(100).collect()))
        }
    }
}

/// The stream, but for the tables it makes: that of the reports is made whether the stream makes tables or not, with the
/// columns of its kind and partitioned by day.
fn making(stream: &StreamDefinition, kind: ReportKind) -> StreamDefinition {
    let mut properties = stream.create.properties.clone();
    properties.extend(PROPERTIES.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let create = TableTemplate {
        schema: Some(kind.schema().to_value()),
        partition_by: Some(format!("day({TS_COLUMN})")),
        sort_by: None,
        properties,
        strict_namespace: stream.create.strict_namespace,
    };
    StreamDefinition { on_missing_table: OnMissingTable::Create, create, ..stream.clone() }
}

impl From<ReportError> for Rejection {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Json { line, column, message } => Self::InvalidJson { line, column, message },
            ReportError::Malformed { .. } => Self::InvalidReport(error.to_string()),
        }
    }
}
