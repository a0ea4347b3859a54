//! One run from start to report.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::nats_cluster::Sync;

use super::checker;
use super::journal::now_ms;
use super::ledger::Ledger;
use super::load::{Load, Stop};
use super::nemesis::{Group, Kind, Nemesis};
use super::quiesce::quiesce;
use super::report::{Report, Versions};
use super::timeline::Span;
use super::topology::{Options, STREAMS, World, tables};

/// Connections of the load.
const CONNECTIONS: u64 = 24;
/// Load without faults before the first one, so that every table exists and every role has worked.
const CALM: Duration = Duration::from_secs(5);

/// What to do in a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long faults are injected.
    pub length: Duration,
    /// Decides the mix.
    pub seed: u64,
    /// Nodes of the log: 1 or 3.
    pub nats: usize,
    /// When the nodes sync. The claim is only made for [`Sync::Always`].
    pub sync: Sync,
    /// Whether the nodes' disks can lose power and fill up, which needs FUSE.
    pub disks: bool,
    /// Events per second at most.
    pub rate: u64,
    /// Kinds of faults; those that the deployment has no victim for are left out.
    pub kinds: Vec<Kind>,
    /// How long everything may take to come to rest after the last fault.
    pub settle: Duration,
    /// Where data and logs go; a temporary folder if none.
    pub dir: Option<PathBuf>,
    /// Ends the faults early, for example when the user interrupts.
    pub interrupt: CancellationToken,
}

impl Settings {
    /// The usual run of this length: all kinds, 5,000 events/s, two minutes to settle.
    pub fn new(length: Duration, seed: u64, nats: usize) -> Self {
        Self {
            length,
            seed,
            nats,
            sync: Sync::Always,
            disks: true,
            rate: 5_000,
            kinds: Kind::all(),
            settle: Duration::from_secs(120),
            dir: None,
            interrupt: CancellationToken::new(),
        }
    }

    /// The kinds that this deployment has victims for.
    fn possible_kinds(&self) -> Vec<Kind> {
        let possible = |kind: &Kind| match kind.group() {
            Group::Any => true,
            Group::Cluster => self.nats > 1,
            Group::Disks => self.disks,
        };
        self.kinds.iter().copied().filter(possible).collect()
    }
}

/// How many nodes the log has when nobody says: single servers and clusters alternate by the seed.
pub fn nodes_by_seed(seed: u64) -> usize {
    if seed.is_multiple_of(2) { 3 } else { 1 }
}

/// Does a run. The folder keeps logs and data unless it is a temporary one.
///
/// # Panics
/// If the deployment does not start, or the checker cannot read the tables.
pub async fn run(settings: &Settings) -> Report {
    let Settings { nats, sync, disks, dir, .. } = settings.clone();
    // At the start: the files may be changed while a long run goes on.
    let mut versions = Versions::collect();
    let world = Arc::new(World::start(&Options { nats, sync, disks, dir }).await);
    let ledger = Arc::new(Ledger::default());
    let mut background = JoinSet::new();
    background.spawn(supervise(world.clone()));
    background.spawn(progress(ledger.clone()));

    let tables = tables();
    let stop = Stop::default();
    let load = load(&world, &tables, settings);
    let mut loading = JoinSet::new();
    loading.spawn(load.run(ledger.clone(), stop.clone()));
    world.journal.note(&format!("load starts, seed {}", settings.seed));
    let from_ms = now_ms();
    wait(CALM, &settings.interrupt).await;

    let nemesis =
        Nemesis::new(world.clone(), &settings.possible_kinds(), settings.seed, settings.interrupt.child_token());
    let mut faults = JoinSet::new();
    faults.spawn(nemesis.clone().run());
    wait(settings.length, &settings.interrupt).await;
    nemesis.stop();
    while let Some(done) = faults.join_next().await {
        done.expect("the nemesis does not panic");
    }
    let to_ms = now_ms();
    world.journal.note("all faults are healed, no more new requests");
    let violations = settle(&world, &ledger, &stop, loading, settings).await;

    let file = world.dir().join("ledger.csv");
    ledger.write(&file, &tables);
    world.journal.note("reading the tables");
    let verdict = checker::check(&file, &world.direct.lake).await;
    versions.engines.clone_from(&verdict.versions);
    background.shutdown().await;
    let span = Span { from_ms, to_ms };
    let report = Report::new(settings, versions, span, &world, &ledger, nemesis.injected(), verdict, violations);
    report.write(world.dir());
    report
}

/// Lets the load end and everything come to rest; returns what did not.
async fn settle(
    world: &Arc<World>,
    ledger: &Ledger,
    stop: &Stop,
    mut loading: JoinSet<()>,
    settings: &Settings,
) -> Vec<String> {
    let started = Instant::now();
    stop.sending.cancel();
    let mut violations = Vec::new();
    if tokio::time::timeout(settings.settle, loading.join_next()).await.is_err() {
        violations.push(format!("keyed requests are not acknowledged {:?} after the last fault", settings.settle));
        stop.retrying.cancel();
        loading.join_next().await;
    }
    world.journal.note(&format!("every request has an outcome after {:.1} s", started.elapsed().as_secs_f64()));
    let left = settings.settle.saturating_sub(started.elapsed()).max(Duration::from_secs(30));
    violations.extend(quiesce(world, ledger, settings.seed, left).await);
    world.journal.note(&format!("at rest after {:.1} s", started.elapsed().as_secs_f64()));
    violations
}

fn load(world: &World, tables: &[String], settings: &Settings) -> Load {
    Load {
        proxies: world.clients(),
        token: world.direct.token.clone(),
        streams: STREAMS.iter().map(|(stream, _)| (*stream).to_owned()).collect(),
        tables: tables.to_vec(),
        rate: settings.rate,
        connections: CONNECTIONS,
        seed: settings.seed,
    }
}

async fn supervise(world: Arc<World>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    loop {
        ticks.tick().await;
        world.supervise().await;
    }
}

/// One line that is written over and over, if somebody watches.
async fn progress(ledger: Arc<Ledger>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let (acked, silence) = (ledger.acked_events(), ledger.since_ack_ms().min(9_999_999) / 1_000);
        eprint!("\r{acked} events acknowledged, the last {silence} s ago   \r");
        // Nobody is hurt if the terminal is gone.
        let _ = std::io::stderr().flush();
    }
}

async fn wait(length: Duration, interrupt: &CancellationToken) {
    tokio::select! {
        () = interrupt.cancelled() => {}
        () = tokio::time::sleep(length) => {}
    }
}
