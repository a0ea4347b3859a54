//! The deployment under test: real servers, every pair of them connected through a wire.
//!
//! ```text
//! load ─► proxy ×2 ─► NATS ×1 or ×3 (each on a disk that can lose power) ◄─ writer ×1…4
//!            └─► front ─► catalog ─► front ─► S3 ◄── front ◄──────────────────┘
//! ```

mod build;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::faults::Front;
use crate::lake::Lake;
use crate::nats_cluster::{Node, Sync};
use crate::until;

use super::config::RoleConfig;
use super::disk::Disk;
use super::journal::Journal;
use super::role::{Launch, Role};
use super::wires::Wires;
use crate::clock;

/// Most writers that a run scales to; each has its own configuration and wires from the start.
pub const MAX_WRITERS: u32 = 4;
/// Writers of a run outside of scaling.
pub const WRITERS: u32 = 2;
/// Proxies of a run.
pub const PROXIES: usize = 2;
/// The streams of a run with their shards.
pub const STREAMS: [(&str, u32); 2] = [("orders", 2), ("clicks", 3)];

/// Tables of a run; each is fed by all streams.
pub fn tables() -> Vec<String> {
    (0..4).map(|index| format!("crash.t{index}")).collect()
}

/// How long a role may take to be ready at the start of a run.
const READY: Duration = Duration::from_secs(90);

/// What a run wants to differ.
#[derive(Debug, Clone)]
pub struct Options {
    /// Nodes of the log: 1 or 3.
    pub nats: usize,
    /// When the nodes sync.
    pub sync: Sync,
    /// Whether the nodes' disks can lose power and fill up, which needs FUSE.
    pub disks: bool,
    /// Where the data goes; a temporary folder if none.
    pub dir: Option<PathBuf>,
}

/// A node of the log.
#[derive(Debug)]
pub struct NatsNode {
    /// Its process.
    pub role: Role,
    /// How it is asked.
    pub node: Node,
    /// Its disk.
    pub disk: Option<Disk>,
}

/// The running deployment. Dropping it kills all of it.
#[derive(Debug)]
pub struct World {
    /// The run's journal.
    pub journal: Arc<Journal>,
    /// All wires.
    pub wires: Wires,
    /// Before the catalog.
    pub catalog_front: Front,
    /// Before the store.
    pub store_front: Front,
    /// The log.
    pub nats: Vec<NatsNode>,
    /// The catalog.
    pub catalog: Role,
    /// The S3 server.
    pub store: Role,
    /// The proxies.
    pub proxies: Vec<Role>,
    /// Writers by ordinal, as many as a run ever scales to.
    pub writers: Vec<Role>,
    replicas: AtomicU32,
    /// Times of commits whose snapshots were expired meanwhile.
    expired_commits: Mutex<Vec<u64>>,
    /// Addresses for those who test: past all wires and fronts.
    pub direct: Direct,
    dir: PathBuf,
    // Last, so that the processes end before their folder goes.
    _temporary: Option<TempDir>,
}

/// Addresses past all wires and fronts, and the token.
#[derive(Debug)]
pub struct Direct {
    /// Base URLs of the proxies.
    pub proxies: Vec<String>,
    /// URLs of the writers' metrics, by ordinal.
    pub metrics: Vec<String>,
    /// The catalog as query engines reach it.
    pub lake: Lake,
    /// Token for every stream and table.
    pub token: String,
}

impl World {
    /// Starts every role and waits until both proxies are ready.
    pub async fn start(options: &Options) -> Self {
        build::build(options).await
    }

    /// The folder with logs and data.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Base URLs of the proxies as clients reach them.
    pub fn clients(&self) -> Vec<String> {
        let name = |role: &Role| super::wires::between("client", &role.name);
        let url = |role: &Role| format!("http://127.0.0.1:{}", self.wires.port(&name(role)));
        self.proxies.iter().map(url).collect()
    }

    /// All roles.
    pub fn roles(&self) -> Vec<&Role> {
        let nats = self.nats.iter().map(|node| &node.role);
        nats.chain(&self.proxies).chain(&self.writers).chain([&self.catalog, &self.store]).collect()
    }

