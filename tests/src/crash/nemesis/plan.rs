//! From a kind of fault to a fault: victims and durations, by the seed.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::Kind;
use super::faults::{
    ClockJump, DiskFull, Expire, Fault, Freeze, Http, HttpPart, Kill, Partition, PowerLoss, RollProxies, Twin,
    WireDown, Writers,
};
use crate::crash::topology::{World, tables};
use crate::faults::{HttpFault, WireFault};

/// A fault with what it takes and how long it lasts.
pub(super) struct Planned {
    pub(super) kind: Kind,
    pub(super) fault: Box<dyn Fault>,
    pub(super) takes: Vec<String>,
    pub(super) hold: Duration,
}

/// A fault of this kind, or none if the deployment has no victim for it now.
pub(super) async fn plan(kind: Kind, rng: &mut StdRng, world: &World) -> Option<Planned> {
    let (fault, takes) = match kind {
        Kind::KillProxy | Kind::FreezeProxy => process(kind, pick(rng, &proxies(world))?),
        Kind::KillWriter | Kind::FreezeWriter => process(kind, pick(rng, &world.active_writers())?),
        Kind::KillNats | Kind::FreezeNats => process(kind, pick(rng, &nodes(world))?),
        Kind::KillNatsLeader => process(kind, nodes(world)[world.leading_node().await?].clone()),
        Kind::KillNatsFollower => {
            let leader = world.leading_node().await?;
            let others: Vec<String> = remove(nodes(world), leader);
            process(kind, pick(rng, &others)?)
        }
        Kind::KillCatalog | Kind::FreezeCatalog => process(kind, world.catalog.name.clone()),
        Kind::KillStore | Kind::FreezeStore => process(kind, world.store.name.clone()),
        Kind::WireRefuse
        | Kind::WireReset
        | Kind::WireBlackHole
        | Kind::WireDelay
        | Kind::WireThrottle
        | Kind::WireLoseAnswers
        | Kind::WireLoseRequests => wire(wire_fault(kind, rng), pick(rng, &wires_in_use(world))?),
        Kind::PartitionNats => {
            let node = pick(rng, &nodes(world))?;
            let wires = world.wires.names().into_iter().filter(|wire| is_route(wire, &node)).collect();
            let fault = Partition { node, wires };
            let takes = fault.wires.clone();
            (Box::new(fault) as Box<dyn Fault>, takes)
        }
        Kind::CatalogStatus | Kind::CatalogHang | Kind::CatalogClose => http(HttpPart::Catalog, http_fault(kind, rng)),
        Kind::StoreStatus | Kind::StoreHang | Kind::StoreClose => http(HttpPart::Store, http_fault(kind, rng)),
        Kind::DiskFull => {
            let node = rng.random_range(0..world.nats.len());
            world.nats[node].disk.as_ref()?;
            (Box::new(DiskFull { node }) as Box<dyn Fault>, vec![format!("{}-disk", world.nats[node].role.name)])
        }
        Kind::PowerLossOne | Kind::PowerLossAll => power_loss(kind, rng, world)?,
        Kind::TwinWriter => {
            let writer = pick(rng, &world.active_writers())?;
            let takes = vec![format!("{writer}-twin")];
            (Box::new(Twin { writer, second: None }) as Box<dyn Fault>, takes)
        }
        Kind::RollWriters => writers(world, vec![world.replicas()]),
        Kind::ScaleWriters => writers(world, vec![4, 1]),
        Kind::RollProxies => (Box::new(RollProxies) as Box<dyn Fault>, proxies(world)),
        Kind::ClockJump => clock_jump(rng, world)?,
        Kind::ExpireSnapshots => {
            let table = pick(rng, &tables())?;
            (Box::new(Expire { table: table.clone() }) as Box<dyn Fault>, vec![table])
        }
    };
    Some(Planned { kind, fault, takes, hold: hold(kind, rng) })
}

/// How long a fault lasts.
fn hold(kind: Kind, rng: &mut StdRng) -> Duration {
    let millis = match kind {
        Kind::KillProxy | Kind::KillWriter | Kind::KillCatalog | Kind::KillStore => 100..6_000,
        Kind::KillNats | Kind::KillNatsLeader | Kind::KillNatsFollower => 100..8_000,
        Kind::PowerLossOne | Kind::PowerLossAll => 100..4_000,
        Kind::FreezeProxy | Kind::FreezeWriter | Kind::FreezeNats | Kind::FreezeCatalog | Kind::FreezeStore => {
            1_000..20_000
        }
        Kind::TwinWriter | Kind::ScaleWriters => 4_000..15_000,
        Kind::RollWriters | Kind::RollProxies | Kind::ExpireSnapshots => 1..1_000,
        _ => 1_000..12_000,
    };
    Duration::from_millis(rng.random_range(millis))
}

