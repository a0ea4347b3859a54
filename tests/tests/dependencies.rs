//! What `deny.toml` says of dependencies, checked where `cargo deny` itself is not installed: licences, sources, bans; and that
//! no version in `Cargo.lock` has been taken back by its authors. Advisories are checked as they were when
//! somebody looked last; those since then need their database: `just audit`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use semver::{Version, VersionReq};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the repository")
}

fn policy() -> toml::Table {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    text.parse().expect("TOML")
}

/// Every package of the dependency tree, our own left out.
fn packages() -> Vec<Value> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let Value::Array(packages) = metadata["packages"].take() else { panic!("no packages") };
    let foreign: Vec<Value> = packages.into_iter().filter(|package| !package["source"].is_null()).collect();
    assert!(foreign.len() > 100, "only {} packages: the check would see nothing", foreign.len());
    foreign
}

#[test]
fn every_licence_is_on_the_list() {
    let policy = policy();
    let allowed: Vec<&str> =
        policy["licenses"]["allow"].as_array().expect("a list").iter().filter_map(toml::Value::as_str).collect();
    for package in packages() {
        let name = &package["name"];
        let text = package["license"].as_str().unwrap_or_else(|| panic!("{name} says no licence"));
        let licence =
            spdx::Expression::parse_mode(text, spdx::ParseMode::LAX).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(licence.evaluate(|one| allowed.contains(&one.to_string().as_str())), "{name} is under {text}");
    }
}

#[test]
fn every_source_is_the_registry() {
    for package in packages() {
        let source = package["source"].as_str().expect("a source");
        assert!(source.starts_with("registry+"), "{} comes from {source}", package["name"]);
    }
}

#[test]
fn nothing_banned_is_used() {
    let policy = policy();
    let banned = policy["bans"]["deny"].as_array().expect("a list");
    let banned: Vec<&str> = banned.iter().filter_map(|ban| ban["crate"].as_str()).collect();
    assert!(!banned.is_empty());
    for package in packages() {
        assert!(!banned.contains(&package["name"].as_str().expect("a name")), "{} is banned", package["name"]);
    }
}

/// Folders in which cargo keeps what the registry's index said of each package, refreshed whenever it resolves or downloads.
fn index_caches() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).expect("a home");
    let registries = std::fs::read_dir(home.join("registry/index")).expect("cargo has used a registry");
    registries.map(|entry| entry.expect("an entry").path().join(".cache")).filter(|path| path.is_dir()).collect()
}

/// Where an index keeps a package, by the rules of registries.
fn index_path(name: &str) -> String {
    let name = name.to_lowercase();
    match name.len() {
        1 | 2 => format!("{}/{name}", name.len()),
        3 => format!("3/{}/{name}", &name[..1]),
        _ => format!("{}/{}/{name}", &name[..2], &name[2..4]),
    }
}

/// What the index says of one version. The file has one JSON object per version, between zero bytes.
fn in_index(file: &Path, version: &str) -> Option<Value> {
    let bytes = std::fs::read(file).ok()?;
    let entries = bytes.split(|byte| *byte == 0).filter(|part| part.starts_with(b"{"));
    entries.filter_map(|part| serde_json::from_slice::<Value>(part).ok()).find(|entry| entry["vers"] == version)
}

#[test]
fn no_version_was_yanked() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let lock: toml::Table = lock.parse().expect("TOML");
    let foreign =
        lock["package"].as_array().expect("packages").iter().filter(|package| package.get("source").is_some());
    let (caches, mut known, mut yanked) = (index_caches(), 0, Vec::new());
    let total = foreign.clone().count();
    for package in foreign {
        let text = |key: &str| package[key].as_str().expect("a text");
        let (name, version) = (text("name"), text("version"));
        let entry = caches.iter().find_map(|cache| in_index(&cache.join(index_path(name)), version));
        known += usize::from(entry.is_some());
        if entry.is_some_and(|entry| entry["yanked"] == true) {
            yanked.push(format!("{name} {version}"));
        }
    }
    assert!(
        known * 10 > total * 9,
        "only {known} of {total} packages are in cargo's cache: the check would see nothing"
    );
    assert!(yanked.is_empty(), "taken back by their authors: {yanked:?}");
}

/// An advisory that is let pass says why, and is of a package that is there.
#[test]
fn every_advisory_let_pass_has_a_reason() {
    let policy = policy();
    let ignored = policy["advisories"]["ignore"].as_array().expect("a list");
    let documented = std::fs::read_to_string(root().join("docs/security.md")).expect("docs/security.md");
    for entry in ignored {
        let id = entry["id"].as_str().expect("an id");
        assert!(id.starts_with("RUSTSEC-"), "{id}");
        assert!(entry["reason"].as_str().is_some_and(|reason| reason.len() > 20), "{id} has no reason");
        assert!(documented.contains(id), "docs/security.md does not mention {id}");
    }
}

/// RustSec's advisories as they were when `scripts/advisories` was run last, against every version in `Cargo.lock`. What came
/// later is found by `just audit` alone.
#[test]
fn no_known_advisory_is_hit() {
    let policy = policy();
    let ignored = policy["advisories"]["ignore"].as_array().expect("a list");
    let ignored: Vec<&str> = ignored.iter().filter_map(|entry| entry["id"].as_str()).collect();
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let lock: toml::Table = lock.parse().expect("TOML");
    let mut versions = BTreeMap::<&str, Vec<Version>>::new();
    for package in lock["package"].as_array().expect("packages") {
        let text = |key: &str| package[key].as_str().expect("a text");
        versions.entry(text("name")).or_default().push(text("version").parse().expect("a version"));
    }
    let snapshot = std::fs::read_to_string(root().join("tests/advisories.tsv")).expect("tests/advisories.tsv");
    let (mut hits, mut looked_at) = (BTreeSet::new(), 0);
    for line in snapshot.lines().filter(|line| !line.starts_with('#')) {
        let [id, package, _, fine] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        let fine: Vec<VersionReq> = fine
            .split(" || ")
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().unwrap_or_else(|error| panic!("{id}: {text:?}: {error}")))
            .collect();
        for version in versions.get(package).into_iter().flatten() {
            looked_at += 1;
            if !fine.iter().any(|versions| versions.matches(version)) {
                hits.insert(id);
            }
        }
    }
    assert!(looked_at > 50, "only {looked_at} advisories are of packages of ours: the check would see nothing");
    assert_eq!(hits, ignored.into_iter().collect(), "update the package, or say in deny.toml why it may stay");
}
