//! `frazil stream list` and `describe`: read only.

use std::process::ExitCode;

use anyhow::Context;
use frazil_core::stream::StreamDefinition;
use frazil_core::{Shard, StreamName};
use frazil_log::{Log, ShardInfo};
use serde_json::json;

use super::{DescribeArgs, ListArgs};
use crate::exit::Failure;
use crate::limits;
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
        println!(
            "{:<24} {:>6}  {:<10} {window:<10} {table}",
            stream.name.as_str(),
            stream.shards,
            word(&stream.on_missing_table)
        );
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
    for (setting, value) in settings(&definition) {
        println!("{setting:<18}  {value}");
    }
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

/// Every setting as its flag takes it, but for the schema, which is shown by its columns.
fn settings(definition: &StreamDefinition) -> Vec<(&'static str, String)> {
    let StreamDefinition { create, routing, policy, .. } = definition;
    let or_none = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "none".to_owned());
    let schema = create.schema.as_ref().map(|schema| {
        let fields = schema["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
        fields.iter().filter_map(|field| field["name"].as_str()).collect::<Vec<_>>().join(", ")
    });
    let properties = create.properties.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    let mut settings = vec![
        ("stream", definition.name.to_string()),
        ("created", format!("{} UTC", reach::show_micros(definition.created))),
        ("dedupe window", Span::secs(definition.dedupe_window_secs.into()).to_string()),
        ("replay retention", Span::secs(definition.replay_retention_secs.into()).to_string()),
        ("max bytes", format!("{} per shard", Size(definition.max_bytes))),
        ("replicas", definition.replicas.to_string()),
        ("default table", or_none(definition.default_table.as_ref().map(ToString::to_string))),
        ("on missing table", word(&definition.on_missing_table)),
        ("schema", schema.unwrap_or_else(|| "inferred".to_owned())),
        ("partition by", create.partition_by.clone().map_or_else(|| "day(__ts__)".to_owned(), |by| or_none(Some(by)))),
        ("sort by", or_none(create.sort_by.clone())),
        ("properties", or_none(Some(properties.join(", ")))),
        ("strict namespace", create.strict_namespace.to_string()),
        ("system columns", word(&policy.system_columns)),
        ("unknown fields", word(&policy.unknown_fields)),
        ("columns per hour", policy.columns_per_hour.to_string()),
        ("on invalid", word(&policy.on_invalid)),
        ("epoch unit", word(&policy.mapping.epoch_unit)),
        ("numbers in strings", policy.mapping.numbers_in_strings.to_string()),
        ("non-finite", word(&policy.mapping.non_finite)),
        ("case insensitive", policy.mapping.case_insensitive.to_string()),
        ("max events/second", limits::shown(definition.limits.events)),
        ("max bytes/second", limits::shown(definition.limits.bytes)),
        ("route", or_none(routing.as_ref().map(|rule| rule.table.clone()))),
    ];
    if let Some(rule) = routing {
        let allow: Vec<&str> = rule.allow.iter().map(|pattern| pattern.0.as_str()).collect();
        settings.push(("route allow", if allow.is_empty() { "all".to_owned() } else { allow.join(", ") }));
        settings.push(("route fallback", or_none(rule.fallback.as_ref().map(ToString::to_string))));
    }
    settings
}

/// An enumerated setting as its flag takes it.
fn word(setting: &impl serde::Serialize) -> String {
    json!(setting).as_str().unwrap_or_default().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use frazil_core::checkpoint::Incarnation;

    use super::*;

    #[test]
    fn settings_are_shown_as_flags_take_them() {
        let mut definition = StreamDefinition::new("sales".parse().expect("valid"), 1);
        definition.policy.on_invalid = frazil_core::policy::OnInvalid::DeadLetter;
        definition.create.schema = Some(json!({"type": "struct", "fields": [{"name": "a"}, {"name": "b"}]}));
        definition.create.partition_by = Some(String::new());
        let shown = settings(&definition);
        for pair in [("on invalid", "dead-letter"), ("schema", "a, b"), ("partition by", "none"), ("route", "none")] {
            assert!(shown.iter().any(|(setting, value)| (*setting, value.as_str()) == pair), "{pair:?}: {shown:?}");
        }
    }

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
