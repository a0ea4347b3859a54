//! `frazil dead-letter`: what became of events that did not fit their table, and putting them into it after all.
//!
//! Reads and writes tables only; the log is asked for the streams' policies and nothing else.

mod list;
mod policies;
mod read;
mod replay;
mod report;
mod show;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::exit::Failure;

/// Arguments of `frazil dead-letter`.
#[derive(Debug, Args)]
pub(crate) struct DeadLetterArgs {
    #[command(subcommand)]
    command: DeadLetterCommand,
}

#[derive(Debug, Subcommand)]
enum DeadLetterCommand {
    /// Count the dead letters by reason and state
    List(list::ListArgs),
    /// Show dead letters with their payloads
    Show(show::ShowArgs),
    /// Put dead letters that fit by now into their table, each once
    Replay(replay::ReplayArgs),
}

/// Runs one of the commands.
pub(crate) async fn run(args: DeadLetterArgs) -> Result<ExitCode, Failure> {
    match args.command {
        DeadLetterCommand::List(args) => list::run(args).await,
        DeadLetterCommand::Show(args) => show::run(args).await,
        DeadLetterCommand::Replay(args) => replay::run(args).await,
    }
}
