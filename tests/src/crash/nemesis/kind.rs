//! The kinds of faults by name, as `--only`, `--without` and reports have them.

use serde::Serialize;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `kill -9` of a proxy.
    KillProxy,
    /// `kill -9` of a writer.
    KillWriter,
    /// `kill -9` of any node of the log.
    KillNats,
    /// `kill -9` of the node that leads most shards.
    KillNatsLeader,
    /// `kill -9` of another node than that.
    KillNatsFollower,
    /// `kill -9` of the catalog.
    KillCatalog,
    /// `kill -9` of the object store.
    KillStore,
    /// SIGSTOP and SIGCONT of a proxy.
    FreezeProxy,
    /// SIGSTOP and SIGCONT of a writer.
    FreezeWriter,
    /// SIGSTOP and SIGCONT of a node of the log.
    FreezeNats,
    /// SIGSTOP and SIGCONT of the catalog.
    FreezeCatalog,
    /// SIGSTOP and SIGCONT of the object store.
    FreezeStore,
    /// A connection's port is closed.
    WireRefuse,
    /// Connections are reset as soon as they open.
    WireReset,
    /// Connections are open and nothing passes.
    WireBlackHole,
    /// Everything comes late.
    WireDelay,
    /// 10 kB/s.
    WireThrottle,
    /// The work is done, the answer is lost.
    WireLoseAnswers,
    /// Requests are lost on their way.
    WireLoseRequests,
    /// A node of the log cannot reach the others.
    PartitionNats,
    /// The catalog answers 500, 503, 429 or 409, before or after it did the work.
    CatalogStatus,
    /// The catalog does not answer, before or after it did the work.
    CatalogHang,
    /// The catalog closes the connection, before or after it did the work.
    CatalogClose,
    /// The object store answers 500, 503, 429 or 409, before or after it did the work.
    StoreStatus,
    /// The object store does not answer, before or after it did the work.
    StoreHang,
    /// The object store closes the connection, before or after it did the work.
    StoreClose,
    /// The disk of a node of the log is full.
    DiskFull,
    /// A node of the log loses power, and what it had not synced.
    PowerLossOne,
    /// All nodes of the log lose power at once.
    PowerLossAll,
    /// A second writer with the same ordinal.
    TwinWriter,
    /// Writers are restarted one after the other.
    RollWriters,
    /// Writers go from two to four to one and back.
    ScaleWriters,
    /// Proxies are drained and restarted one after the other.
    RollProxies,
    /// The wall clock of a proxy, a writer or the catalog jumps, and back.
    ClockJump,
    /// A maintenance job expires all snapshots of a table but the newest.
    ExpireSnapshots,
}

/// What a kind needs of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Nothing special.
    Any,
    /// More than one node of the log.
    Cluster,
    /// Disks that can fill up and lose power.
    Disks,
}

impl Kind {
    /// All kinds.
    pub fn all() -> Vec<Self> {
        clap::ValueEnum::value_variants().to_vec()
    }

    /// The name.
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self).expect("no kind is skipped");
        value.get_name().to_owned()
    }

    /// What it needs.
    pub fn group(self) -> Group {
        match self {
            Self::KillNatsLeader | Self::KillNatsFollower | Self::PartitionNats => Group::Cluster,
            Self::DiskFull | Self::PowerLossOne | Self::PowerLossAll => Group::Disks,
            _ => Group::Any,
        }
    }
}
