//! Logs: `tracing` to stderr, as text or JSON. The only global state of the process, set once.

mod line;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use line::OneLine;

/// What is logged unless somebody says otherwise. The NATS client repeats what `frazil_log` says better.
pub(crate) const DEFAULT_LEVEL: &str = "info,async_nats=warn";

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for log collectors.
    Json,
}

/// Starts logging. `RUST_LOG` (for example `info,frazil_writer=debug`) wins over `level`.
pub(crate) fn start(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| OneLine(std::io::stderr()));
    // A second start (only tests do that) keeps the first subscriber. No colours: what others say must not reach a
    // terminal as a command, and a line does not tell its own escapes from theirs.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// Whether `level` is a filter that [`start`] can use.
pub(crate) fn check_level(level: &str) -> Result<(), String> {
    EnvFilter::try_new(level).map(|_| ()).map_err(|error| error.to_string())
}
