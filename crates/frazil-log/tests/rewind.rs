//! A log that goes back: an older copy of its files is restored under a running client.

use frazil_core::checkpoint::Checkpoint;
use frazil_core::rewind::{HISTORY, Loss};
use frazil_log::testing::{Backup, TestServer};
use frazil_log::{Log, LogError, Message, ReadError, ReadMode, ShardPublisher, ShardReader, Standing, Start};
use uuid::Uuid;

use crate::{ACK, PATIENCE, envelope, fill, log_with_shard, next, reader, sequences, shard};

/// A log that held messages 1 to 3 when the copy was made, and holds 1 to 6 now.
async fn six_with_a_copy_of_three() -> (TestServer, Log, Backup) {
    let (mut server, log) = log_with_shard().await;
    log.ensure_bucket(1).await.expect("made");
    fill(&log, 3, 10).await;
    let backup = server.backup();
    let log = server.connect().await;
    fill(&log, 3, 10).await;
    (server, log, backup)
}

fn witness(reader: &ShardReader, message: &Message) -> Checkpoint {
    Checkpoint { incarnation: reader.incarnation(), sequence: message.sequence, at: Some(message.timestamp_nanos) }
}

/// Reads messages 1 to 6; returns the last one as a witness.
async fn read_six(reader: &mut ShardReader) -> Checkpoint {
    assert_eq!(sequences(reader, 5).await, [1, 2, 3, 4, 5]);
    let last = next(reader).await;
    witness(reader, &last)
}

/// What the reader says once it has noticed.
async fn rewound(reader: &mut ShardReader) -> ReadError {
    loop {
        match tokio::time::timeout(PATIENCE, reader.next()).await.expect("it says so") {
            Err(ReadError::Unavailable(_)) => {}
            Err(error) => return error,
            Ok(message) => panic!("message {} was read as if nothing had happened", message.sequence),
        }
    }
}

#[tokio::test]
async fn what_nats_does_when_an_older_store_is_restored() {
    let (mut server, log, backup) = six_with_a_copy_of_three().await;
    let before = log.shard_info(&shard()).await.expect("answers").expect("exists");
    let mut old = reader(&log, Start::Sequence(3), ReadMode::Full).await;
    let third = next(&mut old).await.timestamp_nanos;
    server.restore(&backup);
    let log = server.connect().await;
    let after = log.shard_info(&shard()).await.expect("answers").expect("exists");
    assert_eq!((before.last_sequence, after.last_sequence), (6, 3));
    assert_eq!(before.incarnation, after.incarnation, "nothing but the messages tells the two logs apart");
    fill(&log, 1, 10).await;
    let mut read = reader(&log, Start::Sequence(3), ReadMode::Full).await;
    assert_eq!(next(&mut read).await.timestamp_nanos, third, "a message keeps its time");
    assert_eq!(next(&mut read).await.sequence, 4, "and its sequence is given again");
}

#[tokio::test]
async fn a_reader_notices_before_and_after_new_messages_came() {
    for new in [0, 2, 5] {
        let (mut server, log, backup) = six_with_a_copy_of_three().await;
        let mut reading = reader(&log, Start::Sequence(1), ReadMode::Full).await;
        let sixth = read_six(&mut reading).await;
        server.restore(&backup);
        fill(&server.connect().await, new, 10).await;
        let error = rewound(&mut reading).await;
        let ReadError::Rewound { witness, .. } = error else { panic!("{new}: {error:?}") };
        assert_eq!(witness, sixth);
        assert!(matches!(log.confirm(&shard(), sixth).await.expect("answers"), Standing::Rewound { .. }));
        let recorded = log.record_rewind(&shard(), witness, 1).await.expect("recorded").expect("is news");
        assert_eq!((recorded.from, recorded.shift, recorded.newest), (4, HISTORY, 6), "{new}");
        assert_eq!(log.record_rewind(&shard(), witness, 2).await.expect("adopted"), None);
        assert_eq!(log.confirm(&shard(), sixth).await.expect("answers"), Standing::Kept, "it is explained now");
        assert!(matches!(rewound(&mut reading).await, ReadError::Shifted));
        // From the stored place on, all that is new is read, under positions that were never given before.
        let mut again = reader(&log, Start::Sequence(7), ReadMode::Full).await;
        fill(&log, 1, 10).await;
        let expected: Vec<_> = (4..=4 + new).map(|sequence| HISTORY + sequence).collect();
        assert_eq!(sequences(&mut again, expected.len()).await, expected);
        let mut all = reader(&log, Start::Sequence(0), ReadMode::Full).await;
        assert_eq!(sequences(&mut all, 4).await, [1, 2, 3, HISTORY + 4]);
        let info = log.shard_info(&shard()).await.expect("answers").expect("exists");
        assert_eq!((info.first_sequence, info.last_sequence), (1, HISTORY + 4 + new));
    }
}

