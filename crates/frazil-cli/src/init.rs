//! `frazil init`: what must exist in the log before proxies and writers start.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::exit::Failure;
use crate::reach::{self, ReachArgs};

/// Arguments of `frazil init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  frazil init --config frazil.toml && frazil proxy --config frazil.toml

`frazil stream create` and `frazil dev` do the same by themselves.")]
pub(crate) struct InitArgs {
    #[command(flatten)]
    reach: ReachArgs,
}

/// Makes the control bucket; safe to repeat.
pub(crate) async fn run(args: InitArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let log = reach::log(&config).await?;
    log.ensure_bucket(config.nats.control_replicas).await.context("cannot make the control bucket")?;
    println!("the control bucket is there ({} replica(s))", config.nats.control_replicas);
    Ok(ExitCode::SUCCESS)
}
