//! Tests of the REST client against a catalog in memory.

use iceberg::{NamespaceIdent, TableIdent};
use reqwest::Method;
use serde_json::json;

use super::stub::{Fault, Stub};
use super::*;

const SCHEMA: &str = r#"{"type":"struct","schema-id":0,"fields":[{"id":1,"name":"n","required":false,"type":"long"}]}"#;

fn ident(names: &[&str]) -> TableIdent {
    TableIdent::from_strs(names).expect("ident")
}

async fn create(catalog: &RestCatalog, ident: &TableIdent) -> Table {
    let create = crate::create::create_table(SCHEMA, "", "", BTreeMap::new(), None).expect("definition");
    catalog.create_table(ident, create).await.expect("create")
}

fn oauth(stub: &Stub) -> RestCatalogConfig {
    let mut config = stub.config();
    config.auth =
        Auth::OAuth2ClientCredentials { credential: Secret::new("me:s:cret"), oauth2_server_uri: None, scope: None };
    config
}

#[tokio::test]
async fn configuration_is_merged() {
    let stub = Stub::start().await;
    stub.with(|shared| {
        shared.config = json!({
            "defaults": {"prefix": "default", "header.x-default": "d", "s3.region": "default"},
            "overrides": {"prefix": "pre/fix", "header.x-override": "o"},
        });
    });
    let mut config = stub.config();
    config.warehouse = Some("my warehouse&x".to_owned());
    config.vended_credentials = true;
    config.headers = BTreeMap::from([("x-own".to_owned(), "own".to_owned())]);
    let catalog = RestCatalog::connect(config).await.expect("connect");
    create(&catalog, &ident(&["ns", "t"])).await;
    stub.with(|shared| {
        assert_eq!(shared.seen[0].path, "/v1/config?warehouse=my%20warehouse%26x");
        let last = shared.seen.last().expect("request");
        assert_eq!(last.path, "/v1/pre/fix/namespaces/ns/tables");
        for (header, value) in [
            ("x-default", "d"),
            ("x-override", "o"),
            ("x-own", "own"),
            ("x-iceberg-access-delegation", "vended-credentials"),
        ] {
            assert_eq!(last.headers.get(header).map(|found| found.as_bytes()), Some(value.as_bytes()), "{header}");
        }
    });
}

#[tokio::test]
async fn names_are_encoded() {
    let stub = Stub::start().await;
    let catalog = stub.connect().await;
    let table = ident(&["a/b", "c.d", "x?y#z %"]);
    create(&catalog, &table).await;
    assert!(catalog.table_exists(&table).await.expect("exists"));
    assert_eq!(catalog.load_table(&table).await.expect("load").ident, table);
    let last = stub.with(|shared| shared.seen.last().expect("request").path.clone());
    assert_eq!(last, "/v1/namespaces/a%2Fb%1Fc.d/tables/x%3Fy%23z%20%25");
    for name in ["", ".", ".."] {
        assert!(matches!(catalog.load_table(&ident(&["ns", name])).await, Err(CatalogError::BadRequest { .. })));
    }
    assert_eq!(Separator::from_property("%2E").join(&["a".to_owned(), "b".to_owned()]), "a.b");
}

#[tokio::test]
async fn namespaces_and_tables_come_and_go() {
    let stub = Stub::start().await;
    let catalog = stub.connect().await;
    let namespace = NamespaceIdent::from_strs(["a", "b", "c"]).expect("namespace");
    catalog.create_namespace(&namespace).await.expect("with parents");
    catalog.create_namespace(&namespace).await.expect("again");
    assert_eq!(stub.with(|shared| shared.namespaces.len()), 3);
    assert_eq!(catalog.list_namespaces(None).await.expect("list").len(), 1);
    let table = ident(&["a", "b", "c", "t"]);
    assert!(!catalog.table_exists(&table).await.expect("exists"));
    assert!(matches!(catalog.load_table(&table).await, Err(CatalogError::NoSuchTable { .. })));
    let created = create(&catalog, &table).await;
    assert_eq!(
        created.schema_json().expect("json"),
        catalog.load_table(&table).await.expect("load").schema_json().expect("json")
    );
    let again = crate::create::create_table(SCHEMA, "", "", BTreeMap::new(), None).expect("definition");
    assert!(matches!(catalog.create_table(&table, again).await, Err(CatalogError::AlreadyExists { .. })));
    catalog.drop_table(&table).await.expect("drop");
    assert!(
        matches!(catalog.drop_table(&table).await, Err(CatalogError::NoSuchTable { message }) if message == "no table")
    );
}

