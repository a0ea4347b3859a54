//! Puts a deployment together, from the store upwards.

use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use tokio::process::Command;

use crate::faults::Front;
use crate::lake::Lake;
use crate::nats_cluster::Node;
use crate::{seaweed, tools, until};

use super::{
    Direct, Disk, Journal, Launch, MAX_WRITERS, NatsNode, Options, PROXIES, READY, Role, RoleConfig, STREAMS, WRITERS,
    Wires, World, frazil, writer_launch,
};
use crate::clock;
use crate::crash::ports::Ports;
use crate::crash::role::RoleKind;
use crate::crash::wires::between;

pub(super) async fn build(options: &Options) -> World {
    let temporary = options.dir.is_none().then(|| tempfile::tempdir().expect("temporary folder"));
    let dir = options.dir.clone().or_else(|| Some(temporary.as_ref()?.path().to_owned())).expect("one of the two");
    std::fs::create_dir_all(&dir).expect("the run's folder can be made");
    clock::build(&dir).await;
    let (mut ports, mut wires) = (Ports::default(), Wires::default());
    let store_plan = seaweed::Plan::new(&dir);
    let store = Role::new("store", RoleKind::Store, Launch::of(&store_plan.command()), &dir);
    store.start().await;
    let store_front = Front::start(&store_plan.endpoint()).await;
    let nats = log_nodes(options, &dir, &mut ports, &mut wires);
    for node in &nats {
        node.role.start().await;
    }
    store_plan.ready(READY).await;

    let catalog_port = ports.take();
    let own_store = wires.add("catalog", "store", port_of(&store_front.url));
    // It uses neither the log nor itself; a configuration names them all the same.
    let nats_ports = direct_ports(&nats);
    let config =
        RoleConfig { nats: nats_ports, catalog: catalog_port, store: own_store, listen: catalog_port, admin: 0 };
    let catalog = role(&dir, "catalog", RoleKind::Catalog, &config, &["catalog"]);
    catalog.start().await;
    let catalog_url = format!("http://127.0.0.1:{catalog_port}");
    answers(&format!("{catalog_url}/v1/config")).await;
    let catalog_front = Front::start(&catalog_url).await;

    let upstream = Upstream { catalog: port_of(&catalog_front.url), store: port_of(&store_front.url) };
    let (proxies, proxy_urls) = proxies(&dir, &mut ports, &mut wires, &nats, &upstream);
    let (writers, metrics) = writers(&dir, &mut ports, &mut wires, &nats, &upstream);
    let lake = Lake { uri: catalog_url, properties: seaweed::properties(&store_plan.endpoint()) };
    let world = World {
        journal: Arc::new(Journal::new(&dir)),
        wires,
        catalog_front,
        store_front,
        nats,
        catalog,
        store,
        proxies,
        writers,
        replicas: AtomicU32::new(WRITERS),
        expired_commits: Mutex::default(),
        direct: Direct { proxies: proxy_urls, metrics, lake, token: String::new() },
        dir,
        _temporary: temporary,
    };
    populate(world, store_plan.port(), catalog_port).await
}

/// Addresses of what all roles share, behind its front.
struct Upstream {
    catalog: u16,
    store: u16,
}

/// Stream definitions and a token, then the roles that need them.
async fn populate(mut world: World, store: u16, catalog: u16) -> World {
    world.log_ready().await;
    let admin = RoleConfig { nats: direct_ports(&world.nats), catalog, store, ..RoleConfig::default() };
    admin.write(&world.dir, "admin");
    let replicas = if world.nats.len() == 3 { "3" } else { "1" };
    run(&world.dir, &["init"]).await;
    for (stream, shards) in STREAMS {
        let shards = shards.to_string();
        let create = ["stream", "create", stream, "--shards", &shards, "--replicas", replicas];
        let more = ["--on-missing-table", "create", "--max-bytes", "8GiB", "--dedupe-window", "10m"];
        run(&world.dir, &[&create[..], &more].concat()).await;
    }
    let token = run(&world.dir, &["token", "create", "--name", "crash", "--stream", "*", "--table", "*"]).await;
    let token = token.split_whitespace().find(|word| word.starts_with("frz_")).expect("the token is printed");
    world.direct.token = token.to_owned();
    for role in world.proxies.iter().chain(world.writers.iter().take(WRITERS as usize)) {
        role.start().await;
    }
    for url in &world.direct.proxies {
        answers(&format!("{url}/readyz")).await;
    }
    world
}

