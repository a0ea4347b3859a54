//! The command line: commands and their help. Each command's own arguments stand in the command's file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::dead_letter::DeadLetterArgs;
use crate::dev::DevArgs;
use crate::doctor::DoctorArgs;
use crate::exit;
use crate::init::InitArgs;
use crate::roles::{CatalogArgs, ProxyArgs, WriterArgs};
use crate::send::SendArgs;
use crate::stream::StreamArgs;
use crate::table::TableArgs;
use crate::token::TokenArgs;

const EXAMPLES: &str = "\
Examples:
  frazil dev                                   everything on this machine, ready for curl
  frazil send --table web.clicks clicks.ndjson load a file into a table
  frazil table describe web.clicks             what the table looks like now
  frazil stream create sales --shards 4        a stream of your own
  frazil dead-letter list                      events that did not fit
  frazil check-config frazil.toml              is this configuration right?

Exit codes: 0 done, 1 failed, 64 wrong arguments, 78 wrong configuration.";

/// Event ingestion into Apache Iceberg: POST an event, find the row in the table, exactly once.
#[derive(Debug, Parser)]
#[command(name = "frazil", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: log, catalog, proxy, writer
    Dev(Box<DevArgs>),
    /// Send events from files or standard input
    Send(Box<SendArgs>),
    /// Create, change, list, describe and delete event streams
    Stream(StreamArgs),
    /// Create, list and revoke API tokens
    Token(TokenArgs),
    /// Create and describe tables
    Table(TableArgs),
    /// List, show and replay events that did not fit their table
    DeadLetter(DeadLetterArgs),
    /// Run a proxy: accepts events over HTTP
    Proxy(ProxyArgs),
    /// Run a writer: commits events to tables
    Writer(WriterArgs),
    /// Run the embedded Iceberg REST catalog
    Catalog(CatalogArgs),
    /// Prepare the log for the first proxy and writer (safe to repeat)
    Init(InitArgs),
    /// Check the log, its history and the catalogs
    Doctor(DoctorArgs),
    /// Check a configuration file and print it as it is understood, secrets masked
    CheckConfig(CheckConfigArgs),
}

/// Arguments of `frazil check-config`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  FRAZIL__WRITER__FLUSH_INTERVAL=1s frazil check-config frazil.toml

Environment variables FRAZIL__SECTION__KEY win over the file.")]
pub(crate) struct CheckConfigArgs {
    /// The file to check
    pub(crate) file: PathBuf,
}

/// Prints clap's message; help and version are no errors, everything else is a usage error.
pub(crate) fn explain(message: &clap::Error) -> ExitCode {
    // Nothing can be done if even this cannot be printed.
    let _ = message.print();
    if message.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
}

/// Splits `key=value`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself() {
        let mut cli = Cli::command();
        cli.build();
        let mut left: Vec<_> = cli.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect();
        while let Some(mut command) = left.pop() {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
            }
            left.extend(command.get_subcommands().filter(|inner| inner.get_name() != "help").cloned());
            assert!(!command.render_long_help().to_string().is_empty());
        }
    }

    #[test]
    fn flags_that_tools_rely_on() {
        let line = "frazil dev --data-dir d --listen 127.0.0.1:0 --catalog-listen 127.0.0.1:0 --warehouse file:///w \
                    --flush-interval 1s --shards 2";
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("valid");
        let Command::Dev(dev) = cli.command else { panic!("not dev") };
        assert_eq!(dev.flush_interval.0.as_secs(), 1);
        assert_eq!(dev.listen.port(), 0);
        for line in ["frazil writer --config f --ordinal 1 --replicas 2", "frazil proxy --config f", "frazil --version"]
        {
            let parsed = Cli::try_parse_from(line.split_whitespace());
            assert!(parsed.map_or_else(|error| !error.use_stderr(), |_| true), "{line}");
        }
        for wrong in ["frazil", "frazil dev --flush-interval 5", "frazil writer --config f --ordinal 2 --replicas 2"] {
            let refused = match Cli::try_parse_from(wrong.split_whitespace()) {
                Err(_) => true,
                Ok(Cli { command: Command::Writer(args) }) => args.check().is_err(),
                Ok(_) => false,
            };
            assert!(refused, "{wrong}");
        }
    }
}
