//! Metrics reports of Iceberg clients as events: one report becomes one row of a table of Frazil's own.
//!
//! A report is the body of the Iceberg REST protocol's report-metrics endpoint. What the tables have columns for is put
//! there; everything else of a report stays in the event under `report`, so that a newer client's metrics are kept.
//! Pure: which stream and which tables the events go to is decided elsewhere.

mod columns;
mod members;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::schema::Schema;
use columns::{Content, Layout};
use members::{Members, object};

/// Separates the levels of a namespace in paths of the protocol.
const LEVEL_SEPARATOR: char = '\u{1f}';

/// Longest text of a report that an error shows, in characters.
const SHOWN_MAX: usize = 64;

/// The kinds of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReportKind {
    /// A scan was planned: `scan-report`.
    Scan,
    /// A snapshot was committed: `commit-report`.
    Commit,
}

impl ReportKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Scan, Self::Commit];

    /// The kind's name in `report-type`.
    pub fn report_type(self) -> &'static str {
        match self {
            Self::Scan => "scan-report",
            Self::Commit => "commit-report",
        }
    }

    /// Name of the table that has a row for every report of this kind.
    pub fn table(self) -> &'static str {
        match self {
            Self::Scan => "iceberg_scan_report",
            Self::Commit => "iceberg_commit_report",
        }
    }

    /// Schema of that table, without the system columns.
    pub fn schema(self) -> Schema {
        self.layout().schema()
    }

    fn layout(self) -> &'static Layout {
        match self {
            Self::Scan => &columns::SCAN,
            Self::Commit => &columns::COMMIT,
        }
    }
}

/// The table that a report is about, as the path of the request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPath {
    prefix: Option<String>,
    namespace: Vec<String>,
    table: String,
}

impl ReportPath {
    /// From the decoded segments of a path; the levels of `namespace` are separated by U+001F.
    ///
    /// # Errors
    /// [`ReportError::Malformed`] for an empty name.
    pub fn parse(prefix: Option<String>, namespace: &str, table: String) -> Result<Self, ReportError> {
        let namespace: Vec<String> = namespace.split(LEVEL_SEPARATOR).map(str::to_owned).collect();
        let empty = |field: &str| ReportError::malformed(field, "must not be empty");
        if namespace.iter().any(String::is_empty) {
            return Err(empty("namespace"));
        }
        if table.is_empty() {
            return Err(empty("table"));
        }
        Ok(Self { prefix, namespace, table })
    }
}

/// Why a report cannot become an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It is not JSON.
    #[error("invalid JSON at line {line}, column {column}: {message}")]
    Json {
        /// Line of the report, from 1.
        line: usize,
        /// Column in bytes, from 1; 0 if the line ended too early.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// It is JSON, and no report as the protocol has it.
    #[error("{}{message}", place(field))]
    Malformed {
        /// Dotted path of the field at fault; empty for the report itself.
        field: String,
        /// What is wrong with it.
        message: String,
    },
}

fn place(field: &str) -> String {
    if field.is_empty() { "the report ".to_owned() } else { format!("`{field}` ") }
}

impl ReportError {
    fn malformed(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Malformed { field: field.into(), message: message.into() }
    }

    fn expected(field: impl Into<String>, expected: impl fmt::Display, got: &RawValue) -> Self {
        let got: String = got.get().chars().take(SHOWN_MAX).collect();
        Self::malformed(field, format!("must be {expected}, not {got}"))
    }
}

/// A report as an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportEvent {
    /// Decides the table.
    pub kind: ReportKind,
    /// The event, one JSON object.
    pub json: String,
}

/// Makes an event of a report.
///
/// Fields and metrics that the protocol requires must be there and of their types; a metric that a client has not
/// measured may be absent or null. What is not known is kept as it is.
///
/// # Errors
/// [`ReportError`], which names the field.
pub fn to_event(report: &[u8], path: &ReportPath) -> Result<ReportEvent, ReportError> {
    let mut report = Members::of_body(report)?;
    let kind = kind(&mut report)?;
    let layout = kind.layout();
    let mut event = EventText::default();
    for field in layout.fields {
        let raw = report.required(field.name)?;
        event.put(field.column, &content(field.name, field.content, raw)?);
    }
    let mut metrics = object("metrics", report.required("metrics")?)?;
    let (timer, column) = layout.timer;
    if let Some(nanos) = take_timer(&mut metrics, timer)? {
        event.put(column, &nanos.to_string());
    }
    for (counter, column) in layout.counters {
        if let Some(raw) = metrics.take(counter) {
            event.put(column, &count(counter, raw)?.to_string());
        }
    }
    event.put("path", &path_text(path));
    if let Some(rest) = rest(&report, &metrics) {
        event.put("report", &rest);
    }
    Ok(ReportEvent { kind, json: event.finish() })
}

