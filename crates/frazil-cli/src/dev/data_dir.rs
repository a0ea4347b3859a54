//! The directory that a `frazil dev` owns: its lock, its files, and what it tells other commands.
//!
//! ```text
//! lock          held while running
//! token         the API token of the printed curl line (0600)
//! dev.json      how to reach the running parts (0600); gone after a clean end
//! nats.log  nats/   the log: output, configuration, store
//! catalog.db    the embedded catalog      warehouse/   tables, unless they are elsewhere
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use frazil_core::token::Token;
use serde::{Deserialize, Serialize};

use crate::config::{AuthKind, AuthSection, CatalogSection, Config, NatsSection, Properties, Secret};

/// A locked data directory.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// Held until the end of the process.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing, and locks it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let make = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        make.with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let root = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
        let lock = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&lock)
            .with_context(|| format!("cannot open {}", lock.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let holder = DevState::read(&root)
                    .ok()
                    .flatten()
                    .map_or_else(String::new, |state| format!(" (process {})", state.pid));
                bail!("another `frazil dev`{holder} is running on {}", root.display())
            }
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock the data directory"),
        }
    }

    /// The directory's path for people.
    pub(crate) fn shown(&self) -> String {
        self.root.display().to_string()
    }

    pub(crate) fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    pub(crate) fn nats_log(&self) -> PathBuf {
        self.root.join("nats.log")
    }

    pub(crate) fn catalog_database(&self) -> PathBuf {
        self.root.join("catalog.db")
    }

    /// The local warehouse as a URI.
    pub(crate) fn warehouse(&self) -> anyhow::Result<String> {
        let path = self.root.join("warehouse");
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let path = path.to_str().context("the data directory's path must be UTF-8, because it becomes part of URIs")?;
        Ok(format!("file://{path}"))
    }

    /// The kept token, or `make`'s, kept from now on.
    pub(crate) fn token(&self, make: impl FnOnce() -> Token) -> anyhow::Result<Token> {
        let path = token_path(&self.root);
        match read_token(&self.root)? {
            Some(text) => Token::parse(&text)
                .with_context(|| format!("{} holds no token; remove it for a new one", path.display())),
            None => {
                let token = make();
                write_private(&path, &format!("{}\n", token.reveal()))?;
                Ok(token)
            }
        }
    }

    /// Tells other commands how to reach the running parts.
    pub(crate) fn publish(&self, state: &DevState) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(state).context("dev.json")?;
        write_private(&state_path(&self.root), &text)
    }

    /// Takes that back.
    pub(crate) fn retract(&self) {
        // If it stays, commands only get a worse message: there is nobody to connect to.
        let _ = std::fs::remove_file(state_path(&self.root));
    }
}

fn token_path(root: &Path) -> PathBuf {
    root.join("token")
}

fn state_path(root: &Path) -> PathBuf {
    root.join("dev.json")
}

/// The token of the `frazil dev` of this directory, if it has one.
pub(crate) fn read_token(root: &Path) -> anyhow::Result<Option<String>> {
    read_if_there(&token_path(root)).map(|text| text.map(|text| text.trim().to_owned()))
}

/// Replaces a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let new = path.with_extension("new");
    // A leftover could have other permissions.
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).with_context(context)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(context)?;
    std::fs::rename(&new, path).with_context(context)
}

fn read_if_there(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// What a running `frazil dev` tells other commands, in `dev.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DevState {
    /// The process.
    pub(crate) pid: u32,
    /// URL of the proxy.
    pub(crate) proxy: String,
    /// URL of the additional admin server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<String>,
    pub(crate) nats: DevNats,
    pub(crate) catalog: DevCatalog,
}

/// How to reach the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DevNats {
    pub(crate) url: String,
    pub(crate) token: String,
}

/// How to reach the catalog.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DevCatalog {
    /// First part of its tables' names.
    pub(crate) name: String,
    pub(crate) uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warehouse: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oauth2_server_uri: Option<String>,
    #[serde(default)]
    pub(crate) properties: BTreeMap<String, String>,
}

