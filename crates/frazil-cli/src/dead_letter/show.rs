//! `frazil dead-letter show`: letters with their payloads, as they are read.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use frazil_core::StreamName;
use frazil_writer::replay::{LETTER_COLUMNS, LetterRow, LetterRows, State};
use futures::TryStreamExt;
use serde_json::json;

use super::read::{self, DeadLetters};
use crate::exit::Failure;
use crate::reach::{self, ReachArgs};

/// Letters shown to people unless they say how many.
const SHOWN: u64 = 20;
/// Longest part of a payload shown to people, in characters.
const PAYLOAD_MAX_CHARS: usize = 200;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  frazil dead-letter show shop.orders --pending
  frazil dead-letter show shop.orders --reason wrong_type --json | jq -r .payload

Letters come in no particular order. Payloads are shortened for people and whole in JSON; one that is no UTF-8 is base64.")]
pub(super) struct ShowArgs {
    /// Table that the events were meant for
    table: String,
    /// Only letters with this reason
    #[arg(long)]
    reason: Option<String>,
    /// Only letters of this event stream
    #[arg(long, value_name = "NAME")]
    stream: Option<StreamName>,
    /// Only letters that are not replayed
    #[arg(long)]
    pending: bool,
    /// Most letters to show [default: 20, all with --json]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(super) async fn run(args: ShowArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let name = read::main_name(&config, &args.table)?;
    let catalog = reach::catalog_of(&config, &name).await?;
    let letters = DeadLetters::require(&catalog, name).await?;
    let limit = args.limit.unwrap_or(if args.json { u64::MAX } else { SHOWN });
    let out = std::io::stdout();
    match show(letters, &args, limit, &mut out.lock()).await {
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
        Ok((shown, more)) => {
            if more && !args.json {
                eprintln!("… {shown} shown; there are more: --limit N");
            } else if shown == 0 && !args.json {
                eprintln!("no such dead letters");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Number of letters shown, and whether there are more.
async fn show(
    mut letters: DeadLetters,
    args: &ShowArgs,
    limit: u64,
    out: &mut impl Write,
) -> anyhow::Result<(u64, bool)> {
    let mut shown = 0;
    let mut batches = letters.scan(&LETTER_COLUMNS).await?.batches;
    while let Some(batch) = batches.try_next().await.context("cannot read the dead-letter table")? {
        for letter in LetterRows::new(&batch)?.iter().flatten() {
            let of_reason = args.reason.as_deref().is_none_or(|reason| letter.reason == Some(reason));
            let of_stream = args.stream.as_ref().is_none_or(|stream| *stream == letter.shard.stream);
            if !of_reason || !of_stream {
                continue;
            }
            let state = letters.state(&letter)?;
            if args.pending && state == State::Replayed {
                continue;
            }
            if shown == limit {
                return Ok((shown, true));
            }
            shown += 1;
            if args.json {
                writeln!(out, "{}", as_json(&letter, state))?;
            } else {
                write!(out, "{}", as_text(&letter, state))?;
            }
        }
    }
    out.flush()?;
    Ok((shown, false))
}

pub(super) fn as_json(letter: &LetterRow<'_>, state: State) -> serde_json::Value {
    json!({
        "id": letter.id,
        "state": state.as_str(),
        "received": letter.received.and_then(read::rfc3339),
        "stream": letter.shard.stream.as_str(),
        "shard": letter.shard.index,
        "sequence": letter.place.sequence,
        "event_index": letter.place.index,
        "reason": letter.reason,
        "field": letter.field,
        "message": letter.message,
        "request_key": letter.request_key,
        "payload": letter.payload,
    })
}

pub(super) fn as_text(letter: &LetterRow<'_>, state: State) -> String {
    let received = letter.received.map_or_else(|| "unknown".to_owned(), reach::show_micros);
    let mut text = format!("{}  {}  received {received} UTC\n", letter.id, state.as_str());
    let place = format!("{}, sequence {}, event {}", letter.shard, letter.place.sequence, letter.place.index);
    let reason = [letter.reason, letter.message].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let lines = [
        ("from", Some(place)),
        ("key", letter.request_key.map(str::to_owned)),
        ("reason", Some(reason).filter(|reason| !reason.is_empty())),
        ("field", letter.field.map(str::to_owned)),
        ("payload", letter.payload.map(shortened)),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            text += &format!("  {name:<8} {}\n", printable(&value));
        }
    }
    text + "\n"
}

fn shortened(payload: &str) -> String {
    match payload.char_indices().nth(PAYLOAD_MAX_CHARS) {
        None => payload.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &payload[..end], payload.len()),
    }
}

/// Senders decide what is in a payload; a terminal must not obey it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
