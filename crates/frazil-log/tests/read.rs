//! Ordered reading: every message once, in order, whatever happens to the server.

use std::time::Duration;

use frazil_log::testing::TestServer;
use frazil_log::{LogError, ReadError, ReadMode, ShardPublisher, ShardReader, Start};
use uuid::Uuid;

use crate::{
    ACK, IN_FLIGHT, PATIENCE, definition, envelope, fill, log_with_shard, message_id, next, reader, sequences, shard,
};

#[tokio::test]
async fn messages_come_in_order_with_their_headers_and_payloads() {
    let (_server, log) = log_with_shard().await;
    let producer = fill(&log, 20, 100).await;
    let mut all = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    let mut time = 0;
    for number in 1..=20 {
        let message = next(&mut all).await;
        let sent = envelope(producer, number, 100);
        assert_eq!((message.sequence, &message.payload), (number, &sent.payload));
        for (name, value) in &sent.headers {
            assert_eq!(message.headers.get(name), Some(value.as_str()));
        }
        assert!(message.timestamp_nanos >= time);
        time = message.timestamp_nanos;
    }
    // A reader at the end waits, and sees what comes next.
    let publisher = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let (stored, message) =
        tokio::join!(async { publisher.publish(&envelope(producer, 21, 10), ACK).await }, next(&mut all));
    assert_eq!(message.sequence, stored.expect("stored").sequence);
}

#[tokio::test]
async fn reading_starts_where_it_is_told() {
    let (_server, log) = log_with_shard().await;
    fill(&log, 9, 10).await;
    let mut oldest = reader(&log, Start::Sequence(0), ReadMode::Full).await;
    let mut times = Vec::new();
    for sequence in 1..=9 {
        let message = next(&mut oldest).await;
        assert_eq!(message.sequence, sequence);
        times.push(message.timestamp_nanos);
    }
    let mut middle = reader(&log, Start::Sequence(5), ReadMode::Full).await;
    assert_eq!(sequences(&mut middle, 5).await, [5, 6, 7, 8, 9]);
    let mut since = reader(&log, Start::Time(times[6]), ReadMode::Full).await;
    assert_eq!(sequences(&mut since, 3).await, [7, 8, 9]);
    let mut between = reader(&log, Start::Time(times[6] + 1), ReadMode::Full).await;
    assert_eq!(next(&mut between).await.sequence, 8);
    let mut ever = reader(&log, Start::Time(0), ReadMode::Full).await;
    assert_eq!(next(&mut ever).await.sequence, 1);
}

#[tokio::test]
async fn headers_only_leaves_the_payload_out() {
    let (_server, log) = log_with_shard().await;
    let producer = fill(&log, 3, 1000).await;
    let mut headers = reader(&log, Start::Sequence(2), ReadMode::HeadersOnly).await;
    let message = next(&mut headers).await;
    assert_eq!((message.sequence, message.payload.len()), (2, 0));
    assert_eq!(message_id(&message), format!("{producer}-2"));
}

/// More than the two pull requests hold, in bytes, so that requests end for want of room many times.
#[tokio::test]
async fn a_small_bound_of_bytes_does_not_stall() {
    let server = TestServer::start_with("max_payload: 64KB");
    let log = server.connect().await;
    log.create_shard(&shard(), &definition()).await.expect("created");
    fill(&log, 300, 60_000).await;
    let mut reader = ShardReader::open(&log, &shard(), Start::Sequence(1), ReadMode::Full, 1).await.expect("exists");
    assert_eq!(sequences(&mut reader, 300).await, (1..=300).collect::<Vec<_>>());
}

