//! The configuration files of the roles: each role has its own, because each reaches the others over its own wires.

use std::path::{Path, PathBuf};

/// What differs between the files.
#[derive(Debug, Default)]
pub(super) struct RoleConfig {
    /// Ports of the log's nodes, as this role reaches them.
    pub(super) nats: Vec<u16>,
    /// Port of the catalog, as this role reaches it.
    pub(super) catalog: u16,
    /// Port of the store, as this role reaches it.
    pub(super) store: u16,
    /// Port on which the role listens for requests; 0 is any.
    pub(super) listen: u16,
    /// Port of its probes and metrics; 0 is any.
    pub(super) admin: u16,
}

impl RoleConfig {
    /// Writes `name.toml` into `dir`.
    pub(super) fn write(&self, dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(format!("{name}.toml"));
        std::fs::write(&path, self.text(dir)).expect("the run's folder is writable");
        path
    }

    fn text(&self, dir: &Path) -> String {
        let nats: Vec<String> = self.nats.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let replicas = if self.nats.len() >= 3 { 3 } else { 1 };
        let properties: String = crate::seaweed::properties(&format!("http://127.0.0.1:{}", self.store))
            .iter()
            .map(|(key, value)| format!("\"{key}\" = \"{value}\"\n"))
            .collect();
        format!(
            r#"
[nats]
servers = [{nats}]
control_replicas = {replicas}

[proxy]
listen = "127.0.0.1:{listen}"

[writer]
admin_listen = "127.0.0.1:{admin}"
flush_interval = "2s"

[catalog]
listen = "127.0.0.1:{listen}"
admin_listen = "127.0.0.1:{admin}"
database = "{database}"
warehouse = "s3://lake/warehouse"
[catalog.properties]
{properties}
[catalogs.frazil]
uri = "http://127.0.0.1:{catalog}"
[catalogs.frazil.properties]
{properties}
"#,
            nats = nats.join(", "),
            listen = self.listen,
            admin = self.admin,
            database = dir.join("catalog.db").display(),
            catalog = self.catalog,
        )
    }
}
