//! `frazil table`: declares tables and shows what they look like now.

mod create;
mod describe;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use frazil_core::TableName;
use frazil_iceberg::spec::TableIdent;

use crate::exit::Failure;

/// Arguments of `frazil table`.
#[derive(Debug, Args)]
pub(crate) struct TableArgs {
    #[command(subcommand)]
    command: TableCommand,
}

#[derive(Debug, Subcommand)]
enum TableCommand {
    /// Create a table with a declared schema
    Create(create::CreateArgs),
    /// Show schema, partitioning, size and checkpoints of a table
    Describe(describe::DescribeArgs),
}

/// Runs one of the commands.
pub(crate) async fn run(args: TableArgs) -> Result<ExitCode, Failure> {
    match args.command {
        TableCommand::Create(args) => create::run(args).await,
        TableCommand::Describe(args) => describe::run(args).await,
    }
}

pub(crate) use create::create;

pub(crate) fn ident(name: &TableName) -> TableIdent {
    frazil_iceberg::table_ident(name.namespace(), name.table())
}
