//! `frazil send`: events from files into a table, exactly once, at full speed, in bounded memory.
//!
//! ```text
//! files ── input ──► events ── feed ──► batches ══ bounded queue ══► deliver ×N ── client ──► proxy
//!          (gz/zst)  (NDJSON, JSON)     (numbered, keyed)            (retry, skip)    │
//!                                                                     report ◄────────┘ receipts, verdicts
//! ```
//!
//! Every batch has one Idempotency-Key, made of the run's prefix and the batch's number, and keeps it in every retry.
//! Batches are cut by counts and sizes alone, so that the same input with the same prefix gives the same batches.

mod batch;
mod client;
mod deliver;
mod destination;
mod events;
mod feed;
mod input;
mod problem;
mod progress;
mod receipts;
mod report;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;
use crate::units::{Size, Span};
use client::Client;
use deliver::{Courier, Delivered};
use destination::Destination;
use feed::Fed;
use progress::Progress;
use report::Report;

/// Longest key prefix, so that prefix and number stay within the protocol's 255 bytes.
const KEY_PREFIX_MAX_BYTES: usize = 200;

/// What to do with an event that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnError {
    /// Send nothing more
    Stop,
    /// Leave it out and send the rest
    Skip,
}

/// How the input is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Look at the first byte: `[` is a JSON array, anything else NDJSON; --pointer means JSON
    Auto,
    /// One JSON object per line
    Ndjson,
    /// One JSON document: an array of objects, one object, or an array inside (--pointer)
    Json,
}

/// Compression of request bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compression {
    /// As it is; the fastest on one machine
    None,
    /// For slow networks
    Gzip,
    /// For slow networks, with less work
    Zstd,
}

