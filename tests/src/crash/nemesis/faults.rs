//! The faults themselves: how each is injected and healed. Their `Display` is what the journal says.

use std::fmt;

use async_trait::async_trait;
use futures::future::join_all;

use crate::crash::role::Role;
use crate::crash::topology::World;
use crate::faults::{Front, HttpFault, WireFault};
use crate::lake::try_python;

/// A fault. Injected once, then healed once.
#[async_trait]
pub(super) trait Fault: fmt::Display + Send + Sync {
    /// Makes it happen.
    async fn inject(&mut self, world: &World);
    /// Ends it; everything it touched works again, or will by itself.
    async fn heal(&mut self, world: &World);
}

/// `kill -9`.
pub(super) struct Kill {
    pub(super) role: String,
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kill -9 {}", self.role)
    }
}

#[async_trait]
impl Fault for Kill {
    async fn inject(&mut self, world: &World) {
        world.role(&self.role).kill9().await;
    }

    async fn heal(&mut self, world: &World) {
        world.role(&self.role).start().await;
    }
}

/// A process that stands still and does not know it.
pub(super) struct Freeze {
    pub(super) role: String,
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "freeze {}", self.role)
    }
}

#[async_trait]
impl Fault for Freeze {
    async fn inject(&mut self, world: &World) {
        world.role(&self.role).freeze().await;
    }

    async fn heal(&mut self, world: &World) {
        world.role(&self.role).thaw().await;
    }
}

/// A fault of one wire.
pub(super) struct WireDown {
    pub(super) wire: String,
    pub(super) fault: WireFault,
}

impl fmt::Display for WireDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} on {}", self.fault, self.wire)
    }
}

#[async_trait]
impl Fault for WireDown {
    async fn inject(&mut self, world: &World) {
        world.wires.set(&self.wire, self.fault);
    }

    async fn heal(&mut self, world: &World) {
        world.wires.heal(&self.wire);
    }
}

/// A node of the log that clients reach and other nodes do not.
pub(super) struct Partition {
    pub(super) node: String,
    pub(super) wires: Vec<String>,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition of {} from the other nodes", self.node)
    }
}

#[async_trait]
impl Fault for Partition {
    async fn inject(&mut self, world: &World) {
        self.wires.iter().for_each(|wire| world.wires.set(wire, WireFault::BlackHole));
    }

    async fn heal(&mut self, world: &World) {
        self.wires.iter().for_each(|wire| world.wires.heal(wire));
    }
}

/// A service that speaks HTTP.
#[derive(Debug, Clone, Copy)]
pub(super) enum HttpPart {
    Catalog,
    Store,
}

impl HttpPart {
    /// Its front's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Catalog => "front of the catalog",
            Self::Store => "front of the store",
        }
    }

    fn front(self, world: &World) -> &Front {
        match self {
            Self::Catalog => &world.catalog_front,
            Self::Store => &world.store_front,
        }
    }
}

/// Wrong or missing answers.
pub(super) struct Http {
    pub(super) part: HttpPart,
    pub(super) fault: HttpFault,
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} from the {}", self.fault, self.part.name())
    }
}

#[async_trait]
impl Fault for Http {
    async fn inject(&mut self, world: &World) {
        self.part.front(world).set(self.fault);
    }

    async fn heal(&mut self, world: &World) {
        self.part.front(world).set(HttpFault::None);
    }
}

/// No room on the disk of a node.
pub(super) struct DiskFull {
    pub(super) node: usize,
}

impl fmt::Display for DiskFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "full disk of nats-{}", self.node)
    }
}

impl DiskFull {
    fn set(&self, world: &World, full: bool) {
        if let Some(disk) = &world.nats[self.node].disk {
            disk.full(full);
        }
    }
}

#[async_trait]
impl Fault for DiskFull {
    async fn inject(&mut self, world: &World) {
        self.set(world, true);
    }

    async fn heal(&mut self, world: &World) {
        self.set(world, false);
    }
}

/// Nodes that lose power at once, and what they had not synced: all of it, or all but some pages.
pub(super) struct PowerLoss {
    pub(super) nodes: Vec<usize>,
    pub(super) seed: Option<u64>,
}

