//! Tests of the fenced committer against a catalog in memory.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Literal, ManifestContentType, ManifestList, Struct,
};
use iceberg::{TableIdent, TableUpdate};
use reqwest::Method;

use super::*;
use crate::create::create_table;
use crate::rest::stub::{Fault, Stub, foreign_commit};

const SCHEMA: &str = r#"{"type":"struct","schema-id":0,"fields":[
    {"id":1,"name":"n","required":false,"type":"long"},{"id":2,"name":"s","required":false,"type":"string"}]}"#;
const KEY: &str = "checkpoint";

struct World {
    stub: Stub,
    catalog: RestCatalog,
    table: Table,
}

impl World {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(properties: &[(&str, &str)]) -> Self {
        let stub = Stub::start().await;
        let catalog = stub.connect().await;
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let table = create(&catalog, properties).await;
        Self { stub, catalog, table }
    }

    async fn append(&self, append: &FencedAppend) -> Result<Committed, AppendError> {
        self.catalog.append(&self.table, append).await
    }

    async fn load(&self) -> Table {
        self.catalog.load_table(&self.table.ident).await.expect("load")
    }

    /// An append of one file that moves the checkpoint from one number to the next.
    fn step(&self, from: Option<u32>, to: u32) -> FencedAppend {
        let id = Uuid::new_v4();
        FencedAppend {
            commit_id: id,
            table_uuid: self.table.uuid(),
            data_files: vec![staged(&self.table, vec![file(&format!("{to}-{id}"), 10)])],
            fence: vec![FencedProperty {
                key: KEY.to_owned(),
                expected: from.map(|number| number.to_string()),
                value: to.to_string(),
            }],
            summary: BTreeMap::from([("extra".to_owned(), "kept".to_owned())]),
        }
    }
}

async fn create(catalog: &RestCatalog, properties: BTreeMap<String, String>) -> Table {
    let ident = TableIdent::from_strs(["ns", "t"]).expect("ident");
    let create = create_table(SCHEMA, "", "", properties, None).expect("definition");
    catalog.create_table(&ident, create).await.expect("create")
}

fn file(name: &str, rows: u64) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(format!("memory:///wh/data/{name}.parquet"))
        .file_format(DataFileFormat::Parquet)
        .record_count(rows)
        .file_size_in_bytes(rows * 100)
        .build()
        .expect("data file")
}

fn staged(table: &Table, files: Vec<DataFile>) -> StagedFiles {
    StagedFiles {
        spec_id: table.metadata.default_partition_spec_id(),
        schema_id: table.metadata.current_schema_id(),
        table_uuid: table.uuid(),
        rows: files.iter().map(DataFile::record_count).sum(),
        bytes: files.iter().map(DataFile::file_size_in_bytes).sum(),
        files,
    }
}

/// Live files of the current snapshot (each listing counted), and the number of manifests.
async fn live(table: &Table) -> (Vec<String>, usize) {
    let snapshot = table.metadata.current_snapshot().expect("snapshot");
    let list = table.storage.get(snapshot.manifest_list()).await.expect("list");
    let list = ManifestList::parse_with_version(&list, table.metadata.format_version()).expect("list");
    let mut files = Vec::new();
    for manifest in list.entries() {
        assert_eq!(manifest.content, ManifestContentType::Data);
        let manifest = manifest.load_manifest(&table.storage.file_io()).await.expect("manifest");
        files.extend(manifest.entries().iter().filter(|e| e.is_alive()).map(|e| e.file_path().to_owned()));
    }
    (files, list.entries().len())
}

fn paths(appends: &[&FencedAppend]) -> HashSet<String> {
    let groups = appends.iter().flat_map(|append| &append.data_files);
    groups.flat_map(|group| &group.files).map(|file| file.file_path().to_owned()).collect()
}

async fn assert_live(table: &Table, appends: &[&FencedAppend]) {
    let (files, _) = live(table).await;
    let expected = paths(appends);
    assert_eq!(files.len(), expected.len(), "each file once");
    assert_eq!(files.into_iter().collect::<HashSet<_>>(), expected);
}

