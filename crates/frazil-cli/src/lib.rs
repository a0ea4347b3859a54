//! The `frazil` binary: parse, then run one command. Everything else has its own file. A library only so that `fuzz/` can
//! reach the configuration.
//!
//! A role's life is parse → build → bind → spawn → drain under a deadline; see `lifecycle`.

mod admin;
mod args;
mod audit;
mod config;
mod dead_letter;
mod dev;
mod doctor;
mod exit;
mod init;
mod lifecycle;
mod limits;
mod reach;
mod roles;
mod schema_file;
mod send;
mod stream;
mod table;
mod telemetry;
mod token;
mod units;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::exit::Failure;

/// Runs the command line of the process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => return args::explain(&message),
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// What `frazil check-config` says of a configuration: the one in force with its secrets masked, as TOML, or every
/// complaint. The environment is left out.
///
/// # Errors
/// The complaints.
pub fn configuration_in_force(text: &str) -> Result<String, String> {
    let config = config::parse(text, "configuration", []).map_err(|error| error.to_string())?;
    toml::to_string(&config).map_err(|error| error.to_string())
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Dev(args) => lifecycle::serve(|stop| dev::run(*args, stop)),
        Command::Proxy(args) => roles::proxy(args),
        Command::Writer(args) => roles::writer(args),
        Command::Catalog(args) => roles::catalog(args),
        Command::Init(args) => lifecycle::client(init::run(args)),
        Command::Stream(args) => lifecycle::client(stream::run(args)),
        Command::Token(args) => lifecycle::client(token::run(args)),
        Command::Table(args) => lifecycle::client(table::run(args)),
        Command::DeadLetter(args) => lifecycle::client(dead_letter::run(args)),
        Command::Doctor(args) => lifecycle::client(doctor::run(args)),
        Command::Send(args) => lifecycle::client(send::run(*args)),
        Command::CheckConfig(args) => config::check(&args),
    }
}
