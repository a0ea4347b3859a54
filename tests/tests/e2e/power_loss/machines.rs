//! A small deployment whose log runs on disks that can lose power: one or three nats-servers, a catalog, a proxy, and
//! a writer when a test wants one.

use std::path::{Path, PathBuf};

use frazil_powerfs::{Keep, PowerFs};
use frazil_tests::client::Api;
use frazil_tests::crash::ports::Ports;
use frazil_tests::hand::{READY, answers, frazil, start_role, succeeded, token_for_all};
use frazil_tests::lake::Lake;
use frazil_tests::nats_cluster::{Node, Sync};
use frazil_tests::process::Process;
use frazil_tests::until;
use tempfile::TempDir;

/// The table that loads fill.
pub(super) const TABLE: &str = "e2e.power";

const CONFIG: &str = "frazil.toml";

/// The running deployment, with one stream of one shard, `default`. Dropping it kills all of it.
pub(super) struct Machines {
    pub(super) api: Api,
    pub(super) lake: Lake,
    nodes: Vec<Machine>,
    writer: Option<Process>,
    writer_port: u16,
    _proxy: Process,
    _catalog: Process,
    // Last, so that the processes end before their folder goes.
    dir: TempDir,
}

/// A node of the log on its own disk.
struct Machine {
    // First, so that it ends before its disk goes.
    process: Option<Process>,
    node: Node,
    config: PathBuf,
    mounted: PowerFs,
    disk: PathBuf,
}

impl Machines {
    /// Starts all but the writer and waits until the proxy is ready.
    ///
    /// # Panics
    /// If FUSE is missing.
    pub(super) async fn start(nodes: usize, sync: Sync) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut ports = Ports::default();
        let nodes = start_nodes(dir.path(), nodes, sync, &mut ports);
        let [proxy, catalog, writer_port] = [ports.take(), ports.take(), ports.take()];
        write_config(dir.path(), &nodes, proxy, catalog, writer_port);
        let lake = Lake { uri: format!("http://127.0.0.1:{catalog}"), properties: Vec::new() };
        log_ready(&nodes).await;
        let catalog = start_role(dir.path(), "catalog", &["catalog"], CONFIG, &[]);
        answers(&format!("{}/v1/config", lake.uri), &catalog).await;
        let replicas = nodes.len().to_string();
        let stream = ["stream", "create", "default", "--replicas", &replicas, "--on-missing-table", "create"];
        succeeded(frazil(dir.path(), CONFIG, &[&stream[..], &["--max-bytes", "2GiB"]].concat()).await);
        let token = token_for_all(dir.path(), CONFIG).await;
        let url = format!("http://127.0.0.1:{proxy}");
        let proxy = start_role(dir.path(), "proxy", &["proxy"], CONFIG, &[]);
        answers(&format!("{url}/readyz"), &proxy).await;
        let api = Api::new(&url, &token);
        Self { api, lake, nodes, writer: None, writer_port, _proxy: proxy, _catalog: catalog, dir }
    }

    /// Starts the writer.
    pub(super) fn start_writer(&mut self) {
        let arguments = ["writer", "--ordinal", "0", "--replicas", "1"];
        self.writer = Some(start_role(self.dir.path(), "writer", &arguments, CONFIG, &[]));
    }

    /// A counter of the writer, summed over its labels; none counted is zero.
    pub(super) async fn writer_metric(&self, name: &str) -> u64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.writer_port);
        let answer = reqwest::get(url).await.expect("the writer answers");
        let text = answer.text().await.expect("metrics are text");
        let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<u64>().expect("counters are whole")).sum()
    }

    /// What the writer has logged.
    pub(super) fn writer_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("writer.log")).expect("the writer was started")
    }

    /// Where the disk of a node keeps what survives.
    pub(super) fn disk(&self, node: usize) -> &Path {
        &self.nodes[node].disk
    }

    /// All that the nodes wrote so far becomes durable.
    pub(super) fn write_back(&self) {
        for machine in &self.nodes {
            machine.mounted.write_back();
        }
    }

    /// The power of these nodes fails at once. Returns the bytes that their disks dropped.
    pub(super) async fn lose_power(&mut self, nodes: &[usize], keep: Keep) -> u64 {
        let mut dead: Vec<Process> = nodes.iter().filter_map(|node| self.nodes[*node].process.take()).collect();
        // All are dead before the first is reaped.
        for process in &dead {
            process.signal(rustix::process::Signal::KILL).expect("the node runs");
        }
        for process in &mut dead {
            process.kill9().await;
        }
        nodes.iter().map(|node| self.nodes[*node].mounted.power_loss(keep)).sum()
    }

    /// Stops a node as an administrator does; all that it wrote is durable then.
    pub(super) async fn stop(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        let mut process = machine.process.take().expect("the node runs");
        // nats-server ends with status 1 after SIGTERM.
        process.terminate(READY).await.expect("the node ends");
        machine.mounted.write_back();
    }

    /// Starts these nodes again and waits until the log is whole.
    pub(super) async fn power_on(&mut self, nodes: &[usize]) {
        let dir = self.dir.path();
        for node in nodes {
            self.nodes[*node].start(dir);
        }
        log_ready(&self.nodes).await;
    }
}