#[tokio::test]
async fn appends_follow_each_other() {
    let world = World::new().await;
    let (first, second) = (world.step(None, 1), world.step(Some(1), 2));
    let committed = world.append(&first).await.expect("first");
    assert!(!committed.adopted);
    assert_eq!(committed.sequence_number, 1);
    let committed = world.append(&second).await.expect("second");
    let table = world.load().await;
    assert_eq!(table.metadata.current_snapshot_id(), Some(committed.snapshot_id));
    assert_eq!(table.property(KEY), Some("2"));
    assert_eq!(table.find_in_ancestry("extra"), Some("kept"));
    let summary = &table.metadata.current_snapshot().expect("snapshot").summary().additional_properties;
    let number = |key: &str| summary.get(key).map(String::as_str);
    assert_eq!((number("added-records"), number("total-records")), (Some("10"), Some("20")));
    assert_eq!((number("total-data-files"), number("total-files-size")), (Some("2"), Some("2000")));
    assert_live(&table, &[&first, &second]).await;
    assert_eq!(committed.table.ancestry().count(), 2);
}

#[tokio::test]
async fn defect_01_a_zombie_is_fenced() {
    // iceberg-rust 0.10.1 reloads the table on every commit attempt and adopts whatever it has become as the base, so
    // a writer that was replaced commits its stale rows once more.
    let world = World::new().await;
    let (winner, zombie) = (world.step(None, 1), world.step(None, 1));
    world.append(&winner).await.expect("winner");
    let fenced = world.append(&zombie).await.expect_err("zombie");
    let AppendError::Fenced { key, expected, found } = &fenced else { panic!("{fenced}") };
    assert_eq!((key.as_str(), expected, found.as_deref()), (KEY, &None, Some("1")));
    assert!(!fenced.is_retryable());
    assert_live(&world.load().await, &[&winner]).await;
}

#[tokio::test]
async fn racing_writers_have_one_winner() {
    let world = World::new().await;
    let appends: Vec<_> = (0..8).map(|_| world.step(None, 1)).collect();
    // Spawned, as the writer does: the future of an append has to be `Send` and own what it needs.
    let mut tasks = tokio::task::JoinSet::new();
    for append in appends {
        let (catalog, table) = (world.catalog.clone(), world.table.clone());
        tasks.spawn(async move {
            let result = catalog.append(&table, &append).await;
            (append, result)
        });
    }
    let results = tasks.join_all().await;
    let winners: Vec<_> = results.iter().filter(|(_, result)| result.is_ok()).collect();
    assert_eq!(winners.len(), 1);
    for (_, result) in &results {
        assert!(matches!(result, Ok(_) | Err(AppendError::Fenced { .. })), "{result:?}");
    }
    assert_live(&world.load().await, &[&winners[0].0]).await;
}

#[tokio::test]
async fn a_lost_answer_is_adopted() {
    let faults = [Fault::PerformThen(500), Fault::PerformThen(502), Fault::PerformThen(504), Fault::PerformThenClose];
    for fault in faults {
        let world = World::new().await;
        let append = world.step(None, 1);
        world.stub.fault(Method::POST, fault);
        let committed = world.append(&append).await.expect("adopted");
        assert!(committed.adopted, "{fault:?}");
        assert_eq!(committed.table.metadata.current_snapshot_id(), Some(committed.snapshot_id));
        assert_eq!(world.stub.with(|shared| shared.commits), 1);
        assert_live(&world.load().await, &[&append]).await;
        assert!(world.append(&append).await.expect("again").adopted, "calling again changes nothing");
        assert_eq!(world.stub.with(|shared| shared.commits), 1);
    }
}

#[tokio::test]
async fn a_request_that_was_not_performed_is_made_again() {
    for status in [500, 502, 503, 504, 429] {
        let world = World::new().await;
        let append = world.step(None, 1);
        world.stub.fault(Method::POST, Fault::Refuse(status));
        assert!(!world.append(&append).await.expect("second attempt").adopted, "{status}");
        assert_live(&world.load().await, &[&append]).await;
    }
}

#[tokio::test]
async fn unknown_until_the_truth_can_be_read() {
    let world = World::new().await;
    let append = world.step(None, 1);
    world.stub.fault(Method::POST, Fault::PerformThen(500));
    // Five more attempts of four loads each fail.
    for _ in 0..20 {
        world.stub.fault(Method::GET, Fault::Refuse(503));
    }
    let unknown = world.append(&append).await.expect_err("nobody can tell");
    assert!(matches!(unknown, AppendError::Unknown { .. }), "{unknown}");
    assert!(unknown.is_retryable());
    assert!(world.append(&append).await.expect("now it can be read").adopted);
    assert_live(&world.load().await, &[&append]).await;
}

#[tokio::test]
async fn a_refusal_after_an_unknown_outcome_stays_unknown() {
    let world = World::new().await;
    let append = world.step(None, 1);
    world.stub.fault(Method::POST, Fault::Refuse(500));
    world.stub.fault(Method::POST, Fault::Refuse(403));
    let unknown = world.append(&append).await.expect_err("may still land");
    assert!(matches!(unknown, AppendError::Unknown { .. }), "{unknown}");
}

