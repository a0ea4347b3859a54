//! Replays over tables in memory: each letter once, whatever happens.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, StringArray, TimestampMicrosecondArray};
use frazil_core::checkpoint::Incarnation;
use frazil_core::policy::UnknownFieldPolicy;
use frazil_core::replay::{LettersBuilder, Replayed};
use frazil_core::schema::{EXTRA_COLUMN, Field, ID_COLUMN, Schema, TS_COLUMN, Type, WRITE_ID_COLUMN};
use proptest::prelude::*;

use super::*;
use crate::sink::fake::{FakeSink, Fault, Op};

const INCARNATION: u64 = 10;

#[derive(Debug, Clone)]
struct Letter {
    incarnation: u64,
    shard: u32,
    sequence: u64,
    index: u32,
    reason: &'static str,
    payload: String,
}

impl Letter {
    fn id(&self) -> String {
        crate::dead_letter::event_id(Incarnation(self.incarnation), self.shard, self.sequence, self.index)
    }
}

fn letter(sequence: u64, index: u32, payload: &str) -> Letter {
    let payload = payload.to_owned();
    Letter { incarnation: INCARNATION, shard: 0, sequence, index, reason: "wrong_type", payload }
}

fn numbered(sequences: std::ops::RangeInclusive<u64>) -> Vec<Letter> {
    sequences.map(|sequence| letter(sequence, 0, &format!(r#"{{"n":{sequence}}}"#))).collect()
}

fn main() -> TableName {
    "c.ns.t".parse().expect("valid")
}

fn rows(letters: &[Letter]) -> RecordBatch {
    let text =
        |of: &dyn Fn(&Letter) -> String| Arc::new(StringArray::from_iter_values(letters.iter().map(of))) as ArrayRef;
    let received = TimestampMicrosecondArray::from_iter_values(letters.iter().map(|letter| letter.sequence as i64));
    let received = Arc::new(received.with_timezone("+00:00")) as ArrayRef;
    let shard = Arc::new(Int32Array::from_iter_values(letters.iter().map(|letter| letter.shard as i32))) as ArrayRef;
    let columns = [
        (ID_COLUMN, text(&Letter::id)),
        ("stream", text(&|_| "s".to_owned())),
        ("shard", shard),
        ("received", received),
        ("reason", text(&|letter| letter.reason.to_owned())),
        ("payload", text(&|letter| letter.payload.clone())),
    ];
    RecordBatch::try_from_iter(columns).expect("equal lengths")
}

/// The dead-letter table with these letters and a checkpoint of each shard.
fn source(letters: &[Letter], checkpoint: &str) -> LetterTable {
    let mut builder = LettersBuilder::default();
    let batch = rows(letters);
    for letter in LetterRows::new(&batch).expect("columns").iter() {
        let letter = letter.expect("identified");
        builder.add(&letter.shard, letter.incarnation, letter.place).expect("few");
    }
    let letters = builder.build();
    let property = |shard: &Shard| (shard.checkpoint_property(), checkpoint.to_owned());
    LetterTable { properties: letters.shards().map(property).collect(), letters }
}

fn job() -> Job {
    Job {
        into: main(),
        from: main().dead_letter(),
        foreign: None,
        stream: None,
        reason: None,
        dry_run: false,
        limits: Limits { rows: 3, ..Limits::default() },
        policies: BTreeMap::new(),
    }
}

const SETTLED: &str = "000000000000000a:1000000";

fn sink_with(fields: Vec<Field>) -> FakeSink {
    let sink = FakeSink::new();
    sink.create_table(&main(), Schema::new(fields));
    sink
}

fn longs() -> FakeSink {
    sink_with(vec![Field::optional(1, "n", Type::Long)])
}

async fn replay(sink: &FakeSink, job: Job, letters: &[Letter]) -> Result<Report, ReplayError> {
    let mut replay = Replay::open(sink.clone(), job, source(letters, SETTLED)).await?;
    for batch in letters.chunks(4) {
        replay.push(&rows(batch)).await?;
    }
    replay.finish().await.cloned()
}

fn sorted_ids(sink: &FakeSink) -> Vec<String> {
    let mut ids = sink.ids(&main());
    ids.sort();
    ids
}

fn ids_of(letters: &[Letter]) -> Vec<String> {
    let mut ids: Vec<_> = letters.iter().map(Letter::id).collect();
    ids.sort();
    ids
}

#[tokio::test(start_paused = true)]
async fn each_letter_becomes_one_row_and_keeps_its_id_and_time() {
    let (sink, letters) = (longs(), numbered(1..=10));
    let report = replay(&sink, job(), &letters).await.expect("replayed");
    assert_eq!((report.replayed, report.already, report.commits), (10, 0, 4));
    assert!(report.is_complete());
    assert_eq!(sorted_ids(&sink), ids_of(&letters));
    let table = sink.table(&main()).expect("exists");
    assert_eq!(table.properties["frazil.replayed.s.0"], "000000000000000a|1:0-10:0");
    assert_eq!(table.snapshots[0].summary["frazil.replay"], "c.ns.t__dead_letter");
    assert_eq!(table.snapshots[0].summary["frazil.replay-letters"], "3");
    let first = table.snapshots[0].rows.as_ref().expect("rows");
    let times = first.column_by_name(TS_COLUMN).expect("there");
    let times = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::TimestampMicrosecondType>(times);
    assert_eq!(times.values(), &[1, 2, 3]);
    assert_eq!(table.strings(WRITE_ID_COLUMN)[0], table.snapshots[0].commit_id.to_string());
    let again = replay(&sink, job(), &letters).await.expect("replayed");
    assert_eq!((again.replayed, again.already, again.commits), (0, 10, 0));
    assert_eq!(sorted_ids(&sink), ids_of(&letters));
}

#[tokio::test(start_paused = true)]
async fn what_still_does_not_fit_waits_for_the_table_to_change() {
    let sink = longs();
    let mut letters = numbered(1..=6);
    letters[1].payload = r#"{"n":"two"}"#.to_owned();
    letters[4].payload = "no json".to_owned();
    let report = replay(&sink, job(), &letters).await.expect("replayed");
    assert_eq!((report.replayed, report.invalid_count()), (4, 2));
    assert!(!report.is_complete());
    let wrong = &report.invalid["wrong_type"];
    assert_eq!((wrong.count, wrong.examples[0].field.as_str()), (1, "n"));
    assert_eq!(wrong.examples[0].id, letters[1].id());
    sink.set_schema(&main(), Schema::new(vec![Field::optional(1, "n", Type::String)]));
    let report = replay(&sink, job(), &letters).await.expect("replayed");
    assert_eq!((report.replayed, report.already, report.invalid_count()), (1, 4, 1));
    let marks = &sink.table(&main()).expect("exists").properties["frazil.replayed.s.0"];
    assert_eq!(marks, "000000000000000a|1:0-4:0,6:0");
    assert_eq!(sink.ids(&main()).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_trial_commits_nothing() {
    let (sink, letters) = (longs(), numbered(1..=7));
    let report = replay(&sink, Job { dry_run: true, ..job() }, &letters).await.expect("tried");
    assert_eq!((report.replayed, report.commits, sink.commits()), (7, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn letters_beyond_the_checkpoint_and_of_no_known_place_are_left_alone() {
    let (sink, mut letters) = (longs(), numbered(1..=4));
    letters.push(Letter { incarnation: INCARNATION - 1, ..letter(99, 0, "{}") });
    letters.push(Letter { incarnation: INCARNATION + 1, ..letter(1, 0, "{}") });
    let table = source(&letters, "000000000000000a:3");
    let mut replay = Replay::open(sink.clone(), job(), table).await.expect("opens");
    replay.push(&rows(&letters)).await.expect("pushed");
    let report = replay.finish().await.expect("finished");
    // Three, and that of the incarnation before.
    assert_eq!((report.replayed, report.unsettled), (4, 2));
    assert!(!report.is_complete());
    let marks = sink.table(&main()).expect("exists").properties["frazil.replayed.s.0"].clone();
    assert_eq!(marks, "0000000000000009|99:0;000000000000000a|1:0-3:0");
}

#[tokio::test(start_paused = true)]
async fn filters_leave_the_others_pending() {
    let (sink, mut letters) = (longs(), numbered(1..=6));
    letters[2].reason = "out_of_range";
    letters[3].reason = "out_of_range";
    let only = Job { reason: Some("out_of_range".to_owned()), ..job() };
    let report = replay(&sink, only, &letters).await.expect("replayed");
    assert_eq!((report.looked_at, report.replayed), (2, 2));
    let other = Job { stream: Some("other".parse().expect("valid")), ..job() };
    assert_eq!(replay(&sink, other, &letters).await.expect("replayed").looked_at, 0);
    assert_eq!(replay(&sink, job(), &letters).await.expect("replayed").replayed, 4);
    assert_eq!(sorted_ids(&sink), ids_of(&letters));
}

#[tokio::test(start_paused = true)]
async fn what_holds_no_event_is_told_apart() {
    let (sink, mut letters) = (longs(), numbered(1..=4));
    letters[0].reason = "invalid_utf8";
    letters[1].reason = "checksum";
    letters[2].reason = UNROUTABLE;
    let report = replay(&sink, job(), &letters).await.expect("replayed");
    let codes: Vec<_> = report.invalid.keys().copied().collect();
    assert_eq!((codes, report.replayed), (vec!["checksum", "invalid_utf8", "unroutable"], 1));
    let elsewhere = Job { foreign: Some(Uuid::from_u128(1)), ..job() };
    let report = replay(&sink, elsewhere, &letters).await.expect("replayed");
    assert_eq!((report.replayed, report.invalid_count()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn letters_of_two_tables_do_not_hide_each_other() {
    let sink = longs();
    let (own, foreign) =
        (vec![letter(2, 0, r#"{"n":2}"#)], vec![letter(1, 0, r#"{"n":1}"#), letter(3, 0, r#"{"n":3}"#)]);
    let elsewhere = Job { foreign: Some(Uuid::from_u128(1)), ..job() };
    replay(&sink, elsewhere, &foreign).await.expect("replayed");
    let report = replay(&sink, job(), &own).await.expect("replayed");
    assert_eq!((report.replayed, sink.ids(&main()).len()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_follow_the_policy_of_stream_and_table() {
    let letters = [letter(1, 0, r#"{"n":1,"new":true}"#)];
    let sink = longs();
    let stream: StreamName = "s".parse().expect("valid");
    let policy = TablePolicy { unknown_fields: UnknownFieldPolicy::Reject, ..TablePolicy::default() };
    let strict = Job { policies: BTreeMap::from([(stream, policy)]), ..job() };
    let report = replay(&sink, strict.clone(), &letters).await.expect("replayed");
    assert_eq!(report.invalid.keys().copied().collect::<Vec<_>>(), ["unknown_field"]);
    sink.set_property(&main(), "frazil.unknown-fields", Some("sideways"));
    assert!(matches!(replay(&sink, strict.clone(), &letters).await, Err(ReplayError::Policy(_))));
    sink.set_property(&main(), "frazil.unknown-fields", Some("capture"));
    assert_eq!(replay(&sink, strict, &letters).await.expect("replayed").replayed, 1);
    assert_eq!(sink.table(&main()).expect("exists").strings(EXTRA_COLUMN), [r#"{"new":true}"#]);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_outages_double_nothing() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest, Fault::Unavailable] {
        let (sink, letters) = (longs(), numbered(1..=9));
        sink.fault_once(Op::Commit, &main(), fault.clone());
        let report = replay(&sink, job(), &letters).await.expect("replayed");
        assert_eq!((report.replayed, sink.commits()), (9, 3), "{fault:?}");
        assert_eq!(sorted_ids(&sink), ids_of(&letters), "{fault:?}");
    }
    let sink = longs();
    sink.script(|op, _| if op == Op::Commit { Fault::LoseAnswer } else { Fault::None });
    let failed = replay(&sink, job(), &numbered(1..=9)).await;
    assert!(matches!(failed, Err(ReplayError::Commit(CommitError::Unknown(_)))), "{failed:?}");
    sink.heal();
    let report = replay(&sink, job(), &numbered(1..=9)).await.expect("replayed");
    assert_eq!((report.already, report.replayed), (3, 6));
    assert_eq!(sorted_ids(&sink), ids_of(&numbered(1..=9)));
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_or_after_any_operation_and_another_replay() {
    for (op, fault) in [
        (Op::Stage, Fault::HangBefore),
        (Op::Stage, Fault::HangAfter),
        (Op::Commit, Fault::HangBefore),
        (Op::Commit, Fault::HangAfter),
    ] {
        for batch in 1..=3 {
            let (sink, letters) = (longs(), numbered(1..=9));
            let (mut count, hang) = (0, fault.clone());
            sink.script(move |now, _| {
                count += usize::from(now == op);
                if now == op && count == batch { hang.clone() } else { Fault::None }
            });
            tokio::select! {
                _ = replay(&sink, job(), &letters) => panic!("it should hang"),
                () = sink.hung.notified() => {}
            }
            sink.heal();
            let done = sink.ids(&main()).len() as u64;
            let report = replay(&sink, job(), &letters).await.expect("replayed");
            assert_eq!((report.replayed, report.already), (9 - done, done));
            assert_eq!(sorted_ids(&sink), ids_of(&letters), "{op:?} {fault:?} {batch}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replays_at_the_same_time_share_the_work() {
    let (sink, letters) = (longs(), numbered(1..=40));
    let mut backwards = letters.clone();
    backwards.reverse();
    let other = Job { limits: Limits { rows: 5, ..Limits::default() }, ..job() };
    let (first, second, third) =
        tokio::join!(replay(&sink, job(), &letters), replay(&sink, other, &backwards), replay(&sink, job(), &letters));
    let reports = [first.expect("replayed"), second.expect("replayed"), third.expect("replayed")];
    assert_eq!(reports.iter().map(|report| report.replayed).sum::<u64>(), 40, "{reports:?}");
    assert!(reports.iter().all(|report| report.replayed + report.already == 40), "{reports:?}");
    assert_eq!(sorted_ids(&sink), ids_of(&letters));
    assert_eq!(sink.table(&main()).expect("exists").properties["frazil.replayed.s.0"], "000000000000000a|1:0-40:0");
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_stands_in_the_table_twice_becomes_one_row() {
    let (sink, mut letters) = (longs(), numbered(1..=4));
    letters.extend(numbered(2..=3));
    let report = replay(&sink, job(), &letters).await.expect("replayed");
    assert_eq!((report.replayed, report.already), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn a_replay_stops_before_its_marks_outgrow_the_property() {
    let sink = longs();
    let letters: Vec<_> = (1..=20_000_u64)
        .map(|sequence| letter(sequence, 0, if sequence % 2 == 0 { r#"{"n":1}"# } else { r#"{"n":"x"}"# }))
        .collect();
    let thousands = Job { limits: Limits { rows: 1000, ..Limits::default() }, ..job() };
    let error = replay(&sink, thousands.clone(), &letters).await.expect_err("too scattered");
    assert!(matches!(error, ReplayError::MarksTooLong { .. }), "{error}");
    let marks = sink.table(&main()).expect("exists").properties["frazil.replayed.s.0"].clone();
    assert!(marks.len() <= MARKS_MAX_BYTES, "{}", marks.len());
    let done = sink.ids(&main()).len() as u64;
    assert_eq!(marks.parse::<Replayed>().expect("own form").ranges() as u64, done);
    assert!(done > 0 && done < 10_000, "{done}");
    // The letters that stood in between are deleted.
    let even: Vec<_> = letters.into_iter().filter(|letter| letter.sequence % 2 == 0).collect();
    let report = replay(&sink, thousands, &even).await.expect("replayed");
    assert_eq!((report.already, report.replayed), (done, 10_000 - done));
}

#[tokio::test(start_paused = true)]
async fn no_table_and_another_table_are_errors() {
    let sink = FakeSink::new();
    assert!(matches!(replay(&sink, job(), &numbered(1..=1)).await, Err(ReplayError::NoTable(_))));
    let sink = longs();
    let mut begun = Replay::open(sink.clone(), job(), source(&numbered(1..=1), SETTLED)).await.expect("opens");
    sink.drop_table(&main());
    sink.create_table(&main(), Schema::new(vec![Field::optional(1, "n", Type::Long)]));
    begun.push(&rows(&numbered(1..=1))).await.expect("pushed");
    assert!(matches!(begun.finish().await, Err(ReplayError::Replaced(_))));
    assert_eq!(sink.ids(&main()), [""; 0]);
    sink.set_property(&main(), "frazil.replayed.s.0", Some("nonsense"));
    let malformed = replay(&sink, job(), &numbered(1..=1)).await;
    assert!(matches!(malformed, Err(ReplayError::Standing(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever letters fit when, in whatever order they are read and with whatever faults: 1. no letter becomes two
    /// rows; 2. in the end exactly those that fit are rows; 3. exactly those are marked.
    #[test]
    fn each_letter_once(
        places in prop::collection::btree_map((1u64..30, 0u32..3), any::<bool>(), 1..40),
        order in any::<u64>(),
        faults in prop::collection::vec((0usize..3, 0u8..5), 0..6),
        limit in 1usize..8,
    ) {
        let mut letters: Vec<Letter> = places.iter().map(|((sequence, index), fits)| {
            letter(*sequence, *index, if *fits { r#"{"n":1}"# } else { r#"{"n":"x"}"# })
        }).collect();
        // Some permutation.
        letters.sort_by_key(|letter| (letter.sequence.wrapping_mul(order | 1) ^ u64::from(letter.index)).rotate_left(17));
        let fit: Vec<_> = letters.iter().filter(|letter| letter.payload.contains("1")).cloned().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let sink = longs();
            let job = Job { limits: Limits { rows: limit, ..Limits::default() }, ..job() };
            for (at, fault) in faults {
                let fault = [Fault::LoseAnswer, Fault::LoseRequest, Fault::HangBefore, Fault::HangAfter, Fault::Rejected]
                    [usize::from(fault)].clone();
                let mut left = Some(fault);
                let mut commits = 0;
                sink.script(move |op, _| {
                    commits += usize::from(op == Op::Commit);
                    if op == Op::Commit && commits > at { left.take().unwrap_or(Fault::None) } else { Fault::None }
                });
                tokio::select! {
                    // Done, or failed: both happen, and another replay comes.
                    _ = replay(&sink, job.clone(), &letters) => {}
                    () = sink.hung.notified() => {}
                }
            }
            sink.heal();
            let report = replay(&sink, job, &letters).await.expect("replayed");
            assert_eq!(report.replayed + report.already, fit.len() as u64);
            assert_eq!(sorted_ids(&sink), ids_of(&fit));
            let table = sink.table(&main()).expect("exists");
            let marks = table.properties.get("frazil.replayed.s.0").cloned().unwrap_or_default();
            let marks: Replayed = marks.parse().expect("own form");
            for letter in &letters {
                let place = frazil_core::replay::Place::new(letter.sequence, letter.index);
                assert_eq!(marks.contains(Incarnation(INCARNATION), place), letter.payload.contains("1"));
            }
        });
    }
}