impl Machine {
    fn start(&mut self, dir: &Path) {
        let log = dir.join(format!("{}.log", self.node.name));
        self.process = Some(Process::spawn_logged(&self.node.name, Node::command(&self.config), &log));
    }
}

fn start_nodes(dir: &Path, count: usize, sync: Sync, ports: &mut Ports) -> Vec<Machine> {
    let route_ports: Vec<u16> = (0..count).map(|_| ports.take()).collect();
    let mut machines = Vec::new();
    for (index, route_port) in route_ports.iter().enumerate() {
        let name = format!("nats-{index}");
        let (disk, store) = (dir.join(format!("{name}.disk")), dir.join(&name));
        for folder in [&disk, &store] {
            std::fs::create_dir(folder).expect("temporary folder");
        }
        let mounted = PowerFs::mount(&disk, &store).unwrap_or_else(|error| panic!("{error}"));
        let [port, monitor_port] = [ports.take(), ports.take()];
        let node = Node { name, port, route_port: *route_port, monitor_port, store, sync };
        let others: Vec<u16> = route_ports.iter().filter(|port| *port != route_port).copied().collect();
        let config = node.configure(dir, &others);
        let mut machine = Machine { process: None, node, config, mounted, disk };
        machine.start(dir);
        machines.push(machine);
    }
    machines
}

async fn log_ready(machines: &[Machine]) {
    for machine in machines {
        let probe = || async { machine.node.is_ready(machines.len()).await.then_some(()) };
        until(&machine.node.name, READY, probe).await;
    }
}

fn write_config(dir: &Path, nodes: &[Machine], proxy: u16, catalog: u16, writer: u16) {
    let servers: Vec<String> = nodes.iter().map(|node| format!("\"nats://127.0.0.1:{}\"", node.node.port)).collect();
    let text = format!(
        r#"
[nats]
servers = [{servers}]
control_replicas = {replicas}

[proxy]
listen = "127.0.0.1:{proxy}"

[writer]
admin_listen = "127.0.0.1:{writer}"
flush_interval = "1s"

[catalog]
listen = "127.0.0.1:{catalog}"
admin_listen = "127.0.0.1:0"
database = "{dir}/catalog.db"
warehouse = "file://{dir}/warehouse"

[catalogs.frazil]
uri = "http://127.0.0.1:{catalog}"
"#,
        servers = servers.join(", "),
        replicas = nodes.len(),
        dir = dir.display(),
    );
    std::fs::write(dir.join(CONFIG), text).expect("temporary file");
}
