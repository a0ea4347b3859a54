//! `frazil table create`: a schema file, a partitioning in words and properties become one create request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use frazil_core::schema::{Schema, TS_COLUMN};
use frazil_iceberg::create::create_table;
use frazil_iceberg::spec::TableIdent;
use frazil_iceberg::{CatalogError, CreateTable, RestCatalog};

use crate::args::key_value;
use crate::exit::Failure;
use crate::reach::{self, ReachArgs};

#[derive(Debug, Args)]
#[command(after_help = "\
Example schema file (the Iceberg spec's schema JSON; ids are yours, the catalog may renumber them):
  {\"type\": \"struct\", \"fields\": [
    {\"id\": 1, \"name\": \"id\", \"required\": true, \"type\": \"long\"},
    {\"id\": 2, \"name\": \"ts\", \"required\": false, \"type\": \"timestamptz\"},
    {\"id\": 3, \"name\": \"amount\", \"required\": false, \"type\": \"decimal(12, 2)\"}]}

Examples:
  frazil table create shop.orders --schema orders.json --partition 'day(ts), bucket(16, id)'
  frazil table create shop.raw --schema raw.json --partition none --no-system-columns \\
      --property write.target-file-size-bytes=134217728

Transforms: a column alone (identity), year, month, day, hour, bucket(N, column), truncate(W, column).")]
pub(super) struct CreateArgs {
    /// namespace.table, or catalog.namespace.table
    name: String,
    /// File with the Iceberg schema JSON (`-` for standard input)
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// Partitioning, or `none` [default: day(__ts__), or none without system columns]
    #[arg(long, value_name = "TERMS")]
    partition: Option<String>,
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
    #[command(flatten)]
    reach: ReachArgs,
}

pub(super) async fn run(args: CreateArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let name = reach::table_name(&config, &args.name)?;
    let request = request(&args).map_err(Failure::usage)?;
    let catalog = reach::catalog_of(&config, &name).await?;
    let table = create(&catalog, &super::ident(&name), request).await?;
    println!("table {name} is ready at {}", table.location());
    println!(
        "{} column(s); see `frazil table describe {name}`",
        table.metadata.current_schema().as_struct().fields().len()
    );
    Ok(ExitCode::SUCCESS)
}

async fn create(
    catalog: &RestCatalog,
    ident: &TableIdent,
    request: CreateTable,
) -> anyhow::Result<frazil_iceberg::Table> {
    catalog.create_namespace(ident.namespace()).await.context("cannot create the namespace")?;
    match catalog.create_table(ident, request).await {
        Ok(table) => Ok(table),
        Err(error @ CatalogError::AlreadyExists { .. }) => Err(anyhow!(error).context("nothing was changed")),
        Err(error) => Err(anyhow!(error).context("cannot create the table")),
    }
}

fn request(args: &CreateArgs) -> anyhow::Result<CreateTable> {
    let text = read(&args.schema).with_context(|| format!("cannot read the schema {}", args.schema.display()))?;
    let declared = Schema::from_json(&text).context("the schema")?;
    let schema = if args.no_system_columns { declared } else { declared.with_system_columns() };
    let json = serde_json::to_string(&schema.to_value()).context("the schema")?;
    let properties: BTreeMap<String, String> = args.properties.iter().cloned().collect();
    Ok(create_table(&json, &partitioning(args), properties, args.location.clone())?)
}

/// The partition spec in words; empty for none.
fn partitioning(args: &CreateArgs) -> String {
    match args.partition.as_deref().map(str::trim) {
        Some("none") => String::new(),
        Some(text) => text.to_owned(),
        None if args.no_system_columns => String::new(),
        None => format!("day({TS_COLUMN})"),
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut text)?;
        return Ok(text);
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn args(partition: Option<&str>, no_system_columns: bool, schema: &Path) -> CreateArgs {
        CreateArgs {
            name: "shop.orders".to_owned(),
            schema: schema.to_owned(),
            partition: partition.map(str::to_owned),
            properties: vec![("a".to_owned(), "b".to_owned())],
            location: None,
            no_system_columns,
            reach: ReachArgs::default(),
        }
    }

    #[test]
    fn a_schema_file_becomes_a_request() {
        let mut file = tempfile::NamedTempFile::new().expect("file");
        let schema = r#"{"type":"struct","fields":[{"id":1,"name":"id","required":true,"type":"long"},
            {"id":2,"name":"ts","required":false,"type":"timestamptz"}]}"#;
        file.write_all(schema.as_bytes()).expect("write");
        let request_of = |partition, bare| request(&args(partition, bare, file.path()));

        let full = request_of(None, false).expect("valid");
        assert_eq!(full.schema.as_struct().fields().len(), 6);
        let spec = full.partition_spec.expect("partitioned");
        assert_eq!(spec.fields()[0].name, "__ts___day");
        assert_eq!(full.properties["a"], "b");

        assert!(request_of(None, true).expect("valid").partition_spec.is_none());
        assert!(request_of(Some("none"), false).expect("valid").partition_spec.is_none());
        assert_eq!(
            request_of(Some("day(ts), id"), true).expect("valid").partition_spec.expect("set").fields().len(),
            2
        );
        assert!(request_of(Some("day(nope)"), false).is_err());
    }
}
