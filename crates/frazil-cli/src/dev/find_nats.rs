//! Where the nats-server binary is. Nothing is downloaded here; `scripts/dev` installs a pinned one.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::exit::Failure;

const IN_PROJECT: &str = ".tools/bin/nats-server";

/// The named binary, else the project's own (upwards from here and from this executable), else the one in `PATH`.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        let found = path.is_file().then(|| path.to_owned());
        return found.ok_or_else(|| Failure::usage(anyhow!("there is no nats-server at {}", path.display())));
    }
    let here = env::current_dir().ok();
    let executable = env::current_exe().ok();
    let path = env::var_os("PATH").unwrap_or_default();
    search([here, executable].into_iter().flatten(), env::split_paths(&path)).ok_or_else(|| {
        Failure::usage(anyhow!(
            "nats-server is not installed: run scripts/dev, or name it with --nats-server or FRAZIL_NATS_SERVER"
        ))
    })
}

fn search(starts: impl Iterator<Item = PathBuf>, path: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let projects: Vec<PathBuf> =
        starts.flat_map(|start| start.ancestors().map(|dir| dir.join(IN_PROJECT)).collect::<Vec<_>>()).collect();
    projects.into_iter().chain(path.map(|dir| dir.join("nats-server"))).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_comes_before_the_path() {
        let dir = tempfile::tempdir().expect("dir");
        let deep = dir.path().join("target/release/frazil");
        let tools = dir.path().join(".tools/bin");
        let system = dir.path().join("usr/bin");
        for made in [&deep, &tools, &system] {
            std::fs::create_dir_all(made).expect("dir");
        }
        let find = || search([deep.clone()].into_iter(), [system.clone()].into_iter());
        assert_eq!(find(), None);
        std::fs::write(system.join("nats-server"), "").expect("file");
        assert_eq!(find(), Some(system.join("nats-server")));
        std::fs::write(tools.join("nats-server"), "").expect("file");
        assert_eq!(find(), Some(tools.join("nats-server")));
    }
}