/// It goes back a second time, further, before anybody has read anything of the history in between.
#[tokio::test]
async fn a_second_rewind_is_noticed_by_what_the_first_one_left() {
    let (mut server, log) = log_with_shard().await;
    log.ensure_bucket(1).await.expect("made");
    fill(&log, 2, 10).await;
    let further = server.backup();
    let log = server.connect().await;
    fill(&log, 2, 10).await;
    let near = server.backup();
    let log = server.connect().await;
    fill(&log, 2, 10).await;
    let sixth = read_six(&mut reader(&log, Start::Sequence(1), ReadMode::Full).await).await;
    server.restore(&near);
    let log = server.connect().await;
    let first = log.record_rewind(&shard(), sixth, 1).await.expect("recorded").expect("is news");
    assert_eq!((first.from, first.shift), (5, HISTORY));
    let rewinds = log.rewinds(&shard(), sixth.incarnation).await.expect("answers");
    server.restore(&further);
    let log = server.connect().await;
    // Whoever still runs knows of the first one; the bucket went back as well.
    for new in [0, 3] {
        fill(&log, new, 10).await;
        assert!(matches!(log.confirm(&shard(), sixth).await.expect("answers"), Standing::Rewound { .. }), "{new}");
    }
    let second = log.record_rewind(&shard(), sixth, 2).await.expect("recorded").expect("is news");
    assert_eq!(second.from, 3);
    assert_eq!(rewinds.trace(sixth).0, 4);
}

/// The place where reading begins was filled again before anything was read.
#[tokio::test]
async fn a_reader_that_has_read_nothing_yet_notices_too() {
    let (mut server, log, backup) = six_with_a_copy_of_three().await;
    let sixth = read_six(&mut reader(&log, Start::Sequence(1), ReadMode::Full).await).await;
    server.restore(&backup);
    let log = server.connect().await;
    fill(&log, 5, 10).await;
    let mut idle = reader(&log, Start::Sequence(7), ReadMode::Full).await;
    idle.expect(sixth);
    let error = rewound(&mut idle).await;
    assert!(matches!(error, ReadError::Rewound { witness, .. } if witness == sixth), "{error:?}");
}

#[tokio::test]
async fn a_kept_history_is_confirmed() {
    let (mut server, log, backup) = six_with_a_copy_of_three().await;
    let mut reading = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    let second = {
        next(&mut reading).await;
        let message = next(&mut reading).await;
        witness(&reading, &message)
    };
    server.restore(&backup);
    let log = server.connect().await;
    assert_eq!(log.confirm(&shard(), second).await.expect("answers"), Standing::Kept);
    assert_eq!(log.record_rewind(&shard(), second, 1).await.expect("answers"), None, "nothing of it is lost");
    let untimed = Checkpoint { at: None, ..second };
    assert_eq!(log.confirm(&shard(), untimed).await.expect("answers"), Standing::Unchecked);
    log.purge_through(&shard(), second.incarnation, 2).await.expect("purged");
    assert_eq!(log.confirm(&shard(), second).await.expect("answers"), Standing::Unchecked);
    let other = Checkpoint { incarnation: frazil_core::checkpoint::Incarnation(1), ..second };
    assert!(matches!(log.confirm(&shard(), other).await, Err(LogError::Recreated(_))));
}

