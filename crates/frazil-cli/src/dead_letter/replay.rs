//! `frazil dead-letter replay`: reads the letters, and lets `frazil_writer::replay` make rows of them.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use frazil_core::name::SYSTEM_NAMESPACE;
use frazil_core::policy::TablePolicy;
use frazil_core::replay::LettersBuilder;
use frazil_core::{StreamName, TableName};
use frazil_iceberg::Catalogs;
use frazil_writer::replay::{INDEX_COLUMNS, Job, LETTER_COLUMNS, LetterRows, LetterTable, Limits, Replay, Report};
use frazil_writer::sink::IcebergSink;
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::policies::policies;
use super::read::{self, DeadLetters};
use super::report::Summary;
use crate::audit::{Deed, audited_elsewhere};
use crate::config::Config;
use crate::exit::Failure;
use crate::reach::{self, ReachArgs};

const REDRAWS_PER_SECOND: u8 = 5;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  frazil dead-letter replay shop.orders --dry-run       what would fit by now?
  frazil dead-letter replay shop.orders                 after ALTER TABLE, or a change of policy
  frazil dead-letter replay shop.orders --into shop.orders_odd --reason wrong_type
  frazil dead-letter replay frazil_system.sales --into shop.orders     events that no table was found for

Each letter becomes one row of a target, however often, and by however many at once, it is replayed.
The exit code is 0 only if no letter is left that does not fit.")]
pub(super) struct ReplayArgs {
    /// Table that the events were meant for
    table: String,
    /// Table that gets the rows [default: TABLE]; each target gets a letter once
    #[arg(long, value_name = "TABLE")]
    into: Option<String>,
    /// Only letters with this reason
    #[arg(long)]
    pub(super) reason: Option<String>,
    /// Only letters of this event stream
    #[arg(long, value_name = "NAME")]
    pub(super) stream: Option<StreamName>,
    /// Say what would happen, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Most rows in one commit
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(super) batch_rows: usize,
    /// Do not ask the log for the streams' policies: the table's properties over the defaults decide
    #[arg(long)]
    offline: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Show no progress bar (there is none without a terminal)
    #[arg(long)]
    no_progress: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(super) async fn run(args: ReplayArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let (main, into) = targets(&config, &args)?;
    let mut by_name = BTreeMap::new();
    for name in [&main, &into] {
        if !by_name.contains_key(name.catalog()) {
            by_name.insert(name.catalog().to_owned(), reach::catalog_of(&config, name).await?);
        }
    }
    let catalogs = Catalogs::new(main.catalog(), by_name);
    let catalog = catalogs.get(main.catalog()).context("it was connected to")?;
    let letters = DeadLetters::require(catalog, main).await?;
    let source = index(&letters, args.stream.as_ref()).await?;
    let policies = policies(&config, &source.letters, args.offline).await?;
    let progress = bar(source.letters.len() as u64, args.no_progress || args.json);
    let mut summary = Summary::new(&letters.main_name.dead_letter(), &into, args.dry_run);
    let options =
        Options { into, reason: args.reason, stream: args.stream, rows: args.batch_rows, dry_run: args.dry_run };
    let deed = deed(&letters, &options);
    let (dry_run, progress) = (args.dry_run, &progress);
    let change = replay(catalogs.clone(), &letters, source, options, policies, progress, &mut summary);
    let change = Box::pin(async { Ok(change.await?) });
    let outcome = if dry_run { change.await } else { audited_elsewhere(&config, deed, change).await };
    progress.finish_and_clear();
    Ok(summary.print(outcome.err().as_ref(), args.json))
}

/// What of the arguments decides about letters.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) into: TableName,
    pub(super) reason: Option<String>,
    pub(super) stream: Option<StreamName>,
    pub(super) rows: usize,
    pub(super) dry_run: bool,
}

fn deed(letters: &DeadLetters, options: &Options) -> Deed {
    let Options { into, reason, stream, .. } = options;
    let from = letters.main_name.dead_letter().to_string();
    let payload = json!({"from": from, "into": into.to_string(), "reason": reason, "stream": stream});
    Deed { action: "dead_letter.replay", payload }
}

/// The table the letters were meant for, and the one that gets the rows.
fn targets(config: &Config, args: &ReplayArgs) -> Result<(TableName, TableName), Failure> {
    if args.batch_rows == 0 {
        return Err(Failure::usage(anyhow!("--batch-rows must be at least 1")));
    }
    let main = read::main_name(config, &args.table)?;
    let into = args.into.as_deref().map(|name| reach::table_name(config, name)).transpose()?;
    if into.is_none() && main.namespace() == [SYSTEM_NAMESPACE] {
        return Err(Failure::usage(anyhow!(
            "{main} stands for events that no table was found for: say with --into which table gets them"
        )));
    }
    Ok((main.clone(), into.unwrap_or(main)))
}

/// Where every letter lies.
pub(super) async fn index(letters: &DeadLetters, stream: Option<&StreamName>) -> anyhow::Result<LetterTable> {
    let name = letters.main_name.dead_letter();
    let mut builder = LettersBuilder::default();
    let mut batches = letters.scan(&INDEX_COLUMNS).await?.batches;
    while let Some(batch) = batches.try_next().await.with_context(|| format!("cannot read {name}"))? {
        for letter in LetterRows::new(&batch).with_context(|| name.to_string())?.iter().flatten() {
            if stream.is_none_or(|stream| *stream == letter.shard.stream) {
                builder.add(&letter.shard, letter.incarnation, letter.place)?;
            }
        }
    }
    let properties = letters.table.metadata.properties();
    let properties = properties.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(LetterTable { letters: builder.build(), properties })
}

/// Replays everything; what was done is in the summary also if that fails.
pub(super) async fn replay(
    catalogs: Catalogs,
    letters: &DeadLetters,
    source: LetterTable,
    options: Options,
    policies: BTreeMap<StreamName, TablePolicy>,
    progress: &ProgressBar,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let foreign = (options.into != letters.main_name).then(|| letters.table.uuid());
    let job = Job {
        into: options.into,
        from: letters.main_name.dead_letter(),
        foreign,
        stream: options.stream,
        reason: options.reason,
        dry_run: options.dry_run,
        limits: Limits { rows: options.rows, ..Limits::default() },
        policies,
    };
    let name = job.from.clone();
    let mut replay = Replay::open(IcebergSink::new(catalogs), job, source).await?;
    let mut batches = letters.scan(&LETTER_COLUMNS).await?.batches;
    let worked = async {
        while let Some(batch) = batches.try_next().await.with_context(|| format!("cannot read {name}"))? {
            let pushed = replay.push(&batch).await;
            show(progress, replay.report());
            pushed?;
        }
        replay.finish().await?;
        Ok(())
    };
    let worked = worked.await;
    summary.report = replay.report().clone();
    worked
}

pub(super) fn bar(total: u64, hidden: bool) -> ProgressBar {
    // indicatif itself draws nothing when stderr is no terminal.
    let target =
        if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND) };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} letters  {msg}  {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn show(progress: &ProgressBar, report: &Report) {
    progress.set_position(report.looked_at);
    progress.set_message(format!("{} replayed  {} still invalid", report.replayed, report.invalid_count()));
}
