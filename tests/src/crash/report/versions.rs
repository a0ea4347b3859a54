//! What was tested with what.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::tools;

/// Versions of everything that took part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// What `frazil --version` says.
    pub frazil: String,
    /// The commit of this repository, and whether files differ from it.
    pub commit: String,
    /// What `nats-server --version` says.
    pub nats: String,
    /// What `weed version` says.
    pub store: String,
    /// The engines that read the tables.
    pub engines: BTreeMap<String, String>,
}

impl Versions {
    /// Asks everybody but the engines, which say it with their verdict.
    pub fn collect() -> Self {
        let root = tools::root();
        let git = |arguments: &[&str]| said(Command::new("git").arg("-C").arg(&root).args(arguments));
        let changed =
            if git(&["status", "--porcelain", "--untracked-files=no"]).is_empty() { "" } else { " with changes" };
        Self {
            frazil: version(&tools::frazil(), "--version"),
            commit: format!("{}{changed}", git(&["rev-parse", "--short=12", "HEAD"])),
            nats: version(&tools::tool("bin/nats-server"), "--version"),
            store: version(&tools::tool("bin/weed"), "version"),
            engines: BTreeMap::new(),
        }
    }
}

fn version(program: &Path, argument: &str) -> String {
    said(Command::new(program).arg(argument))
}

/// The first line that a command prints; nothing if it fails.
fn said(command: &mut Command) -> String {
    let text = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
