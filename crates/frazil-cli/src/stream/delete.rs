//! `frazil stream delete`: the one command that can destroy events, so it asks and refuses.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use frazil_core::StreamName;
use frazil_core::stream::StreamDefinition;
use frazil_log::Log;
use serde_json::json;

use super::show;
use crate::audit::{Deed, audited};
use crate::exit::Failure;
use crate::reach::{self, ReachArgs};

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  frazil stream delete sales

Tables are never touched. A stream with events that no table has yet is only deleted with --force.")]
pub(super) struct DeleteArgs {
    /// Name of the stream
    name: StreamName,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Delete although there are events that no table has yet; they are lost
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(super) async fn run(args: DeleteArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    if config.audit.stream.as_ref() == Some(&args.name) {
        let why = format!("stream {} takes the audit events: name another one in [audit] first", args.name);
        return Err(Failure::usage(anyhow!(why)));
    }
    let log = reach::log(&config).await?;
    let definition = show::find(&log, &args.name).await?;
    let states = show::shards(&log, &definition).await?;
    let uncommitted: u64 = states.iter().map(show::ShardState::uncommitted).sum();
    if uncommitted > 0 && !args.force {
        return Err(anyhow!(
            "stream {} has {uncommitted} message(s) that no table is known to have yet; let the writer finish, \
             or lose them with --force",
            args.name
        )
        .into());
    }
    if !args.yes && !confirmed(&args.name, uncommitted)? {
        println!("nothing deleted");
        return Ok(ExitCode::FAILURE);
    }
    let payload = json!({"stream": args.name, "definition": definition, "uncommitted_messages": uncommitted});
    audited(&config, &log, Deed { action: "stream.delete", payload }, delete(&log, &definition)).await?;
    println!("stream {} is deleted", args.name);
    Ok(ExitCode::SUCCESS)
}

/// The definition first: proxies then refuse new events before the log goes away.
async fn delete(log: &Log, definition: &StreamDefinition) -> Result<(), Failure> {
    log.control().delete_stream(&definition.name).await.context("cannot delete the definition")?;
    for shard in definition.all_shards() {
        log.delete_shard(&shard).await.with_context(|| format!("cannot delete shard {shard}"))?;
    }
    Ok(())
}

/// Asks on the terminal; the answer is the stream's name, because `y` is typed too easily.
fn confirmed(name: &StreamName, uncommitted: u64) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(anyhow!("deleting asks for confirmation; say --yes where nobody can answer")));
    }
    print!("This deletes stream {name} from the log ({uncommitted} uncommitted message(s)). Type its name to go on: ");
    std::io::stdout().flush().context("stdout")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("stdin")?;
    Ok(answer.trim() == name.as_str())
}
