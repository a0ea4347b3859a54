//! Rules of the house that a machine can check: who may depend on whom, who may name which library, how
//! long a file may be, that every file says what it owns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the repository").to_owned()
}

fn sources(under: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(under).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn crates() -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(root().join("crates")).expect("crates/");
    entries
        .map(|entry| entry.expect("a readable entry").path())
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path))
        .collect()
}

/// Names in `[dependencies]` of a crate's manifest.
fn dependencies(path: &Path) -> Vec<String> {
    let manifest = read(&path.join("Cargo.toml"));
    let section = manifest.split("[dependencies]").nth(1).expect("every crate has dependencies");
    let section = section.split("\n[").next().expect("split yields one part at least");
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    section.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(name).collect()
}

#[test]
fn crates_depend_in_one_direction() {
    let allowed = BTreeMap::from([
        ("frazil-core", vec![]),
        ("frazil-iceberg", vec![]),
        ("frazil-log", vec!["frazil-core"]),
        ("frazil-proto", vec![]),
        ("frazil-catalog", vec!["frazil-iceberg"]),
        ("frazil-proxy", vec!["frazil-core", "frazil-log", "frazil-iceberg", "frazil-proto"]),
        ("frazil-writer", vec!["frazil-core", "frazil-log", "frazil-iceberg"]),
        (
            "frazil-cli",
            vec!["frazil-core", "frazil-log", "frazil-iceberg", "frazil-catalog", "frazil-proxy", "frazil-writer"],
        ),
    ]);
    for (name, path) in crates() {
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in the table of this test"));
        for dependency in dependencies(&path).iter().filter(|name| name.starts_with("frazil-")) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn libraries_stay_behind_their_seam() {
    let owners = [
        ("async-nats", vec!["frazil-log"]),
        ("iceberg", vec!["frazil-iceberg"]),
        ("parquet", vec!["frazil-iceberg"]),
        ("object_store", vec!["frazil-iceberg"]),
        ("arrow-array", vec!["frazil-iceberg", "frazil-writer"]),
        ("arrow-ipc", vec!["frazil-proxy"]),
        ("flatbuffers", vec!["frazil-proxy"]),
        ("axum", vec!["frazil-proxy", "frazil-catalog", "frazil-cli"]),
        ("tonic", vec!["frazil-proto", "frazil-proxy"]),
        ("rusqlite", vec!["frazil-catalog"]),
        ("redis", vec!["frazil-proxy"]),
        ("clap", vec!["frazil-cli"]),
        ("anyhow", vec!["frazil-cli"]),
    ];
    for (name, path) in crates() {
        for dependency in dependencies(&path) {
            if let Some((_, owners)) = owners.iter().find(|(library, _)| *library == dependency) {
                assert!(owners.contains(&name.as_str()), "{name} must not depend on {dependency}");
            }
        }
    }
}

/// Arrow is one format of bodies among others: past `body/arrow` the proxy knows events as JSON text only.
#[test]
fn the_proxy_sees_arrow_in_one_place() {
    let source = crates()["frazil-proxy"].join("src");
    for file in sources(&source) {
        let inside = file.strip_prefix(source.join("body")).is_ok_and(|path| path.starts_with("arrow"));
        if inside || file == source.join("body/arrow.rs") {
            continue;
        }
        let text = read(&file);
        for word in ["arrow_array::", "arrow_buffer::", "arrow_ipc::", "arrow_schema::", "flatbuffers::"] {
            assert!(!text.contains(word), "{} uses {word}", file.display());
        }
    }
}

#[test]
fn the_core_is_pure() {
    for dependency in dependencies(&crates()["frazil-core"]) {
        let impure = ["tokio", "futures", "reqwest", "rand", "tracing"];
        assert!(!impure.contains(&dependency.as_str()), "frazil-core must not depend on {dependency}");
    }
    for path in sources(&root().join("crates/frazil-core/src")) {
        let text = read(&path);
        for word in ["SystemTime::now", "Instant::now", "Utc::now", "std::env", "std::net", "std::fs"] {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_owns_and_is_short_enough_to_read() {
    for (_, path) in crates() {
        for file in sources(&path.join("src")) {
            let is_test = file.file_stem().is_some_and(|stem| stem == "tests")
                || file.components().any(|part| part.as_os_str() == "tests");
            if is_test {
                continue;
            }
            let text = read(&file);
            assert!(text.starts_with("//!"), "{} does not begin with //!", file.display());
            let code = text.split("#[cfg(test)]\nmod tests {").next().expect("split yields one part at least");
            let lines = code.lines().count();
            assert!(lines <= MAX_FILE_LINES, "{} has {lines} lines, at most {MAX_FILE_LINES}", file.display());
        }
    }
}

#[test]
fn the_ban_list_of_module_names() {
    for (_, path) in crates() {
        for file in sources(&path.join("src")) {
            let stem = file.file_stem().expect("a file name").to_string_lossy().into_owned();
            assert!(
                !["utils", "util", "common", "prelude", "helpers", "misc"].contains(&stem.as_str()),
                "{}",
                file.display()
            );
        }
    }
}