    /// The role of this name.
    ///
    /// # Panics
    /// If there is none.
    pub fn role(&self, name: &str) -> &Role {
        self.roles().into_iter().find(|role| role.name == name).expect("faults name existing roles")
    }

    /// How many writers there are now.
    pub fn replicas(&self) -> u32 {
        self.replicas.load(Ordering::Relaxed)
    }

    /// Names of the writers that there are now.
    pub fn active_writers(&self) -> Vec<String> {
        self.writers.iter().take(self.replicas() as usize).map(|role| role.name.clone()).collect()
    }

    /// Changes the number of writers the way a StatefulSet does: one writer after the other is ended and started with
    /// the new number, so that old and new owners overlap.
    pub async fn scale_writers(&self, replicas: u32) {
        let before = self.replicas.swap(replicas, Ordering::Relaxed);
        for ordinal in 0..before.max(replicas) {
            let role = &self.writers[ordinal as usize];
            role.end().await;
            if ordinal < replicas {
                role.relaunch(writer_launch(&self.dir, &role.name, ordinal, replicas));
                role.start().await;
            }
        }
    }

    /// A second process with the ordinal of a writer, over the same wires, not started yet.
    pub fn twin_of(&self, writer: &str) -> Role {
        let ordinal = self.writers.iter().position(|role| role.name == writer).expect("a writer");
        let ordinal = u32::try_from(ordinal).expect("there are few writers");
        let name = format!("{writer}-twin");
        let config = build::writer_config(&self.wires, &self.nats, writer, 0);
        config.write(&self.dir, &name);
        Role::new(
            &name,
            super::role::RoleKind::Writer,
            writer_launch(&self.dir, &name, ordinal, self.replicas()),
            &self.dir,
        )
    }

    /// Sets the clock of a role of the binary to the system's plus `offset_ms`, in milliseconds.
    pub fn set_clock(&self, role: &str, offset_ms: i64) {
        clock::set(&self.dir, role, offset_ms * 1_000_000);
    }

    /// Remembers the times of commits, a JSON array, that the tables will not; returns how many there are.
    pub fn remember_commits(&self, times: &str) -> usize {
        let times: Vec<u64> = serde_json::from_str(times).unwrap_or_default();
        let count = times.len();
        self.expired_commits.lock().expect("no panic while held").extend(times);
        count
    }

    /// The times that were remembered.
    pub fn expired_commits(&self) -> Vec<u64> {
        self.expired_commits.lock().expect("no panic while held").clone()
    }

    /// Starts again what has ended by itself.
    pub async fn supervise(&self) {
        for role in self.roles() {
            role.measure().await;
            if let Some(note) = role.supervise().await {
                self.journal.note(&note);
            }
        }
    }

    /// Index of the node that leads the shards of a run most, as the nodes see it now.
    pub async fn leading_node(&self) -> Option<usize> {
        for asked in &self.nats {
            let leaders = asked.node.leaders().await;
            let leads = |node: &NatsNode| leaders.iter().filter(|(_, leader)| *leader == node.node.name).count();
            if !leaders.is_empty() {
                return (0..self.nats.len()).max_by_key(|index| leads(&self.nats[*index]));
            }
        }
        None
    }

    /// Waits until every node of the log answers and the nodes know a leader.
    pub async fn log_ready(&self) {
        for node in &self.nats {
            let probe = || async { node.node.is_ready(self.nats.len()).await.then_some(()) };
            until(&node.role.name, READY, probe).await;
        }
    }
}

/// The command of a writer.
fn writer_launch(dir: &Path, name: &str, ordinal: u32, replicas: u32) -> Launch {
    let (ordinal, replicas) = (ordinal.to_string(), replicas.to_string());
    frazil(dir, name, &["writer", "--ordinal", &ordinal, "--replicas", &replicas])
}

/// A command of the binary with the configuration `name.toml` and a clock of its own.
fn frazil(dir: &Path, name: &str, arguments: &[&str]) -> Launch {
    let config = dir.join(format!("{name}.toml")).display().to_string();
    let arguments = arguments.iter().map(|text| (*text).to_owned()).chain(["--config".to_owned(), config]);
    let environment = clock::environment(dir, name);
    Launch { program: crate::tools::frazil(), arguments: arguments.collect(), environment }
}