fn process(kind: Kind, role: String) -> (Box<dyn Fault>, Vec<String>) {
    let takes = vec![role.clone()];
    match kind {
        Kind::FreezeProxy | Kind::FreezeWriter | Kind::FreezeNats | Kind::FreezeCatalog | Kind::FreezeStore => {
            (Box::new(Freeze { role }), takes)
        }
        _ => (Box::new(Kill { role }), takes),
    }
}

fn wire(fault: WireFault, wire: String) -> (Box<dyn Fault>, Vec<String>) {
    let takes = vec![wire.clone()];
    (Box::new(WireDown { wire, fault }), takes)
}

fn wire_fault(kind: Kind, rng: &mut StdRng) -> WireFault {
    match kind {
        Kind::WireRefuse => WireFault::Refuse,
        Kind::WireReset => WireFault::Reset,
        Kind::WireBlackHole => WireFault::BlackHole,
        Kind::WireDelay => WireFault::Delay { each_way: Duration::from_millis(rng.random_range(10..1_500)) },
        Kind::WireThrottle => WireFault::Throttle { bytes_per_second: 10_000 },
        Kind::WireLoseAnswers => WireFault::LoseAnswers,
        _ => WireFault::LoseRequests,
    }
}

fn http(part: HttpPart, fault: HttpFault) -> (Box<dyn Fault>, Vec<String>) {
    (Box::new(Http { part, fault }), vec![part.name().to_owned()])
}

fn http_fault(kind: Kind, rng: &mut StdRng) -> HttpFault {
    let after_work = rng.random();
    match kind {
        Kind::CatalogStatus | Kind::StoreStatus => {
            let status = *[500, 503, 429, 409].choose(rng).expect("four statuses");
            // A conflict that is none is what a catalog says of work that was not done, or of a repeated request.
            HttpFault::Status { status, retry_after: rng.random_bool(0.5).then_some(1), after_work }
        }
        Kind::CatalogHang | Kind::StoreHang => HttpFault::Hang { after_work },
        _ => HttpFault::Close { after_work },
    }
}

fn power_loss(kind: Kind, rng: &mut StdRng, world: &World) -> Option<(Box<dyn Fault>, Vec<String>)> {
    let nodes: Vec<usize> = match kind {
        Kind::PowerLossOne => vec![rng.random_range(0..world.nats.len())],
        _ => (0..world.nats.len()).collect(),
    };
    world.nats[nodes[0]].disk.as_ref()?;
    let takes = nodes.iter().map(|node| world.nats[*node].role.name.clone()).collect();
    let seed = rng.random_bool(0.5).then(|| rng.random());
    Some((Box::new(PowerLoss { nodes, seed }), takes))
}

/// A jump of up to a day. Only a proxy's goes far ahead: the times of commits never go back, so a writer or a catalog
/// that once was a day ahead would leave the report without times of commits.
fn clock_jump(rng: &mut StdRng, world: &World) -> Option<(Box<dyn Fault>, Vec<String>)> {
    const LEAST_MS: f64 = 100.0;
    const DAY_MS: f64 = 86_400_000.0;
    let proxies = proxies(world);
    let all: Vec<String> =
        proxies.iter().cloned().chain(world.active_writers()).chain([world.catalog.name.clone()]).collect();
    let role = pick(rng, &all)?;
    let ahead = rng.random::<bool>();
    let most = if ahead && !proxies.contains(&role) { 2_000.0 } else { DAY_MS };
    // Small ones as often as large ones.
    let length = (LEAST_MS * f64::powf(most / LEAST_MS, rng.random())) as i64;
    let takes = vec![format!("clock of {role}")];
    Some((Box::new(ClockJump { role, offset_ms: if ahead { length } else { -length } }), takes))
}

/// Restarts and scales take every writer, also those that do not run now.
fn writers(world: &World, steps: Vec<u32>) -> (Box<dyn Fault>, Vec<String>) {
    let takes = world.writers.iter().map(|role| role.name.clone()).collect();
    (Box::new(Writers { steps, back_to: world.replicas() }), takes)
}

fn proxies(world: &World) -> Vec<String> {
    world.proxies.iter().map(|role| role.name.clone()).collect()
}

fn nodes(world: &World) -> Vec<String> {
    world.nats.iter().map(|node| node.role.name.clone()).collect()
}

fn remove(mut names: Vec<String>, index: usize) -> Vec<String> {
    names.remove(index);
    names
}

/// All wires but those of writers that do not run now.
fn wires_in_use(world: &World) -> Vec<String> {
    let active = world.active_writers();
    let in_use = |wire: &String| {
        let from = wire.split('>').next().unwrap_or_default();
        !from.starts_with("writer-") || active.iter().any(|writer| writer == from)
    };
    world.wires.names().into_iter().filter(in_use).collect()
}

/// Whether the wire is a route between `node` and another node.
fn is_route(wire: &str, node: &str) -> bool {
    let ends: Vec<&str> = wire.split('>').collect();
    ends.iter().all(|end| end.starts_with("nats-")) && ends.contains(&node)
}

fn pick(rng: &mut StdRng, names: &[String]) -> Option<String> {
    names.choose(rng).cloned()
}
