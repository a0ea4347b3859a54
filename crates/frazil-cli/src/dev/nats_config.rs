//! The configuration text of the nats-server child. Pure.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Largest message. Small requests are packed up to 256 KiB; only a large event makes a large message.
const MAX_PAYLOAD_BYTES: u64 = 4 << 20;

/// Bound of the store. The streams have bounds of their own; this one must only not get in their way.
const STORE_MAX: &str = "1TB";

/// What the child is told.
#[derive(Debug, Clone)]
pub(super) struct ServerConfig {
    /// Directory of configuration, pid file, ports file and store.
    pub(super) dir: PathBuf,
    /// Where to listen; `None` is a free loopback port.
    pub(super) listen: Option<SocketAddr>,
    /// What clients must present.
    pub(super) token: String,
}

impl ServerConfig {
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join("nats.conf")
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        pid_file(&self.dir)
    }

    /// The text of the configuration file.
    pub(super) fn text(&self) -> String {
        let (host, port) = match self.listen {
            Some(address) => (address.ip().to_string(), i32::from(address.port())),
            None => ("127.0.0.1".to_owned(), -1),
        };
        // Port 0 means "the default port" to nats-server; -1 is a free one.
        let port = if port == 0 { -1 } else { port };
        let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
        format!(
            "# Written by `frazil dev` at every start.\n\
             server_name: frazil-dev\n\
             host: {host:?}\n\
             port: {port}\n\
             pid_file: {pid}\n\
             ports_file_dir: {dir}\n\
             max_payload: {MAX_PAYLOAD_BYTES}\n\
             authorization {{ token: {token:?} }}\n\
             jetstream {{\n  \
               store_dir: {store}\n  \
               max_memory_store: 64MB\n  \
               max_file_store: {STORE_MAX}\n  \
               # An acknowledged event is on disk, not in a page cache.\n  \
               sync_interval: always\n\
             }}\n",
            pid = quoted(&self.pid_file()),
            dir = quoted(&self.dir),
            store = quoted(&self.dir.join("jetstream")),
            token = self.token,
        )
    }
}

pub(super) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("nats.pid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text() {
        let mut config = ServerConfig { dir: "/data dir/nats".into(), listen: None, token: "secret".to_owned() };
        let text = config.text();
        for line in [
            "host: \"127.0.0.1\"\n",
            "port: -1\n",
            "max_payload: 4194304\n",
            "  sync_interval: always\n",
            "authorization { token: \"secret\" }\n",
            "  store_dir: \"/data dir/nats/jetstream\"\n",
            "pid_file: \"/data dir/nats/nats.pid\"\n",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 4222)));
        assert!(config.text().contains("port: 4222\n"));
        config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        assert!(config.text().contains("port: -1\n"));
    }
}
