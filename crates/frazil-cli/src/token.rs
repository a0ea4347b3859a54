//! `frazil token`: creates, lists and revokes API tokens. A token is shown once and stored as a hash.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use frazil_core::rate::RateLimits;
use frazil_core::token::{Pattern, Token, TokenRecord};
use serde_json::json;

use crate::audit::{Deed, audited};
use crate::exit::Failure;
use crate::limits::{self, LimitArgs};
use crate::reach::{self, ReachArgs};
use crate::units::Span;

/// Arguments of `frazil token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Create a token and print it, once
    Create(CreateArgs),
    /// List the tokens (never their secrets)
    List(ListArgs),
    /// Revoke a token; proxies refuse it within moments
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  frazil token create --name shop --stream sales --table 'lake.shop.*'
  frazil token create --name ci --expires 90d
  frazil token create --name app --max-events-per-second 1000 --events-burst 5000

Only the token itself goes to standard output, so `TOKEN=$(frazil token create --name shop)` works.")]
struct CreateArgs {
    /// What you call it, for the list
    #[arg(long)]
    name: String,
    /// Streams it may send to; `*` stands for any characters; repeatable [default: *]
    #[arg(long = "stream", value_name = "PATTERN")]
    streams: Vec<String>,
    /// Full table names it may insert into; `*` stands for any characters; repeatable [default: *]
    #[arg(long = "table", value_name = "PATTERN")]
    tables: Vec<String>,
    /// Time after which it is refused [default: never]
    #[arg(long, value_name = "TIME")]
    expires: Option<Span>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// Id or name, as `frazil token list` shows it
    token: String,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Runs one of the commands.
pub(crate) async fn run(args: TokenArgs) -> Result<ExitCode, Failure> {
    match args.command {
        TokenCommand::Create(args) => create(args).await,
        TokenCommand::List(args) => list(args).await,
        TokenCommand::Revoke(args) => revoke(args).await,
    }
}

/// A new token and the record to store. Patterns default to everything.
pub(crate) fn mint(
    name: &str,
    streams: &[String],
    tables: &[String],
    now: i64,
    expires: Option<Span>,
) -> (Token, TokenRecord) {
    let token = Token::from_random(rand::random(), rand::random());
    let patterns = |given: &[String]| match given {
        [] => vec![Pattern("*".to_owned())],
        _ => given.iter().cloned().map(Pattern).collect(),
    };
    let record = TokenRecord {
        id: token.id().to_owned(),
        name: name.to_owned(),
        hash: token.hash(),
        streams: patterns(streams),
        tables: patterns(tables),
        created: now,
        expires: expires.map(|span| reach::micros_after(now, span.0)),
        limits: RateLimits::default(),
    };
    (token, record)
}

async fn create(args: CreateArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let (token, mut record) = mint(&args.name, &args.streams, &args.tables, reach::now_micros(), args.expires);
    args.limits.apply(&mut record.limits)?;
    let log = reach::log(&config).await?;
    log.ensure_bucket(config.nats.control_replicas).await.context("cannot make the control bucket")?;
    let deed = Deed { action: "token.create", payload: json!({"token": token_json(&record)}) };
    let change = async { Ok(log.control().put_token(&record).await.context("cannot store the token")?) };
    audited(&config, &log, deed, change).await?;
    println!("{}", token.reveal());
    eprintln!("token {} ({}) is ready; it is not shown again", record.id, record.name);
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let log = reach::log(&config).await?;
    let tokens = log.control().list_tokens().await.context("cannot read the control bucket")?;
    if args.json {
        let shown: Vec<_> = tokens.iter().map(token_json).collect();
        println!("{}", serde_json::Value::Array(shown));
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{:<12}  {:<16} {:<19}  {:<19}  {:<20} {:<20} TABLES",
        "ID", "NAME", "CREATED (UTC)", "EXPIRES (UTC)", "LIMITS", "STREAMS"
    );
    for token in tokens {
        let expires = token.expires.map_or_else(|| "never".to_owned(), reach::show_micros);
        println!(
            "{:<12}  {:<16} {:<19}  {expires:<19}  {:<20} {:<20} {}",
            token.id,
            token.name,
            reach::show_micros(token.created),
            limits::brief(&token.limits),
            joined(&token.streams),
            joined(&token.tables)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn joined(patterns: &[Pattern]) -> String {
    patterns.iter().map(|pattern| pattern.0.as_str()).collect::<Vec<_>>().join(",")
}

/// Without the hash: nobody needs it.
fn token_json(token: &TokenRecord) -> serde_json::Value {
    json!({
        "id": token.id,
        "name": token.name,
        "streams": token.streams,
        "tables": token.tables,
        "created": token.created,
        "expires": token.expires,
        "limits": token.limits,
    })
}

async fn revoke(args: RevokeArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let log = reach::log(&config).await?;
    let tokens = log.control().list_tokens().await.context("cannot read the control bucket")?;
    let mut found: Vec<_> = tokens.iter().filter(|token| token.id == args.token).collect();
    if found.is_empty() {
        found = tokens.iter().filter(|token| token.name == args.token).collect();
    }
    let [token] = found.as_slice() else {
        let problem = if found.is_empty() { "there is no token" } else { "more than one token is called" };
        return Err(anyhow::anyhow!("{problem} {}; see `frazil token list` for ids", args.token).into());
    };
    let deed = Deed { action: "token.revoke", payload: json!({"token": token_json(token)}) };
    let change = async { Ok(log.control().delete_token(&token.id).await.context("cannot delete the token")?) };
    audited(&config, &log, deed, change).await?;
    println!("token {} ({}) is revoked", token.id, token.name);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_token_passes_its_own_record_until_it_expires() {
        let (token, record) = mint("shop", &[], &["lake.*".to_owned()], 1_000_000, Some(Span::secs(2)));
        assert!(record.verify(&token, 2_999_999));
        assert!(!record.verify(&token, 3_000_000));
        assert!(record.allows_stream(&"sales".parse().expect("valid")));
        assert!(record.allows_table(&"lake.a.b".parse().expect("valid")));
        assert!(!record.allows_table(&"other.a.b".parse().expect("valid")));
        assert!(!token_json(&record).to_string().contains(&record.hash));
    }
}