fn log_nodes(options: &Options, dir: &Path, ports: &mut Ports, wires: &mut Wires) -> Vec<NatsNode> {
    let names: Vec<String> = (0..options.nats).map(|index| format!("nats-{index}")).collect();
    let route_ports: Vec<u16> = names.iter().map(|_| ports.take()).collect();
    let mut nodes = Vec::new();
    for (name, route_port) in names.iter().zip(&route_ports) {
        let disk = options.disks.then(|| Disk::mount(dir, name));
        let store = disk.as_ref().map_or_else(|| dir.join(name), |disk| disk.path().join("jetstream"));
        let (port, monitor_port) = (ports.take(), ports.take());
        let node = Node { name: name.clone(), port, route_port: *route_port, monitor_port, store, sync: options.sync };
        let others = names.iter().zip(&route_ports).filter(|(other, _)| *other != name);
        let routes: Vec<u16> = others.map(|(other, port)| wires.add(name, other, *port)).collect();
        let config = node.configure(dir, &routes);
        let role = Role::new(name, RoleKind::Nats, Launch::of(&Node::command(&config)), dir);
        nodes.push(NatsNode { role, node, disk });
    }
    nodes
}

fn proxies(
    dir: &Path,
    ports: &mut Ports,
    wires: &mut Wires,
    nats: &[NatsNode],
    upstream: &Upstream,
) -> (Vec<Role>, Vec<String>) {
    let mut made = (Vec::new(), Vec::new());
    for index in 0..PROXIES {
        let (name, listen) = (format!("proxy-{index}"), ports.take());
        wires.add("client", &name, listen);
        let nats = nats.iter().map(|node| wires.add(&name, &node.node.name, node.node.port)).collect();
        let catalog = wires.add(&name, "catalog", upstream.catalog);
        // It never reads or writes files, so there is nothing to break on the way.
        let config = RoleConfig { nats, catalog, store: upstream.store, listen, admin: 0 };
        made.0.push(role(dir, &name, RoleKind::Proxy, &config, &["proxy"]));
        made.1.push(format!("http://127.0.0.1:{listen}"));
    }
    made
}

fn writers(
    dir: &Path,
    ports: &mut Ports,
    wires: &mut Wires,
    nats: &[NatsNode],
    upstream: &Upstream,
) -> (Vec<Role>, Vec<String>) {
    let mut made = (Vec::new(), Vec::new());
    for ordinal in 0..MAX_WRITERS {
        let (name, admin) = (format!("writer-{ordinal}"), ports.take());
        for node in nats {
            wires.add(&name, &node.node.name, node.node.port);
        }
        wires.add(&name, "catalog", upstream.catalog);
        wires.add(&name, "store", upstream.store);
        writer_config(wires, nats, &name, admin).write(dir, &name);
        made.0.push(Role::new(&name, RoleKind::Writer, writer_launch(dir, &name, ordinal, WRITERS), dir));
        made.1.push(format!("http://127.0.0.1:{admin}/metrics"));
    }
    made
}

/// The configuration of a writer over the wires of `name`.
pub(super) fn writer_config(wires: &Wires, nats: &[NatsNode], name: &str, admin: u16) -> RoleConfig {
    RoleConfig {
        nats: nats.iter().map(|node| wires.port(&between(name, &node.node.name))).collect(),
        catalog: wires.port(&between(name, "catalog")),
        store: wires.port(&between(name, "store")),
        listen: 0,
        admin,
    }
}

fn role(dir: &Path, name: &str, kind: RoleKind, config: &RoleConfig, arguments: &[&str]) -> Role {
    config.write(dir, name);
    Role::new(name, kind, frazil(dir, name, arguments), dir)
}

fn direct_ports(nats: &[NatsNode]) -> Vec<u16> {
    nats.iter().map(|node| node.node.port).collect()
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok()).expect("a URL that ends in a port")
}

async fn run(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(tools::frazil());
    command.args(arguments).arg("--config").arg(dir.join("admin.toml")).current_dir(dir).kill_on_drop(true);
    let output = command.output().await.expect("frazil runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "frazil {arguments:?} failed:\n{out}\n{err}");
    out.into_owned()
}

async fn answers(url: &str) {
    let client = reqwest::Client::new();
    let probe = || async { client.get(url).send().await.ok()?.status().is_success().then_some(()) };
    until(url, READY, probe).await;
}