/// Arguments of `frazil send`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  frazil send --table web.clicks clicks.ndjson
  zcat old/*.gz | frazil send --table web.clicks --wait -
  frazil send --table geo.quakes --pointer /features earthquakes.json
  frazil send --table shop.orders --on-error skip --rejects bad.ndjson orders.ndjson.zst
  frazil send --table web.clicks --key-prefix load-7 clicks.ndjson     may be run again: no second rows

Without --url the `frazil dev` of --data-dir is meant, and its token used.
The exit code is 0 only if every event was accepted (and committed, with --wait).")]
pub(crate) struct SendArgs {
    /// Files to send, .gz and .zst too; `-` is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Table: namespace.table, or catalog.namespace.table [default: the stream's]
    #[arg(long, short)]
    table: Option<String>,
    /// Where the proxy is [default: the running `frazil dev`, or http://127.0.0.1:8080]
    #[arg(long, env = "FRAZIL_URL")]
    url: Option<String>,
    /// Event stream
    #[arg(long, default_value = "default", value_name = "NAME")]
    stream: frazil_core::StreamName,
    /// API token [default: that of the running `frazil dev`]
    #[arg(long, env = "FRAZIL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Data directory of a running `frazil dev` [default: ./.frazil]
    #[arg(long, env = "FRAZIL_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// PEM file with roots to trust beside the system's
    #[arg(long, env = "FRAZIL_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// PEM file with a certificate to show to the proxy
    #[arg(long, env = "FRAZIL_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// PEM file with the key of that certificate
    #[arg(long, env = "FRAZIL_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// How the input is written
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    /// Where in a JSON document the array of events is, such as /features
    #[arg(long, value_name = "JSON-POINTER")]
    pointer: Option<String>,
    /// Most events in one request
    #[arg(long, default_value_t = 1000, value_name = "N")]
    batch_events: usize,
    /// Size at which a request is full
    #[arg(long, default_value = "1MB", value_name = "SIZE")]
    batch_bytes: Size,
    /// Requests in flight
    #[arg(long, short, default_value_t = 4, value_name = "N")]
    connections: usize,
    /// Compression of request bodies
    #[arg(long, value_enum, default_value = "none")]
    compress: Compression,
    /// How long one request may take
    #[arg(long, default_value = "60s", value_name = "TIME")]
    timeout: Span,
    /// How long a request that fails is tried again
    #[arg(long, default_value = "10m", value_name = "TIME")]
    max_retry_time: Span,
    /// What to do with events that are refused
    #[arg(long, value_enum, default_value = "stop")]
    on_error: OnError,
    /// Write refused events here, as NDJSON with the reason
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Prefix of the idempotency keys; give the one of an earlier run to repeat it without second rows
    #[arg(long, value_name = "TEXT")]
    key_prefix: Option<String>,
    /// Wait until the rows are in the table
    #[arg(long)]
    wait: bool,
    /// How long --wait waits
    #[arg(long, default_value = "5m", value_name = "TIME")]
    wait_timeout: Span,
    /// Write the receipts here, one per line
    #[arg(long, value_name = "FILE")]
    receipts: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Show no progress bar (there is none without a terminal)
    #[arg(long)]
    no_progress: bool,
}

impl SendArgs {
    fn check(&self) -> Result<(), Failure> {
        let prefix = self.key_prefix.as_deref().unwrap_or("k");
        let printable = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_graphic());
        let complaint = if self.batch_events == 0 || self.batch_events > frazil_core::limits::EVENTS_PER_REQUEST_MAX {
            format!("--batch-events must be 1 to {}", frazil_core::limits::EVENTS_PER_REQUEST_MAX)
        } else if self.batch_bytes.0 == 0 || self.batch_bytes.0 > frazil_core::limits::BODY_MAX_BYTES as u64 {
            format!("--batch-bytes must be 1B to {}", Size(frazil_core::limits::BODY_MAX_BYTES as u64))
        } else if self.connections == 0 || self.connections > 1024 {
            "--connections must be 1 to 1024".to_owned()
        } else if !printable || prefix.len() > KEY_PREFIX_MAX_BYTES {
            format!("--key-prefix must be 1 to {KEY_PREFIX_MAX_BYTES} printable ASCII characters without spaces")
        } else if self.pointer.as_deref().is_some_and(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            "--pointer must start with /, such as /features".to_owned()
        } else if self.pointer.is_some() && self.format == Format::Ndjson {
            "--pointer is for JSON documents, not for NDJSON".to_owned()
        } else {
            return Ok(());
        };
        Err(Failure::usage(anyhow::anyhow!(complaint)))
    }
}

/// Sends everything and reports.
pub(crate) async fn run(args: SendArgs) -> Result<ExitCode, Failure> {
    args.check()?;
    send(&args).await?.print(args.json)
}

async fn send(args: &SendArgs) -> Result<Report, Failure> {
    let destination = Destination::find(args)?;
    let prefix = args.key_prefix.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let client = Client::new(destination, args).map_err(Failure::usage)?;
    let stop = CancellationToken::new();
    let sizes = input::total_bytes(&args.files);
    let progress = Progress::new(sizes, args.no_progress || args.json);
    let mut report = Report::open(args, prefix.clone())?;
    let (queue, batches) = mpsc::channel(args.connections);
    let mut reader = JoinSet::new();
    let plan = feed::Plan::new(args, prefix);
    let (consumed, halted) = (progress.consumed(), stop.clone());
    reader.spawn_blocking(move || feed::run(&plan, &queue, &consumed, &halted));
    let courier = Arc::new(Courier::new(client, args, stop));
    collect(&courier, batches, args.connections, &progress, &mut report).await?;
    while let Some(read) = reader.join_next().await {
        read.context("the reading thread panicked")?;
    }
    progress.finish();
    report.sent();
    if args.wait && report.receipts() > 0 {
        let waited = receipts::wait(courier.client(), report.newest(), args.wait_timeout.0).await;
        report.waited(waited);
    }
    Ok(report)
}

/// Takes batches from the queue, keeps `connections` of them in flight, and books what becomes of each.
async fn collect(
    courier: &Arc<Courier>,
    batches: mpsc::Receiver<Fed>,
    connections: usize,
    progress: &Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let stop = courier.stop().clone();
    let fed = futures::stream::unfold(batches, |mut batches| async {
        let next = batches.recv().await;
        next.map(|fed| (fed, batches))
    });
    let work = fed.map(|fed| deliver(courier.clone(), fed)).buffer_unordered(connections);
    let mut work = std::pin::pin!(work);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let delivered = tokio::select! {
            next = work.next() => match next {
                Some(delivered) => delivered,
                None => return Ok(()),
            },
            _ = &mut interrupted, if !stop.is_cancelled() => {
                report.interrupt();
                stop.cancel();
                continue;
            }
        };
        progress.add(&delivered);
        if report.book(delivered)? {
            stop.cancel();
        }
    }
}

async fn deliver(courier: Arc<Courier>, fed: Fed) -> Delivered {
    match fed {
        Fed::Batch(batch) => courier.deliver(batch).await,
        Fed::Reject(reject) => Delivered::reject(reject, courier.stops_at_errors()),
        Fed::Failed(reason) => Delivered::failed(reason),
    }
}
