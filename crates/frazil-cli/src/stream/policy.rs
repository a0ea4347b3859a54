//! What an operator decides about a stream's events and tables: the flags shared by `create`, `update` and `frazil dev`.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use frazil_core::mapping::{EpochUnit, NonFinite};
use frazil_core::policy::{OnInvalid, SystemColumns, TablePolicy, UnknownFieldPolicy};
use frazil_core::routing::Routing;
use frazil_core::schema::{Schema, TS_COLUMN};
use frazil_core::stream::{OnMissingTable, StreamDefinition};
use frazil_core::token::Pattern;
use frazil_iceberg::create::create_table;
use serde::de::DeserializeOwned;

use crate::args::key_value;
use crate::config::Config;
use crate::exit::Failure;
use crate::limits::LimitArgs;
use crate::{reach, schema_file};

/// Settings of a stream; what is not given is left as it is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PolicyArgs {
    #[command(flatten)]
    tables: TableSettings,
    #[command(flatten)]
    events: EventSettings,
    #[command(flatten)]
    route: RouteSettings,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Tables")]
struct TableSettings {
    /// Table of requests that name none
    #[arg(long, value_name = "TABLE")]
    default_table: Option<String>,
    /// What happens to events for a table that does not exist
    #[arg(long, value_name = "WHAT", value_parser = words::<OnMissingTable>(&["create", "not-found"]))]
    on_missing_table: Option<OnMissingTable>,
    /// Schema of created tables: a file with a JSON Schema or an Iceberg schema [default: inferred from the events]
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Partitioning of created tables, such as `day(event_time), bucket(16, user_id)`, or `none` [default: day(__ts__)]
    #[arg(long, value_name = "TERMS")]
    partition_by: Option<String>,
    /// Sort order of created tables, such as `user_id, event_time desc nulls last`, or `none` [default: none]
    #[arg(long, value_name = "TERMS")]
    sort_by: Option<String>,
    /// A property of created tables; repeatable
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = key_value)]
    properties: Vec<(String, String)>,
    /// Whether a namespace that does not exist is an error, rather than created [default: false]
    #[arg(long, value_name = "BOOL")]
    strict_namespace: Option<bool>,
    /// Which of __id__, __ts__, __write_id__, __extra__ are added: on demand all to created tables and __extra__ to others
    /// [default: on-demand]
    #[arg(long, value_name = "WHICH", value_parser = words::<SystemColumns>(&["on-demand", "all", "never"]))]
    system_columns: Option<SystemColumns>,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Events (a table's own frazil.* properties win)")]
struct EventSettings {
    /// Fields without a column: kept in __extra__, given columns, refused, or dropped [default: capture]
    #[arg(
        long,
        value_name = "WHAT",
        value_parser = words::<UnknownFieldPolicy>(&["capture", "evolve", "reject", "ignore"])
    )]
    unknown_fields: Option<UnknownFieldPolicy>,
    /// Most columns that are added to a table within an hour; the rest is captured [default: 100]
    #[arg(long, value_name = "N")]
    columns_per_hour: Option<u32>,
    /// Events that do not fit: refuse the request, or take it and put them into the dead-letter table [default: reject]
    #[arg(long, value_name = "WHAT", value_parser = words::<OnInvalid>(&["reject", "dead-letter"]))]
    on_invalid: Option<OnInvalid>,
    /// Unit of numbers in date, time and timestamp columns [default: millis]
    #[arg(long, value_name = "UNIT", value_parser = words::<EpochUnit>(&["seconds", "millis", "micros", "nanos"]))]
    epoch_unit: Option<EpochUnit>,
    /// Whether number columns take numbers in strings [default: false]
    #[arg(long, value_name = "BOOL")]
    numbers_in_strings: Option<bool>,
    /// Whether float and double columns take "NaN", "Infinity" and "-Infinity" [default: reject]
    #[arg(long, value_name = "WHAT", value_parser = words::<NonFinite>(&["reject", "accept"]))]
    non_finite: Option<NonFinite>,
    /// Whether fields match columns, and names tables, that differ only in case [default: false]
    #[arg(long, value_name = "BOOL")]
    case_insensitive: Option<bool>,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Routing")]
struct RouteSettings {
    /// Finds an event's table by its fields if the request names none, such as `lake.events.{event_type}`
    #[arg(long, value_name = "TEMPLATE")]
    route: Option<String>,
    /// Full names of tables that the rule may give, `*` for any characters; repeatable [default: all]
    #[arg(long, value_name = "PATTERN")]
    route_allow: Vec<String>,
    /// Table of events for which the rule gives none [default: they are invalid]
    #[arg(long, value_name = "TABLE")]
    route_fallback: Option<String>,
}

