//! The hub over the in-memory log and catalog, in paused time.

use frazil_core::checkpoint::{Checkpoint, CheckpointDelta, Incarnation};
use frazil_core::rewind::HISTORY;
use frazil_core::schema::Schema;
use frazil_core::stream::{CommitNotice, Progress};
use futures::future::join_all;
use tokio::task::JoinSet;

use super::*;
use crate::publish::memory::MemoryLog;
use crate::tables::memory::{MemoryTables, TableFault};
use crate::tables::{TableCommits, TableError};

struct Rig {
    log: MemoryLog,
    tables: MemoryTables,
    receipts: Arc<Receipts>,
    drain: CancellationToken,
    tasks: JoinSet<()>,
}

fn shard() -> Shard {
    Shard::new("sales".parse().expect("valid"), 0)
}

fn table() -> TableName {
    "lake.web.clicks".parse().expect("valid")
}

fn receipt(last: u64) -> Receipt {
    Receipt { shard: shard(), incarnation: Incarnation(1), first: 1, last, table: table() }
}

fn notice(sequence: u64, snapshot_id: i64) -> CommitNotice {
    CommitNotice { table: table(), incarnation: Incarnation(1), sequence, snapshot_id }
}

fn commits(sequence: u64, snapshot_id: i64) -> TableCommits {
    let incarnation = Incarnation(1);
    let delta = CheckpointDelta { incarnation, start: 0, end: sequence };
    TableCommits {
        checkpoint: Some(Checkpoint { incarnation, sequence, at: None }),
        deltas: vec![(delta, snapshot_id)],
    }
}

fn committed(snapshot_id: i64) -> Progressed {
    Progressed::Committed { snapshot_id: Some(snapshot_id) }
}

impl Rig {
    async fn new(config: ProxyConfig) -> Self {
        let (log, tables) = (MemoryLog::default(), MemoryTables::new("lake"));
        log.recreate(&shard());
        tables.put(&table(), Schema::default());
        let source = Arc::new(tables.clone());
        let receipts = Receipts::new(Arc::new(log.clone()), source, Arc::new(config), Metrics::default());
        let (receipts, drain) = (Arc::new(receipts), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let (follower, stop) = (Arc::clone(&receipts), CancellationToken::new());
        tasks.spawn(async move { follower.follow(&stop).await });
        // The follower subscribes before it first waits.
        tokio::task::yield_now().await;
        Self { log, tables, receipts, drain, tasks }
    }

    async fn wait(&self, last: u64, seconds: u64) -> Progressed {
        let waited = self.receipts.wait(&receipt(last), Duration::from_secs(seconds), &self.drain).await;
        waited.expect("room to wait")
    }
}

#[tokio::test(start_paused = true)]
async fn a_notice_wakes_whoever_waits_for_it() {
    let rig = Rig::new(ProxyConfig::default()).await;
    let begun = Instant::now();
    let announce = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.log.announce(&shard(), notice(4, 40));
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.log.announce(&shard(), notice(9, 90));
    };
    let four = async { (rig.wait(4, 30).await, begun.elapsed()) };
    let five = async { (rig.wait(5, 30).await, begun.elapsed()) };
    let (four, five, ()) = tokio::join!(four, five, announce);
    assert_eq!(four, (committed(40), Duration::from_millis(300)));
    assert_eq!(five, (committed(90), Duration::from_millis(600)));
    assert_eq!(rig.tables.calls().commits, 0, "no table was loaded");
    assert_eq!(rig.receipts.look_up(&receipt(9)).await.expect("known"), committed(90));
    assert_eq!(rig.tasks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_notice_is_made_up_for_by_one_poll_for_all() {
    let rig = Rig::new(ProxyConfig::default()).await;
    let commit = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        rig.tables.set_commits(&table(), &shard(), commits(7, 70));
    };
    let begun = Instant::now();
    let (waited, ()) = tokio::join!(join_all((0..100).map(|_| rig.wait(7, 30))), commit);
    assert!(waited.iter().all(|progress| *progress == committed(70)));
    assert_eq!(begun.elapsed(), Duration::from_secs(6));
    assert_eq!(rig.tables.calls().commits, 3, "one every 2 s, not 100");
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_the_timeout_and_at_the_drain() {
    let rig = Rig::new(ProxyConfig::default()).await;
    let begun = Instant::now();
    assert_eq!(rig.wait(1, 3).await, Progressed::Stored);
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    rig.tables.set_fault(Some(TableFault::Hang));
    assert_eq!(rig.wait(1, 3).await, Progressed::Stored);
    assert_eq!(begun.elapsed(), Duration::from_secs(6), "a catalog that hangs holds nobody longer");
    let drain = async { rig.drain.cancel() };
    assert_eq!(tokio::join!(rig.wait(1, 30), drain).0, Progressed::Stored);
    assert_eq!(begun.elapsed(), Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn waiters_are_bounded() {
    let rig = Rig::new(ProxyConfig { max_waiters: 1, ..ProxyConfig::default() }).await;
    let second = async { rig.receipts.wait(&receipt(1), Duration::from_secs(1), &rig.drain).await };
    let (first, second) = tokio::join!(rig.wait(1, 1), second);
    assert_eq!(first, Progressed::Stored);
    assert!(matches!(second, Err(Rejection::Overloaded { bound: Bound::Waiters, .. })));
    assert_eq!(rig.receipts.metrics.waiters.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_table_and_the_watermark_are_asked_when_no_notice_has_told() {
    let rig = Rig::new(ProxyConfig::default()).await;
    assert_eq!(rig.receipts.look_up(&receipt(3)).await.expect("stored"), Progressed::Stored);
    rig.tables.set_commits(&table(), &shard(), commits(3, 30));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.receipts.look_up(&receipt(3)).await.expect("committed"), committed(30));
    rig.tables.set_fault(Some(TableFault::Error(TableError::Unavailable("down".to_owned()))));
    rig.log.set_progress(&shard(), Progress { incarnation: Incarnation(1), sequence: 8, at: None });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let beyond = rig.receipts.look_up(&receipt(8)).await.expect("committed");
    assert_eq!(beyond, Progressed::Committed { snapshot_id: None });
}

#[tokio::test(start_paused = true)]
async fn a_receipt_of_a_log_that_is_gone_is_told_so() {
    let rig = Rig::new(ProxyConfig::default()).await;
    rig.tables.set_commits(&table(), &shard(), commits(3, 30));
    rig.log.recreate(&shard());
    assert_eq!(rig.receipts.look_up(&receipt(3)).await.expect("committed before"), committed(30));
    assert!(matches!(rig.receipts.look_up(&receipt(4)).await, Err(Rejection::ReceiptGone)));
    rig.log.delete(&shard());
    assert!(matches!(rig.receipts.look_up(&receipt(4)).await, Err(Rejection::ReceiptGone)));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_of_events_that_the_log_lost_never_looks_committed() {
    let rig = Rig::new(ProxyConfig::default()).await;
    rig.log.lose(&shard(), 4);
    rig.tables.set_commits(&table(), &shard(), commits(HISTORY + 9, 90));
    assert_eq!(rig.receipts.look_up(&receipt(3)).await.expect("kept"), committed(90));
    assert!(matches!(rig.receipts.look_up(&receipt(4)).await, Err(Rejection::ReceiptGone)));
    assert_eq!(rig.wait(4, 3).await, Progressed::Stored);
    rig.log.announce(&shard(), notice(4, 40));
    assert_eq!(rig.wait(4, 3).await, committed(40), "a table had them before");
}