#[tokio::test]
async fn defect_09_a_refused_token_is_renewed_once() {
    // iceberg-rust 0.10.1 fetches one token and never another: after it expires every request fails with 401.
    let stub = Stub::start().await;
    let catalog = RestCatalog::connect(oauth(&stub)).await.expect("connect");
    let table = create(&catalog, &ident(&["ns", "t"])).await;
    stub.with(|shared| shared.tokens = Some(Vec::new()));
    catalog.load_table(&table.ident).await.expect("with a new token");
    assert_eq!(stub.with(|shared| shared.tokens_issued), 2);
    // A commit as well: 401 says that it was not looked at.
    stub.with(|shared| shared.tokens = Some(Vec::new()));
    catalog.commit_table(&table.ident, Vec::new(), Vec::new()).await.expect("commit");
    assert_eq!(stub.with(|shared| (shared.tokens_issued, shared.commits)), (3, 1));
}

#[tokio::test]
async fn defect_09_a_token_is_renewed_before_it_expires() {
    // iceberg-rust 0.10.1 ignores `expires_in`.
    let stub = Stub::start().await;
    stub.with(|shared| shared.expires_in = Some(0));
    let catalog = RestCatalog::connect(oauth(&stub)).await.expect("connect");
    assert!(!catalog.table_exists(&ident(&["ns", "t"])).await.expect("exists"));
    assert_eq!(stub.with(|shared| shared.tokens_issued), 2);
    stub.with(|shared| shared.expires_in = Some(3600));
    for _ in 0..3 {
        catalog.table_exists(&ident(&["ns", "t"])).await.expect("exists");
    }
    assert_eq!(stub.with(|shared| shared.tokens_issued), 3);
    assert_eq!(
        stub.with(|shared| shared.seen.iter().filter(|seen| seen.headers.contains_key("authorization")).count()),
        5
    );
}

#[tokio::test]
async fn wrong_credentials_are_told() {
    let stub = Stub::start().await;
    let mut config = oauth(&stub);
    config.auth = Auth::OAuth2ClientCredentials {
        credential: Secret::new("me:wrong"),
        oauth2_server_uri: Some(format!("http://{}/v1/oauth/tokens", stub.address)),
        scope: None,
    };
    let refused = RestCatalog::connect(config.clone()).await.expect_err("refused");
    assert!(
        matches!(&refused, CatalogError::Unauthorized { message } if message.contains("invalid_client")),
        "{refused}"
    );
    stub.with(|shared| shared.tokens = Some(vec!["right".to_owned()]));
    config.auth = Auth::Bearer(Secret::new("wrong"));
    assert!(matches!(RestCatalog::connect(config.clone()).await, Err(CatalogError::Unauthorized { .. })));
    config.auth = Auth::Bearer(Secret::new("right"));
    RestCatalog::connect(config.clone()).await.expect("connect");
    assert!(!format!("{config:?}").contains("right"));
}

