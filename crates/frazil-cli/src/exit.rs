//! How the process ends: one failure value and the exit code that goes with it.
//!
//! Codes follow sysexits where one fits, so that an init system or a script can tell causes apart.

use std::fmt;
use std::process::ExitCode;

/// The command line is wrong (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// The configuration is wrong (`EX_CONFIG`).
pub(crate) const CONFIG: u8 = 78;
/// Anything else went wrong.
pub(crate) const FAILED: u8 = 1;

/// Why a command failed, with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// The arguments cannot be obeyed, whatever the state of the world.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: USAGE, error: error.into() }
    }

    /// The configuration cannot be used.
    pub(crate) fn config(error: impl Into<anyhow::Error>) -> Self {
        Self { code: CONFIG, error: error.into() }
    }

    /// Tells the user on stderr and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("frazil: {self}");
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: FAILED, error }
    }
}
