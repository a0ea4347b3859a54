//! The log against a real nats-server. Every test starts its own; see `src/testing.rs`.

mod control;
mod login;
mod publish;
mod read;
mod rewind;
mod shard;

use std::time::Duration;

use frazil_core::Shard;
use frazil_core::checkpoint::Sequence;
use frazil_core::envelope::{ContinuityFields, EncodedEnvelope, EnvelopeBuilder, Section, SectionHeader};
use frazil_core::stream::StreamDefinition;
use frazil_log::testing::TestServer;
use frazil_log::{Log, Message, ReadMode, ShardPublisher, ShardReader, Start};
use uuid::Uuid;

/// Long enough for a slow machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const ACK: Duration = Duration::from_secs(10);
const IN_FLIGHT: usize = 4 << 20;

fn shard() -> Shard {
    Shard::new("sales".parse().expect("valid"), 0)
}

fn definition() -> StreamDefinition {
    StreamDefinition::new(shard().stream, 1)
}

/// A server, a connection, and the shard `sales/0`.
async fn log_with_shard() -> (TestServer, Log) {
    let server = TestServer::start();
    let log = server.connect().await;
    log.create_shard(&shard(), &definition()).await.expect("the shard is created");
    (server, log)
}

/// Envelope `number` of `producer` with one event of about `bytes` bytes.
fn envelope(producer: Uuid, number: u64, bytes: usize) -> EncodedEnvelope {
    let events = format!("{{\"number\":{number},\"padding\":\"{}\"}}\n", "x".repeat(bytes));
    let mut builder = EnvelopeBuilder::new();
    builder.push(&Section {
        header: SectionHeader {
            table: "frazil.web.clicks".parse().expect("valid"),
            count: 1,
            received: 1,
            key: None,
            request_key: None,
            unroutable: None,
            first: 0,
            len: u32::try_from(events.len()).expect("small"),
        },
        events: events.into(),
    });
    builder.finish(ContinuityFields { producer, number, acked: number - 1 })
}

/// Publishes envelopes `1..=count` of a new producer.
async fn fill(log: &Log, count: u64, bytes: usize) -> Uuid {
    let producer = Uuid::new_v4();
    let publisher = ShardPublisher::open(log, &shard()).await.expect("the shard exists");
    for number in 1..=count {
        publisher.publish(&envelope(producer, number, bytes), ACK).await.expect("stored");
    }
    producer
}

async fn reader(log: &Log, start: Start, mode: ReadMode) -> ShardReader {
    ShardReader::open(log, &shard(), start, mode, IN_FLIGHT).await.expect("the shard exists")
}

/// The next message, or a failed test.
async fn next(reader: &mut ShardReader) -> Message {
    let next = tokio::time::timeout(PATIENCE, reader.next()).await;
    next.expect("a message arrives in time").expect("no read error")
}

async fn sequences(reader: &mut ShardReader, count: usize) -> Vec<Sequence> {
    let mut found = Vec::new();
    while found.len() < count {
        found.push(next(reader).await.sequence);
    }
    found
}

fn message_id(message: &Message) -> String {
    message.headers.get("Nats-Msg-Id").expect("every envelope has an id").to_owned()
}
