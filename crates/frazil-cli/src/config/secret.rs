//! Values that are never shown, and the files they may come from.
//!
//! Every secret key `x` has a twin `x_file` that names a file with the value (as container platforms mount them);
//! one trailing line break is cut off.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::error::ConfigError;
use super::sections::Config;

/// What is shown instead.
const MASK: &str = "***";

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one who sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// Iceberg properties; those whose key tells of a secret are shown masked.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Properties(pub(crate) BTreeMap<String, String>);

impl Properties {
    fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), if tells_of_secret(key) { MASK } else { value.as_str() }))
    }
}

fn tells_of_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "token", "password", "credential", "access-key", "authorization"].iter().any(|word| key.contains(word))
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.shown() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// A server address with the password of its user part masked.
pub(crate) fn mask_address(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split_once(':').map_or(MASK.to_owned(), |(name, _)| format!("{name}:{MASK}"));
            format!("{scheme}://{name}@{host}")
        }
        None => address.to_owned(),
    }
}

/// Fills every secret that is given as a file.
pub(super) fn read_files(config: &mut Config) -> Result<(), ConfigError> {
    let nats = &mut config.nats;
    fill("nats.token", &mut nats.token, nats.token_file.as_deref())?;
    fill("nats.nkey", &mut nats.nkey, nats.nkey_file.as_deref())?;
    fill("nats.password", &mut nats.password, nats.password_file.as_deref())?;
    let limits = &mut config.proxy.rate_limits;
    fill("proxy.rate_limits.redis", &mut limits.redis, limits.redis_file.as_deref())?;
    let store = &mut config.object_storage;
    fill("object_storage.access_key_id", &mut store.access_key_id, store.access_key_id_file.as_deref())?;
    fill("object_storage.secret_access_key", &mut store.secret_access_key, store.secret_access_key_file.as_deref())?;
    for (name, catalog) in &mut config.catalogs {
        let key = |field: &str| format!("catalogs.{name}.{field}");
        let auth = &mut catalog.auth;
        fill(&key("auth.token"), &mut auth.token, auth.token_file.as_deref())?;
        fill(&key("auth.credential"), &mut auth.credential, auth.credential_file.as_deref())?;
        fill(&key("auth.access_key_id"), &mut auth.access_key_id, auth.access_key_id_file.as_deref())?;
        fill(&key("auth.secret_access_key"), &mut auth.secret_access_key, auth.secret_access_key_file.as_deref())?;
        fill(&key("auth.session_token"), &mut auth.session_token, auth.session_token_file.as_deref())?;
        fill_properties(&key("property_files"), &mut catalog.properties, &catalog.property_files)?;
    }
    if let Some(catalog) = &mut config.catalog {
        fill("catalog.token", &mut catalog.token, catalog.token_file.as_deref())?;
        let reports = &mut catalog.iceberg_metrics;
        fill("catalog.iceberg_metrics.token", &mut reports.token, reports.token_file.as_deref())?;
        fill_properties("catalog.property_files", &mut catalog.properties, &catalog.property_files)?;
    }
    Ok(())
}

fn fill(key: &str, value: &mut Option<Secret>, file: Option<&Path>) -> Result<(), ConfigError> {
    let Some(path) = file else { return Ok(()) };
    if value.is_some() {
        return Err(ConfigError::SecretTwice { key: key.to_owned() });
    }
    *value = Some(Secret::new(read(key, path)?));
    Ok(())
}

fn fill_properties(
    key: &str,
    properties: &mut Properties,
    files: &BTreeMap<String, PathBuf>,
) -> Result<(), ConfigError> {
    for (property, path) in files {
        let value = read(&format!("{key}.{property}"), path)?;
        properties.0.insert(property.clone(), value);
    }
    Ok(())
}

fn read(key: &str, path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::SecretFile {
        key: key.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