#[tokio::test]
async fn refusals_are_final() {
    for status in [400, 401, 403, 422] {
        let world = World::new().await;
        world.stub.fault(Method::POST, Fault::Refuse(status));
        let rejected = world.append(&world.step(None, 1)).await.expect_err("rejected");
        assert!(matches!(rejected, AppendError::Rejected(_)), "{status}: {rejected}");
        assert_eq!(world.stub.count(&Method::POST, "/tables/t"), 1);
    }
}

#[tokio::test]
async fn defect_12_a_foreign_commit_only_costs_an_attempt() {
    // iceberg-rust 0.10.1 cannot commit two snapshot actions together: the second asserts the first's snapshot, which
    // the catalog has never seen. Here one append is one snapshot, and a conflict re-commits the same files on top of
    // what came first.
    let world = World::new().await;
    let (first, second) = (world.step(None, 1), world.step(Some(1), 2));
    world.append(&first).await.expect("first");
    world.stub.fault(Method::POST, Fault::ForeignCommitFirst);
    let committed = world.append(&second).await.expect("second");
    assert!(!committed.adopted);
    assert_eq!(committed.table.ancestry().count(), 3);
    assert_live(&world.load().await, &[&first, &second]).await;
}

#[tokio::test]
async fn endless_contention_is_bounded_and_leaves_nothing() {
    let world = World::new().await;
    world.append(&world.step(None, 1)).await.expect("first");
    for _ in 0..6 {
        world.stub.fault(Method::POST, Fault::ForeignCommitFirst);
    }
    let contended = world.append(&world.step(Some(1), 2)).await.expect_err("contended");
    assert!(matches!(contended, AppendError::Contended { attempts: 6, .. }), "{contended}");
    assert!(contended.is_retryable());
}

#[tokio::test]
async fn a_changed_property_fences_without_a_snapshot() {
    let world = World::new().await;
    let append = world.step(None, 1);
    let updates = HashMap::from([(KEY.to_owned(), "7".to_owned())]);
    world.stub.update(vec![TableUpdate::SetProperties { updates }]);
    let fenced = world.append(&append).await.expect_err("fenced");
    assert!(matches!(&fenced, AppendError::Fenced { found: Some(found), .. } if found == "7"), "{fenced}");
}

#[tokio::test]
async fn a_recreated_table_is_another_table() {
    let world = World::new().await;
    let append = world.step(None, 1);
    world.catalog.drop_table(&world.table.ident).await.expect("drop");
    assert!(matches!(world.append(&append).await, Err(AppendError::Gone { .. })));
    let recreated = create(&world.catalog, BTreeMap::new()).await;
    let replaced = world.append(&append).await.expect_err("replaced");
    assert!(matches!(replaced, AppendError::TableReplaced { found, .. } if found == recreated.uuid()), "{replaced}");
}

#[tokio::test]
async fn an_expired_ancestry_fences() {
    // Our commit landed, its snapshot was expired before we could look: the property still tells that it (or a twin)
    // is in, and the caller starts over from the checkpoint.
    let world = World::new().await;
    let append = world.step(None, 1);
    let committed = world.append(&append).await.expect("first");
    world.stub.with(foreign_commit);
    world.stub.update(vec![TableUpdate::RemoveSnapshots { snapshot_ids: vec![committed.snapshot_id] }]);
    let fenced = world.append(&append).await.expect_err("fenced");
    assert!(matches!(fenced, AppendError::Fenced { .. }), "{fenced}");
}

#[tokio::test]
async fn an_empty_append_still_fences() {
    let world = World::new().await;
    let empty = FencedAppend { data_files: Vec::new(), ..world.step(None, 1) };
    let committed = world.append(&empty).await.expect("empty");
    assert_eq!(committed.table.ancestry().count(), 1);
    assert_eq!(committed.table.property(KEY), Some("1"));
    let (files, manifests) = live(&committed.table).await;
    assert_eq!((files.len(), manifests), (0, 0));
    assert!(matches!(world.append(&world.step(None, 1)).await, Err(AppendError::Fenced { .. })));
    world.append(&world.step(Some(1), 2)).await.expect("next");
}

async fn append_many(world: &World, count: u32) -> Vec<FencedAppend> {
    let mut appends = Vec::new();
    for number in 1..=count {
        let append = world.step((number > 1).then(|| number - 1), number);
        world.append(&append).await.expect("append");
        appends.push(append);
    }
    appends
}

