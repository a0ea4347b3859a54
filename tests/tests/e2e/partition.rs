//! A NATS cluster of three machines, of which the one that leads a shard loses its network, twice. Needs root.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use frazil_tests::client::Api;
use frazil_tests::faults::Network;
use frazil_tests::hand::{answers, frazil, free_ports, start_role, succeeded, token_for_all};
use frazil_tests::lake::{Engine, Lake};
use frazil_tests::load::Load;
use frazil_tests::process::Process;
use frazil_tests::{tools, until};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

const LIMIT: Duration = Duration::from_secs(60);
const NODES: usize = 3;
const TABLE: &str = "e2e.partitioned";
const CONFIG: &str = "frazil.toml";
/// The JetStream stream of the shard whose leader is cut off.
const SHARD: &str = "FRAZIL_default_0";

/// The nodes have a namespace each, everything else is on this machine.
struct Deployment {
    api: Api,
    lake: Lake,
    nodes: Nodes,
    _roles: Vec<Process>,
    _servers: Vec<Process>,
    _dir: TempDir,
}

struct Nodes {
    network: Network,
    client: reqwest::Client,
}

impl Nodes {
    fn new() -> Self {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).build().expect("client builds");
        Self { network: Network::start(NODES), client }
    }

    /// Starts a server that has no address but its namespace's own.
    fn start_server(&self, node: usize, dir: &Path) -> Process {
        let address = self.network.address(node);
        let routes: Vec<String> =
            (0..NODES).map(|node| format!("nats://{}:6222", self.network.address(node))).collect();
        let text = format!(
            "server_name: node-{node}\nhost: {address}\nport: 4222\nhttp: \"{address}:8222\"\nmax_payload: 4MB\n\
             jetstream {{ store_dir: \"{}\", max_file: 20GB, sync_interval: always }}\n\
             cluster {{ name: partition, host: {address}, port: 6222, routes: {routes:?} }}\n",
            dir.join(format!("node-{node}")).display(),
        );
        let config = dir.join(format!("node-{node}.conf"));
        std::fs::write(&config, text).expect("temporary file");
        let mut command = self.network.command(node, tools::tool("bin/nats-server"));
        command.arg("-c").arg(config);
        Process::spawn("nats-server", command, &dir.join(format!("node-{node}.log")))
    }

    /// What a node says about JetStream; nothing if it cannot be reached.
    async fn ask(&self, node: usize) -> Option<Value> {
        let url = format!("http://{}:8222/jsz?accounts=true&streams=true", self.network.address(node));
        let text = self.client.get(url).send().await.ok()?.text().await.ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Waits until the cluster takes requests.
    async fn ready(&self) {
        let leader = || async { self.ask(0).await?["meta_cluster"]["leader"].as_str().map(str::to_owned) };
        until("a leader of the cluster", LIMIT, leader).await;
        let complete = || async { (self.ask(0).await?["meta_cluster"]["cluster_size"] == NODES).then_some(()) };
        until("all nodes", LIMIT, complete).await;
    }

    /// The node that leads the shard, as `node` sees it, and whether all others follow it closely.
    async fn leader(&self, node: usize) -> Option<(usize, bool)> {
        let state = self.ask(node).await?;
        let streams = state["account_details"].as_array()?.iter().filter_map(|one| one["stream_detail"].as_array());
        let shard = streams.flatten().find(|stream| stream["name"] == SHARD)?;
        let leader = shard["cluster"]["leader"].as_str()?.strip_prefix("node-")?.parse().ok()?;
        let follows = |replica: &Value| replica["current"] == true && replica["offline"] != true;
        // Only the leader knows how the others are.
        let followers = shard["cluster"]["replicas"].as_array()?;
        Some((leader, followers.len() == NODES - 1 && followers.iter().all(follows)))
    }

    /// The leader of the shard once all three nodes are in step.
    async fn leader_of_all(&self) -> usize {
        let in_step = || async {
            let (leader, _) = self.leader(0).await?;
            let (same, complete) = self.leader(leader).await?;
            (same == leader && complete).then_some(leader)
        };
        until("all nodes in step", LIMIT, in_step).await
    }
}