#[tokio::test]
async fn purging_by_position_frees_only_what_the_position_covers() {
    let (mut server, log, backup) = six_with_a_copy_of_three().await;
    let mut reading = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    let sixth = read_six(&mut reading).await;
    server.restore(&backup);
    let log = server.connect().await;
    fill(&log, 3, 10).await;
    log.record_rewind(&shard(), sixth, 1).await.expect("recorded").expect("is news");
    let purged = async |through| log.purge_through(&shard(), sixth.incarnation, through).await.expect("purged");
    assert_eq!(purged(6).await, 3, "messages 4 to 6 are new ones now");
    assert_eq!(purged(HISTORY + 4).await, 1);
    let info = log.shard_info(&shard()).await.expect("answers").expect("exists");
    assert_eq!((info.first_sequence, info.last_sequence, info.messages), (HISTORY + 5, HISTORY + 6, 2));
}

/// The proxy's side: a receipt must never name a place of the lost history.
#[tokio::test]
async fn a_publisher_never_gives_a_position_twice() {
    let (mut server, log, backup) = six_with_a_copy_of_three().await;
    let mut reading = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    let sixth = read_six(&mut reading).await;
    let publisher = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let producer = Uuid::new_v4();
    let publish = async |number| {
        let envelope = envelope(producer, number, 10);
        loop {
            log.connected().await;
            match publisher.publish(&envelope, ACK).await {
                Ok(stored) => return stored.sequence,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(publish(1).await, 7);
    server.restore(&backup);
    server.connect().await;
    assert_eq!(publish(2).await, HISTORY + 4, "nobody has recorded it yet");
    let recorded = log.record_rewind(&shard(), sixth, 1).await.expect("recorded").expect("is news");
    assert_eq!(recorded.shift, HISTORY);
    assert_eq!(publish(3).await, HISTORY + 5);
    let other = ShardPublisher::open(&log, &shard()).await.expect("exists");
    let stored = other.publish(&envelope(Uuid::new_v4(), 1, 10), ACK).await.expect("stored");
    assert_eq!(stored.sequence, HISTORY + 6);
}

#[tokio::test]
async fn what_was_lost_and_what_was_not_stays_on_record() {
    let (mut server, log, backup) = six_with_a_copy_of_three().await;
    let mut reading = reader(&log, Start::Sequence(1), ReadMode::Full).await;
    let sixth = read_six(&mut reading).await;
    server.restore(&backup);
    let log = server.connect().await;
    log.record_rewind(&shard(), sixth, 1).await.expect("recorded").expect("is news");
    let producer = Uuid::new_v4();
    for numbers in [[(producer, 6)], [(producer, 4)]] {
        log.save_numbers(&shard(), sixth.incarnation, &numbers).await.expect("stored");
    }
    assert_eq!(log.numbers(&shard(), sixth.incarnation).await.expect("answers"), [(producer, 6)]);
    assert_eq!(log.numbers(&shard(), frazil_core::checkpoint::Incarnation(1)).await.expect("answers"), []);
    assert_eq!(log.losses(&shard()).await.expect("answers").total, 0);
    let loss =
        Loss { detected: 1, incarnation: sixth.incarnation, producer: Some(producer), from: 7, to: 9, seen_at: 10 };
    for _ in 0..2 {
        log.record_loss(&shard(), &loss).await.expect("recorded");
    }
    let losses = server.connect().await.losses(&shard()).await.expect("answers");
    assert_eq!((losses.total, losses.losses), (1, vec![loss]));
}
