//! Keys about TLS that belong together, and whether the files that they name can be used.
//!
//! Roles read only the files of their own sections, so files are checked apart, by `frazil check-config` alone.

use std::path::PathBuf;

use crate::config::sections::{CatalogSection, Config, NatsSection, ProxySection};
use crate::reach;

pub(super) fn proxy(section: &ProxySection, wrong: &mut Vec<String>) {
    pair("proxy", section.tls_certificate.as_ref(), section.tls_key.as_ref(), wrong);
    if section.tls_client_ca.is_some() && section.tls().is_none() {
        wrong.push(
            "proxy.tls_client_ca: goes with tls_certificate and tls_key; without TLS nobody shows one".to_owned(),
        );
    }
}

pub(super) fn nats(section: &NatsSection, wrong: &mut Vec<String>) {
    pair("nats", section.tls_certificate.as_ref(), section.tls_key.as_ref(), wrong);
}

pub(super) fn catalog(name: &str, section: &CatalogSection, wrong: &mut Vec<String>) {
    let own = format!("catalogs.{name}");
    pair(&own, section.tls_certificate.as_ref(), section.tls_key.as_ref(), wrong);
    if section.tls_certificate.is_some() && section.uri.starts_with("http://") {
        wrong.push(format!("{own}.tls_certificate: the uri must be an https:// URL; over http nobody asks for it"));
    }
}

fn pair(section: &str, certificate: Option<&PathBuf>, key: Option<&PathBuf>, wrong: &mut Vec<String>) {
    if certificate.is_some() != key.is_some() {
        wrong.push(format!("{section}: tls_certificate and tls_key go together"));
    }
}

/// Complaints about the files that are named in any section.
pub(super) fn files(config: &Config) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(Err(error)) = config.proxy.tls().map(|tls| frazil_proxy::check_tls_files(&tls)) {
        wrong.push(format!("proxy.{error}"));
    }
    if let Err(error) = reach::log_config(&config.nats, "").check() {
        wrong.push(format!("nats: {error}"));
    }
    for (name, section) in &config.catalogs {
        if let Err(error) = reach::catalog_tls(section).check() {
            wrong.push(format!("catalogs.{name}: {error}"));
        }
    }
    for (key, file) in config.catalog.iter().flat_map(|section| {
        [("catalog.tls_ca", &section.tls_ca), ("catalog.iceberg_metrics.tls_ca", &section.iceberg_metrics.tls_ca)]
    }) {
        if let Err(error) = reach::roots(file.as_deref()) {
            wrong.push(format!("{key}: {error}"));
        }
    }
    wrong
}
