//! Where the binaries are that the tests drive. A missing one is a failure that says what to run.

use std::path::{Path, PathBuf};

/// Root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").to_owned()
}

/// The `frazil` binary built in the same profile as this test.
pub fn frazil() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
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