fn kind(report: &mut Members<'_>) -> Result<ReportKind, ReportError> {
    const FIELD: &str = "report-type";
    let raw = report.required(FIELD)?;
    let named =
        |kind: &ReportKind| serde_json::from_str::<Cow<'_, str>>(raw.get()).is_ok_and(|t| t == kind.report_type());
    let found = ReportKind::ALL.into_iter().find(named);
    found.ok_or_else(|| ReportError::expected(FIELD, "\"scan-report\" or \"commit-report\"", raw))
}

/// The JSON text of a column's value.
fn content(field: &str, content: Content, raw: &RawValue) -> Result<String, ReportError> {
    let expected = |expected: &str| ReportError::expected(field, expected, raw);
    let text = raw.get();
    match content {
        Content::Json => Ok(text.to_owned()),
        Content::Text => {
            serde_json::from_str::<Cow<'_, str>>(text).map(|_| text.to_owned()).map_err(|_| expected("a string"))
        }
        Content::Int => serde_json::from_str::<i32>(text)
            .map(|number| number.to_string())
            .map_err(|_| expected("a whole number of 32 bits")),
        Content::Long => serde_json::from_str::<i64>(text)
            .map(|number| number.to_string())
            .map_err(|_| expected("a whole number of 64 bits")),
        Content::Ints => {
            let numbers: Vec<i32> = serde_json::from_str(text).map_err(|_| expected("a list of whole numbers"))?;
            Ok(quoted(&numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")))
        }
        Content::Texts => {
            let texts: Vec<Cow<'_, str>> = serde_json::from_str(text).map_err(|_| expected("a list of strings"))?;
            Ok(quoted(&texts.join(",")))
        }
    }
}

#[derive(Deserialize)]
struct Counter<'r> {
    /// `count`, `bytes` or `undefined`; each counter has its own, so it says nothing new.
    #[serde(borrow, rename = "unit")]
    _unit: Cow<'r, str>,
    value: i64,
}

fn count(name: &str, raw: &RawValue) -> Result<i64, ReportError> {
    let shape = "a counter {\"unit\": string, \"value\": whole number}";
    let counter = serde_json::from_str::<Counter<'_>>(raw.get());
    counter.map(|counter| counter.value).map_err(|_| ReportError::expected(metric(name), shape, raw))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Timer<'r> {
    count: i64,
    #[serde(borrow)]
    time_unit: Cow<'r, str>,
    total_duration: i64,
}

/// The nanoseconds of a timer. One that has run several times stays among the metrics too, for the number of times.
fn take_timer(metrics: &mut Members<'_>, name: &str) -> Result<Option<i64>, ReportError> {
    let Some(raw) = metrics.take(name) else { return Ok(None) };
    let expected = |what: &str| ReportError::expected(metric(name), what, raw);
    let shape = "a timer {\"count\": whole number, \"time-unit\": string, \"total-duration\": whole number}";
    let timer: Timer<'_> = serde_json::from_str(raw.get()).map_err(|_| expected(shape))?;
    let unit = nanos_of(&timer.time_unit).ok_or_else(|| expected("a timer with a time-unit of nanoseconds to days"))?;
    let nanos = timer.total_duration.checked_mul(unit);
    let nanos = nanos.ok_or_else(|| expected("a time that is fewer than 2^63 nanoseconds"))?;
    if timer.count != 1 {
        metrics.keep(name, raw);
    }
    Ok(Some(nanos))
}

/// Nanoseconds of a time unit, as the protocol names it.
fn nanos_of(unit: &str) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    match unit.to_ascii_lowercase().as_str() {
        "nanoseconds" => Some(1),
        "microseconds" => Some(1_000),
        "milliseconds" => Some(1_000_000),
        "seconds" => Some(SECOND),
        "minutes" => Some(60 * SECOND),
        "hours" => Some(3_600 * SECOND),
        "days" => Some(86_400 * SECOND),
        _ => None,
    }
}

fn metric(name: &str) -> String {
    format!("metrics.{name}")
}

fn path_text(path: &ReportPath) -> String {
    let mut text = EventText::default();
    if let Some(prefix) = &path.prefix {
        text.put("prefix", &quoted(prefix));
    }
    let levels: Vec<String> = path.namespace.iter().map(|level| quoted(level)).collect();
    text.put("namespace", &format!("[{}]", levels.join(",")));
    text.put("table", &quoted(&path.table));
    text.finish()
}

/// What has no column; nothing if there is nothing.
fn rest(report: &Members<'_>, metrics: &Members<'_>) -> Option<String> {
    let mut rest = EventText::default();
    report.iter().for_each(|(name, raw)| rest.put(name, raw.get()));
    if !metrics.is_empty() {
        let mut unknown = EventText::default();
        metrics.iter().for_each(|(name, raw)| unknown.put(name, raw.get()));
        rest.put("metrics", &unknown.finish());
    }
    (!rest.0.is_empty()).then(|| rest.finish())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A JSON object that is being written.
#[derive(Debug, Default)]
struct EventText(String);

impl EventText {
    fn put(&mut self, name: &str, raw: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(raw);
    }

    fn finish(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}