#[tokio::test]
async fn defect_09_reading_is_retried() {
    // iceberg-rust 0.10.1 retries nothing: one 429 or 503 fails the operation for good.
    let stub = Stub::start().await;
    let catalog = stub.connect().await;
    let table = create(&catalog, &ident(&["ns", "t"])).await;
    for status in [429, 503, 500] {
        stub.fault(Method::GET, Fault::Refuse(status));
    }
    catalog.load_table(&table.ident).await.expect("the fourth try");
    for _ in 0..4 {
        stub.fault(Method::GET, Fault::Refuse(503));
    }
    stub.with(|shared| shared.retry_after = Some(9));
    let unavailable = catalog.load_table(&table.ident).await.expect_err("bounded");
    assert!(unavailable.is_retryable());
    let CatalogError::Unavailable { retry_after, .. } = unavailable else { panic!("{unavailable}") };
    assert_eq!(retry_after, Some(std::time::Duration::from_secs(9)));
    stub.fault(Method::GET, Fault::Refuse(403));
    assert!(matches!(catalog.load_table(&table.ident).await, Err(CatalogError::Forbidden { .. })));
    assert_eq!(stub.count(&Method::GET, "/tables/t"), 4 + 4 + 1);
}

#[test]
fn retry_after_is_read_and_bounded() {
    use std::time::Duration;
    let headers = |value: &str| {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("retry-after", value.parse().expect("header"));
        transport::retry_after(&headers)
    };
    assert_eq!(headers("3"), Some(Duration::from_secs(3)));
    assert_eq!(headers("soon"), None);
    assert_eq!(headers("Wed, 21 Oct 2015 07:28:00 GMT"), None, "in the past");
    assert!(headers("Wed, 21 Oct 2099 07:28:00 GMT").is_some());
    let policy = RetryPolicy { attempts: 3, base: Duration::from_millis(100), max: Duration::from_secs(2) };
    assert_eq!(policy.wait(0, Some(Duration::from_secs(1))), Duration::from_secs(1));
    assert_eq!(policy.wait(0, Some(Duration::from_secs(100))), Duration::from_secs(2));
    assert!(policy.wait(30, None) <= Duration::from_secs(2));
}

#[test]
fn a_new_schema_goes_with_the_highest_column_id_that_there_ever_was() {
    // Optional in the protocol; Nessie 0.99 refuses an update without it.
    let schema = crate::create::parse_schema(SCHEMA).expect("schema");
    let updates = [TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: -1 }];
    for (before, expected) in [(None, json!(null)), (Some(0), json!(1)), (Some(7), json!(7))] {
        let last = |id| TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: id };
        let requirements: Vec<_> = before.map(last).into_iter().collect();
        let ident = ident(&["ns", "t"]);
        let body = serde_json::to_value(wire::CommitTable::new(&ident, &requirements, &updates)).expect("JSON");
        assert_eq!(body["updates"][0]["last-column-id"], expected);
        assert_eq!(body["updates"][0]["action"], "add-schema");
        assert_eq!(body["updates"][1], json!({"action": "set-current-schema", "schema-id": -1}));
    }
}

#[tokio::test]
async fn a_commit_is_sent_once_and_its_outcome_named() {
    let stub = Stub::start().await;
    let catalog = stub.connect().await;
    let table = create(&catalog, &ident(&["ns", "t"])).await;
    type Expected = fn(&CommitError) -> bool;
    let cases: [(Fault, Expected); 12] = [
        (Fault::Refuse(400), |e| matches!(e, CommitError::Rejected(CatalogError::BadRequest { .. }))),
        (Fault::Refuse(401), |e| matches!(e, CommitError::Rejected(CatalogError::Unauthorized { .. }))),
        (Fault::Refuse(403), |e| matches!(e, CommitError::Rejected(CatalogError::Forbidden { .. }))),
        (Fault::Refuse(404), |e| matches!(e, CommitError::NotFound { .. })),
        (Fault::Refuse(409), |e| matches!(e, CommitError::Conflict { .. })),
        (Fault::Refuse(422), |e| matches!(e, CommitError::Rejected(_))),
        (Fault::Refuse(429), |e| matches!(e, CommitError::NotSent(_))),
        (Fault::PerformThen(500), |e| matches!(e, CommitError::Unknown { .. })),
        (Fault::PerformThen(502), |e| matches!(e, CommitError::Unknown { .. })),
        (Fault::PerformThen(504), |e| matches!(e, CommitError::Unknown { .. })),
        (Fault::PerformThen(302), |e| matches!(e, CommitError::Unknown { .. })),
        (Fault::PerformThenClose, |e| matches!(e, CommitError::Unknown { .. })),
    ];
    for (count, (fault, expected)) in cases.into_iter().enumerate() {
        stub.fault(Method::POST, fault);
        let error = catalog.commit_table(&table.ident, Vec::new(), Vec::new()).await.expect_err("fault");
        assert!(expected(&error), "{fault:?}: {error:?}");
        assert_eq!(stub.count(&Method::POST, "/tables/t"), count + 1, "{fault:?}: sent once");
    }
}

