//! `frazil stream list` and `describe`: read only.

use std::process::ExitCode;

use anyhow::Context;
use frazil_core::stream::{OnMissingTable, StreamDefinition};
use frazil_core::{Shard, StreamName};
use frazil_log::{Log, ShardInfo};
use serde_json::json;

use super::{DescribeArgs, ListArgs};
use crate::exit::Failure;
use crate::reach;
use crate::units::{Size, Span};

/// One shard as the log and the control bucket describe it.
pub(super) struct ShardState {
    pub(super) shard: Shard,
    pub(super) info: Option<ShardInfo>,
    /// Everything up to this sequence is in its table.
    pub(super) committed: u64,
}

impl ShardState {
    /// Stored messages that no table is known to have yet. The watermark may be stale, so this may be too many.
    pub(super) fn uncommitted(&self) -> u64 {
        let Some(info) = self.info else { return 0 };
        let behind = info.last_sequence.saturating_sub(self.committed.max(info.first_sequence.saturating_sub(1)));
        behind.min(info.messages)
    }
}

/// The state of every shard of the stream.
pub(super) async fn shards(log: &Log, definition: &StreamDefinition) -> anyhow::Result<Vec<ShardState>> {
    let mut states = Vec::new();
    for shard in definition.all_shards() {
        let info = log.shard_info(&shard).await.with_context(|| format!("cannot describe shard {shard}"))?;
        let progress = log.control().progress(&shard).await.context("cannot read the control bucket")?;
        let same = progress.filter(|progress| info.is_some_and(|info| info.incarnation == progress.incarnation));
        states.push(ShardState { shard, info, committed: same.map_or(0, |progress| progress.sequence) });
    }
    Ok(states)
}

/// The definition, or a failure that says what there is.
pub(super) async fn find(log: &Log, name: &StreamName) -> anyhow::Result<StreamDefinition> {
    if let Some(definition) = log.control().get_stream(name).await.context("cannot read the control bucket")? {
        return Ok(definition);
    }
    let all = log.control().list_streams().await.context("cannot read the control bucket")?;
    let names: Vec<String> = all.iter().map(|stream| stream.name.to_string()).collect();
    anyhow::bail!(
        "there is no stream {name}; there are: {}",
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    )
}

pub(super) async fn list(args: ListArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let log = reach::log(&config).await?;
    let streams = log.control().list_streams().await.context("cannot read the control bucket")?;
    if args.json {
        println!("{}", json!(streams));
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<24} {:>6}  {:<10} {:<10} DEFAULT TABLE", "NAME", "SHARDS", "MISSING", "DEDUPE");
    for stream in streams {
        let table = stream.default_table.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let window = Span::secs(stream.dedupe_window_secs.into()).to_string();
        println!("{:<24} {:>6}  {:<10} {window:<10} {table}", stream.name.as_str(), stream.shards, missing(&stream));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn describe(args: DescribeArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let log = reach::log(&config).await?;
    let definition = find(&log, &args.name).await?;
    let states = shards(&log, &definition).await?;
    if args.json {
        let shards: Vec<_> = states.iter().map(shard_json).collect();
        println!("{}", json!({"definition": definition, "shards": shards}));
        return Ok(ExitCode::SUCCESS);
    }
    println!("stream            {}", definition.name);
    println!("created           {} UTC", reach::show_micros(definition.created));
    println!(
        "default table     {}",
        definition.default_table.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
    );
    println!("missing table     {}", missing(&definition));
    println!("dedupe window     {}", Span::secs(definition.dedupe_window_secs.into()));
    println!("replay retention  {}", Span::secs(definition.replay_retention_secs.into()));
    println!("max bytes         {} per shard", Size(definition.max_bytes));
    println!("replicas          {}", definition.replicas);
    println!(
        "\n{:>5}  {:<16}  {:>12} {:>12} {:>12} {:>14}",
        "SHARD", "INCARNATION", "LAST", "COMMITTED", "UNCOMMITTED", "BYTES"
    );
    for state in &states {
        match state.info {
            Some(info) => println!(
                "{:>5}  {:<16}  {:>12} {:>12} {:>12} {:>14}",
                state.shard.index,
                info.incarnation,
                info.last_sequence,
                state.committed,
                state.uncommitted(),
                info.bytes
            ),
            None => println!("{:>5}  missing in the log", state.shard.index),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shard_json(state: &ShardState) -> serde_json::Value {
    match state.info {
        Some(info) => json!({
            "shard": state.shard.index,
            "incarnation": info.incarnation,
            "first_sequence": info.first_sequence,
            "last_sequence": info.last_sequence,
            "committed": state.committed,
            "uncommitted_messages": state.uncommitted(),
            "messages": info.messages,
            "bytes": info.bytes,
            "max_bytes": info.max_bytes,
        }),
        None => json!({"shard": state.shard.index, "missing": true}),
    }
}

fn missing(definition: &StreamDefinition) -> &'static str {
    match definition.on_missing_table {
        OnMissingTable::Create => "create",
        OnMissingTable::NotFound => "not-found",
    }
}

#[cfg(test)]
mod tests {
    use frazil_core::checkpoint::Incarnation;

    use super::*;

    #[test]
    fn uncommitted_counts_what_is_stored_and_above_the_watermark() {
        let shard = Shard::new("sales".parse().expect("valid"), 0);
        let info = |first, last, messages| ShardInfo {
            incarnation: Incarnation(1),
            first_sequence: first,
            last_sequence: last,
            messages,
            bytes: 0,
            max_bytes: 0,
        };
        for (first, last, messages, committed, expected) in [
            (0, 0, 0, 0, 0),
            (1, 10, 10, 0, 10),
            (1, 10, 10, 10, 0),
            (5, 10, 6, 7, 3),
            (11, 10, 0, 0, 0),
            (5, 10, 6, 0, 6),
        ] {
            let state = ShardState { shard: shard.clone(), info: Some(info(first, last, messages)), committed };
            assert_eq!(state.uncommitted(), expected, "{first} {last} {messages} {committed}");
        }
        assert_eq!(ShardState { shard, info: None, committed: 3 }.uncommitted(), 0);
    }
}
