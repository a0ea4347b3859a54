//! Why a configuration cannot be used, in words that name the key or the line.

use std::io;
use std::path::PathBuf;

/// A configuration that cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The message shows the line, unless the line may hold a secret.
    #[error("{origin}: {message}")]
    Syntax { origin: String, message: String },
    #[error("environment variable {variable}: {reason}")]
    Environment { variable: String, reason: String },
    #[error("{key}: cannot read {}: {source}", .path.display())]
    SecretFile { key: String, path: PathBuf, source: io::Error },
    #[error("{key} and {key}_file are both set; keep one")]
    SecretTwice { key: String },
    #[error("{}", .0.join("\n  "))]
    Invalid(Vec<String>),
}

impl ConfigError {
    /// What the TOML parser found in `text`.
    pub(super) fn syntax(origin: &str, text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| text.floor_char_boundary(span.start));
        let before = &text[..start];
        let (number, line_start) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |at| at + 1));
        let line = text[line_start..].lines().next().unwrap_or_default();
        let column = text[line_start..start].chars().count() + 1;
        let section = text[..line_start].lines().rfind(|line| line.trim_start().starts_with('[')).unwrap_or_default();
        let message = if may_hold_secret(line) || section.contains("headers") {
            format!("line {number}, column {column}: a value that is not as it should be; texts stand in quotes")
        } else {
            format!("line {number}, column {column}: {}\n  | {line}", error.message())
        };
        Self::Syntax { origin: origin.to_owned(), message }
    }
}

/// Words in a line of which neither the value nor what the parser says of the value is shown.
const SECRET_WORDS: [&str; 9] =
    ["secret", "token", "password", "credential", "key", "authorization", "redis", "nkey", "@"];

fn may_hold_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| line.contains(word))
}
