//! What `deny.toml` says of dependencies, checked where `cargo deny` itself is not installed: licences, sources, bans.

use std::path::Path;
use std::process::Command;

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