#[tokio::test]
async fn many_appends_merge_their_manifests() {
    let world = World::new().await;
    let appends = append_many(&world, 120).await;
    let table = world.load().await;
    let (_, manifests) = live(&table).await;
    assert!(manifests < 30, "{manifests} manifests");
    assert_live(&table, &appends.iter().collect::<Vec<_>>()).await;
    let list =
        table.storage.get(table.metadata.current_snapshot().expect("snapshot").manifest_list()).await.expect("list");
    let list = ManifestList::parse_with_version(&list, table.metadata.format_version()).expect("list");
    let rows: u64 = list.entries().iter().map(|m| m.added_rows_count.unwrap() + m.existing_rows_count.unwrap()).sum();
    assert_eq!(rows, 1200);
    // Sequence numbers survive the merge: files are as old as they were.
    let merged = list.entries().iter().find(|m| m.existing_files_count > Some(0)).expect("a merged manifest");
    assert_eq!(merged.min_sequence_number, 1);
}

#[tokio::test]
async fn merging_can_be_switched_off() {
    let world =
        World::with(&[("commit.manifest-merge.enabled", "false"), ("commit.manifest.min-count-to-merge", "2")]).await;
    append_many(&world, 6).await;
    assert_eq!(live(&world.load().await).await.1, 6);
}

#[tokio::test]
async fn every_format_version() {
    for version in ["1", "2", "3"] {
        let world = World::with(&[("format-version", version), ("commit.manifest.min-count-to-merge", "3")]).await;
        let appends = append_many(&world, 7).await;
        let table = world.load().await;
        assert_live(&table, &appends.iter().collect::<Vec<_>>()).await;
        if version == "3" {
            assert_eq!(table.metadata.next_row_id(), 70);
            let ranges: Vec<_> = table.ancestry().map(|snapshot| snapshot.row_range()).collect();
            assert_eq!(ranges[0], Some((60, 10)));
        }
    }
}

#[tokio::test]
async fn defect_10_an_append_does_not_read_the_manifests() {
    // iceberg-rust 0.10.1 by default loads every manifest of the table on every commit to look for duplicates. Here
    // the commit id and the fence rule them out, and manifests are read only to merge them: with the old ones gone
    // from the store, an append still works.
    let world = World::new().await;
    append_many(&world, 3).await;
    let table = world.load().await;
    for entry in table.storage.list(&format!("{}/metadata", table.location())).await.expect("list") {
        if !entry.location.contains("/snap-") {
            table.storage.delete(&entry.location).await.expect("delete");
        }
    }
    world.append(&world.step(Some(3), 4)).await.expect("append");
}

#[tokio::test]
async fn defect_11_a_file_listed_twice_is_refused() {
    // iceberg-rust 0.10.1 does not notice the same path twice within one batch and counts its rows twice.
    let world = World::new().await;
    let twice = vec![staged(&world.table, vec![file("same", 1)]), staged(&world.table, vec![file("same", 1)])];
    let append = FencedAppend { data_files: twice, ..world.step(None, 1) };
    assert!(matches!(world.append(&append).await, Err(AppendError::InvalidFiles { .. })));
    assert_eq!(world.stub.with(|shared| shared.commits), 0);
}

#[tokio::test]
async fn defect_14_files_of_an_older_spec_are_committed() {
    // iceberg-rust 0.10.1 refuses data files of any partition spec but the table's current default, so a spec change
    // strands whatever is in flight.
    let world = World::new().await;
    let old = world.step(None, 1);
    let schema = world.table.metadata.current_schema();
    let spec = crate::create::parse_partition_spec("s", schema).expect("spec");
    world.stub.update(vec![TableUpdate::AddSpec { spec }, TableUpdate::SetDefaultSpec { spec_id: -1 }]);
    let mut both = FencedAppend { ..old.clone() };
    let table = world.load().await;
    let partition = Struct::from_iter([Some(Literal::string("a"))]);
    let mut partitioned = DataFileBuilder::default();
    let partitioned = partitioned
        .content(DataContentType::Data)
        .file_path("memory:///wh/data/s=a/x.parquet".to_owned())
        .file_format(DataFileFormat::Parquet)
        .record_count(5)
        .file_size_in_bytes(5)
        .partition(partition)
        .build()
        .expect("data file");
    both.data_files.push(staged(&table, vec![partitioned]));
    let committed = world.append(&both).await.expect("both specs in one commit");
    assert_live(&committed.table, &[&both]).await;
    assert_eq!(live(&committed.table).await.1, 2, "one manifest per spec");
    // A partition that does not fit its spec is an error, not a panic.
    let wrong =
        FencedAppend { data_files: vec![staged(&table, vec![file("no-partition", 1)])], ..world.step(Some(1), 2) };
    assert!(matches!(world.append(&wrong).await, Err(AppendError::InvalidFiles { .. })));
}

