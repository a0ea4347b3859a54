//! Creating, describing, purging and deleting shards.

use std::error::Error;

use frazil_core::checkpoint::Incarnation;
use frazil_core::stream::StreamDefinition;
use frazil_log::testing::TestServer;
use frazil_log::{Log, LogConfig, LogError};

use crate::{definition, fill, log_with_shard, shard};

#[tokio::test]
async fn a_shard_is_created_described_changed_and_deleted() {
    let server = TestServer::start();
    let log = server.connect().await;
    assert_eq!(log.shard_info(&shard()).await.expect("answers"), None);
    let made = log.create_shard(&shard(), &definition()).await.expect("created");
    assert_eq!((made.first_sequence, made.last_sequence, made.messages, made.bytes), (0, 0, 0, 0));
    assert_eq!(made.max_bytes, definition().max_bytes);
    assert_eq!(log.create_shard(&shard(), &definition()).await.expect("idempotent"), made);
    let larger = StreamDefinition { max_bytes: 1 << 30, ..definition() };
    let changed = log.create_shard(&shard(), &larger).await.expect("changed");
    assert_eq!((changed.max_bytes, changed.incarnation), (1 << 30, made.incarnation));
    assert_eq!(log.shard_info(&shard()).await.expect("answers"), Some(changed));
    log.delete_shard(&shard()).await.expect("deleted");
    log.delete_shard(&shard()).await.expect("deleting nothing is no error");
    assert_eq!(log.shard_info(&shard()).await.expect("answers"), None);
}

#[tokio::test]
async fn a_shard_that_does_not_fit_the_server_says_what_to_change() {
    let server = TestServer::start();
    let huge = StreamDefinition { max_bytes: 4 << 40, ..definition() };
    let error = server.connect().await.create_shard(&shard(), &huge).await.expect_err("4 TiB do not fit");
    let said = error.source().expect("a reason").to_string();
    assert!(matches!(error, LogError::Refused { .. }) && said.contains("max_bytes"), "{error}: {said}");
}

#[tokio::test]
async fn the_incarnation_survives_a_crash_but_not_a_recreation() {
    let (mut server, log) = log_with_shard().await;
    fill(&log, 3, 10).await;
    let before = log.shard_info(&shard()).await.expect("answers").expect("exists");
    server.restart();
    log.connected().await;
    let after = server.connect().await.shard_info(&shard()).await.expect("answers").expect("exists");
    assert_eq!(after, before);
    log.delete_shard(&shard()).await.expect("deleted");
    let again = log.create_shard(&shard(), &definition()).await.expect("created");
    assert_ne!(again.incarnation, before.incarnation);
}

#[tokio::test]
async fn purging_frees_what_was_named_and_nothing_else() {
    let (_server, log) = log_with_shard().await;
    fill(&log, 10, 10).await;
    let incarnation = log.shard_info(&shard()).await.expect("answers").expect("exists").incarnation;
    let range = async || {
        let info = log.shard_info(&shard()).await.expect("answers").expect("exists");
        (info.first_sequence, info.last_sequence, info.messages)
    };
    assert_eq!(log.purge_through(&shard(), incarnation, 0).await.expect("purged"), 0);
    assert_eq!(range().await, (1, 10, 10));
    assert_eq!(log.purge_through(&shard(), incarnation, 4).await.expect("purged"), 4);
    assert_eq!(range().await, (5, 10, 6));
    assert_eq!(log.purge_through(&shard(), incarnation, 4).await.expect("purged"), 0);
    let other = log.purge_through(&shard(), Incarnation(1), 9).await;
    assert!(matches!(other, Err(LogError::Recreated(_))), "{other:?}");
    assert_eq!(range().await, (5, 10, 6));
    // Past the end: the sequences that were not used yet must stay usable.
    assert_eq!(log.purge_through(&shard(), incarnation, 1000).await.expect("purged"), 6);
    assert_eq!(range().await, (11, 10, 0));
    fill(&log, 1, 10).await;
    assert_eq!(range().await, (11, 11, 1));
}

#[tokio::test]
async fn connecting_says_what_is_wrong() {
    let mut server = TestServer::start_with("authorization { user: frazil, password: secret }");
    let wrong = Log::connect(&server.config()).await;
    assert!(matches!(wrong, Err(LogError::Refused { .. })), "{wrong:?}");
    let right = LogConfig {
        user: Some("frazil".to_owned()),
        password: Some(frazil_log::Secret::new("secret")),
        ..server.config()
    };
    assert!(!format!("{right:?}").contains("secret"));
    let log = Log::connect(&right).await.expect("connects");
    assert!(log.is_connected());
    assert_eq!(log.max_payload(), 1024 * 1024);
    server.kill();
    let gone = Log::connect(&right).await;
    assert!(matches!(gone, Err(LogError::Unavailable { .. })), "{gone:?}");
    let none = Log::connect(&LogConfig::new(Vec::new(), "test")).await;
    assert!(matches!(none, Err(LogError::Config(_))), "{none:?}");
}
