//! What users do to a table while Frazil writes it under a steady load: roll it back, drop it, restore it, compact and
//! expire it, tag and branch it. The script counts every event; here are the numbers that must come out, with the
//! writer killed now and then. docs/operations.md says the same in words.

use std::panic::resume_unwind;
use std::time::Duration;

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::lake::python;
use serde_json::Value;
use tokio::task::JoinSet;

/// Long enough that a writer commits between two kills.
const BETWEEN_KILLS: Duration = Duration::from_secs(5);

/// Plays a scene of `table_life.py`; it fails if an event is twice or nowhere.
async fn play(scene: &str) -> Value {
    play_with(scene, true).await
}

async fn play_with(scene: &str, kills: bool) -> Value {
    let mut cluster = Cluster::start(Options::default()).await;
    let arguments = cluster.script_arguments(&[scene]);
    let mut playing = JoinSet::new();
    playing.spawn(async move { python("table_life.py", &arguments).await });
    loop {
        match tokio::time::timeout(BETWEEN_KILLS, playing.join_next()).await {
            Ok(ended) => {
                let text = ended.expect("one scene").unwrap_or_else(|failed| resume_unwind(failed.into_panic()));
                println!("{scene}: {text}");
                return serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            }
            Err(_) if kills => cluster.crash_writer(0).await,
            Err(_) => {}
        }
    }
}

fn count(counts: &Value, what: &str) -> u64 {
    counts[what].as_u64().unwrap_or_else(|| panic!("no {what} in {counts}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_takes_its_rows_and_nothing_else() {
    let counts = play("rollback").await;
    assert!(count(&counts, "taken") > 0, "{counts}");
    assert_eq!(count(&counts, "rows") + count(&counts, "taken"), count(&counts, "acked"), "{counts}");
    assert_eq!(count(&counts, "letters"), 0, "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_and_created_again_gets_what_came_meanwhile() {
    let counts = play("drop_and_recreate").await;
    assert!(count(&counts, "dropped") > 0 && count(&counts, "letters") > 0, "{counts}");
    assert_eq!(counts["reasons"], serde_json::json!(["table_not_found"]), "{counts}");
    assert_eq!(counts["replay"]["replayed"], counts["letters"], "{counts}");
    let present = count(&counts, "rows") + count(&counts, "letters") - count(&counts, "again");
    assert_eq!(present + count(&counts, "dropped"), count(&counts, "acked"), "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_restored_from_a_backup_goes_on_from_where_frazil_was() {
    let counts = play_with("restore", false).await;
    assert!(count(&counts, "taken") > 0, "{counts}");
    assert_eq!(count(&counts, "again"), 0, "{counts}");
    all_but_the_taken(&counts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_restored_from_a_backup_between_crashes_loses_and_doubles_nothing() {
    // A writer that starts over reads from the low watermark: any of what the backup lacks may come back, even all.
    let counts = play("restore").await;
    assert!(count(&counts, "taken") + count(&counts, "again") > 0, "{counts}");
    all_but_the_taken(&counts);
}

fn all_but_the_taken(counts: &Value) {
    let present = count(counts, "rows") + count(counts, "letters");
    assert_eq!(present + count(counts, "taken"), count(counts, "acked"), "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_by_mistake_and_registered_again_lacks_nothing() {
    // Without kills: what was committed since the low watermark would be letters too, as docs/operations.md says.
    let counts = play_with("undrop", false).await;
    assert!(count(&counts, "letters") > 0, "{counts}");
    assert_eq!(count(&counts, "rows") + count(&counts, "letters"), count(&counts, "acked"), "{counts}");
    assert_eq!(counts["replay"]["replayed"], counts["letters"], "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_expiry_tags_and_branches_change_nothing() {
    let counts = play("upkeep").await;
    assert_eq!((&counts["rows"], &counts["letters"]), (&counts["acked"], &0.into()), "{counts}");
    for what in ["rewrite", "delete_and_append", "rewrite_a_partition", "expiries", "files", "references"] {
        assert!(count(&counts, what) > 0, "no {what}: {counts}");
    }
}
