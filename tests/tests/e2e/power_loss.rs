//! Power loss of the log's nodes, and damage to their files: what was acknowledged survives if NATS syncs, and what
//! is lost all the same is reported. The disks are `frazil-powerfs`. Every seed is printed.

mod machines;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use frazil_powerfs::{Keep, flip_bit, truncate_tail};
use frazil_tests::lake::{Engine, Profile};
use frazil_tests::load::Load;
use frazil_tests::nats_cluster::Sync;
use frazil_tests::until;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use machines::{Machines, TABLE};

const LIMIT: Duration = Duration::from_secs(120);
/// Events per request.
const BATCH: u64 = 20;

fn seed() -> u64 {
    let seed = std::env::var("FRAZIL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed} (FRAZIL_SEED={seed} repeats it)");
    seed
}

fn load(machines: &Machines, total: u64, connections: u64) -> Load {
    Load {
        apis: vec![machines.api.clone()],
        table: TABLE.to_owned(),
        key_prefix: "power".to_owned(),
        total,
        batch: BATCH,
        connections,
        acked: Arc::new(AtomicU64::new(0)),
    }
}

/// Powers the machines of `outages` off and on again, one outage after the other, spread over a load; then every
/// acknowledged event must be in the table exactly once.
async fn assert_nothing_is_lost(mut machines: Machines, total: u64, outages: Vec<Vec<usize>>, mut random: StdRng) {
    machines.start_writer();
    let load = load(&machines, total, 8);
    let acked = load.acked.clone();
    let mut running = JoinSet::new();
    running.spawn(load.run());
    let between = total / (outages.len() as u64 + 1);
    for (at, nodes) in (1..).zip(outages) {
        let at = at * between - random.random_range(0..between / 2);
        until("the load to go on", LIMIT, || async { (acked.load(Ordering::Relaxed) >= at).then_some(()) }).await;
        let keep = if random.random() { Keep::Nothing } else { Keep::SomePages { seed: random.random() } };
        let dropped = machines.lose_power(&nodes, keep).await;
        let acked = acked.load(Ordering::Relaxed);
        println!("nodes {nodes:?} lost power after {acked} acknowledged events: {keep:?}, {dropped} bytes dropped");
        machines.power_on(&nodes).await;
    }
    let report = running.join_next().await.expect("one load runs").expect("the load does not panic");
    println!("{} requests were sent again", report.retries);
    for receipt in &report.receipts {
        machines.api.wait_committed(receipt).await;
    }
    machines.lake.assert_exactly_once(TABLE, total).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_that_always_syncs_loses_nothing_acknowledged() {
    let random = StdRng::seed_from_u64(seed());
    let machines = Machines::start(1, Sync::Always).await;
    assert_nothing_is_lost(machines, 60_000, vec![vec![0]; 6], random).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_that_always_sync_lose_nothing_acknowledged_when_one_or_all_lose_power() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut one = || vec![random.random_range(0..3)];
    let outages = vec![one(), vec![0, 1, 2], one(), vec![0, 1, 2]];
    let machines = Machines::start(3, Sync::Always).await;
    assert_nothing_is_lost(machines, 30_000, outages, random).await;
}

/// Requests of one connection, one after the other, each an envelope of its own, from `from` to `to` in events.
async fn send(machines: &Machines, from: u64, to: u64) {
    let report = load(machines, to, 1).run_from(from).await;
    assert_eq!(report.receipts.len(), 1, "one connection");
}

/// Starts the writer and holds the table against what was sent: whole requests, unaltered, each at most once; and as
/// many are missing as the writer reports. Returns the number of lost requests.
async fn lost_and_reported(machines: &mut Machines, total: u64) -> u64 {
    machines.start_writer();
    // Once this one is committed, all before it is, in a single shard.
    let probe = format!("{{\"id\":{total},\"batch\":{},\"kind\":\"k\"}}", total / BATCH);
    machines.api.commit_through(TABLE, &format!("probe-{total}"), &probe).await;
    let columns = ["id", "batch", "kind"];
    let Profile { rows, columns } = machines.lake.profile(Engine::PyIceberg, TABLE, &columns).await;
    let rows = rows.expect("the table exists") - 1;
    let (ids, batches) = (&columns["id"], &columns["batch"]);
    assert_eq!((ids.count, ids.distinct), (rows + 1, rows + 1), "no event is there twice");
    assert_eq!((rows % BATCH, batches.distinct), (0, rows / BATCH + 1), "requests are there whole or not at all");
    let (ids, batches) =
        (ids.sum.expect("a number") as u64 - total, batches.sum.expect("a number") as u64 - total / BATCH);
    assert_eq!(ids, BATCH * batches + rows / BATCH * (0..BATCH).sum::<u64>(), "ids are those of their batches");
    assert!(columns["kind"].distinct <= 8, "{:?}", columns["kind"]);
    let lost = total / BATCH - rows / BATCH;
    let reported = machines.writer_metric("frazil_writer_acknowledged_loss_envelopes_total").await;
    let unreadable = machines.writer_metric("frazil_writer_unreadable_messages_total").await;
    println!("{lost} acknowledged requests are lost; reported: {reported} lost, {unreadable} unreadable");
    assert_eq!(reported + unreadable, lost, "what is lost is reported, and nothing else");
    if lost > 0 {
        assert!(machines.writer_log().contains("ALARM"), "{}", machines.writer_log());
    }
    lost
}

/// Sends, damages the log of the stopped node, sends on; returns how many requests are lost, all of them reported.
async fn lost_by(machines: &mut Machines, damage: impl AsyncFnOnce(&mut Machines)) -> u64 {
    const BEFORE: u64 = 100 * BATCH;
    const AFTER: u64 = 150 * BATCH;
    send(machines, 0, BEFORE).await;
    damage(machines).await;
    send(machines, BEFORE, AFTER).await;
    lost_and_reported(machines, AFTER).await
}

/// The counterpart of the tests above: they can fail. NATS by itself syncs every two minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_syncs_by_default_loses_acknowledged_events_and_each_is_reported() {
    let mut random = StdRng::seed_from_u64(seed());
    for keep in [Keep::Nothing, Keep::SomePages { seed: random.random() }] {
        let mut machines = Machines::start(1, Sync::Default).await;
        // The stream itself was created long ago.
        machines.write_back();
        let lost = lost_by(&mut machines, async |machines| {
            let dropped = machines.lose_power(&[0], keep).await;
            println!("{keep:?}: {dropped} bytes dropped");
            assert!(dropped > 0, "nothing was waiting for a sync");
            machines.power_on(&[0]).await;
        });
        let lost = lost.await;
        assert!(lost > 0, "{keep:?}: nothing was lost");
    }
}

