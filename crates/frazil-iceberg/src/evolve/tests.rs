//! Schema changes against a catalog in memory: each outcome, and that nothing is sent twice.

use iceberg::TableIdent;
use reqwest::Method;
use serde_json::{Value, json};

use super::*;
use crate::create::create_table;
use crate::rest::stub::{Fault, Stub};

const MARK: &str = "frazil.columns-added";

struct World {
    stub: Stub,
    catalog: RestCatalog,
    table: Table,
}

fn column(id: i32, name: &str, of: &str) -> Value {
    json!({"id": id, "name": name, "required": false, "type": of})
}

fn schema(columns: &[Value]) -> String {
    json!({"type": "struct", "schema-id": 0, "fields": columns}).to_string()
}

/// The columns that every table here begins with.
fn two() -> Vec<Value> {
    vec![column(1, "n", "int"), column(2, "s", "string")]
}

fn with(more: &[Value]) -> String {
    schema(&[two().as_slice(), more].concat())
}

fn mark() -> BTreeMap<String, String> {
    BTreeMap::from([(MARK.to_owned(), "490000:1".to_owned())])
}

impl World {
    async fn new() -> Self {
        let stub = Stub::start().await;
        let catalog = stub.connect().await;
        let table = create(&catalog).await;
        Self { stub, catalog, table }
    }

    async fn propose(&self, schema: &str) -> Result<Table, SchemaUpdateError> {
        self.catalog.update_schema(&self.table, schema, mark()).await
    }

    async fn load(&self) -> Table {
        self.catalog.load_table(&self.table.ident).await.expect("load")
    }

    /// Somebody else makes this the current schema.
    fn alter(&self, schema: &str) {
        let schema = parse_schema(schema).expect("schema");
        // Whatever id the schema says.
        self.stub
            .update(vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: LAST_ADDED }]);
    }

    fn sent(&self) -> usize {
        self.stub.count(&Method::POST, "/tables/t")
    }
}

async fn create(catalog: &RestCatalog) -> Table {
    let ident = TableIdent::from_strs(["ns", "t"]).expect("ident");
    let create = create_table(&schema(&two()), "", "", BTreeMap::new(), None).expect("definition");
    catalog.create_table(&ident, create).await.expect("create")
}

fn columns(table: &Table) -> Vec<(i32, &str)> {
    table.metadata.current_schema().as_struct().fields().iter().map(|field| (field.id, field.name.as_str())).collect()
}

#[tokio::test]
async fn schema_and_properties_change_in_one_commit() {
    let world = World::new().await;
    assert_eq!(world.table.last_column_id(), 2);
    let altered = world.propose(&with(&[column(3, "d", "double")])).await.expect("altered");
    assert_eq!(columns(&altered), [(1, "n"), (2, "s"), (3, "d")]);
    assert_eq!((altered.last_column_id(), altered.property(MARK)), (3, Some("490000:1")));
    assert_eq!(altered.properties()[MARK], "490000:1");
    let loaded = world.load().await;
    assert_eq!(loaded.metadata.current_schema(), altered.metadata.current_schema());
    assert_eq!((world.sent(), world.stub.with(|shared| shared.commits)), (1, 1));
    // Widening, on the altered table.
    let wide = schema(&[column(1, "n", "long"), column(2, "s", "string"), column(3, "d", "double")]);
    let widened = world.catalog.update_schema(&altered, &wide, BTreeMap::new()).await.expect("widened");
    assert_eq!(widened.metadata.current_schema_id(), 2);
    assert_eq!(widened.last_column_id(), 3);
}

#[tokio::test]
async fn an_unchanged_schema_sends_properties_or_nothing() {
    let world = World::new().await;
    let same = world.catalog.update_schema(&world.table, &with(&[]), BTreeMap::new()).await.expect("nothing to do");
    assert_eq!((same.metadata.current_schema_id(), world.sent()), (0, 0));
    let marked = world.propose(&with(&[])).await.expect("marked");
    assert_eq!((marked.metadata.current_schema_id(), marked.property(MARK)), (0, Some("490000:1")));
}

/// A schema that the table had before is made the current one by its old id.
#[tokio::test]
async fn a_former_schema_is_used_again() {
    let world = World::new().await;
    let altered = world.propose(&with(&[column(3, "d", "double")])).await.expect("altered");
    let dropped = world.catalog.update_schema(&altered, &with(&[]), BTreeMap::new()).await.expect("dropped");
    assert_eq!((dropped.metadata.current_schema_id(), dropped.last_column_id()), (0, 3));
    assert_eq!(dropped.metadata.schemas_iter().count(), 2);
    let again = with(&[column(4, "d", "double")]);
    let again = world.catalog.update_schema(&dropped, &again, BTreeMap::new()).await.expect("added anew");
    assert_eq!(columns(&again), [(1, "n"), (2, "s"), (4, "d")]);
}

#[tokio::test]
async fn somebody_elses_change_is_a_conflict_and_stays() {
    let world = World::new().await;
    world.alter(&with(&[column(3, "theirs", "string")]));
    let conflict = world.propose(&with(&[column(3, "ours", "double")])).await.expect_err("conflict");
    assert!(matches!(conflict, SchemaUpdateError::Conflict { .. }), "{conflict}");
    assert!(conflict.is_retryable());
    let now = world.load().await;
    assert_eq!((columns(&now), now.property(MARK)), (vec![(1, "n"), (2, "s"), (3, "theirs")], None));
    // Proposed anew on what is there now.
    let both = with(&[column(3, "theirs", "string"), column(4, "ours", "double")]);
    let both = world.catalog.update_schema(&now, &both, mark()).await.expect("both");
    assert_eq!(columns(&both).len(), 4);
}

