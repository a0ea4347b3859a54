//! `frazil stream`: creates, changes, lists, describes and deletes event streams in the log's control bucket.

mod delete;
mod policy;
mod show;
mod update;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use frazil_core::StreamName;
use frazil_core::stream::StreamDefinition;
use serde_json::json;

use crate::audit::{Deed, audited};
use crate::exit::Failure;
use crate::reach::{self, ReachArgs};
use crate::units::{Size, Span};

pub(crate) use policy::PolicyArgs;
pub(crate) use update::store;

/// Arguments of `frazil stream`.
#[derive(Debug, Args)]
pub(crate) struct StreamArgs {
    #[command(subcommand)]
    command: StreamCommand,
}

#[derive(Debug, Subcommand)]
enum StreamCommand {
    /// Create a stream and its shards
    Create(Box<CreateArgs>),
    /// Change the settings of a stream
    Update(Box<update::UpdateArgs>),
    /// List the streams
    List(ListArgs),
    /// Show a stream, its shards and how far they are committed
    Describe(DescribeArgs),
    /// Delete a stream with everything stored in it
    Delete(delete::DeleteArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  frazil stream create sales --default-table lake.shop.orders
  frazil stream create clicks --shards 8 --replicas 3 --on-missing-table create --dedupe-window 6h
  frazil stream create events --on-missing-table create --unknown-fields evolve --on-invalid dead-letter \\
      --route 'lake.events.{event_type}' --route-allow 'lake.events.*' --route-fallback lake.events.other
  frazil stream create orders --on-missing-table create --schema order.json \\
      --partition-by 'day(ordered_at), bucket(16, customer)' --sort-by 'customer, ordered_at desc'

Shards are the unit of parallelism: one shard is one ordered log, owned by one writer.")]
struct CreateArgs {
    /// Name: a-z, 0-9, '-' and '_'
    name: StreamName,
    /// Number of shards; can be raised later, never lowered
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// How long a repeated Idempotency-Key is recognised
    #[arg(long, default_value = "1h", value_name = "TIME")]
    dedupe_window: Span,
    /// How long committed events stay in the log for a replay
    #[arg(long, default_value = "0s", value_name = "TIME")]
    replay_retention: Span,
    /// Bound of each shard's log; at the bound requests are answered with 429
    #[arg(long, default_value = "16GiB", value_name = "SIZE")]
    max_bytes: Size,
    /// Copies of each shard in the NATS cluster: 1, 3 or 5
    #[arg(long, default_value_t = 1)]
    replicas: u32,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Args)]
struct DescribeArgs {
    /// Name of the stream
    name: StreamName,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Runs one of the commands.
pub(crate) async fn run(args: StreamArgs) -> Result<ExitCode, Failure> {
    match args.command {
        StreamCommand::Create(args) => create(*args).await,
        StreamCommand::Update(args) => update::run(*args).await,
        StreamCommand::List(args) => show::list(args).await,
        StreamCommand::Describe(args) => show::describe(args).await,
        StreamCommand::Delete(args) => delete::run(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let mut definition = StreamDefinition {
        shards: args.shards,
        dedupe_window_secs: args.dedupe_window.ceil_secs(),
        replay_retention_secs: args.replay_retention.ceil_secs(),
        max_bytes: args.max_bytes.0,
        replicas: args.replicas,
        ..StreamDefinition::new(args.name, reach::now_micros())
    };
    args.policy.apply(&config, &mut definition)?;
    let log = reach::log(&config).await?;
    log.ensure_bucket(config.nats.control_replicas).await.context("cannot make the control bucket")?;
    let deed = Deed { action: "stream.create", payload: json!({"stream": definition.name, "definition": definition}) };
    audited(&config, &log, deed, async { Ok(make(&log, &definition).await?) }).await?;
    println!("stream {} with {} shard(s) is ready", definition.name, definition.shards);
    Ok(ExitCode::SUCCESS)
}

/// Stores the definition after its shards exist, so that a proxy that sees it can publish at once.
pub(crate) async fn make(log: &frazil_log::Log, definition: &StreamDefinition) -> anyhow::Result<()> {
    let existing = log.control().get_stream(&definition.name).await.context("cannot read the control bucket")?;
    anyhow::ensure!(existing.is_none(), "stream {} exists already", definition.name);
    for shard in definition.all_shards() {
        log.create_shard(&shard, definition).await.with_context(|| format!("cannot make shard {shard}"))?;
    }
    log.control().create_stream(definition).await.with_context(|| format!("cannot store stream {}", definition.name))
}