/// All that was lost is in the table already. What comes after it gets the same sequences of the log, which the table's
/// checkpoint covers.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_writer_goes_on_over_a_log_that_lost_its_tail() {
    const BEFORE: u64 = 100 * BATCH;
    const AFTER: u64 = 300 * BATCH;
    let mut machines = Machines::start(1, Sync::Default).await;
    machines.write_back();
    machines.start_writer();
    for (from, to) in [(0, BEFORE), (BEFORE, AFTER)] {
        let report = load(&machines, to, 1).run_from(from).await;
        for receipt in &report.receipts {
            machines.api.wait_committed(receipt).await;
        }
        if to == BEFORE {
            assert!(machines.lose_power(&[0], Keep::Nothing).await > 0, "nothing was waiting for a sync");
            machines.power_on(&[0]).await;
        }
    }
    machines.lake.assert_exactly_once(TABLE, AFTER).await;
    assert_eq!(machines.writer_metric("frazil_writer_log_rewinds_total").await, 1);
    assert_eq!(machines.writer_metric("frazil_writer_acknowledged_loss_envelopes_total").await, 0);
}

/// The largest file with messages of the stream on the disk of a node that is off.
fn block_of(disk: &Path) -> PathBuf {
    let folder = disk.join("jetstream/$G/streams/FRAZIL_default_0/msgs");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = entries.map(|entry| entry.expect("an entry").path());
    let blocks = files.filter(|path| path.extension().is_some_and(|extension| extension == "blk"));
    let size = |path: &PathBuf| std::fs::metadata(path).expect("a file").len();
    blocks.max_by_key(size).expect("the stream has a block")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_turned_in_the_log_is_never_ingested_and_what_it_costs_is_reported() {
    let seed = seed();
    for stopped_cleanly in [false, true] {
        let mut machines = Machines::start(1, Sync::Always).await;
        let lost = lost_by(&mut machines, async |machines| {
            if stopped_cleanly {
                machines.stop(0).await;
            } else {
                machines.lose_power(&[0], Keep::Nothing).await;
            }
            let block = block_of(machines.disk(0));
            let at = flip_bit(&block, seed).expect("the block can be written");
            println!("stopped cleanly: {stopped_cleanly}; bit turned at byte {at} of {}", block.display());
            machines.power_on(&[0]).await;
        });
        let lost = lost.await;
        // With its index nats-server does not look at the block until it reads the message.
        let expected = if stopped_cleanly { 1..=1 } else { 1..=100 };
        assert!(expected.contains(&lost), "{lost} requests are lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_cut_short_is_reported_by_what_it_misses() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut machines = Machines::start(1, Sync::Always).await;
    let lost = lost_by(&mut machines, async |machines| {
        machines.lose_power(&[0], Keep::Nothing).await;
        let block = block_of(machines.disk(0));
        let length = std::fs::metadata(&block).expect("a file").len();
        let cut = random.random_range(1..length / 2);
        println!("{cut} bytes of {length} are cut off {}", block.display());
        truncate_tail(&block, cut).expect("the block can be written");
        machines.power_on(&[0]).await;
    });
    assert!(lost.await > 0, "nothing was lost");
}
