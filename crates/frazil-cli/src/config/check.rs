//! What types cannot say: required keys, values that belong together. Collects every complaint, not only the first.

mod tls;

use std::net::SocketAddr;

use super::error::ConfigError;
use super::secret::mask_address;
use super::sections::{AuthKind, AuthSection, CatalogSection, Config, EmbeddedSection, NatsSection};
use crate::telemetry;

/// Checks everything that can be checked without contacting anybody.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let mut wrong = Vec::new();
    if let Err(reason) = telemetry::check_level(&config.telemetry.level) {
        wrong.push(format!("telemetry.level: {reason}"));
    }
    nats(&config.nats, &mut wrong);
    wrong.extend(config.object_storage.complaints());
    wrong.extend(config.audit.complaints(!config.catalogs.is_empty()));
    for (name, section) in &config.catalogs {
        catalog(name, section, &mut wrong);
    }
    default_catalog(config, &mut wrong);
    if let Some(section) = &config.catalog {
        embedded(section, &mut wrong);
    }
    listeners(config, &mut wrong);
    tls::proxy(&config.proxy, &mut wrong);
    if let Err(error) = config.proxy.settings().validate() {
        wrong.push(format!("proxy: {error}"));
    }
    if let Err(error) = config.writer.settings(0, 1).validate() {
        wrong.push(format!("writer: {error}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(wrong)) }
}

/// Checks the files that are named, those of every role.
pub(super) fn check_files(config: &Config) -> Result<(), ConfigError> {
    let wrong = tls::files(config);
    if wrong.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(wrong)) }
}

fn nats(section: &NatsSection, wrong: &mut Vec<String>) {
    if section.servers.is_empty() {
        wrong.push("nats.servers: name at least one server, such as \"nats://127.0.0.1:4222\"".to_owned());
    }
    for server in &section.servers {
        // The client would leave it out.
        if server.parse::<url::Url>().is_ok_and(|url| !url.username().is_empty() || url.password().is_some()) {
            let shown = mask_address(server);
            wrong.push(format!("nats.servers: {shown:?} has a login in it; say it with user and password, or token"));
        }
    }
    let (password, token, nkey) = (section.user.is_some(), section.token.is_some(), section.nkey.is_some());
    let logins = [password, token, nkey, section.credentials_file.is_some()];
    if logins.into_iter().filter(|set| *set).count() > 1 {
        wrong.push("nats: user, token, nkey and credentials_file are four ways to log in; keep one".to_owned());
    }
    if section.user.is_some() != section.password.is_some() {
        wrong.push("nats: user and password go together".to_owned());
    }
    tls::nats(section, wrong);
    if ![1, 3, 5].contains(&section.control_replicas) {
        wrong.push(format!("nats.control_replicas: must be 1, 3 or 5, not {}", section.control_replicas));
    }
    if section.request_timeout.0.is_zero() {
        wrong.push("nats.request_timeout: must be longer than 0s".to_owned());
    }
}

fn catalog(name: &str, section: &CatalogSection, wrong: &mut Vec<String>) {
    if name.is_empty() || name.contains(['.', '/']) || name.chars().any(char::is_control) {
        wrong
            .push(format!("catalogs.{name:?}: the name is the first part of table names, so it has no '.' and no '/'"));
    }
    match url::Url::parse(&section.uri) {
        Ok(uri) if matches!(uri.scheme(), "http" | "https") => {}
        _ => wrong.push(format!(
            "catalogs.{name}.uri: must be an http:// or https:// URL, not {:?}",
            mask_address(&section.uri)
        )),
    }
    if section.request_timeout.0.is_zero() {
        wrong.push(format!("catalogs.{name}.request_timeout: must be longer than 0s"));
    }
    auth(name, &section.auth, wrong);
    tls::catalog(name, section, wrong);
}

fn auth(name: &str, section: &AuthSection, wrong: &mut Vec<String>) {
    let (token, credential) = (section.token.is_some(), section.credential.is_some());
    let keys = [&section.access_key_id, &section.secret_access_key].map(Option::is_some);
    let any_key = keys.contains(&true) || section.session_token.is_some();
    let complaint = match (section.kind, token, credential, any_key) {
        (AuthKind::None, false, false, false)
        | (AuthKind::Bearer, true, false, false)
        | (AuthKind::OAuth2, false, true, false) => None,
        (AuthKind::None, ..) => Some("a secret is given, but kind is \"none\"; say what it is for by kind"),
        (AuthKind::Bearer, ..) => Some("kind \"bearer\" takes token or token_file, and nothing else"),
        (AuthKind::OAuth2, ..) => Some("kind \"oauth2\" takes credential or credential_file, and no other secret"),
        (AuthKind::SigV4, false, false, _) if keys[0] != keys[1] => {
            Some("access_key_id and secret_access_key go together")
        }
        (AuthKind::SigV4, false, false, _) if section.session_token.is_some() && !keys[0] => {
            Some("session_token belongs to an access_key_id and a secret_access_key")
        }
        (AuthKind::SigV4, false, false, _) => None,
        (AuthKind::SigV4, ..) => Some("kind \"sigv4\" takes keys, or none at all, and no token and no credential"),
    };
    wrong.extend(complaint.map(|complaint| format!("catalogs.{name}.auth: {complaint}")));
    let signing = section.region.as_ref().or(section.service.as_ref());
    if signing.is_some() && section.kind != AuthKind::SigV4 {
        wrong.push(format!("catalogs.{name}.auth: region and service are for kind \"sigv4\""));
    }
    if [&section.region, &section.service].into_iter().flatten().any(|text| !plain(text)) {
        wrong.push(format!("catalogs.{name}.auth: region and service are names such as us-east-1 and glue"));
    }
}

/// Whether a text can be a part of the scope of a signature.
fn plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
}

fn default_catalog(config: &Config, wrong: &mut Vec<String>) {
    let names = || config.catalogs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    match config.default_catalog() {
        Some(name) if config.catalogs.contains_key(name) => {}
        Some(name) => wrong.push(format!("default_catalog: there is no [catalogs.{name}]; there are: {}", names())),
        None if config.catalogs.is_empty() => {}
        None => wrong.push(format!("default_catalog: say which of {} two-part table names mean", names())),
    }
}

fn embedded(section: &EmbeddedSection, wrong: &mut Vec<String>) {
    if section.database.as_os_str().is_empty() {
        wrong.push("catalog.database: the path of the SQLite file is required".to_owned());
    }
    if !section.warehouse.starts_with("file:///") && !section.warehouse.starts_with("s3://") {
        wrong.push(format!(
            "catalog.warehouse: must be file:///absolute/directory or s3://bucket/prefix, not {:?}",
            section.warehouse
        ));
    }
    section.iceberg_metrics.check(wrong);
    if section.token.is_none() && !section.listen.ip().is_loopback() {
        wrong.push(format!(
            "catalog.listen: {} is reachable from outside, so catalog.token is required",
            section.listen
        ));
    }
}

/// Addresses of one process must differ; port 0 (the system chooses) always does.
fn listeners(config: &Config, wrong: &mut Vec<String>) {
    let same = |a: SocketAddr, b: SocketAddr| a == b && a.port() != 0;
    if config.proxy.admin_listen.is_some_and(|admin| same(admin, config.proxy.listen)) {
        wrong.push("proxy: listen and admin_listen are the same address".to_owned());
    }
    let Some(embedded) = &config.catalog else { return };
    if same(embedded.listen, embedded.admin_listen) {
        wrong.push("catalog: listen and admin_listen are the same address".to_owned());
    }
}
