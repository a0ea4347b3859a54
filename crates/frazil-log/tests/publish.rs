//! Publishing: acknowledgements, and what is known when there is none.

use std::time::Duration;

use frazil_core::stream::StreamDefinition;
use frazil_log::testing::TestServer;
use frazil_log::{LogError, PublishError, ReadMode, ShardPublisher, Start, Stored};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{ACK, PATIENCE, definition, envelope, fill, log_with_shard, message_id, next, reader, shard};

#[tokio::test]
async fn the_same_envelope_is_stored_once() {
    let (mut server, log) = log_with_shard().await;
    let publisher = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let producer = Uuid::new_v4();
    let first = publisher.publish(&envelope(producer, 1, 10), ACK).await.expect("stored");
    assert_eq!(first, Stored { sequence: 1, duplicate: false });
    let again = publisher.publish(&envelope(producer, 1, 10), ACK).await.expect("stored");
    assert_eq!(again, Stored { sequence: 1, duplicate: true });
    server.restart();
    let log = server.connect().await;
    let publisher = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let after = publisher.publish(&envelope(producer, 1, 10), ACK).await.expect("stored");
    assert_eq!(after, Stored { sequence: 1, duplicate: true });
    let second = publisher.publish(&envelope(producer, 2, 10), ACK).await.expect("stored");
    assert_eq!(second, Stored { sequence: 2, duplicate: false });
}

#[tokio::test]
async fn a_full_shard_refuses_and_takes_again_after_a_purge() {
    let server = TestServer::start();
    let log = server.connect().await;
    let small = StreamDefinition { max_bytes: 64 << 10, ..definition() };
    let info = log.create_shard(&shard(), &small).await.expect("created");
    let publisher = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let producer = Uuid::new_v4();
    let mut stored = 0;
    let refusal = loop {
        match publisher.publish(&envelope(producer, stored + 1, 8 << 10), ACK).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refusal, PublishError::Full), "{refusal:?}");
    assert!(!refusal.may_be_stored() && refusal.is_retryable());
    assert!((4..8).contains(&stored), "{stored} were stored");
    let messages = log.shard_info(&shard()).await.expect("answers").expect("exists").messages;
    assert_eq!(messages, stored, "nothing old was dropped, nothing refused was kept");
    log.purge_through(&shard(), info.incarnation, 2).await.expect("purged");
    let after = publisher.publish(&envelope(producer, stored + 1, 8 << 10), ACK).await.expect("stored");
    assert_eq!(after, Stored { sequence: stored + 1, duplicate: false });
}

#[tokio::test]
async fn what_cannot_be_stored_is_told_apart() {
    let (mut server, log) = log_with_shard().await;
    let publisher = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let producer = Uuid::new_v4();
    let large = publisher.publish(&envelope(producer, 1, 2 << 20), ACK).await;
    assert!(matches!(large, Err(PublishError::TooLarge(_))), "{large:?}");
    log.delete_shard(&shard()).await.expect("deleted");
    let none = publisher.publish(&envelope(producer, 1, 10), ACK).await;
    assert!(matches!(none, Err(PublishError::NoShard)), "{none:?}");
    let open = ShardPublisher::open(&log, &shard()).await;
    assert!(matches!(open, Err(LogError::NotFound(_))), "{open:?}");
    server.kill();
    // The first attempt may be the one that finds out.
    let _ = publisher.publish(&envelope(producer, 1, 10), ACK).await;
    let down = publisher.publish(&envelope(producer, 1, 10), ACK).await;
    assert!(matches!(down, Err(PublishError::NotSent(_))), "{down:?}");
}

#[tokio::test]
async fn a_publisher_notices_that_the_shard_was_made_anew() {
    let (_server, log) = log_with_shard().await;
    fill(&log, 5, 10).await;
    let publisher = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let before = publisher.incarnation();
    log.delete_shard(&shard()).await.expect("deleted");
    let again = log.create_shard(&shard(), &definition()).await.expect("created");
    let stored = publisher.publish(&envelope(Uuid::new_v4(), 1, 10), ACK).await.expect("stored");
    assert_eq!(stored.sequence, 1);
    assert_ne!(publisher.incarnation(), before);
    assert_eq!(publisher.incarnation(), again.incarnation);
}

/// The server is killed while publishes are under way, again and again. Whoever retries the very same envelope
/// ends with each one stored once, and every acknowledged one is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_neither_loses_nor_doubles() {
    const ROUNDS: u64 = 3;
    const PER_ROUND: u64 = 100;
    let (mut server, log) = log_with_shard().await;
    let publisher = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let producer = Uuid::new_v4();
    let (kill_me, mut killed) = tokio::sync::mpsc::channel::<oneshot::Sender<()>>(1);
    let killer = tokio::task::spawn_blocking(move || {
        while let Some(done) = killed.blocking_recv() {
            server.restart();
            // The test has ended if nobody wants to know.
            let _ = done.send(());
        }
        server
    });
    let mut failures = 0;
    for round in 0..ROUNDS {
        let mut restarted = None;
        for number in round * PER_ROUND + 1..=(round + 1) * PER_ROUND {
            if number % PER_ROUND == 30 {
                let (done, wait) = oneshot::channel();
                kill_me.send(done).await.expect("the killer is there");
                restarted = Some(wait);
            }
            let envelope = envelope(producer, number, 1000);
            let deadline = Instant::now() + PATIENCE;
            loop {
                match publisher.publish(&envelope, ACK).await {
                    Ok(_) => break,
                    Err(PublishError::NotSent(_) | PublishError::Unknown(_) | PublishError::NoShard) => {
                        failures += 1;
                        assert!(Instant::now() < deadline, "the server does not come back");
                        log.connected().await;
                    }
                    Err(error) => panic!("unexpected: {error:?}"),
                }
            }
        }
        restarted.expect("every round kills").await.expect("restarted");
    }
    drop(kill_me);
    let _server = killer.await.expect("the killer ends");
    assert!(failures > 0, "the kills were noticed");
    let mut reader = reader(&log, Start::Sequence(1), ReadMode::HeadersOnly).await;
    for number in 1..=ROUNDS * PER_ROUND {
        assert_eq!(message_id(&next(&mut reader).await), format!("{producer}-{number}"));
    }
    let last = log.shard_info(&shard()).await.expect("answers").expect("exists").last_sequence;
    assert_eq!(last, ROUNDS * PER_ROUND);
}

#[tokio::test]
async fn an_acknowledgement_that_does_not_come_leaves_the_outcome_open() {
    let (server, log) = log_with_shard().await;
    let publisher = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let envelope = envelope(Uuid::new_v4(), 1, 10);
    server.pause();
    let outcome = publisher.publish(&envelope, Duration::from_millis(50)).await;
    let Err(error) = outcome else { panic!("{outcome:?}") };
    assert!(error.may_be_stored() && error.is_retryable(), "{error:?}");
    server.resume();
    let retry = publisher.publish(&envelope, ACK).await.expect("stored");
    assert_eq!(retry, Stored { sequence: 1, duplicate: true });
}
