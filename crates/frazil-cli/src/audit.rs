//! The audit trail: a command that changes something leaves an event, which becomes a row of `platform_event_logs`.
//!
//! The event goes straight into the log, as a proxy would put it there: a command needs the log anyway, and no proxy. If
//! the trail cannot be opened, nothing is changed; if the event cannot be stored after the change, the command fails and
//! says so.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use frazil_core::TableName;
use frazil_core::audit::{self, AuditEvent};
use frazil_core::envelope::{ContinuityFields, EncodedEnvelope, EnvelopeBuilder, Section, SectionHeader};
use frazil_core::schema::TS_COLUMN;
use frazil_iceberg::create::create_table;
use frazil_log::{Log, PublishError, ShardPublisher};
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::Config;
use crate::exit::Failure;
use crate::{reach, table};

/// Name of this program in the column `service`.
const SERVICE: &str = "frazil";
/// How long an event is offered to a log that does not take it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// Room in a message beside the event as it is before the change: headers, and why the change failed.
const ROOM_BYTES: usize = 16 * 1024;
/// Longest reason of a failure that an event has, in characters.
const REASON_MAX: usize = 2000;
/// What no event of the trail may be lost to: what does not fit the columns is kept.
const PROPERTIES: [(&str, &str); 1] = [("frazil.unknown-fields", "capture")];

/// What a command is about to do.
#[derive(Debug)]
pub(crate) struct Deed {
    /// As `stream.create`.
    pub(crate) action: &'static str,
    /// To what and how: an object.
    pub(crate) payload: Value,
}

/// Runs a change and records what came of it, if the configuration asks for it.
///
/// # Errors
/// The change's own; and what keeps it from being recorded.
pub(crate) fn audited<'a, T: 'a>(
    config: &'a Config,
    log: &'a Log,
    deed: Deed,
    change: impl Future<Output = Result<T, Failure>> + 'a,
) -> LocalBoxFuture<'a, Result<T, Failure>> {
    Box::pin(run(config, log, deed, Box::pin(change)))
}

async fn run<T>(
    config: &Config,
    log: &Log,
    deed: Deed,
    change: LocalBoxFuture<'_, Result<T, Failure>>,
) -> Result<T, Failure> {
    if config.audit.stream.is_none() {
        return change.await;
    }
    let trail = Trail::open(config, log).await.context("nothing was changed: the audit trail cannot be kept")?;
    let trail = match trail {
        None if !makes_the_trail(config, &deed) => return Err(missing(config)),
        other => other,
    };
    // Found out before the change: afterwards there would be a change without an event.
    let planned = event(config, &deed, None);
    if let Some(refusal) = too_large(&planned, log.max_payload()) {
        return Err(anyhow!(refusal).into());
    }
    let outcome = change.await;
    let event = event(config, &deed, outcome.as_ref().err());
    let recorded = record(config, log, trail, &event).await;
    match (outcome, recorded) {
        (outcome, Ok(())) => outcome,
        (Ok(_), Err(error)) => {
            let said = format!("the change was made, but its audit event was not stored ({})", event.to_json());
            Err(error.context(said).into())
        }
        (Err(failure), Err(error)) => {
            eprintln!("frazil: the audit event of this failure was not stored: {error:#}");
            Err(failure)
        }
    }
}

/// The same for a command that has not connected to the log.
///
/// # Errors
/// As [`audited`].
pub(crate) fn audited_elsewhere<'a, T: 'a>(
    config: &'a Config,
    deed: Deed,
    change: impl Future<Output = Result<T, Failure>> + 'a,
) -> LocalBoxFuture<'a, Result<T, Failure>> {
    let change = Box::pin(change);
    Box::pin(async move {
        if config.audit.stream.is_none() {
            return change.await;
        }
        let log = reach::log(config).await.context("nothing was changed: the audit trail cannot be kept")?;
        audited(config, &log, deed, change).await
    })
}

/// Whether the deed creates the very stream that its event is to go to.
fn makes_the_trail(config: &Config, deed: &Deed) -> bool {
    let named = deed.payload["stream"].as_str();
    deed.action == "stream.create" && named == config.audit.stream.as_ref().map(frazil_core::StreamName::as_str)
}

fn missing(config: &Config) -> Failure {
    let stream = config.audit.stream.as_ref().map_or("", frazil_core::StreamName::as_str);
    let command = format!("frazil stream create {stream}");
    anyhow!("nothing was changed: there is no stream {stream}, which [audit] names; create it first: {command}").into()
}

/// Why no message of at most `limit` bytes can hold an event.
fn too_large(event: &AuditEvent, limit: usize) -> Option<String> {
    let bytes = event.to_json().len() + ROOM_BYTES;
    let refusal = "nothing was changed: its audit event takes up to";
    (bytes > limit).then(|| format!("{refusal} {bytes} bytes, and the log's max_payload is {limit}; raise that"))
}

fn event(config: &Config, deed: &Deed, failure: Option<&Failure>) -> AuditEvent {
    let mut payload = deed.payload.clone();
    if let Some(failure) = failure {
        payload["error"] = json!(failure.to_string().chars().take(REASON_MAX).collect::<String>());
    }
    AuditEvent {
        user_id: config.audit.user.clone().unwrap_or_else(login),
        occurred_at: reach::now_micros(),
        service: SERVICE,
        action: deed.action,
        success: failure.is_none(),
        payload,
    }
}

