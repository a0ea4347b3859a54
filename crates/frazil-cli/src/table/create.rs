//! `frazil table create`: a schema file, partitioning and order in words, and properties become one create request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use frazil_core::policy::TablePolicy;
use frazil_core::schema::{Schema, TS_COLUMN};
use frazil_iceberg::create::create_table;
use frazil_iceberg::spec::TableIdent;
use frazil_iceberg::{CatalogError, CreateTable, RestCatalog};
use serde_json::json;

use crate::args::key_value;
use crate::audit::{Deed, audited_elsewhere};
use crate::exit::Failure;
use crate::reach::{self, ReachArgs};
use crate::schema_file;

#[derive(Debug, Args)]
#[command(after_help = "\
A schema file is a JSON Schema of the events:
  {\"type\": \"object\", \"required\": [\"id\"], \"properties\": {
    \"id\": {\"type\": \"integer\"},
    \"ts\": {\"type\": \"string\", \"format\": \"date-time\"},
    \"amount\": {\"type\": \"number\", \"format\": \"decimal\", \"x-precision\": 12, \"x-scale\": 2}}}
or the Iceberg spec's schema JSON (ids are yours, the catalog may renumber them):
  {\"type\": \"struct\", \"fields\": [
    {\"id\": 1, \"name\": \"id\", \"required\": true, \"type\": \"long\"},
    {\"id\": 2, \"name\": \"ts\", \"required\": false, \"type\": \"timestamptz\"},
    {\"id\": 3, \"name\": \"amount\", \"required\": false, \"type\": \"decimal(12, 2)\"}]}

Examples:
  frazil table create shop.orders --schema orders.json --partition-by 'day(ts), bucket(16, id)' --sort-by 'id, ts desc'
  frazil table create shop.orders --schema orders.json --dry-run
  frazil table create shop.raw --schema raw.json --partition-by none --no-system-columns \\
      --property write.target-file-size-bytes=134217728 --property frazil.unknown-fields=evolve

Transforms: a column alone (identity), year, month, day, hour, bucket(N, column), truncate(W, column), void(column).
A sort term may be followed by asc or desc, and by nulls first or nulls last.")]
pub(super) struct CreateArgs {
    /// namespace.table, or catalog.namespace.table
    name: String,
    /// File with a JSON Schema or an Iceberg schema (`-` for standard input)
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// Partitioning, or `none` [default: day(__ts__), or none without system columns]
    #[arg(long, alias = "partition", value_name = "TERMS")]
    partition_by: Option<String>,
    /// Order of the rows within files, or `none` [default: none]
    #[arg(long, value_name = "TERMS")]
    sort_by: Option<String>,
    /// A table property; repeatable
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = key_value)]
    properties: Vec<(String, String)>,
    /// Root location of the table [default: the catalog chooses]
    #[arg(long, value_name = "URI")]
    location: Option<String>,
    /// Do not add __id__, __ts__, __write_id__ and __extra__
    ///
    /// Without __extra__, events with fields the schema does not know are refused.
    #[arg(long)]
    no_system_columns: bool,
    /// Leave a table that exists as it is, and succeed
    #[arg(long)]
    if_not_exists: bool,
    /// Print the Iceberg schema and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(super) async fn run(args: CreateArgs) -> Result<ExitCode, Failure> {
    let (schema, request) = request(&args).map_err(Failure::usage)?;
    if args.dry_run {
        println!("{:#}", schema.to_value());
        return Ok(ExitCode::SUCCESS);
    }
    let config = args.reach.resolve()?;
    let name = reach::table_name(&config, &args.name)?;
    let catalog = reach::catalog_of(&config, &name).await?;
    let deed = Deed {
        action: "table.create",
        payload: json!({"table": name.to_string(), "schema": schema.to_value(), "properties": request.properties}),
    };
    let ident = super::ident(&name);
    let change = async { Ok(create(&catalog, &ident, request, args.if_not_exists).await?) };
    let Some(table) = audited_elsewhere(&config, deed, change).await? else {
        println!("table {name} exists already and is left as it is");
        return Ok(ExitCode::SUCCESS);
    };
    println!("table {name} is ready at {}", table.location());
    println!(
        "{} column(s); see `frazil table describe {name}`",
        table.metadata.current_schema().as_struct().fields().len()
    );
    Ok(ExitCode::SUCCESS)
}

/// The created table; `None` if there was one and that is fine.
///
/// # Errors
/// What the catalog refuses.
pub(crate) async fn create(
    catalog: &RestCatalog,
    ident: &TableIdent,
    request: CreateTable,
    if_not_exists: bool,
) -> anyhow::Result<Option<frazil_iceberg::Table>> {
    catalog.create_namespace(ident.namespace()).await.context("cannot create the namespace")?;
    match catalog.create_table(ident, request).await {
        Ok(table) => Ok(Some(table)),
        Err(CatalogError::AlreadyExists { .. }) if if_not_exists => Ok(None),
        Err(error @ CatalogError::AlreadyExists { .. }) => Err(anyhow!(error).context("nothing was changed")),
        Err(error) => Err(anyhow!(error).context("cannot create the table")),
    }
}

fn request(args: &CreateArgs) -> anyhow::Result<(Schema, CreateTable)> {
    let declared = schema_file::read(&args.schema)?;
    let schema = if args.no_system_columns { declared } else { declared.with_system_columns() };
    let properties: BTreeMap<String, String> = args.properties.iter().cloned().collect();
    let policy = TablePolicy::default().with_properties(|key| properties.get(key).map(String::as_str));
    policy.context("--property")?.writing_plan(&schema).context("the schema")?;
    let json = schema.to_value().to_string();
    let sort_by = args.sort_by.as_deref().map(str::trim).filter(|terms| *terms != "none").unwrap_or_default();
    let request = create_table(&json, &partitioning(args), sort_by, properties, args.location.clone())?;
    Ok((schema, request))
}

/// The partition spec in words; empty for none.
fn partitioning(args: &CreateArgs) -> String {
    match args.partition_by.as_deref().map(str::trim) {
        Some("none") => String::new(),
        Some(text) => text.to_owned(),
        None if args.no_system_columns => String::new(),
        None => format!("day({TS_COLUMN})"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        create: CreateArgs,
    }

    const ICEBERG: &str = r#"{"type":"struct","fields":[{"id":1,"name":"id","required":true,"type":"long"},
        {"id":2,"name":"ts","required":false,"type":"timestamptz"}]}"#;
    const JSON_SCHEMA: &str = r#"{"type":"object","required":["id"],"properties":{"id":{"type":"integer"},
        "ts":{"type":"string","format":"date-time"}}}"#;

    fn request_of(schema: &str, more: &[&str]) -> anyhow::Result<CreateTable> {
        let mut file = tempfile::NamedTempFile::new().expect("file");
        file.write_all(schema.as_bytes()).expect("write");
        let path = file.path().to_str().expect("a path in UTF-8");
        let line = [&["x", "shop.orders", "--schema", path], more].concat();
        request(&Line::try_parse_from(line).expect("a valid line").create).map(|(_, request)| request)
    }

    #[test]
    fn a_schema_file_of_either_kind_becomes_a_request() {
        for schema in [ICEBERG, JSON_SCHEMA] {
            let full = request_of(schema, &["--property", "a=b"]).expect("valid");
            assert_eq!(full.schema.as_struct().fields().len(), 6);
            assert!(full.schema.as_struct().fields()[0].required);
            let spec = full.partition_spec.expect("partitioned");
            assert_eq!(spec.fields()[0].name, "__ts___day");
            assert_eq!(full.properties["a"], "b");
            assert!(full.sort_order.is_none());
        }
    }

    #[test]
    fn partitioning_and_order() {
        let bare = request_of(ICEBERG, &["--no-system-columns"]).expect("valid");
        assert!(bare.partition_spec.is_none());
        assert!(request_of(ICEBERG, &["--partition-by", "none"]).expect("valid").partition_spec.is_none());
        let both = request_of(ICEBERG, &["--partition", "day(ts), id", "--sort-by", "id, ts desc"]).expect("valid");
        assert_eq!(both.partition_spec.expect("partitioned").fields().len(), 2);
        assert_eq!(both.sort_order.expect("sorted").fields.len(), 2);
        assert!(request_of(ICEBERG, &["--sort-by", "none"]).expect("valid").sort_order.is_none());
    }

    #[test]
    fn what_does_not_fit_the_schema_is_refused() {
        for line in [["--partition-by", "day(nope)"], ["--sort-by", "nope"], ["--property", "frazil.on-invalid=maybe"]]
        {
            assert!(request_of(ICEBERG, &line).is_err(), "{line:?}");
        }
        assert!(request_of("{}", &[]).expect_err("refused").root_cause().to_string().contains("neither"));
    }
}
