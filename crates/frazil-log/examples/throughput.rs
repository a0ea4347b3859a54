//! How fast one lane publishes and one reader reads 256 KiB messages, against a server of its own.
//!
//! `cargo run --release -p frazil-log --features testing --example throughput`

use std::error::Error;
use std::time::{Duration, Instant};

use frazil_core::Shard;
use frazil_core::envelope::{ContinuityFields, EncodedEnvelope, EnvelopeBuilder};
use frazil_core::stream::StreamDefinition;
use frazil_log::testing::TestServer;
use frazil_log::{ReadMode, ShardPublisher, ShardReader, Start};

const MESSAGES: u32 = 2000;
const BYTES: usize = 256 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = TestServer::start();
    let log = server.connect().await;
    let shard = Shard::new("bench".parse()?, 0);
    log.create_shard(&shard, &StreamDefinition::new(shard.stream.clone(), 1)).await?;
    let publisher = ShardPublisher::open(&log, &shard).await?;
    let payload: bytes::Bytes = vec![b'x'; BYTES].into();
    let began = Instant::now();
    for number in 1..=u64::from(MESSAGES) {
        let continuity = ContinuityFields { producer: Default::default(), number, acked: number - 1 };
        let heartbeat = EnvelopeBuilder::new().finish(continuity);
        let envelope = EncodedEnvelope { payload: payload.clone(), ..heartbeat };
        publisher.publish(&envelope, Duration::from_secs(10)).await?;
    }
    report("published, one in flight", began);
    for mode in [ReadMode::Full, ReadMode::HeadersOnly] {
        let mut reader = ShardReader::open(&log, &shard, Start::Sequence(1), mode, 16 << 20).await?;
        let began = Instant::now();
        for _ in 0..MESSAGES {
            reader.next().await?;
        }
        report(&format!("read, {mode:?}"), began);
    }
    Ok(())
}

fn report(what: &str, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let (messages, megabytes) = (f64::from(MESSAGES) / seconds, f64::from(MESSAGES) * BYTES as f64 / 1e6 / seconds);
    println!("{what}: {messages:.0} messages/s, {megabytes:.0} MB/s of stored payload");
}
