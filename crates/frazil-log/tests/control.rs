//! The control bucket, its live view, and the announcements of commits.

use frazil_core::Shard;
use frazil_core::checkpoint::Incarnation;
use frazil_core::stream::{CommitNotice, Progress, StreamDefinition};
use frazil_core::token::{Pattern, Token, TokenRecord};
use frazil_log::testing::TestServer;
use frazil_log::{Directory, Log, LogError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{PATIENCE, definition, shard};

async fn log_with_bucket() -> (TestServer, Log) {
    let server = TestServer::start();
    let log = server.connect().await;
    log.ensure_bucket(1).await.expect("the bucket is made");
    (server, log)
}

fn named(name: &str) -> StreamDefinition {
    StreamDefinition::new(name.parse().expect("valid"), 1)
}

fn token(seed: u8) -> TokenRecord {
    let token = Token::from_random([seed; 6], [seed; 32]);
    TokenRecord {
        id: token.id().to_owned(),
        name: format!("token {seed}"),
        hash: token.hash(),
        streams: vec![Pattern("*".to_owned())],
        tables: vec![Pattern("*".to_owned())],
        created: 1,
        expires: None,
        limits: frazil_core::rate::RateLimits::default(),
    }
}

#[tokio::test]
async fn definitions_are_created_changed_listed_and_deleted() {
    let (_server, log) = log_with_bucket().await;
    log.ensure_bucket(1).await.expect("idempotent");
    log.ensure_bucket(3).await.expect("an existing bucket is left as it is");
    let control = log.control();
    let name = definition().name;
    assert_eq!(control.get_stream(&name).await.expect("answers"), None);
    assert_eq!(control.list_streams().await.expect("answers"), []);
    let to = |changed: StreamDefinition| move |_| Ok::<_, ()>(changed.clone());
    let missing = control.edit_stream(&name, to(definition())).await;
    assert!(matches!(missing, Err(LogError::NotFound(_))), "{missing:?}");
    control.create_stream(&definition()).await.expect("created");
    let twice = control.create_stream(&definition()).await;
    assert!(matches!(twice, Err(LogError::AlreadyExists(_))), "{twice:?}");
    let changed = StreamDefinition { shards: 4, ..definition() };
    let stored = control.edit_stream(&name, to(changed.clone())).await.expect("changed");
    assert_eq!(stored, Ok(changed.clone()));
    let refused = control.edit_stream(&name, |_| Err("no")).await.expect("answers");
    assert_eq!(refused, Err("no"));
    assert_eq!(control.get_stream(&name).await.expect("answers"), Some(changed.clone()));
    control.create_stream(&named("clicks")).await.expect("created");
    assert_eq!(control.list_streams().await.expect("answers"), [named("clicks"), changed]);
    control.delete_stream(&name).await.expect("deleted");
    control.delete_stream(&name).await.expect("deleting nothing is no error");
    assert_eq!(control.get_stream(&name).await.expect("answers"), None);
    assert_eq!(control.list_streams().await.expect("answers"), [named("clicks")]);
    let gone = control.edit_stream(&name, to(definition())).await;
    assert!(matches!(gone, Err(LogError::NotFound(_))), "{gone:?}");
    control.create_stream(&definition()).await.expect("created again");
}

#[tokio::test]
async fn of_two_that_create_the_same_stream_one_succeeds() {
    let (_server, log) = log_with_bucket().await;
    let control = log.control();
    let definition = definition();
    let (a, b) = tokio::join!(control.create_stream(&definition), control.create_stream(&definition));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
}

/// Everyone adds to the definition that the others leave: nobody's change is lost.
#[tokio::test]
async fn changes_at_the_same_time_all_count() {
    let (_server, log) = log_with_bucket().await;
    let control = log.control();
    let name = definition().name;
    control.create_stream(&StreamDefinition { shards: 1, ..definition() }).await.expect("created");
    let more =
        |definition: StreamDefinition| Ok::<_, ()>(StreamDefinition { shards: definition.shards + 1, ..definition });
    let edits = (0..8).map(|_| control.edit_stream(&name, more));
    for outcome in futures::future::join_all(edits).await {
        outcome.expect("stored").expect("not refused");
    }
    let stored = control.get_stream(&name).await.expect("answers").expect("a stream");
    assert_eq!(stored.shards, 9);
}

/// Two writers of one ordinal store their watermarks: the later one stays, whoever is last.
#[tokio::test]
async fn progress_never_goes_back() {
    let (_server, log) = log_with_bucket().await;
    let control = log.control();
    let progress = |incarnation, sequence| Progress { incarnation: Incarnation(incarnation), sequence, at: None };
    for (stored, stays) in [
        (progress(7, 42), progress(7, 42)),
        (progress(7, 41), progress(7, 42)),
        (progress(8, 1), progress(8, 1)),
        (progress(7, 99), progress(8, 1)),
        (progress(8, 2), progress(8, 2)),
    ] {
        control.set_progress(&shard(), stored).await.expect("stored");
        assert_eq!(control.progress(&shard()).await.expect("answers"), Some(stays), "after {stored:?}");
    }
    let storing = (3..40).map(|sequence| {
        let control = control.clone();
        async move { control.set_progress(&shard(), progress(8, sequence)).await }
    });
    futures::future::join_all(storing).await;
    control.set_progress(&shard(), progress(8, 39)).await.expect("stored");
    assert_eq!(control.progress(&shard()).await.expect("answers"), Some(progress(8, 39)));
}

#[tokio::test]
async fn tokens_and_progress_survive_a_crash() {
    let (mut server, log) = log_with_bucket().await;
    let control = log.control();
    control.put_token(&token(2)).await.expect("stored");
    control.put_token(&token(1)).await.expect("stored");
    control.put_token(&token(3)).await.expect("stored");
    control.delete_token(&token(3).id).await.expect("deleted");
    let other = Shard::new(shard().stream, 1);
    assert_eq!(control.progress(&shard()).await.expect("answers"), None);
    let progress = |sequence| Progress { incarnation: Incarnation(7), sequence, at: None };
    control.set_progress(&shard(), progress(1)).await.expect("stored");
    control.set_progress(&shard(), progress(42)).await.expect("stored");
    server.restart();
    let control = server.connect().await.control();
    assert_eq!(control.list_tokens().await.expect("answers"), [token(1), token(2)]);
    assert_eq!(control.progress(&shard()).await.expect("answers"), Some(progress(42)));
    assert_eq!(control.progress(&other).await.expect("answers"), None);
}

#[tokio::test]
async fn without_a_bucket_every_call_says_so() {
    let server = TestServer::start();
    let log = server.connect().await;
    let control = log.control();
    let read = control.get_stream(&definition().name).await;
    assert!(matches!(read, Err(LogError::NotFound(_))), "{read:?}");
    let list = control.list_streams().await;
    assert!(matches!(list, Err(LogError::NotFound(_))), "{list:?}");
    let write = control.put_token(&token(1)).await;
    assert!(matches!(write, Err(LogError::NotFound(_))), "{write:?}");
    let watch = Directory::start(log, &mut JoinSet::new(), CancellationToken::new()).await;
    assert!(matches!(watch, Err(LogError::NotFound(_))), "{watch:?}");
}

/// Waits until the directory satisfies the condition.
async fn until(directory: &Directory, changes: &mut watch::Receiver<u64>, condition: impl Fn(&Directory) -> bool) {
    let wait = async {
        while !condition(directory) {
            changes.changed().await.expect("a directory exists");
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the change is seen in time");
}

#[tokio::test]
async fn the_directory_follows_every_change_without_polling() {
    let (mut server, log) = log_with_bucket().await;
    let control = log.control();
    control.create_stream(&named("old")).await.expect("created");
    control.create_stream(&named("gone")).await.expect("created");
    control.delete_stream(&named("gone").name).await.expect("deleted");
    control.put_token(&token(1)).await.expect("stored");
    let (mut tasks, cancel) = (JoinSet::new(), CancellationToken::new());
    let directory = Directory::start(log.clone(), &mut tasks, cancel.clone()).await.expect("starts");
    assert_eq!(directory.stream("old").as_deref(), Some(&named("old")));
    assert!(directory.stream("gone").is_none());
    assert!(directory.token(&token(1).id).is_some());
    let mut changes = directory.changes();
    control.create_stream(&definition()).await.expect("created");
    until(&directory, &mut changes, |directory| directory.stream("sales").is_some()).await;
    let two = |definition| Ok::<_, ()>(StreamDefinition { shards: 2, ..definition });
    control.edit_stream(&definition().name, two).await.expect("answers").expect("changed");
    until(&directory, &mut changes, |directory| directory.stream("sales").is_some_and(|s| s.shards == 2)).await;
    control.delete_token(&token(1).id).await.expect("deleted");
    until(&directory, &mut changes, |directory| directory.token(&token(1).id).is_none()).await;
    let names: Vec<_> = directory.streams().iter().map(|stream| stream.name.to_string()).collect();
    assert_eq!(names, ["old", "sales"]);
    // Progress is not the directory's business, and neither is a restart: the deletion is the only change.
    let version = *changes.borrow_and_update();
    control
        .set_progress(&shard(), Progress { incarnation: Incarnation(1), sequence: 1, at: None })
        .await
        .expect("stored");
    server.restart();
    let elsewhere = server.connect().await.control();
    elsewhere.delete_stream(&definition().name).await.expect("deleted");
    until(&directory, &mut changes, |directory| directory.stream("sales").is_none()).await;
    assert!(directory.stream("old").is_some());
    assert_eq!(*changes.borrow(), version + 1);
    cancel.cancel();
    tokio::time::timeout(PATIENCE, tasks.join_all()).await.expect("the task ends");
}

#[tokio::test]
async fn a_fixed_directory_needs_no_log() {
    let directory = Directory::fixed([definition()], [token(1)]);
    assert_eq!(directory.streams().len(), 1);
    assert!(directory.token(&token(1).id).is_some() && directory.token("other").is_none());
    assert!(!directory.changes().has_changed().expect("the channel is open"));
}

#[tokio::test]
async fn commits_are_announced_to_all_who_listen() {
    let server = TestServer::start();
    let (log, listener) = (server.connect().await, server.connect().await);
    let mut notices = listener.subscribe_commits().await.expect("subscribed");
    let notice = CommitNotice {
        table: "frazil.web.clicks".parse().expect("valid"),
        incarnation: Incarnation(7),
        sequence: 3,
        snapshot_id: -5,
    };
    let shard = Shard::new("web-clicks_2".parse().expect("valid"), 12);
    log.announce_commit(&shard, &notice).await.expect("sent");
    let heard = tokio::time::timeout(PATIENCE, notices.next()).await.expect("in time");
    assert_eq!(heard, Some((shard, notice)));
    listener.close().await;
    let end = tokio::time::timeout(PATIENCE, notices.next()).await.expect("in time");
    assert_eq!(end, None);
}