/// The largest message allowed gets smaller than what is stored: the reader asks for more until it fits.
#[tokio::test]
async fn a_message_larger_than_the_bound_is_read() {
    let mut server = TestServer::start_with("max_payload: 1MB");
    let log = server.connect().await;
    log.create_shard(&shard(), &definition()).await.expect("created");
    fill(&log, 3, 500_000).await;
    server.set_settings("max_payload: 16KB");
    server.restart();
    let log = server.connect().await;
    assert_eq!(log.max_payload(), 16 * 1024);
    let mut reader = ShardReader::open(&log, &shard(), Start::Sequence(1), ReadMode::Full, 1).await.expect("exists");
    assert_eq!(sequences(&mut reader, 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_cancelled_next_loses_nothing() {
    let (_server, log) = log_with_shard().await;
    fill(&log, 200, 10).await;
    let mut reader = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    let mut found = Vec::new();
    // `next` is polled exactly once per round and then dropped, which is as hostile as a caller can be.
    let all = async {
        while found.len() < 200 {
            tokio::select! {
                biased;
                message = reader.next() => found.push(message.expect("no read error").sequence),
                () = tokio::task::yield_now() => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("in time");
    assert_eq!(found, (1..=200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_survives_killed_servers_with_every_message_once() {
    let (mut server, log) = log_with_shard().await;
    fill(&log, 150, 1000).await;
    let mut reader = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    let mut found = Vec::new();
    let mut unavailable = 0;
    for kill_at in [0, 70, 150] {
        while found.len() < kill_at {
            match tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time") {
                Ok(message) => found.push(message.sequence),
                Err(ReadError::Unavailable(_)) => unavailable += 1,
                Err(error) => panic!("unexpected: {error:?}"),
            }
        }
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .expect("restarted");
    }
    println!("unavailable {unavailable} times");
    let other = server.connect().await;
    fill(&other, 50, 10).await;
    while found.len() < 200 {
        match tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time") {
            Ok(message) => found.push(message.sequence),
            Err(ReadError::Unavailable(_)) => {}
            Err(error) => panic!("unexpected: {error:?}"),
        }
    }
    assert_eq!(found, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_unreachable_log_is_reported_and_reading_goes_on_afterwards() {
    let mut server = TestServer::start();
    let config = frazil_log::LogConfig { request_timeout: Duration::from_millis(300), ..server.config() };
    let log = frazil_log::Log::connect(&config).await.expect("connects");
    log.create_shard(&shard(), &definition()).await.expect("created");
    fill(&log, 2, 10).await;
    let mut reader = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    assert_eq!(next(&mut reader).await.sequence, 1);
    assert_eq!(next(&mut reader).await.sequence, 2);
    server.kill();
    let down = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it says so");
    assert!(matches!(down, Err(ReadError::Unavailable(_))), "{down:?}");
    server.restart();
    fill(&server.connect().await, 1, 10).await;
    let message = loop {
        match tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time") {
            Err(ReadError::Unavailable(_)) => {}
            other => break other.expect("no other error"),
        }
    };
    assert_eq!(message.sequence, 3);
}

/// The connection stays up but nothing comes, not even heartbeats.
#[tokio::test]
async fn a_silent_server_is_noticed_and_reading_goes_on_afterwards() {
    let server = TestServer::start();
    let config = frazil_log::LogConfig { request_timeout: Duration::from_millis(300), ..server.config() };
    let log = frazil_log::Log::connect(&config).await.expect("connects");
    log.create_shard(&shard(), &definition()).await.expect("created");
    fill(&log, 2, 10).await;
    let mut reader = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    assert_eq!(sequences(&mut reader, 2).await, [1, 2]);
    server.pause();
    let silent = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it says so");
    assert!(matches!(silent, Err(ReadError::Unavailable(_))), "{silent:?}");
    server.resume();
    fill(&server.connect().await, 1, 10).await;
    let message = loop {
        match tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time") {
            Err(ReadError::Unavailable(_)) => {}
            other => break other.expect("no other error"),
        }
    };
    assert_eq!(message.sequence, 3);
}

#[tokio::test]
async fn purged_messages_are_a_gap_only_when_they_were_to_be_read() {
    let (_server, log) = log_with_shard().await;
    fill(&log, 10, 10).await;
    let incarnation = log.shard_info(&shard()).await.expect("answers").expect("exists").incarnation;
    log.purge_through(&shard(), incarnation, 4).await.expect("purged");
    let mut behind = reader(&log, Start::Sequence(5), ReadMode::Full).await;
    assert_eq!(sequences(&mut behind, 2).await, [5, 6]);
    let mut oldest = reader(&log, Start::Sequence(0), ReadMode::Full).await;
    assert_eq!(next(&mut oldest).await.sequence, 5);
    let mut before = reader(&log, Start::Sequence(2), ReadMode::Full).await;
    let gap = before.next().await;
    assert!(matches!(gap, Err(ReadError::Gap { expected: 2, found: 5 })), "{gap:?}");
    assert_eq!(sequences(&mut before, 6).await, [5, 6, 7, 8, 9, 10]);
    // Everything is gone, and the gap shows with the next message.
    let mut empty = reader(&log, Start::Sequence(7), ReadMode::Full).await;
    log.purge_through(&shard(), incarnation, 10).await.expect("purged");
    fill(&log, 1, 10).await;
    let gap = empty.next().await;
    assert!(matches!(gap, Err(ReadError::Gap { expected: 7, found: 11 })), "{gap:?}");
    assert_eq!(next(&mut empty).await.sequence, 11);
}

#[tokio::test]
async fn a_start_past_the_end_is_reported() {
    let (_server, log) = log_with_shard().await;
    fill(&log, 3, 10).await;
    let mut end = reader(&log, Start::Sequence(4), ReadMode::Full).await;
    let mut past = reader(&log, Start::Sequence(5), ReadMode::Full).await;
    let rewound = past.next().await;
    let Err(ReadError::Rewound { witness, evidence }) = rewound else { panic!("{rewound:?}") };
    assert_eq!((witness.sequence, witness.at), (4, None));
    assert_eq!(evidence, "it ends at 3, but 4 was stored");
    fill(&log, 2, 10).await;
    assert_eq!(next(&mut end).await.sequence, 4);
    let message = loop {
        match tokio::time::timeout(PATIENCE, past.next()).await.expect("in time") {
            Err(ReadError::Rewound { .. }) => {}
            other => break other.expect("no other error"),
        }
    };
    assert_eq!(message.sequence, 5);
}

#[tokio::test]
async fn a_deleted_and_a_recreated_shard_are_reported() {
    let (_server, log) = log_with_shard().await;
    fill(&log, 1, 10).await;
    let mut reader = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    assert_eq!(next(&mut reader).await.sequence, 1);
    log.delete_shard(&shard()).await.expect("deleted");
    let deleted = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it says so");
    assert!(matches!(deleted, Err(ReadError::Deleted)), "{deleted:?}");
    let missing = ShardReader::open(&log, &shard(), Start::Sequence(1), ReadMode::Full, IN_FLIGHT).await;
    assert!(matches!(missing, Err(LogError::NotFound(_))), "{missing:?}");
    let again = log.create_shard(&shard(), &definition()).await.expect("created");
    ShardPublisher::open(&log, &shard()).await.expect("exists");
    fill(&log, 1, 10).await;
    for _ in 0..2 {
        let recreated = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it says so");
        let Err(ReadError::Recreated(incarnation)) = recreated else { panic!("{recreated:?}") };
        assert_eq!(incarnation, again.incarnation);
    }
}

#[tokio::test]
async fn independent_readers_do_not_disturb_each_other() {
    let (_server, log) = log_with_shard().await;
    let producer = Uuid::new_v4();
    let publisher = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let mut first = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    let mut second = reader(&log, Start::Sequence(1), ReadMode::HeadersOnly).await;
    for number in 1..=20 {
        publisher.publish(&envelope(producer, number, 10), ACK).await.expect("stored");
        let (a, b) = tokio::join!(next(&mut first), next(&mut second));
        assert_eq!((a.sequence, b.sequence), (number, number));
    }
}
