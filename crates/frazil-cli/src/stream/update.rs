//! `frazil stream update`: changes the settings of a stream that is in use. Proxies and writers follow at once.

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use frazil_core::StreamName;
use frazil_core::stream::StreamDefinition;
use frazil_log::Log;
use serde_json::json;

use super::policy::PolicyArgs;
use super::show;
use crate::audit::{Deed, audited};
use crate::config::Config;
use crate::exit::Failure;
use crate::reach::{self, ReachArgs};

/// Settings that may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reset {
    /// No table for requests that name none
    DefaultTable,
    /// Schemas of created tables are inferred again
    Schema,
    /// Created tables are partitioned by day(__ts__) again
    PartitionBy,
    /// Created tables are not sorted
    SortBy,
    /// Created tables have no properties from here
    Properties,
    /// No routing rule
    Route,
    /// The rule may give any table
    RouteAllow,
    /// Events for which the rule gives no table are invalid
    RouteFallback,
    /// No limit of events per second
    MaxEventsPerSecond,
    /// No limit of bytes per second
    MaxBytesPerSecond,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  frazil stream update sales --unknown-fields evolve --on-invalid dead-letter
  frazil stream update sales --route 'lake.events.{event_type}' --route-allow 'lake.events.*'
  frazil stream update sales --shards 8
  frazil stream update sales --reset route

Only what is given changes. Tables that exist stay as they are: what is said of created tables is for the next ones.
More shards move the keys among them: a request that is repeated across the change may be stored twice.")]
pub(super) struct UpdateArgs {
    /// Name of the stream
    name: StreamName,
    /// Number of shards; never fewer than there are
    #[arg(long)]
    shards: Option<u32>,
    /// Takes a setting back; repeatable
    #[arg(long, value_enum, value_name = "SETTING")]
    reset: Vec<Reset>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(super) async fn run(args: UpdateArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let log = reach::log(&config).await?;
    let present = show::find(&log, &args.name).await?;
    let planned = changed(&args, &config, present.clone())?;
    let deed =
        Deed { action: "stream.update", payload: json!({"stream": args.name, "before": present, "after": planned}) };
    let change = store(&log, &present, |definition| changed(&args, &config, definition));
    let changed = audited(&config, &log, deed, change).await?;
    let outcome = if changed == present { "is as it was" } else { "is changed" };
    println!("stream {} {outcome}", args.name);
    Ok(ExitCode::SUCCESS)
}

/// Stores what `change` makes of the definition, whoever else changes it at the same time. Shards come first, so that a
/// proxy that sees the definition can publish at once.
pub(crate) async fn store(
    log: &Log,
    present: &StreamDefinition,
    change: impl Fn(StreamDefinition) -> Result<StreamDefinition, Failure>,
) -> Result<StreamDefinition, Failure> {
    let planned = change(present.clone())?;
    for shard in planned.all_shards().skip(present.shards as usize) {
        log.create_shard(&shard, &planned).await.with_context(|| format!("cannot make shard {shard}"))?;
    }
    let edited = log.control().edit_stream(&present.name, change).await;
    edited.with_context(|| format!("cannot store stream {}", present.name))?
}

fn changed(args: &UpdateArgs, config: &Config, mut definition: StreamDefinition) -> Result<StreamDefinition, Failure> {
    for setting in &args.reset {
        reset(*setting, &mut definition);
    }
    if let Some(shards) = args.shards {
        if shards < definition.shards {
            return Err(Failure::usage(anyhow!(
                "stream {} has {} shards and cannot have fewer: their order and their events belong to them",
                definition.name,
                definition.shards
            )));
        }
        definition.shards = shards;
    }
    args.policy.apply(config, &mut definition)?;
    Ok(definition)
}

fn reset(setting: Reset, definition: &mut StreamDefinition) {
    match setting {
        Reset::DefaultTable => definition.default_table = None,
        Reset::Schema => definition.create.schema = None,
        Reset::PartitionBy => definition.create.partition_by = None,
        Reset::SortBy => definition.create.sort_by = None,
        Reset::Properties => definition.create.properties.clear(),
        Reset::Route => definition.routing = None,
        Reset::RouteAllow => definition.routing.iter_mut().for_each(|rule| rule.allow.clear()),
        Reset::MaxEventsPerSecond => definition.limits.events = None,
        Reset::MaxBytesPerSecond => definition.limits.bytes = None,
        Reset::RouteFallback => definition.routing.iter_mut().for_each(|rule| rule.fallback = None),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        update: UpdateArgs,
    }

    fn updated(definition: &StreamDefinition, line: &str) -> Result<StreamDefinition, Failure> {
        let line =
            Line::try_parse_from(["x", "sales"].into_iter().chain(line.split_whitespace())).expect("a valid line");
        changed(&line.update, &Config::default(), definition.clone())
    }

    #[test]
    fn only_what_is_given_changes_and_can_be_taken_back() {
        let plain = StreamDefinition { shards: 2, ..StreamDefinition::new("sales".parse().expect("valid"), 7) };
        assert_eq!(updated(&plain, "").expect("nothing"), plain);
        assert_eq!(updated(&plain, "--shards 4").expect("more"), StreamDefinition { shards: 4, ..plain.clone() });
        assert!(updated(&plain, "--shards 1").is_err());
        assert!(updated(&plain, "--shards 100000").is_err());
        let full = "--default-table a.b --partition-by none --sort-by x --property k=v --route l.e.{x} --route-allow l.* \
                    --route-fallback a.c --max-events-per-second 5 --max-bytes-per-second 1MB";
        let full = updated(&plain, full).expect("valid");
        assert_eq!((full.created, full.shards), (7, 2));
        let all = "--reset max-events-per-second --reset max-bytes-per-second --reset default-table --reset partition-by --reset sort-by --reset properties --reset schema";
        let rule = updated(&full, &format!("{all} --reset route-allow --reset route-fallback")).expect("valid");
        assert!(rule.routing.as_ref().is_some_and(|rule| rule.allow.is_empty() && rule.fallback.is_none()));
        assert_eq!(updated(&rule, "--reset route").expect("valid"), plain);
    }
}