impl PolicyArgs {
    /// Changes what is given, and checks the outcome.
    ///
    /// # Errors
    /// A usage failure that says what does not go together; `definition` is then of no use.
    pub(crate) fn apply(&self, config: &Config, definition: &mut StreamDefinition) -> Result<(), Failure> {
        self.tables.apply(config, definition)?;
        self.events.apply(&mut definition.policy);
        self.route.apply(config, definition)?;
        self.limits.apply(&mut definition.limits)?;
        set(&mut definition.policy.system_columns, self.tables.system_columns);
        definition.validate().map_err(Failure::usage)?;
        check_template(definition).map_err(Failure::usage)
    }
}

impl TableSettings {
    fn apply(&self, config: &Config, definition: &mut StreamDefinition) -> Result<(), Failure> {
        if let Some(name) = &self.default_table {
            definition.default_table = Some(reach::table_name(config, name)?);
        }
        set(&mut definition.on_missing_table, self.on_missing_table);
        let create = &mut definition.create;
        if let Some(file) = &self.schema {
            create.schema = Some(schema_file::read(file).map_err(Failure::usage)?.to_value());
        }
        if let Some(terms) = &self.partition_by {
            create.partition_by = Some(unless_none(terms));
        }
        if let Some(terms) = &self.sort_by {
            create.sort_by = Some(unless_none(terms)).filter(|terms| !terms.is_empty());
        }
        create.properties.extend(self.properties.iter().cloned());
        set(&mut create.strict_namespace, self.strict_namespace);
        Ok(())
    }
}

impl EventSettings {
    fn apply(&self, policy: &mut TablePolicy) {
        set(&mut policy.unknown_fields, self.unknown_fields);
        set(&mut policy.columns_per_hour, self.columns_per_hour);
        set(&mut policy.on_invalid, self.on_invalid);
        set(&mut policy.mapping.epoch_unit, self.epoch_unit);
        set(&mut policy.mapping.numbers_in_strings, self.numbers_in_strings);
        set(&mut policy.mapping.non_finite, self.non_finite);
        set(&mut policy.mapping.case_insensitive, self.case_insensitive);
    }
}

impl RouteSettings {
    fn apply(&self, config: &Config, definition: &mut StreamDefinition) -> Result<(), Failure> {
        if let Some(table) = &self.route {
            let rule = definition.routing.take();
            let kept = rule.unwrap_or(Routing { table: String::new(), allow: Vec::new(), fallback: None });
            definition.routing = Some(Routing { table: table.clone(), ..kept });
        }
        if self.route_allow.is_empty() && self.route_fallback.is_none() {
            return Ok(());
        }
        let Some(rule) = &mut definition.routing else {
            return Err(Failure::usage(anyhow!(
                "--route-allow and --route-fallback need a rule: say --route TEMPLATE"
            )));
        };
        if !self.route_allow.is_empty() {
            rule.allow = self.route_allow.iter().cloned().map(Pattern).collect();
        }
        if let Some(name) = &self.route_fallback {
            rule.fallback = Some(reach::table_name(config, name)?);
        }
        Ok(())
    }
}

fn set<T: Copy>(setting: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *setting = value;
    }
}

fn unless_none(terms: &str) -> String {
    if terms.trim() == "none" { String::new() } else { terms.trim().to_owned() }
}

/// Whether tables could be created as the template says. Without a schema, which comes with the first events, only the
/// properties can be checked.
fn check_template(definition: &StreamDefinition) -> anyhow::Result<()> {
    let create = &definition.create;
    let property = |key: &str| create.properties.get(key).map(String::as_str);
    let policy = definition.policy.with_properties(property).context("--property")?;
    let Some(declared) = &create.schema else { return Ok(()) };
    let declared = Schema::from_value(declared).context("the schema")?;
    let bare = policy.system_columns == SystemColumns::Never;
    let schema = if bare { declared } else { declared.with_system_columns() };
    policy.writing_plan(&schema).context("the schema")?;
    let by_day = if schema.field(TS_COLUMN).is_some() { format!("day({TS_COLUMN})") } else { String::new() };
    let partition_by = create.partition_by.clone().unwrap_or(by_day);
    let sort_by = create.sort_by.as_deref().unwrap_or_default();
    create_table(&schema.to_value().to_string(), &partition_by, sort_by, create.properties.clone(), None)?;
    Ok(())
}