impl Deployment {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let nodes = Nodes::new();
        let servers = (0..NODES).map(|node| nodes.start_server(node, dir.path())).collect();
        nodes.ready().await;
        let [proxy, catalog] = free_ports();
        let lake = Lake { uri: format!("http://127.0.0.1:{catalog}"), properties: Vec::new() };
        write_config(dir.path(), &nodes.network, proxy, catalog);
        let catalog = start_role(dir.path(), "catalog", &["catalog"], CONFIG, &[]);
        answers(&format!("{}/v1/config", lake.uri), &catalog).await;
        let stream = ["--shards", "2", "--replicas", "3", "--on-missing-table", "create", "--max-bytes", "1GiB"];
        let stream = [["stream", "create", "default"].as_slice(), &stream].concat();
        succeeded(frazil(dir.path(), CONFIG, &stream).await);
        let token = token_for_all(dir.path(), CONFIG).await;
        let api = Api::new(&format!("http://127.0.0.1:{proxy}"), &token);
        let proxy = start_role(dir.path(), "proxy", &["proxy"], CONFIG, &[]);
        answers(&format!("{}/readyz", api.url), &proxy).await;
        let writer = start_role(dir.path(), "writer", &["writer", "--ordinal", "0", "--replicas", "1"], CONFIG, &[]);
        Self { api, lake, nodes, _roles: vec![proxy, writer, catalog], _servers: servers, _dir: dir }
    }
}

fn write_config(dir: &Path, network: &Network, proxy: u16, catalog: u16) {
    let servers: Vec<String> = (0..NODES).map(|node| format!("nats://{}:4222", network.address(node))).collect();
    let text = format!(
        r#"
[nats]
servers = {servers:?}
control_replicas = 3

[proxy]
listen = "127.0.0.1:{proxy}"

[writer]
admin_listen = "127.0.0.1:0"
flush_interval = "1s"

[catalog]
listen = "127.0.0.1:{catalog}"
admin_listen = "127.0.0.1:0"
database = "{dir}/catalog.db"
warehouse = "file://{dir}/warehouse"

[catalogs.frazil]
uri = "http://127.0.0.1:{catalog}"
"#,
        dir = dir.display()
    );
    std::fs::write(dir.join(CONFIG), text).expect("temporary file");
}

/// A keyed load of some 1,000 events a second until `stop`; returns how many events there are, all of them acknowledged, and the newest receipts.
async fn load_until(api: Api, acked: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> (u64, Vec<String>) {
    const ROUND: u64 = 200;
    let (mut total, mut receipts) = (0, Vec::new());
    let mut pace = tokio::time::interval(Duration::from_millis(200));
    // What was missed in a partition is not made up for.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let load = Load {
            apis: vec![api.clone()],
            table: TABLE.to_owned(),
            key_prefix: "partition".to_owned(),
            total: total + ROUND,
            batch: 40,
            connections: 5,
            acked: Arc::clone(&acked),
        };
        receipts = load.run_from(total).await.receipts;
        total += ROUND;
    }
    (total, receipts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_goes_on_without_its_leader_and_loses_nothing() {
    let deployment = Deployment::start().await;
    let Deployment { api, nodes, .. } = &deployment;
    let (acked, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let more = async |count: u64| {
        let goal = acked.load(Ordering::Relaxed) + count;
        until("more acknowledged events", LIMIT, || async { (acked.load(Ordering::Relaxed) >= goal).then_some(()) })
            .await;
    };
    let mut running = JoinSet::new();
    running.spawn(load_until(api.clone(), Arc::clone(&acked), Arc::clone(&stop)));
    for turn in 0..2 {
        more(1000).await;
        let leader = nodes.leader_of_all().await;
        nodes.network.isolate(leader);
        let (since, other) = (Instant::now(), (leader + 1) % NODES);
        let elected = || async { nodes.leader(other).await.map(|(now, _)| now).filter(|now| *now != leader) };
        let next = until("another leader", LIMIT, elected).await;
        let election = since.elapsed();
        more(1000).await;
        println!(
            "node {leader} isolated; node {next} led after {election:?}, 1,000 events after {:?}",
            since.elapsed()
        );
        // From the door to the table, with two nodes.
        let probe = format!("{{\"id\":{turn}}}");
        api.commit_through("e2e.partitioned_probe", &format!("probe-{turn}"), &probe).await;
        assert!(nodes.ask(leader).await.is_none(), "the node was reachable all the time");
        nodes.network.heal(leader);
    }
    nodes.leader_of_all().await;
    more(500).await;
    stop.store(true, Ordering::Relaxed);
    let (total, receipts) = running.join_next().await.expect("one load runs").expect("the load does not panic");
    for receipt in &receipts {
        api.wait_committed(receipt).await;
    }
    println!("{total} events");
    deployment.lake.assert_exactly_once(TABLE, total).await;
    deployment.lake.assert_exactly_once("e2e.partitioned_probe", 2).await;
    let letters = deployment.lake.profile(Engine::PyIceberg, &format!("{TABLE}__dead_letter"), &[]).await;
    assert_eq!(letters.rows, None);
}
