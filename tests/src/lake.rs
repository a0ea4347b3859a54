//! Reading tables back with engines that know nothing of Frazil.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::{tools, until};

/// A query engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// PyIceberg with pyarrow.
    PyIceberg,
    /// DuckDB with its own Iceberg and Parquet readers.
    DuckDb,
}

/// What an engine sees of a table.
#[derive(Debug, Deserialize)]
pub struct Profile {
    /// Number of rows; none if the table does not exist.
    pub rows: Option<u64>,
    /// Per requested column.
    #[serde(default)]
    pub columns: BTreeMap<String, Column>,
}

/// What an engine sees of a column.
#[derive(Debug, Deserialize)]
pub struct Column {
    /// Values that are not null.
    pub count: u64,
    /// Distinct values.
    pub distinct: u64,
    /// Sum, of numbers.
    pub sum: Option<f64>,
    /// Least value.
    pub min: serde_json::Value,
    /// Greatest value.
    pub max: serde_json::Value,
}

/// A catalog as the engines reach it.
#[derive(Debug, Clone)]
pub struct Lake {
    /// The REST catalog.
    pub uri: String,
    /// Catalog properties, such as the S3 endpoint.
    pub properties: Vec<(String, String)>,
}

impl Lake {
    /// The table as `engine` sees it.
    pub async fn profile(&self, engine: Engine, table: &str, columns: &[&str]) -> Profile {
        let engine = match engine {
            Engine::PyIceberg => "pyiceberg",
            Engine::DuckDb => "duckdb",
        };
        let mut arguments = vec![engine.to_owned(), "--uri".into(), self.uri.clone(), "--table".into(), table.into()];
        arguments.extend(columns.iter().flat_map(|column| ["--column".to_owned(), (*column).to_owned()]));
        let properties = self.properties.iter().map(|(key, value)| format!("{key}={value}"));
        arguments.extend(properties.flat_map(|property| ["--property".to_owned(), property]));
        let text = python("read_table.py", &arguments).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// `--uri` and every `--property` for a script that reads or changes tables.
    pub fn script_arguments(&self) -> Vec<String> {
        let properties = self.properties.iter().map(|(key, value)| format!("{key}={value}"));
        let properties = properties.flat_map(|property| ["--property".to_owned(), property]);
        ["--uri".to_owned(), self.uri.clone()].into_iter().chain(properties).collect()
    }

    /// Rows, types and partitioning of `table` as PyIceberg reads them, as soon as it has so many rows.
    pub async fn rows(&self, table: &str, count: usize, limit: Duration) -> serde_json::Value {
        let arguments = [self.script_arguments(), vec!["--table".to_owned(), table.to_owned()]].concat();
        until(&format!("{count} rows in {table}"), limit, || async {
            let text = python("read_rows.py", &arguments).await;
            let read: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            (read["rows"].as_array().map(Vec::len) == Some(count)).then_some(read)
        })
        .await
    }

    /// Asserts that `table` holds each of the ids `0..total` exactly once and nothing else, as both engines see it.
    pub async fn assert_exactly_once(&self, table: &str, total: u64) {
        for engine in [Engine::PyIceberg, Engine::DuckDb] {
            let profile = self.profile(engine, table, &["id"]).await;
            assert_eq!(profile.rows, Some(total), "{engine:?}: rows of {table}");
            let ids = &profile.columns["id"];
            assert_eq!((ids.count, ids.distinct), (total, total), "{engine:?}: ids of {table}");
            assert_eq!((&ids.min, &ids.max), (&0.into(), &(total - 1).into()), "{engine:?}: ids of {table}");
        }
    }
}

/// Runs a script of `tests/python` in the tests' own Python and returns what it printed.
///
/// # Panics
/// If it fails; shows what it said.
pub async fn python(script: &str, arguments: &[String]) -> String {
    try_python(script, arguments).await.unwrap_or_else(|said| panic!("{script} {arguments:?} failed:\n{said}"))
}

/// The same for a script that may fail.
///
/// # Errors
/// What it said.
pub async fn try_python(script: &str, arguments: &[String]) -> Result<String, String> {
    let path = tools::root().join("tests/python").join(script);
    let mut command = tokio::process::Command::new(tools::tool("venv/bin/python"));
    let output = command.arg(path).args(arguments).kill_on_drop(true).output().await.expect("python runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(out.into_owned()) } else { Err(format!("{out}\n{err}")) }
}