/// Parses one of `names`, which are the serialised values of `T` with `-` for `_`.
fn words<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    names: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).try_map(|name| serde_json::from_value::<T>(name.replace('-', "_").into()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    fn apply(definition: &mut StreamDefinition, line: &[&str]) -> Result<(), String> {
        let line = Line::try_parse_from(["x"].iter().chain(line)).map_err(|error| error.to_string())?;
        line.policy.apply(&Config::default(), definition).map_err(|failure| format!("{failure:?}"))
    }

    fn stream() -> StreamDefinition {
        StreamDefinition::new("sales".parse().expect("valid"), 1)
    }

    #[test]
    fn every_setting_can_be_given_and_nothing_else_changes() {
        let mut given = stream();
        apply(&mut given, &[]).expect("nothing to change");
        assert_eq!(given, stream());
        let line = "--default-table a.b --on-missing-table create --partition-by none --sort-by x --property k=v \
                    --strict-namespace true --system-columns never --unknown-fields evolve --columns-per-hour 7 \
                    --on-invalid dead-letter --epoch-unit nanos --numbers-in-strings true --non-finite accept \
                    --case-insensitive true --route lake.events.{kind} --route-allow lake.events.* \
                    --route-fallback a.rest";
        apply(&mut given, &line.split_whitespace().collect::<Vec<_>>()).expect("valid");
        let json = serde_json::to_value(&given).expect("plain values");
        assert_eq!(
            json["create"],
            serde_json::json!({"partition_by": "", "sort_by": "x", "properties": {"k": "v"}, "strict_namespace": true})
        );
        assert_eq!(
            json["policy"],
            serde_json::json!({"unknown_fields": "evolve", "columns_per_hour": 7, "on_invalid": "dead_letter",
                "system_columns": "never", "mapping": {"epoch_unit": "nanos", "numbers_in_strings": true,
                "non_finite": "accept", "case_insensitive": true}})
        );
        assert_eq!(
            json["routing"],
            serde_json::json!({"table": "lake.events.{kind}", "allow": ["lake.events.*"], "fallback": "frazil.a.rest"})
        );
        assert_eq!(
            (json["default_table"].as_str(), json["on_missing_table"].as_str()),
            (Some("frazil.a.b"), Some("create"))
        );

        let before = given.clone();
        apply(&mut given, &["--route", "lake.x.{kind}", "--property", "k2=v2", "--sort-by", "none"]).expect("valid");
        assert_eq!(given.policy, before.policy);
        assert_eq!(given.create.properties.len(), 2);
        assert_eq!(given.create.sort_by, None);
        let (new, old) = (given.routing.expect("a rule"), before.routing.expect("a rule"));
        assert_eq!((new.allow, new.fallback, new.table.as_str()), (old.allow, old.fallback, "lake.x.{kind}"));
    }

    #[test]
    fn every_word_is_a_value() {
        for (flag, words) in [
            ("--on-missing-table", "create not-found"),
            ("--system-columns", "on-demand all never"),
            ("--unknown-fields", "capture evolve reject ignore"),
            ("--on-invalid", "reject dead-letter"),
            ("--epoch-unit", "seconds millis micros nanos"),
            ("--non-finite", "reject accept"),
        ] {
            for word in words.split(' ') {
                apply(&mut stream(), &[flag, word]).unwrap_or_else(|error| panic!("{flag} {word}: {error}"));
            }
            assert!(apply(&mut stream(), &[flag, "other"]).is_err(), "{flag}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let mut file = tempfile::NamedTempFile::new().expect("file");
        let schema = r#"{"type": "object", "properties": {"id": {"type": "integer"}, "at": {"type": "string", "format": "date-time"}}}"#;
        file.write_all(schema.as_bytes()).expect("write");
        let path = file.path().to_str().expect("a path in UTF-8");
        let with = |line: &[&str]| apply(&mut stream(), &[&["--schema", path], line].concat());
        with(&["--partition-by", "day(at), bucket(4, id)", "--sort-by", "id, at desc nulls last"]).expect("valid");
        with(&[]).expect("partitioned by the system column");
        with(&["--system-columns", "never"]).expect("not partitioned");
        for (line, message) in [
            (["--partition-by", "day(nope)"], "nope"),
            (["--partition-by", "day(id)"], "id"),
            (["--sort-by", "id sideways"], "sideways"),
            (["--property", "frazil.unknown-fields=perhaps"], "frazil.unknown-fields"),
            (["--route-allow", "a.*"], "--route"),
            (["--route", "no.fields.here"], "no.fields.here"),
        ] {
            let error = with(&line).expect_err("refused");
            assert!(error.contains(message), "{line:?}: {error}");
        }
        assert!(with(&["--system-columns", "never", "--partition-by", "day(__ts__)"]).is_err());
        let mut renamed = stream();
        apply(&mut renamed, &["--schema", path, "--sort-by", "at"]).expect("valid");
        let other = r#"{"type": "object", "properties": {"x": {"type": "integer"}}}"#;
        std::fs::write(file.path(), other).expect("write");
        assert!(apply(&mut renamed, &["--schema", path]).is_err(), "the sort order is checked against the new schema");
    }
}
