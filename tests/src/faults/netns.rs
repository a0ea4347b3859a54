//! Network namespaces on a bridge: nodes that can be cut off from one another as machines can, without a process
//! noticing anything but silence. Needs root and the command `ip` (iproute2).

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::process::Command;

/// How the names of everything made here begin. Names of network devices have at most 15 characters.
const PREFIX: &str = "fz";
/// Networks of this process so far: part of the names, so that tests of one process do not collide either.
static NETWORKS: AtomicU32 = AtomicU32::new(0);
/// Networks there can be on a machine at a time: one of 10.192.0.0/10 with 24 bits of network each.
const SUBNETS: u32 = 1 << 14;
/// Most nodes of a network.
const MAX_NODES: usize = 9;

/// Nodes with a namespace and an address each, joined by a bridge on which this machine has an address too. Removed
/// when dropped; processes inside should have ended by then.
#[derive(Debug)]
pub struct Network {
    subnet: [u8; 3],
    bridge: String,
    nodes: Vec<Node>,
}

/// One namespace.
#[derive(Debug)]
struct Node {
    namespace: String,
    /// The end of its cable that is in the bridge.
    port: String,
}

impl Network {
    /// Makes `nodes` namespaces, numbered from 0, all of which reach one another and this machine.
    ///
    /// # Panics
    /// Without the command `ip`, without root, and with more than nine nodes.
    pub fn start(nodes: usize) -> Self {
        assert!(nodes <= MAX_NODES, "{nodes} nodes, at most {MAX_NODES}");
        sweep();
        let (pid, number) = (std::process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        let subnet = free_subnet(pid.wrapping_mul(16).wrapping_add(number));
        let name = format!("{PREFIX}{pid}x{}", number % 10);
        let mut network = Self { subnet, bridge: format!("{name}b"), nodes: Vec::new() };
        let bridge = network.bridge.clone();
        ip(&["link", "add", "name", &bridge, "type", "bridge"]);
        ip(&["address", "add", &format!("{}/24", network.gateway()), "dev", &bridge]);
        ip(&["link", "set", &bridge, "up"]);
        for node in 0..nodes {
            network.add_node(node, format!("{name}n{node}"), format!("{name}v{node}"));
        }
        network
    }

    fn add_node(&mut self, node: usize, namespace: String, port: String) {
        let address = format!("{}/24", self.address(node));
        ip(&["netns", "add", &namespace]);
        self.nodes.push(Node { namespace: namespace.clone(), port: port.clone() });
        ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace]);
        ip(&["link", "set", &port, "master", &self.bridge, "up"]);
        ip(&["-n", &namespace, "address", "add", &address, "dev", "eth0"]);
        ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The address that this machine has on the bridge.
    pub fn gateway(&self) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, 1)
    }

    /// The address of a node.
    pub fn address(&self, node: usize) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, 10 + u8::try_from(node).expect("there are few nodes"))
    }

    /// A command that runs `program` on a node. Its process is the program itself, so that it can be killed.
    pub fn command(&self, node: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.nodes[node].namespace]).arg(program);
        command
    }

    /// Runs `work` on a node: sockets that it makes belong there for good, also when they are used elsewhere.
    pub fn inside<T: Send>(&self, node: usize, work: impl FnOnce() -> T + Send) -> T {
        let namespace =
            File::open(format!("/run/netns/{}", self.nodes[node].namespace)).expect("the namespace is ours");
        let moved = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter");
            work()
        };
        // A thread of its own, because a thread stays where it has moved to.
        std::thread::scope(|scope| scope.spawn(moved).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A listening socket on a node's own address, on any free port.
    pub fn listen(&self, node: usize) -> TcpListener {
        let address = self.address(node);
        self.inside(node, || TcpListener::bind((address, 0))).expect("a free port")
    }

    /// Pulls a node's cable: it reaches nobody and nobody reaches it. Connections stay open.
    pub fn isolate(&self, node: usize) {
        ip(&["link", "set", &self.nodes[node].port, "down"]);
    }

    /// Plugs a node's cable in again.
    pub fn heal(&self, node: usize) {
        ip(&["link", "set", &self.nodes[node].port, "up"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Whatever is there: a network may be dropped half made.
        for Node { namespace, port, .. } in &self.nodes {
            let _ = run(&["link", "delete", port]);
            let _ = run(&["netns", "delete", namespace]);
        }
        let _ = run(&["link", "delete", &self.bridge]);
    }
}

/// Removes what test processes left behind that were killed: their names say which process it was.
fn sweep() {
    let gone = |name: &str| {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('x'))?.0;
        Some(pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
    };
    for line in ip(&["netns", "list"]).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if gone(name) == Some(true) {
            // Another test may sweep at the same time.
            let _ = run(&["netns", "delete", name]);
        }
    }
    for line in ip(&["-oneline", "link", "show"]).lines() {
        let name = line.split(": ").nth(1).and_then(|name| name.split('@').next()).unwrap_or_default();
        if gone(name) == Some(true) {
            let _ = run(&["link", "delete", name]);
        }
    }
}

/// The first three octets of a network that nobody on this machine has an address in.
fn free_subnet(first: u32) -> [u8; 3] {
    let subnet = |number: u32| {
        let [.., high, low] = (number % SUBNETS).to_be_bytes();
        [10, 192 + high, low]
    };
    let free = |[a, b, c]: &[u8; 3]| ip(&["-4", "address", "show", "to", &format!("{a}.{b}.{c}.0/24")]).is_empty();
    (0..SUBNETS).map(|step| subnet(first.wrapping_add(step))).find(free).expect("a private network is free")
}

fn run(arguments: &[&str]) -> Output {
    let output = std::process::Command::new("ip").args(arguments).output();
    output.unwrap_or_else(|error| panic!("the command `ip` does not run ({error}): install iproute2"))
}

fn ip(arguments: &[&str]) -> String {
    let output = run(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {error}(network namespaces need root)", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests;