impl fmt::Display for PowerLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = if self.seed.is_some() { "some" } else { "no" };
        write!(f, "power loss of nats {:?}, {kept} unsynced pages kept", self.nodes)
    }
}

#[async_trait]
impl Fault for PowerLoss {
    async fn inject(&mut self, world: &World) {
        let roles = self.nodes.iter().map(|node| &world.nats[*node].role);
        join_all(roles.map(Role::kill9)).await;
        for node in &self.nodes {
            if let Some(disk) = &world.nats[*node].disk {
                let lost = disk.lose_power(self.seed);
                world.journal.note(&format!("       nats-{node} lost {lost} bytes that were not synced"));
            }
        }
    }

    async fn heal(&mut self, world: &World) {
        join_all(self.nodes.iter().map(|node| world.nats[*node].role.start())).await;
    }
}

/// A second writer with the same ordinal. It ends without a warning.
pub(super) struct Twin {
    pub(super) writer: String,
    pub(super) second: Option<Role>,
}

impl fmt::Display for Twin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a second {}", self.writer)
    }
}

#[async_trait]
impl Fault for Twin {
    async fn inject(&mut self, world: &World) {
        let second = world.twin_of(&self.writer);
        second.start().await;
        self.second = Some(second);
    }

    async fn heal(&mut self, _world: &World) {
        if let Some(second) = self.second.take() {
            second.kill9().await;
        }
    }
}

/// Writers restarted one after the other, with other numbers of replicas on the way.
pub(super) struct Writers {
    pub(super) steps: Vec<u32>,
    pub(super) back_to: u32,
}

impl fmt::Display for Writers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rolling restart of {} writers over {:?}", self.back_to, self.steps)
    }
}

#[async_trait]
impl Fault for Writers {
    async fn inject(&mut self, world: &World) {
        for step in &self.steps {
            world.scale_writers(*step).await;
        }
    }

    async fn heal(&mut self, world: &World) {
        if world.replicas() != self.back_to {
            world.scale_writers(self.back_to).await;
        }
    }
}

/// Proxies drained and restarted one after the other.
pub(super) struct RollProxies;

impl fmt::Display for RollProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rolling restart of the proxies")
    }
}

#[async_trait]
impl Fault for RollProxies {
    async fn inject(&mut self, world: &World) {
        for role in &world.proxies {
            if !role.end().await {
                world.journal.note(&format!("       {} did not drain", role.name));
            }
            role.start().await;
        }
    }

    async fn heal(&mut self, _world: &World) {}
}

/// A wall clock that jumps, and back when it is healed.
pub(super) struct ClockJump {
    pub(super) role: String,
    /// Milliseconds; negative into the past.
    pub(super) offset_ms: i64,
}

impl fmt::Display for ClockJump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jump of the clock of {} by {} ms", self.role, self.offset_ms)
    }
}

#[async_trait]
impl Fault for ClockJump {
    async fn inject(&mut self, world: &World) {
        world.set_clock(&self.role, self.offset_ms);
    }

    async fn heal(&mut self, world: &World) {
        world.set_clock(&self.role, 0);
    }
}

/// A maintenance job of the table's owner. It fails if the catalog or the store does, or another commit comes first.
pub(super) struct Expire {
    pub(super) table: String,
}

impl fmt::Display for Expire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expiry of the snapshots of {}", self.table)
    }
}

#[async_trait]
impl Fault for Expire {
    async fn inject(&mut self, world: &World) {
        let own = ["--table".to_owned(), self.table.clone()];
        let arguments: Vec<String> = own.into_iter().chain(world.direct.lake.script_arguments()).collect();
        let said = match try_python("crash_expire.py", &arguments).await {
            Ok(expired) => format!("{} snapshots expired", world.remember_commits(&expired)),
            Err(said) => format!("the expiry failed: {}", said.trim().lines().last().unwrap_or_default()),
        };
        world.journal.note(&format!("       {said}"));
    }

    async fn heal(&mut self, _world: &World) {}
}