impl DevCatalog {
    /// What the section says, secrets included.
    pub(crate) fn of(name: &str, section: &CatalogSection) -> Self {
        let reveal = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
        Self {
            name: name.to_owned(),
            uri: section.uri.clone(),
            warehouse: section.warehouse.clone(),
            token: reveal(&section.auth.token),
            credential: reveal(&section.auth.credential),
            oauth2_server_uri: section.auth.oauth2_server_uri.clone(),
            properties: section.properties.0.clone(),
        }
    }

    fn section(&self) -> CatalogSection {
        let kind = match (&self.token, &self.credential) {
            (Some(_), _) => AuthKind::Bearer,
            (None, Some(_)) => AuthKind::OAuth2,
            (None, None) => AuthKind::None,
        };
        let auth = AuthSection {
            kind,
            token: self.token.clone().map(Secret::new),
            credential: self.credential.clone().map(Secret::new),
            oauth2_server_uri: self.oauth2_server_uri.clone(),
            ..AuthSection::default()
        };
        CatalogSection {
            uri: self.uri.clone(),
            warehouse: self.warehouse.clone(),
            auth,
            properties: Properties(self.properties.clone()),
            ..CatalogSection::default()
        }
    }
}

impl DevState {
    /// Reads the state under `root`; `None` if no `frazil dev` says it is running there.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Option<Self>> {
        let path = state_path(root);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        let state = serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
        Ok(Some(state))
    }

    /// The same as a configuration.
    pub(crate) fn config(&self) -> Config {
        let nats = NatsSection {
            servers: vec![self.nats.url.clone()],
            token: Some(Secret::new(self.nats.token.clone())),
            ..NatsSection::default()
        };
        let catalogs = BTreeMap::from([(self.catalog.name.clone(), self.catalog.section())]);
        Config { default_catalog: Some(self.catalog.name.clone()), nats, catalogs, ..Config::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("a/b");
        let first = DataDir::open(&path).expect("free");
        let refused = DataDir::open(&path).expect_err("locked").to_string();
        assert!(refused.contains("another `frazil dev`"), "{refused}");
        drop(first);
        DataDir::open(&path).expect("free again");
    }

    #[test]
    fn the_token_is_made_once_and_private() {
        let dir = tempfile::tempdir().expect("dir");
        let data = DataDir::open(dir.path()).expect("free");
        let first = data.token(|| Token::from_random([1; 6], [2; 32])).expect("made");
        let second = data.token(|| Token::from_random([3; 6], [4; 32])).expect("kept");
        assert_eq!(first, second);
        let mode = std::fs::metadata(dir.path().join("token")).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read_token(dir.path()).expect("readable"), Some(first.reveal()));
    }

    #[test]
    fn the_state_survives_the_file() {
        let dir = tempfile::tempdir().expect("dir");
        let data = DataDir::open(dir.path()).expect("free");
        assert!(DevState::read(dir.path()).expect("none").is_none());
        let section = CatalogSection {
            uri: "http://127.0.0.1:1".to_owned(),
            auth: AuthSection {
                kind: AuthKind::OAuth2,
                credential: Some(Secret::new("a:b")),
                ..AuthSection::default()
            },
            ..CatalogSection::default()
        };
        let state = DevState {
            pid: 1,
            proxy: "http://127.0.0.1:2".to_owned(),
            admin: None,
            nats: DevNats { url: "nats://127.0.0.1:3".to_owned(), token: "t".to_owned() },
            catalog: DevCatalog::of("frazil", &section),
        };
        data.publish(&state).expect("written");
        let config = DevState::read(dir.path()).expect("readable").expect("there").config();
        assert_eq!(config.catalogs["frazil"], section);
        assert_eq!(config.default_catalog(), Some("frazil"));
        data.retract();
        assert!(DevState::read(dir.path()).expect("none").is_none());
    }
}
