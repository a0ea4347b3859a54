//! The one configuration file: TOML, environment laid over it, every value typed and checked before anything binds.
//!
//! ```text
//! file ── toml ──► table ── FRAZIL__SECTION__KEY ──► Config ── secret files ──► check ──► the roles' own configs
//! ```
//!
//! Reading is split from checking so that tests pass their own environment; nothing here is global.

mod check;
mod environment;
mod error;
mod iceberg_metrics;
mod rate_limits;
mod secret;
mod sections;

use std::path::Path;
use std::process::ExitCode;

pub(crate) use error::ConfigError;
pub(crate) use iceberg_metrics::ForwardingSection;
pub(crate) use secret::{Properties, Secret, mask_address};
pub(crate) use sections::{
    AuthKind, AuthSection, CatalogSection, Config, EmbeddedSection, NatsSection, ProxySection, WriterSection,
};

use crate::args::CheckConfigArgs;
use crate::exit::Failure;

/// Prefix of the environment variables that override keys.
pub(crate) const ENVIRONMENT_PREFIX: &str = "FRAZIL__";

/// Reads, overrides and checks the file at `path` with the process environment.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(&text, &path.display().to_string(), std::env::vars())
}

/// The same from a text and a given environment; `origin` is for messages.
pub(crate) fn parse(
    text: &str,
    origin: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    // First alone, because only the text itself has line numbers to report.
    let alone: Config = toml::from_str(text).map_err(|error| ConfigError::syntax(origin, text, &error))?;
    let overrides = environment::overrides(environment);
    let mut config = match overrides.is_empty() {
        true => alone,
        false => environment::apply(text, overrides)?,
    };
    secret::read_files(&mut config)?;
    config.lay_storage_under();
    check::check(&config)?;
    Ok(config)
}

/// `frazil check-config FILE`.
pub(crate) fn check(args: &CheckConfigArgs) -> Result<ExitCode, Failure> {
    let config = load(&args.file).map_err(Failure::config)?;
    check::check_files(&config).map_err(Failure::config)?;
    let shown = toml::to_string(&config).map_err(|error| Failure::config(anyhow::Error::new(error)))?;
    println!("# {}: valid. In force, secrets masked:\n{shown}", args.file.display());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
