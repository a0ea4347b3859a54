//! Against the embedded catalog and real files: list, show, replay.

use std::collections::{BTreeMap, HashMap};

use frazil_catalog::{Catalog, CatalogConfig, serve};
use frazil_core::TableName;
use frazil_core::mapping::Column;
use frazil_core::schema::{Field, Schema, Type};
use frazil_iceberg::{Catalogs, FencedProperty, RestCatalog, RestCatalogConfig, Table};
use frazil_writer::columns::Columns;
use frazil_writer::replay::{LETTER_COLUMNS, LetterRows, State};
use frazil_writer::sink::{Append, IcebergSink, SinkTable, TableSink};
use futures::TryStreamExt;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::list::{self, Count};
use super::read::{self, DeadLetters};
use super::replay::{Options, bar, index, replay};
use super::report::Summary;
use super::show;

/// One incarnation's worth of zeros, as it stands in ids.
const INCARNATION: &str = "000000000000000a";

struct Lake {
    catalog: RestCatalog,
    catalogs: Catalogs,
    sink: IcebergSink,
    _served: JoinSet<std::io::Result<()>>,
    _directory: TempDir,
}

/// A letter: sequence, reason, payload.
type Letter<'l> = (u64, &'l str, &'l str);

impl Lake {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = CatalogConfig {
            database: directory.path().join("catalog.db"),
            warehouse: format!("file://{}/warehouse", directory.path().display()),
            storage_properties: HashMap::new(),
            name: "frazil".to_owned(),
            token: None,
            storage_roots: frazil_iceberg::Roots::default(),
            reports: None,
        };
        let server = Catalog::open(config).expect("opens");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("binds");
        let uri = format!("http://{}", listener.local_addr().expect("bound"));
        let mut served = JoinSet::new();
        served.spawn(serve(listener, server, CancellationToken::new()));
        let catalog = RestCatalog::connect(RestCatalogConfig::new(&uri)).await.expect("connects");
        let catalogs = Catalogs::new("frazil", BTreeMap::from([("frazil".to_owned(), catalog.clone())]));
        Self { catalog, sink: IcebergSink::new(catalogs.clone()), catalogs, _served: served, _directory: directory }
    }

    /// `ns.<name>` with one int column `n` and the system columns.
    async fn table(&self, name: &str) -> TableName {
        let name: TableName = format!("frazil.ns.{name}").parse().expect("valid");
        let schema = Schema::new(vec![Field::optional(1, "n", Type::Int)]).with_system_columns();
        self.sink.create(&name, &schema).await.expect("created");
        name
    }

    /// Adds letters of shard `s/0` to the table's dead-letter table, and moves its checkpoint.
    async fn letters(&self, main: &TableName, letters: &[Letter<'_>], checkpoint: u64) {
        let strings = ["__id__", "stream", "reason", "payload", "field"];
        let fields = strings.iter().zip(1..).map(|(name, id)| Field::optional(id, *name, Type::String));
        let times =
            [Field::optional(6, "__ts__", Type::Timestamptz), Field::optional(7, "received", Type::Timestamptz)];
        let schema = Schema::new(fields.chain(times).collect());
        let table = self.sink.create(&main.dead_letter(), &schema).await.expect("created");
        let mut columns = Columns::new(table.arrow_schema()).expect("known types");
        for (sequence, reason, payload) in letters {
            let root = columns.root();
            let id = format!("{INCARNATION}-0-{sequence}-0");
            for (at, text) in [&id, "s", *reason, *payload, "n"].into_iter().enumerate() {
                root.child(at).string(text);
            }
            for at in [5, 6] {
                root.child(at).timestamp(1_700_000_000_000_000 + i64::try_from(*sequence).expect("small"));
            }
            root.struct_end();
        }
        let staged = self.sink.stage(&table, columns.finish(), &Uuid::now_v7().to_string()).await.expect("staged");
        let key = "frazil.checkpoint.s.0".to_owned();
        let expected = table.property(&key).map(str::to_owned);
        let fence = vec![FencedProperty { key, expected, value: format!("{INCARNATION}:{checkpoint}") }];
        let append = Append { commit_id: Uuid::now_v7(), fence, summary: BTreeMap::new() };
        self.sink.commit(&table, Some(&staged.files), &append).await.expect("committed");
    }

    async fn loaded(&self, name: &TableName) -> Table {
        read::load(&self.catalog, name).await.expect("answered").expect("exists")
    }

    async fn rows(&self, name: &TableName) -> usize {
        let table = self.loaded(name).await;
        let scan = frazil_iceberg::scan(&table, &["__id__"]).await.expect("begins");
        scan.batches.try_fold(0, |sum, batch| async move { Ok(sum + batch.num_rows()) }).await.expect("reads")
    }

    /// What a user does by `ALTER TABLE … ALTER COLUMN n TYPE bigint`.
    async fn widen(&self, name: &TableName) {
        let table = self.loaded(name).await;
        let json = table.schema_json().expect("renders").replace(r#""int""#, r#""long""#);
        self.catalog.update_schema(&table, &json, BTreeMap::new()).await.expect("altered");
    }

    async fn dead(&self, main: &TableName) -> DeadLetters {
        DeadLetters::require(&self.catalog, main.clone()).await.expect("has letters")
    }

    async fn replay(&self, main: &TableName, options: Options) -> Summary {
        let letters = self.dead(main).await;
        let source = index(&letters, options.stream.as_ref()).await.expect("reads");
        let mut summary = Summary::new(&main.dead_letter(), &options.into, options.dry_run);
        let (catalogs, bar) = (self.catalogs.clone(), bar(0, true));
        let done = replay(catalogs, &letters, source, options, BTreeMap::new(), &bar, &mut summary).await;
        done.expect("replayed");
        summary
    }

    async fn counts(&self, main: &TableName) -> BTreeMap<(String, State), u64> {
        let count = Count::of(self.dead(main).await).await.expect("reads");
        count.groups.into_iter().map(|(key, group)| (key, group.count)).collect()
    }
}

fn into(table: &TableName) -> Options {
    Options { into: table.clone(), reason: None, stream: None, rows: 2, dry_run: false }
}

fn key(reason: &str, state: State) -> (String, State) {
    (reason.to_owned(), state)
}

const LETTERS: [Letter<'static>; 6] = [
    (1, "wrong_type", r#"{"n":1}"#),
    (2, "out_of_range", r#"{"n":3000000000}"#),
    (3, "wrong_type", r#"{"n":3,"x":{"y":null}}"#),
    (4, "out_of_range", r#"{"n":4000000000}"#),
    (5, "wrong_type", r#"{"n":"five"}"#),
    (9, "wrong_type", r#"{"n":9}"#),
];

#[tokio::test]
async fn what_does_not_fit_is_replayed_after_an_alter_table() {
    let lake = Lake::start().await;
    let main = lake.table("t").await;
    lake.letters(&main, &LETTERS, 5).await;
    let trial = lake.replay(&main, Options { dry_run: true, ..into(&main) }).await;
    assert_eq!((trial.report.replayed, lake.rows(&main).await), (2, 0));
    assert!(trial.text().starts_with("would replay 2, still invalid 3 of 6 letters"), "{}", trial.text());
    let first = lake.replay(&main, into(&main)).await;
    assert_eq!((first.report.replayed, first.report.invalid_count(), first.report.unsettled), (2, 3, 1));
    let json = first.json(None);
    assert_eq!(json["by_reason"]["out_of_range"]["count"], 2);
    assert_eq!(json["complete"], false);
    assert_eq!(lake.rows(&main).await, 2);
    lake.widen(&main).await;
    let second = lake.replay(&main, into(&main)).await;
    assert_eq!((second.report.replayed, second.report.already, second.report.invalid_count()), (2, 2, 1));
    // The letter beyond the checkpoint counts once the checkpoint has come by.
    lake.letters(&main, &[(10, "wrong_type", r#"{"n":10}"#)], 10).await;
    let third = lake.replay(&main, into(&main)).await;
    assert_eq!((third.report.replayed, third.report.already, third.report.commits), (2, 4, 1));
    let fourth = lake.replay(&main, into(&main)).await;
    assert_eq!((fourth.report.replayed, fourth.report.already, fourth.report.commits), (0, 6, 0));
    assert_eq!(lake.rows(&main).await, 6);
    let table = lake.loaded(&main).await;
    assert_eq!(table.property("frazil.replayed.s.0"), Some("000000000000000a|1:0-4:0,9:0-10:0"));
    assert_eq!(table.find_in_ancestry("frazil.replay"), Some("frazil.ns.t__dead_letter"));
    let expected = BTreeMap::from([
        (key("out_of_range", State::Replayed), 2),
        (key("wrong_type", State::Pending), 1),
        (key("wrong_type", State::Replayed), 4),
    ]);
    assert_eq!(lake.counts(&main).await, expected);
}

#[tokio::test]
async fn replays_at_the_same_time_and_other_writers() {
    let lake = Lake::start().await;
    let main = lake.table("t").await;
    let payloads: Vec<String> = (1..=30).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    let letters: Vec<Letter<'_>> =
        payloads.iter().zip(1..).map(|(payload, sequence)| (sequence, "wrong_type", payload.as_str())).collect();
    lake.letters(&main, &letters[..10], 10).await;
    lake.letters(&main, &letters[10..], 30).await;
    let append = async || {
        let table = lake.sink.load(&main).await.expect("answered").expect("exists");
        let append = Append { commit_id: Uuid::now_v7(), fence: Vec::new(), summary: BTreeMap::new() };
        lake.sink.commit(&table, None, &append).await.expect("committed");
    };
    let (first, second, (), ()) =
        tokio::join!(lake.replay(&main, into(&main)), lake.replay(&main, into(&main)), append(), append());
    assert_eq!(first.report.replayed + second.report.replayed, 30, "{first:?} {second:?}");
    assert_eq!(first.report.already + second.report.already, 30, "{first:?} {second:?}");
    assert_eq!(lake.rows(&main).await, 30);
}

#[tokio::test]
async fn each_target_gets_a_letter_once() {
    let lake = Lake::start().await;
    let (main, other) = (lake.table("t").await, lake.table("other").await);
    lake.letters(&main, &LETTERS, 9).await;
    let reason = Options { reason: Some("wrong_type".to_owned()), ..into(&other) };
    assert_eq!(lake.replay(&main, reason).await.report.replayed, 3);
    assert_eq!(lake.replay(&main, into(&other)).await.report.replayed, 0);
    assert_eq!(lake.rows(&other).await, 3);
    assert_eq!(lake.counts(&main).await[&key("wrong_type", State::Pending)], 4);
    assert_eq!(lake.replay(&main, into(&main)).await.report.replayed, 3);
    // Letters of its own, with numbers between those it got from elsewhere.
    lake.letters(&other, &[(2, "wrong_type", r#"{"n":2}"#)], 9).await;
    assert_eq!(lake.replay(&other, into(&other)).await.report.replayed, 1);
    assert_eq!(lake.rows(&other).await, 4);
}

#[tokio::test]
async fn letters_of_a_table_that_does_not_exist_are_pending() {
    let lake = Lake::start().await;
    let gone: TableName = "frazil.ns.gone".parse().expect("valid");
    assert!(DeadLetters::load(&lake.catalog, gone.clone()).await.expect("answered").is_none());
    assert_eq!(list::find("frazil", &lake.catalog).await.expect("lists"), []);
    lake.letters(&gone, &[(1, "table_not_found", r#"{"n":1}"#)], 1).await;
    assert_eq!(list::find("frazil", &lake.catalog).await.expect("lists"), std::slice::from_ref(&gone));
    assert_eq!(lake.counts(&gone).await[&key("table_not_found", State::Pending)], 1);
    let letters = lake.dead(&gone).await;
    let source = index(&letters, None).await.expect("reads");
    let mut summary = Summary::new(&gone.dead_letter(), &gone, false);
    let catalogs = lake.catalogs.clone();
    let refused = replay(catalogs, &letters, source, into(&gone), BTreeMap::new(), &bar(0, true), &mut summary).await;
    assert!(refused.expect_err("no table").to_string().contains("does not exist"));
    lake.table("gone").await;
    assert_eq!(lake.replay(&gone, into(&gone)).await.report.replayed, 1);
}

#[tokio::test]
async fn letters_are_shown_whole_to_programs_and_short_and_harmless_to_people() {
    let lake = Lake::start().await;
    let main = lake.table("t").await;
    let long = format!("{{\"n\":\"{}\u{1b}[2J\"}}", "x".repeat(300));
    lake.letters(&main, &[(7, "wrong_type", &long)], 7).await;
    let mut letters = lake.dead(&main).await;
    let scan = letters.scan(&LETTER_COLUMNS).await.expect("begins");
    assert_eq!(scan.missing, ["message", "request_key"]);
    let batches: Vec<_> = scan.batches.try_collect().await.expect("reads");
    let rows = LetterRows::new(&batches[0]).expect("columns");
    let letter = rows.iter().next().expect("one").expect("identified");
    let state = letters.state(&letter).expect("readable");
    let json = show::as_json(&letter, state);
    assert_eq!(json["payload"], long);
    assert_eq!((json["sequence"].as_u64(), json["state"].as_str()), (Some(7), Some("pending")));
    assert_eq!(json["received"], "2023-11-14T22:13:20.000007Z");
    let text = show::as_text(&letter, state);
    assert!(text.contains("xxx… (") && !text.contains('\u{1b}'), "{text}");
    assert!(text.contains("from     s/0, sequence 7, event 0"), "{text}");
}

#[test]
fn both_names_mean_the_main_table() {
    assert_eq!(read::main_of("shop.orders__dead_letter"), Some("shop.orders"));
    assert_eq!(read::main_of("shop.orders"), None);
    assert_eq!(read::main_of("shop.__dead_letter"), None);
}