/// A column that came and went leaves the schema as it was, but not the ids.
#[tokio::test]
async fn an_id_that_was_given_out_meanwhile_is_a_conflict() {
    let world = World::new().await;
    world.alter(&with(&[column(3, "came", "string")]));
    world.alter(&with(&[]));
    assert_eq!(world.load().await.metadata.current_schema_id(), world.table.metadata.current_schema_id());
    let conflict = world.propose(&with(&[column(3, "ours", "double")])).await.expect_err("conflict");
    assert!(matches!(conflict, SchemaUpdateError::Conflict { .. }), "{conflict}");
}

/// Appends by others are no reason to propose again.
#[tokio::test]
async fn a_foreign_append_does_not_matter() {
    let world = World::new().await;
    world.stub.fault(Method::POST, Fault::ForeignCommitFirst);
    let altered = world.propose(&with(&[column(3, "d", "double")])).await.expect("altered");
    assert!(altered.metadata.current_snapshot().is_some());
}

#[tokio::test]
async fn a_lost_answer_is_looked_up() {
    for fault in [Fault::PerformThen(500), Fault::PerformThen(504), Fault::PerformThenClose] {
        let world = World::new().await;
        world.stub.fault(Method::POST, fault);
        let altered = world.propose(&with(&[column(3, "d", "double")])).await.expect("it is in the table");
        assert_eq!((columns(&altered).len(), altered.property(MARK)), (3, Some("490000:1")));
        assert_eq!((world.sent(), world.stub.with(|shared| shared.commits)), (1, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn a_request_that_was_lost_is_not_sent_again() {
    for status in [500, 503, 429] {
        let world = World::new().await;
        world.stub.fault(Method::POST, Fault::Refuse(status));
        let unavailable = world.propose(&with(&[column(3, "d", "double")])).await.expect_err("not done");
        assert!(matches!(unavailable, SchemaUpdateError::Unavailable { .. }), "{unavailable}");
        assert!(unavailable.is_retryable());
        assert_eq!((world.sent(), columns(&world.load().await).len()), (1, 2), "{status}");
    }
}

#[tokio::test]
async fn unknown_while_the_table_cannot_be_read() {
    let world = World::new().await;
    world.stub.fault(Method::POST, Fault::PerformThen(502));
    for _ in 0..4 {
        world.stub.fault(Method::GET, Fault::Refuse(503));
    }
    let wanted = with(&[column(3, "d", "double")]);
    let unknown = world.propose(&wanted).await.expect_err("nobody can tell");
    assert!(matches!(unknown, SchemaUpdateError::Unavailable { .. }), "{unknown}");
    // The caller loads the table and finds that there is nothing left to propose; the old proposal cannot win twice.
    assert!(matches!(world.propose(&wanted).await, Err(SchemaUpdateError::Conflict { .. })));
    assert_eq!(columns(&world.load().await).len(), 3);
}

#[tokio::test]
async fn refusals_are_final() {
    for status in [400, 401, 403, 422] {
        let world = World::new().await;
        world.stub.fault(Method::POST, Fault::Refuse(status));
        let rejected = world.propose(&with(&[column(3, "d", "double")])).await.expect_err("rejected");
        assert!(matches!(rejected, SchemaUpdateError::Rejected(_)), "{status}: {rejected}");
        assert!(!rejected.is_retryable());
        assert_eq!(world.sent(), 1);
    }
}

#[tokio::test]
async fn a_table_that_is_gone_or_another() {
    let world = World::new().await;
    let wanted = with(&[column(3, "d", "double")]);
    world.catalog.drop_table(&world.table.ident).await.expect("drop");
    assert!(matches!(world.propose(&wanted).await, Err(SchemaUpdateError::Gone { .. })));
    let other = create(&world.catalog).await;
    for fault in [None, Some(Fault::Refuse(500))] {
        fault.into_iter().for_each(|fault| world.stub.fault(Method::POST, fault));
        let replaced = world.propose(&wanted).await.expect_err("replaced");
        assert!(matches!(replaced, SchemaUpdateError::Replaced { found, .. } if found == other.uuid()), "{replaced}");
    }
}

#[tokio::test]
async fn proposals_that_cannot_be_right_are_not_sent() {
    let world = World::new().await;
    let altered = world.propose(&with(&[column(3, "d", "double")])).await.expect("altered");
    let dropped = world.catalog.update_schema(&altered, &with(&[]), mark()).await.expect("dropped");
    let sent = world.sent();
    let mut base = dropped.clone();
    // As another writer sees it that never knew column 3: the id is used up all the same.
    base.metadata = world.table.metadata.clone();
    for (base, wanted, part) in [
        (&dropped, "{}".to_owned(), "schema"),
        (&base, with(&[column(2, "t", "string")]), "schema"),
        (&dropped, with(&[column(4, "t", "timestamptz_ns")]), "format version 3"),
    ] {
        let error = world.catalog.update_schema(base, &wanted, mark()).await.expect_err("invalid");
        assert!(matches!(&error, SchemaUpdateError::Invalid { reason } if reason.contains(part)), "{error}");
    }
    let used = check(&dropped, &parse_schema(&with(&[column(3, "d", "double")])).expect("schema"));
    assert!(used.is_ok(), "the dropped column itself may come back");
    assert_eq!(world.sent(), sent);
}
