//! `[object_storage]`: the S3-compatible store of all catalogs whose own properties do not say otherwise.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::secret::{Properties, Secret};

const ACCESS_KEY_ID: &str = "s3.access-key-id";

/// A provider whose endpoints are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Provider {
    /// Amazon S3.
    Aws,
    Wasabi,
    BackblazeB2,
    /// Google Cloud Storage by its S3 interoperability, with HMAC keys.
    Gcs,
}

/// `[object_storage]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ObjectStorageSection {
    /// Fills in endpoint and addressing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<Provider>,
    /// `http://` or `https://`; without one, Amazon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// The bucket in the path, not in the host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path_style: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_key_id: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_key_id_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_access_key: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_access_key_file: Option<PathBuf>,
    /// Buckets that `frazil doctor storage` looks at, and creates only if asked.
    pub(crate) default_buckets: Vec<String>,
}

impl ObjectStorageSection {
    /// Lays the section under the properties of a catalog: what those say themselves stays. Keys are taken over both or
    /// not at all.
    pub(in crate::config) fn lay_under(&self, properties: &mut Properties) {
        let own_keys = properties.0.contains_key(ACCESS_KEY_ID);
        for (key, value) in self.addressing().into_iter().chain(if own_keys { Vec::new() } else { self.keys() }) {
            properties.0.entry(key.to_owned()).or_insert(value);
        }
    }

    /// What is wrong with the section.
    pub(in crate::config) fn complaints(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let http = |endpoint: &String| endpoint.starts_with("http://") || endpoint.starts_with("https://");
        if self.endpoint.as_ref().is_some_and(|endpoint| !http(endpoint)) {
            wrong.push("object_storage.endpoint: must be an http:// or https:// URL".to_owned());
        }
        if self.region.is_none() && matches!(self.provider, Some(Provider::Wasabi | Provider::BackblazeB2)) {
            wrong.push("object_storage.region: this provider's endpoint is made from it".to_owned());
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            wrong.push("object_storage: access_key_id and secret_access_key go together".to_owned());
        }
        if let Some(bucket) =
            self.default_buckets.iter().find(|bucket| bucket.is_empty() || bucket.contains(['/', ':']))
        {
            wrong.push(format!("object_storage.default_buckets: {bucket:?} is not the name of a bucket"));
        }
        wrong
    }

    fn addressing(&self) -> Vec<(&'static str, String)> {
        let preset = self.provider.map(|provider| provider.preset(self.region.as_deref().unwrap_or_default()));
        let preset = preset.unwrap_or_default();
        let endpoint = self.endpoint.clone().or(preset.endpoint).map(|endpoint| ("s3.endpoint", endpoint));
        let region = self.region.clone().or(preset.region).map(|region| ("s3.region", region));
        let path_style = self.path_style.or(preset.path_style);
        let path_style = path_style.map(|path_style| ("s3.path-style-access", path_style.to_string()));
        [endpoint, region, path_style].into_iter().flatten().collect()
    }

    fn keys(&self) -> Vec<(&'static str, String)> {
        match (&self.access_key_id, &self.secret_access_key) {
            (Some(id), Some(secret)) => {
                vec![(ACCESS_KEY_ID, id.reveal().to_owned()), ("s3.secret-access-key", secret.reveal().to_owned())]
            }
            _ => Vec::new(),
        }
    }
}

/// What a provider's name stands for.
#[derive(Default)]
struct Preset {
    endpoint: Option<String>,
    region: Option<String>,
    path_style: Option<bool>,
}

impl Provider {
    fn preset(self, region: &str) -> Preset {
        let (endpoint, fixed_region, path_style) = match self {
            Self::Aws => (None, None, false),
            Self::Wasabi => (Some(format!("https://s3.{region}.wasabisys.com")), None, true),
            Self::BackblazeB2 => (Some(format!("https://s3.{region}.backblazeb2.com")), None, false),
            Self::Gcs => (Some("https://storage.googleapis.com".to_owned()), Some("auto".to_owned()), false),
        };
        Preset { endpoint, region: fixed_region, path_style: Some(path_style) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn laid_under(section: &str, own: &[(&str, &str)]) -> BTreeMap<String, String> {
        let section: ObjectStorageSection = toml::from_str(section).expect("valid");
        assert_eq!(section.complaints(), Vec::<String>::new());
        let own = own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut properties = Properties(own.collect());
        section.lay_under(&mut properties);
        properties.0
    }

    #[test]
    fn providers_have_their_endpoints() {
        for (section, endpoint, region, path_style) in [
            ("provider = \"aws\"\nregion = \"us-east-1\"", None, "us-east-1", "false"),
            (
                "provider = \"wasabi\"\nregion = \"eu-central-1\"",
                Some("https://s3.eu-central-1.wasabisys.com"),
                "eu-central-1",
                "true",
            ),
            (
                "provider = \"backblaze-b2\"\nregion = \"us-west-002\"",
                Some("https://s3.us-west-002.backblazeb2.com"),
                "us-west-002",
                "false",
            ),
            ("provider = \"gcs\"", Some("https://storage.googleapis.com"), "auto", "false"),
        ] {
            let found = laid_under(section, &[]);
            assert_eq!(found.get("s3.endpoint").map(String::as_str), endpoint, "{section}");
            assert_eq!(found["s3.region"], region, "{section}");
            assert_eq!(found["s3.path-style-access"], path_style, "{section}");
        }
        let own =
            laid_under("provider = \"wasabi\"\nregion = \"r\"\nendpoint = \"http://s3\"\npath_style = false", &[]);
        assert_eq!((own["s3.endpoint"].as_str(), own["s3.path-style-access"].as_str()), ("http://s3", "false"));
    }

    #[test]
    fn a_catalogs_own_properties_win_and_keys_are_not_mixed() {
        let section = "endpoint = \"http://s3\"\nregion = \"r\"\naccess_key_id = \"id\"\nsecret_access_key = \"key\"";
        let inherited = laid_under(section, &[("s3.region", "own")]);
        assert_eq!(inherited["s3.region"], "own");
        assert_eq!((inherited[ACCESS_KEY_ID].as_str(), inherited["s3.secret-access-key"].as_str()), ("id", "key"));
        let own = laid_under(section, &[(ACCESS_KEY_ID, "other")]);
        assert_eq!((own[ACCESS_KEY_ID].as_str(), own.get("s3.secret-access-key")), ("other", None));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let complaints =
            |text: &str| toml::from_str::<ObjectStorageSection>(text).expect("readable").complaints().join("; ");
        assert!(complaints("endpoint = \"s3.example.com\"").contains("object_storage.endpoint"));
        assert!(complaints("provider = \"wasabi\"").contains("object_storage.region"));
        assert!(complaints("access_key_id = \"id\"").contains("go together"));
        assert!(complaints("default_buckets = [\"s3://b\"]").contains("s3://b"));
    }
}
