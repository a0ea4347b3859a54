//! Why a configuration cannot be used, in words that name the key or the line.

use std::io;
use std::path::PathBuf;

/// A configuration that cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The message of the TOML parser shows the line.
    #[error("{origin}: {error}")]
    Syntax { origin: String, error: Box<toml::de::Error> },
    #[error("environment variable {variable}: {reason}")]
    Environment { variable: String, reason: String },
    #[error("{key}: cannot read {}: {source}", .path.display())]
    SecretFile { key: String, path: PathBuf, source: io::Error },
    #[error("{key} and {key}_file are both set; keep one")]
    SecretTwice { key: String },
    #[error("{}", .0.join("\n  "))]
    Invalid(Vec<String>),
}
