//! Ports that stay free while a role is down: below the range from which systems take ports of outgoing connections.

use std::collections::BTreeSet;
use std::net::TcpListener;

/// Hands out each port once.
#[derive(Debug, Default)]
pub struct Ports {
    taken: BTreeSet<u16>,
}

impl Ports {
    /// A port that is free now.
    pub fn take(&mut self) -> u16 {
        loop {
            let port = rand::random_range(22_000..32_000);
            if TcpListener::bind(("127.0.0.1", port)).is_ok() && self.taken.insert(port) {
                return port;
            }
        }
    }
}