#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    let stub = Stub::start().await;
    let catalog = stub.connect().await;
    let table = create(&catalog, &ident(&["ns", "t"])).await;
    // A port that was free a moment ago, on which nobody listens.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let free = listener.local_addr().expect("address");
    drop(listener);
    stub.with(|shared| shared.config = json!({"defaults": {}, "overrides": {"uri": format!("http://{free}")}}));
    let nowhere = stub.connect().await;
    let error = nowhere.commit_table(&table.ident, Vec::new(), Vec::new()).await.expect_err("refused");
    assert!(matches!(error, CommitError::NotSent(CatalogError::Unavailable { .. })), "{error:?}");
    assert!(nowhere.load_table(&table.ident).await.expect_err("refused").is_retryable());
}

#[tokio::test]
async fn defect_08_vended_credentials_survive_a_commit() {
    // iceberg-rust 0.10.1 drops the vended `config` from the table that a commit returns, and ignores
    // `storage-credentials` altogether.
    let stub = Stub::start().await;
    stub.with(|shared| {
        shared.vended = json!({
            "config": {"s3.access-key-id": "A", "s3.secret-access-key": "B", "s3.session-token": "C",
                       "s3.session-token-expires-at-ms": "1", "token": "ignored"},
            "storage-credentials": [{"prefix": "s3://b/t", "config": {"s3.access-key-id": "P", "s3.secret-access-key": "Q"}}],
        });
    });
    let catalog = stub.connect().await;
    let table = create(&catalog, &ident(&["ns", "t"])).await;
    assert_eq!(table.storage.setting("s3://other/x", "s3.access-key-id").as_deref(), Some("A"));
    assert_eq!(table.storage.setting("s3://b/t/data/x", "s3.access-key-id").as_deref(), Some("P"));
    let append = crate::FencedAppend {
        commit_id: uuid::Uuid::new_v4(),
        table_uuid: table.uuid(),
        data_files: Vec::new(),
        fence: Vec::new(),
        summary: BTreeMap::new(),
    };
    let committed = catalog.append(&table, &append).await.expect("append");
    assert_eq!(committed.table.storage.setting("s3://b/t/data/x", "s3.access-key-id").as_deref(), Some("P"));
    // Every load brings what is vended now.
    stub.with(|shared| shared.vended = json!({"config": {"s3.access-key-id": "N", "s3.secret-access-key": "M"}}));
    let loaded = catalog.load_table(&table.ident).await.expect("load");
    assert_eq!(loaded.storage.setting("s3://b/t/data/x", "s3.access-key-id").as_deref(), Some("N"));
    assert_eq!(loaded.storage.setting("s3://b/t/data/x", "s3.session-token"), None);
}

#[tokio::test]
async fn the_users_credentials_win_as_a_group() {
    let stub = Stub::start().await;
    stub.with(|shared| {
        shared.vended = json!({"config": {"s3.access-key-id": "A", "s3.session-token": "C", "s3.region": "vended"}});
    });
    let mut config = stub.config();
    let own = [("s3.access-key-id", "mine"), ("s3.secret-access-key", "secret")];
    config.properties = own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let catalog = RestCatalog::connect(config).await.expect("connect");
    let storage = create(&catalog, &ident(&["ns", "t"])).await.storage;
    assert_eq!(storage.setting("s3://b/x", "s3.access-key-id").as_deref(), Some("mine"));
    assert_eq!(storage.setting("s3://b/x", "s3.session-token"), None, "not beside another's key");
    assert_eq!(storage.setting("s3://b/x", "s3.region").as_deref(), Some("vended"));
}