#[tokio::test]
async fn defect_16_a_long_lived_table_holds_no_manifests() {
    // iceberg-rust 0.10.1 caches manifests per `Table` and weighs them by the size of a pointer, so the cache of a
    // long-lived table never fills and never empties. Our table has no cache; what it holds is its metadata.
    let world = World::new().await;
    append_many(&world, 2).await;
    let Table { ident: _, metadata, metadata_location: _, storage: _, main_retention: _ } = world.load().await;
    assert_eq!(metadata.snapshots().len(), 2);
}

#[tokio::test]
async fn defect_17_foreign_totals_do_not_underflow() {
    // iceberg-rust 0.10.1 computes totals with plain arithmetic on whatever the last summary says, and panics or wraps
    // on a foreign one.
    let foreign = [("18446744073709551615", None), ("-5", None), ("many", None), ("7", Some("17"))];
    for (total, expected) in foreign {
        let base = iceberg::spec::Snapshot::builder()
            .with_snapshot_id(1)
            .with_sequence_number(1)
            .with_timestamp_ms(1)
            .with_manifest_list("x")
            .with_summary(iceberg::spec::Summary {
                operation: iceberg::spec::Operation::Append,
                additional_properties: HashMap::from([("total-records".to_owned(), total.to_owned())]),
            })
            .build();
        let world_free = StagedFiles {
            files: vec![file("a", 10)],
            spec_id: 0,
            schema_id: 0,
            table_uuid: Uuid::nil(),
            rows: 10,
            bytes: 1000,
        };
        let extra = BTreeMap::from([("total-records".to_owned(), "forged".to_owned())]);
        let summary = summary::summary(Uuid::nil(), &extra, &[world_free], Some(&base)).additional_properties;
        assert_eq!(summary.get("total-records").map(String::as_str), expected, "{total}");
        assert_eq!(summary.get("total-data-files"), None, "unknown stays unknown");
        assert_eq!(summary.get("added-records").map(String::as_str), Some("10"));
    }
}

#[tokio::test]
async fn retention_of_main_is_kept() {
    use iceberg::spec::{SnapshotReference, SnapshotRetention};
    let world = World::new().await;
    let committed = world.append(&world.step(None, 1)).await.expect("first");
    let retention = SnapshotRetention::branch(Some(3), Some(86_400_000), None);
    let reference = SnapshotReference::new(committed.snapshot_id, retention.clone());
    world.stub.update(vec![TableUpdate::SetSnapshotRef { ref_name: "main".to_owned(), reference }]);
    let committed = world.append(&world.step(Some(1), 2)).await.expect("second");
    assert_eq!(committed.table.main_retention, retention);
    assert_eq!(world.load().await.main_retention, retention);
}

#[tokio::test]
async fn a_clock_behind_the_table_does_not_matter() {
    let world = World::new().await;
    world.append(&world.step(None, 1)).await.expect("first");
    let table = world.load().await;
    let ahead = table.metadata.last_updated_ms() + 3_600_000;
    let snapshot = iceberg::spec::Snapshot::builder()
        .with_snapshot_id(77)
        .with_parent_snapshot_id(table.metadata.current_snapshot_id())
        .with_sequence_number(table.metadata.next_sequence_number())
        .with_timestamp_ms(ahead)
        .with_manifest_list(table.metadata.current_snapshot().expect("snapshot").manifest_list().to_owned())
        .with_summary(iceberg::spec::Summary {
            operation: iceberg::spec::Operation::Append,
            additional_properties: HashMap::new(),
        })
        .build();
    let reference =
        iceberg::spec::SnapshotReference::new(77, iceberg::spec::SnapshotRetention::branch(None, None, None));
    let ref_name = "main".to_owned();
    world.stub.update(vec![TableUpdate::AddSnapshot { snapshot }, TableUpdate::SetSnapshotRef { ref_name, reference }]);
    let committed = world.append(&world.step(Some(1), 2)).await.expect("second");
    let newest = committed.table.metadata.current_snapshot().expect("snapshot").timestamp_ms();
    assert!(newest >= ahead);
}
