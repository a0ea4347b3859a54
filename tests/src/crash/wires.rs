//! The wires of a run by name: `writer-0>nats-1` leads from the writer to the node.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::faults::{Wire, WireFault};

/// All wires.
#[derive(Debug, Default)]
pub struct Wires {
    wires: BTreeMap<String, Wire>,
}

/// The name of the wire from one role to another.
pub(super) fn between(from: &str, to: &str) -> String {
    format!("{from}>{to}")
}

impl Wires {
    /// Adds a wire from the role `from` to the role `to`, which listens on `upstream`; returns the port for `from`.
    pub fn add(&mut self, from: &str, to: &str, upstream: u16) -> u16 {
        let wire = Wire::start(SocketAddr::from((Ipv4Addr::LOCALHOST, upstream)));
        let port = wire.port();
        self.wires.insert(between(from, to), wire);
        port
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<String> {
        self.wires.keys().cloned().collect()
    }

    /// The port of a wire.
    ///
    /// # Panics
    /// If there is no such wire.
    pub fn port(&self, name: &str) -> u16 {
        self.wires[name].port()
    }

    /// Sets a fault.
    ///
    /// # Panics
    /// If there is no such wire.
    pub fn set(&self, name: &str, fault: WireFault) {
        self.wires[name].set(fault);
    }

    /// Ends the fault of a wire.
    ///
    /// # Panics
    /// If there is no such wire.
    pub fn heal(&self, name: &str) {
        self.wires[name].heal();
    }

    /// Ends the faults of all wires.
    pub fn heal_all(&self) {
        self.wires.values().for_each(Wire::heal);
    }
}
