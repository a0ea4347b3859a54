//! Environment variables laid over the file: `FRAZIL__SECTION__KEY=value`, for every key.
//!
//! A value is taken as text where the key takes text, and else as TOML (`true`, `8`, `["a", "b"]`), so that a token
//! that looks like a number stays a text. Map keys with other characters are written with `_` for each of them
//! (`FRAZIL__CATALOGS__LAKE__PROPERTIES__S3_ENDPOINT` is `s3.endpoint`).

use toml::{Table, Value};

use super::ENVIRONMENT_PREFIX;
use super::error::ConfigError;
use super::sections::Config;

/// Property names that a variable can mean without the file mentioning them.
const KNOWN_PROPERTIES: [&str; 8] = [
    "s3.endpoint",
    "s3.region",
    "s3.access-key-id",
    "s3.secret-access-key",
    "s3.session-token",
    "s3.path-style-access",
    "client.region",
    "header.authorization",
];

/// One variable of ours: its full name, the lower-case path, and the value.
pub(super) struct Override {
    variable: String,
    path: Vec<String>,
    value: String,
}

/// The variables that are meant for the configuration, sorted by name.
pub(super) fn overrides(environment: impl IntoIterator<Item = (String, String)>) -> Vec<Override> {
    let ours = |(variable, value): (String, String)| {
        let rest = variable.strip_prefix(ENVIRONMENT_PREFIX)?;
        let path = rest.split("__").map(str::to_ascii_lowercase).collect();
        Some(Override { variable, path, value })
    };
    let mut found: Vec<_> = environment.into_iter().filter_map(ours).collect();
    found.sort_by(|a, b| a.variable.cmp(&b.variable));
    found
}

/// Reads `text` (known to be valid) with the overrides laid over it.
pub(super) fn apply(text: &str, overrides: Vec<Override>) -> Result<Config, ConfigError> {
    let mut table: Table = text.parse().map_err(|error| invalid("", &error))?;
    let mut last = String::new();
    for Override { variable, path, value } in overrides {
        if path.iter().any(String::is_empty) {
            return Err(ConfigError::Environment { variable, reason: "no key between two `__`".to_owned() });
        }
        let path = resolve(&table, &path);
        let value = typed(&path, value).map_err(|error| invalid(&variable, &error))?;
        set(&mut table, &path, value);
        last = variable;
    }
    Config::try_from_table(table).map_err(|error| invalid(&last, &error))
}

fn invalid(variable: &str, error: &toml::de::Error) -> ConfigError {
    ConfigError::Environment { variable: variable.to_owned(), reason: error.message().to_owned() }
}

/// Finds how the file (or the list of known properties) spells each part of the path.
fn resolve(table: &Table, path: &[String]) -> Vec<String> {
    let mut level = Some(table);
    let mut spelled = Vec::with_capacity(path.len());
    for part in path {
        let found = level.and_then(|table| table.keys().find(|key| flat(key) == flat(part)).cloned());
        let known = || {
            let in_map = spelled.last().is_some_and(|section: &String| section.starts_with("propert"));
            KNOWN_PROPERTIES.iter().find(|key| in_map && flat(key) == flat(part)).map(|key| (*key).to_owned())
        };
        let part = found.or_else(known).unwrap_or_else(|| part.clone());
        level = level.and_then(|table| table.get(&part)).and_then(Value::as_table);
        spelled.push(part);
    }
    spelled
}

fn flat(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// The value in the type that the key takes: text if a configuration of only this key takes text there.
fn typed(path: &[String], text: String) -> Result<Value, toml::de::Error> {
    let as_text = Value::String(text.clone());
    let text_error = match alone(path, as_text.clone()) {
        Ok(()) => return Ok(as_text),
        Err(error) => error,
    };
    let parsed = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    let Some(value) = parsed.filter(|value| !value.is_str()) else { return Err(text_error) };
    match alone(path, value.clone()) {
        Ok(()) => Ok(value),
        // A key that takes no text at all has more to say about the value than about its being a text.
        Err(error) if text_error.message().starts_with("invalid type: string") => Err(error),
        Err(_) => Err(text_error),
    }
}

fn alone(path: &[String], value: Value) -> Result<(), toml::de::Error> {
    let mut table = Table::new();
    set(&mut table, path, value);
    Config::try_from_table(table).map(|_| ())
}

fn set(table: &mut Table, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return;
    }
    let entry = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
    if !entry.is_table() {
        *entry = Value::Table(Table::new());
    }
    if let Some(inner) = entry.as_table_mut() {
        set(inner, rest, value);
    }
}