/// Who is logged in, as the environment says.
fn login() -> String {
    let named =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

async fn record(config: &Config, log: &Log, trail: Option<Trail>, event: &AuditEvent) -> anyhow::Result<()> {
    let trail = match trail {
        Some(trail) => trail,
        None => Trail::open(config, log).await?.context("its stream is still missing")?,
    };
    trail.store(event, config.nats.request_timeout.0).await
}

/// The shard and the table of audit events.
#[derive(Debug)]
struct Trail {
    publisher: ShardPublisher,
    table: TableName,
}

impl Trail {
    /// Opens the stream, and makes the table if there is none; `None` if there is no such stream.
    async fn open(config: &Config, log: &Log) -> anyhow::Result<Option<Self>> {
        let Some(name) = &config.audit.stream else { return Ok(None) };
        let stream = log.control().get_stream(name).await.context("cannot read the control bucket")?;
        let Some(shard) = stream.as_ref().and_then(|stream| stream.all_shards().next()) else { return Ok(None) };
        let publisher = ShardPublisher::open(log, &shard).await.with_context(|| format!("shard {shard}"))?;
        let table = config.audit.table(config.default_catalog().context("no catalog is configured")?)?;
        match ensure(config, &table).await {
            Ok(()) => {}
            // The log keeps the event until the table can be written. Nobody waits for a catalog to revoke a token.
            Err(error) if reach::may_come_up(&error) => eprintln!("frazil: cannot look for table {table}: {error:#}"),
            Err(error) => return Err(error.context(format!("table {table}"))),
        }
        Ok(Some(Self { publisher, table }))
    }

    /// Stores an event, for as long as the log may still take it. It has one number, so it is stored once.
    async fn store(&self, event: &AuditEvent, timeout: Duration) -> anyhow::Result<()> {
        let envelope = self.envelope(event)?;
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.publisher.publish(&envelope, timeout).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() && Instant::now() < give_up => tokio::time::sleep(PAUSE).await,
                Err(error @ PublishError::Unknown(_)) => return Err(anyhow!(error).context("it may be stored or not")),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// An envelope of one event, the first and only one of its producer.
    fn envelope(&self, event: &AuditEvent) -> anyhow::Result<EncodedEnvelope> {
        let events = Bytes::from(event.to_json() + "\n");
        let header = SectionHeader {
            table: self.table.clone(),
            count: 1,
            received: event.occurred_at,
            key: None,
            request_key: None,
            unroutable: None,
            first: 0,
            len: u32::try_from(events.len()).context("the event is too large")?,
        };
        let mut builder = EnvelopeBuilder::new();
        builder.push(&Section { header, events });
        Ok(builder.finish(ContinuityFields { producer: Uuid::new_v4(), number: 1, acked: 0 }))
    }
}

/// Makes the table of audit events, partitioned by day, if there is none.
async fn ensure(config: &Config, name: &TableName) -> anyhow::Result<()> {
    let catalog = reach::catalog_of(config, name).await?;
    let ident = table::ident(name);
    if catalog.table_exists(&ident).await? {
        return Ok(());
    }
    let schema = audit::schema().with_system_columns().to_value().to_string();
    let properties = BTreeMap::from(PROPERTIES.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let request = create_table(&schema, &format!("day({TS_COLUMN})"), "", properties, None)?;
    table::create(&catalog, &ident, request, true).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed() -> Deed {
        Deed { action: "stream.create", payload: json!({"stream": "audit"}) }
    }

    #[test]
    fn failures_are_events_with_their_reason() {
        let mut config = Config::default();
        config.audit.user = Some("ann".to_owned());
        let made = event(&config, &deed(), None);
        assert_eq!(
            (made.user_id.as_str(), made.service, made.action, made.success),
            ("ann", "frazil", "stream.create", true)
        );
        assert_eq!(made.payload, json!({"stream": "audit"}));
        let failed = event(&config, &deed(), Some(&Failure::from(anyhow!("low").context("high"))));
        assert!(!failed.success);
        assert_eq!(failed.payload, json!({"stream": "audit", "error": "high: low"}));
        config.audit.user = None;
        assert!(!event(&config, &deed(), None).user_id.is_empty());
    }

    #[test]
    fn an_event_that_no_message_holds_is_found_before_the_change() {
        let event = |length| {
            let deed = Deed { action: "table.create", payload: json!({"schema": "\"".repeat(length)}) };
            event(&Config::default(), &deed, Some(&Failure::from(anyhow!("x".repeat(1_000_000)))))
        };
        assert_eq!(too_large(&event(100_000), 1 << 20), None);
        // A quotation mark takes four bytes: the payload is JSON within JSON.
        let refusal = too_large(&event(270_000), 1 << 20).expect("too large");
        assert!(refusal.starts_with("nothing was changed") && refusal.contains("1048576"), "{refusal}");
    }

    #[test]
    fn only_the_trail_itself_may_be_created_without_a_trail() {
        let mut config = Config::default();
        assert!(!makes_the_trail(&config, &deed()));
        config.audit.stream = Some("audit".parse().expect("valid"));
        assert!(makes_the_trail(&config, &deed()));
        assert!(!makes_the_trail(&config, &Deed { action: "stream.delete", ..deed() }));
        assert!(!makes_the_trail(&config, &Deed { payload: json!({"stream": "other"}), ..deed() }));
    }
}
