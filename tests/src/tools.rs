//! Where the binaries are that the tests drive. A missing one is a failure that says what to run.

use std::path::{Path, PathBuf};

/// Root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").to_owned()
}

/// The `frazil` binary to test: the one that the environment variable `FRAZIL_BIN` names, else the one built in the
/// same profile as this program.
pub fn frazil() -> PathBuf {
    if let Some(path) = std::env::var_os("FRAZIL_BIN") {
        return existing(path.into(), "unset FRAZIL_BIN");
    }
    let own = std::env::current_exe().expect("this program's own path");
    let folder = own.parent().expect("target/<profile>/deps/<test> or target/<profile>/<program>");
    let profile = if folder.ends_with("deps") { folder.parent().expect("target/<profile>") } else { folder };
    existing(profile.join("frazil"), "cargo build --workspace")
}

/// A program under `.tools`, by its path there.
pub fn tool(path: &str) -> PathBuf {
    existing(root().join(".tools").join(path), "./scripts/tools test")
}

fn existing(path: PathBuf, remedy: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `{remedy}` first", path.display());
    path
}
