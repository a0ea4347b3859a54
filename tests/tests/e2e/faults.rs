//! Exactly once under crashes, zombies and lost answers: first proof. Every seed is printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::faults::{Front, HttpFault, Requests};
use frazil_tests::load::Load;
use frazil_tests::until;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(300);

fn load(cluster: &Cluster, table: &str, total: u64) -> Load {
    Load {
        apis: vec![cluster.api.clone()],
        table: table.to_owned(),
        key_prefix: table.to_owned(),
        total,
        batch: 50,
        connections: 8,
        acked: Arc::new(AtomicU64::new(0)),
    }
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Writer,
    Proxy,
    Nats,
}

/// When to kill whom: at random numbers of acknowledged events, so that the kills spread over the load
/// however fast the machine is.
fn schedule(seed: u64, total: u64) -> Vec<(u64, Victim)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut victims = [vec![Victim::Writer; 10], vec![Victim::Proxy; 5], vec![Victim::Nats; 3]].concat();
    victims.shuffle(&mut random);
    let mut times: Vec<u64> = victims.iter().map(|_| random.random_range(total / 50..total * 9 / 10)).collect();
    times.sort_unstable();
    times.into_iter().zip(victims).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_every_role_under_load_loses_and_doubles_nothing() {
    const TOTAL: u64 = 200_000;
    let seed = std::env::var("FRAZIL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed} (FRAZIL_SEED={seed} repeats it)");
    let mut cluster = Cluster::start(Options::default()).await;
    let load = load(&cluster, "e2e.killed", TOTAL);
    let acked = load.acked.clone();
    let mut running = JoinSet::new();
    running.spawn(load.run());
    for (at, victim) in schedule(seed, TOTAL) {
        until("the load to go on", LIMIT, || async { (acked.load(Ordering::Relaxed) >= at).then_some(()) }).await;
        println!("kill -9 {victim:?} after {} acknowledged events", acked.load(Ordering::Relaxed));
        match victim {
            Victim::Writer => cluster.crash_writer(0).await,
            Victim::Proxy => cluster.crash_proxy().await,
            Victim::Nats => cluster.crash_nats().await,
        }
    }
    let report = running.join_next().await.expect("one load runs").expect("the load does not panic");
    println!("{} requests were sent again", report.retries);
    for receipt in &report.receipts {
        cluster.api.wait_committed(receipt).await;
    }
    cluster.lake.assert_exactly_once("e2e.killed", TOTAL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_one_ordinal_double_nothing() {
    const ROUND: u64 = 2_000;
    let mut cluster = Cluster::start(Options::default()).await;
    cluster.add_writer();
    let started = tokio::time::Instant::now();
    let mut total = 0;
    // Ids go on from round to round, as one long load for a minute.
    while started.elapsed() < Duration::from_secs(60) {
        let next = load(&cluster, "e2e.zombie", total + ROUND);
        let report = Load { key_prefix: "zombie".to_owned(), ..next }.run_from(total).await;
        total += ROUND;
        for receipt in &report.receipts {
            cluster.api.wait_committed(receipt).await;
        }
    }
    println!("{total} events went through two writers of ordinal 0");
    cluster.lake.assert_exactly_once("e2e.zombie", total).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_neither_lost_nor_repeated() {
    const TOTAL: u64 = 20_000;
    let status = |status| HttpFault::Status { status, retry_after: None, after_work: true };
    let losses = [status(500), status(504), HttpFault::Close { after_work: true }];
    let mut cluster = Cluster::start(Options { writers: 0, ..Options::default() }).await;
    let front = Front::start(&cluster.lake.uri).await;
    cluster.start_writer_with_catalog(&front.url);
    let mut running = JoinSet::new();
    running.spawn(load(&cluster, "e2e.unanswered", TOTAL).run());
    // Each kind of loss in turn for the time of a commit: at least twice, and as long as there is a load.
    let (mut total, mut report) = (TOTAL, None);
    for turn in 0.. {
        report = report.or_else(|| running.try_join_next());
        if report.is_some() && turn >= losses.len() * 2 {
            break;
        }
        let before = front.counts().after_work;
        front.set_for(Requests::Commits, losses[turn % losses.len()]);
        cluster.api.commit("e2e.unanswered", &format!("{{\"id\":{total},\"batch\":0,\"kind\":\"k\"}}")).await;
        assert!(front.counts().after_work > before, "a commit was answered");
        total += 1;
    }
    front.heal();
    let report = report.expect("the load has ended").expect("the load does not panic");
    for receipt in &report.receipts {
        cluster.api.wait_committed(receipt).await;
    }
    println!("{} answers to commits were lost", front.counts().after_work);
    cluster.lake.assert_exactly_once("e2e.unanswered", total).await;
}
