//! `frazil doctor`: is the installation sound, and has the log ever lost anything? Read only, but for the probes of
//! `frazil doctor storage`, and the buckets that it creates if asked.
//!
//! Every check yields [`Finding`]s; a finding that somebody must act on makes the exit code 1.

mod monitor;
mod shards;
mod storage;
mod tables;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use frazil_core::StreamName;
use frazil_log::Log;
use serde::Serialize;
use serde_json::json;

use crate::config::Config;
use crate::exit::{self, Failure};
use crate::reach::{self, ReachArgs};
use crate::units::Span;
use shards::ShardReport;

/// Arguments of `frazil doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  frazil doctor
  frazil doctor --config frazil.toml --nats-monitor http://nats-0:8222 --json

  frazil doctor storage --config frazil.toml

Losses and rewinds of the log stay on record; those younger than --since are errors, older ones are notes.
Exit codes: 0 nothing to act on, 1 something to act on.")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DoctorArgs {
    #[command(subcommand)]
    part: Option<Part>,
    /// Look only at this stream
    #[arg(long, value_name = "NAME")]
    stream: Option<StreamName>,
    /// Losses and rewinds older than this are notes, not errors
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: Span,
    /// Monitoring address of a nats-server, to see how it syncs to disk (repeatable)
    #[arg(long, value_name = "URL")]
    nats_monitor: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

/// A check that is made only when it is asked for.
#[derive(Debug, Subcommand)]
enum Part {
    /// Writes, reads, lists and deletes a probe where tables are kept, and says what is missing
    Storage(storage::StorageArgs),
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Works, but somebody should look at it.
    Warning,
    /// Somebody must act.
    Error,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// What it is about: `log`, `shard sales/0`, `catalog lake`, …
    about: String,
    message: String,
}

impl Finding {
    fn new(level: Level, about: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level, about: about.into(), message: message.into() }
    }
}

/// All that is printed.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
    shards: Vec<ShardReport>,
}

impl Report {
    fn add(&mut self, level: Level, about: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::new(level, about, message));
    }

    fn sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.level < Level::Error)
    }

    fn print(&self, json: bool) {
        if json {
            println!("{}", json!({"ok": self.sound(), "findings": self.findings, "shards": self.shards}));
            return;
        }
        for Finding { level, about, message } in &self.findings {
            let level = format!("{level:?}").to_lowercase();
            println!("{level:<8} {about:<20} {message}");
        }
        let errors = self.findings.iter().filter(|finding| finding.level == Level::Error).count();
        println!("\n{}", if errors == 0 { "all is well".to_owned() } else { format!("{errors} to act on") });
    }
}

/// Runs every check; one that cannot be made is a finding, not a failure.
pub(crate) async fn run(mut args: DoctorArgs) -> Result<ExitCode, Failure> {
    if let Some(Part::Storage(args)) = args.part.take() {
        return storage::run(args).await;
    }
    let config = args.reach.resolve()?;
    let mut report = Report::default();
    match reach::log(&config).await {
        Ok(log) => {
            report.add(Level::Ok, "log", format!("reachable at {}", config.nats.servers.join(", ")));
            check_log(&log, &config, &args, &mut report).await;
        }
        Err(error) => report.add(Level::Error, "log", format!("{error:#}")),
    }
    monitor::check(&args.nats_monitor, &mut report).await;
    for (name, section) in &config.catalogs {
        let about = format!("catalog {name}");
        match frazil_iceberg::RestCatalog::connect(reach::catalog_config(section)).await {
            Ok(_) => report.add(Level::Ok, about, format!("reachable at {}", section.uri)),
            Err(error) => report.add(Level::Error, about, format!("{:#}", anyhow::Error::from(error))),
        }
    }
    report.print(args.json);
    Ok(if report.sound() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

async fn check_log(log: &Log, config: &Config, args: &DoctorArgs, report: &mut Report) {
    let streams = match log.control().list_streams().await {
        Ok(streams) => streams,
        Err(error) => return report.add(Level::Error, "control bucket", format!("{:#}", anyhow::Error::from(error))),
    };
    let wanted = |name: &StreamName| args.stream.as_ref().is_none_or(|only| only == name);
    if !streams.iter().any(|stream| wanted(&stream.name)) {
        let text =
            args.stream.as_ref().map_or("there is no stream".to_owned(), |name| format!("there is no stream {name}"));
        report.add(Level::Warning, "streams", text);
    }
    let since = i64::try_from(args.since.0.as_micros()).unwrap_or(i64::MAX);
    let horizon = reach::now_micros().saturating_sub(since);
    for definition in streams.iter().filter(|stream| wanted(&stream.name)) {
        for shard in definition.all_shards() {
            shards::check(log, definition, &shard, horizon, report).await;
        }
        if let Some(table) = &definition.default_table {
            tables::check(log, config, definition, table, report).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_is_something_to_act_on() {
        let mut report = Report::default();
        assert!(report.sound());
        for (level, sound) in [(Level::Ok, true), (Level::Note, true), (Level::Warning, true), (Level::Error, false)] {
            report.add(level, "log", "text");
            assert_eq!(report.sound(), sound, "{level:?}");
        }
    }
}
