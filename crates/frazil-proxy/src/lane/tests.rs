//! Lanes over the in-memory log with scripted faults, in paused time.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use frazil_core::envelope::{ACKED_HEADER, EnvelopeHeaders, MESSAGE_ID_HEADER, SectionHeader, Unroutable};
use frazil_core::idempotency::KeyHash;
use futures::future::join_all;
use futures::{FutureExt, poll};
use tokio::task::JoinSet;

use super::*;
use crate::admission::Admission;
use crate::publish::memory::{Fault, MemoryLog};

/// A running lane.
struct Rig {
    log: MemoryLog,
    lane: LaneSender,
    cancel: CancellationToken,
    permit: Arc<Permit>,
    tasks: JoinSet<()>,
}

type Answer<'r> = Pin<Box<dyn Future<Output = Result<Stored, StoreFailure>> + 'r>>;

impl Rig {
    fn new() -> Self {
        Self::with(ProxyConfig::default())
    }

    fn with(config: ProxyConfig) -> Self {
        let log = MemoryLog::default();
        log.recreate(&shard());
        let cancel = CancellationToken::new();
        let (config, metrics) = (Arc::new(config), Metrics::default());
        let (lane, sender) =
            Lane::new(shard(), Arc::new(log.clone()), config, metrics.clone(), Troubles::default(), cancel.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(lane.run());
        let permit = Arc::new(Admission::new(1, 1, metrics).admit(1).expect("room"));
        Self { log, lane: sender, cancel, permit, tasks }
    }

    async fn store(&self, section: Section) -> Result<Stored, StoreFailure> {
        self.lane.store(vec![section], &self.permit).await
    }

    /// Puts a section into the queue without waiting for its answer.
    async fn queue(&self, section: Section) -> Answer<'_> {
        let mut answer: Answer<'_> = self.store(section).boxed_local();
        assert!(poll!(&mut answer).is_pending());
        answer
    }

    /// Of every stored message: its number, how far it says it was acknowledged, how many sections it has.
    fn stored(&self) -> Vec<(u64, u64, usize)> {
        let messages = self.log.messages(&shard());
        let described = messages.iter().map(|message| {
            let continuity = headers(message).continuity;
            let sections = frazil_core::envelope::sections(&message.payload).count();
            (continuity.number, continuity.acked, sections)
        });
        described.collect()
    }

    fn producers(&self) -> Vec<Uuid> {
        self.log.messages(&shard()).iter().map(|message| headers(message).continuity.producer).collect()
    }
}

fn shard() -> Shard {
    Shard::new("sales".parse().expect("valid"), 0)
}

fn headers(message: &EncodedEnvelope) -> EnvelopeHeaders {
    let get = |name| message.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str());
    let headers = EnvelopeHeaders::parse(get).expect("a valid envelope");
    headers.verify(&message.payload).expect("a valid checksum");
    headers
}

fn section_of(bytes: usize, key: Option<KeyHash>) -> Section {
    let events = Bytes::from(format!("{{\"a\":\"{}\"}}\n", "x".repeat(bytes)));
    let len = u32::try_from(events.len()).expect("small");
    let table = "lake.web.clicks".parse().expect("valid");
    Section {
        header: SectionHeader { table, count: 1, received: 0, key, request_key: None, unroutable: None, first: 0, len },
        events,
    }
}

fn section() -> Section {
    section_of(1, None)
}

fn unknown() -> Option<Fault> {
    Some(Fault::Refuse(PublishError::Unknown("lost".to_owned())))
}

fn refuse(error: PublishError) -> Option<Fault> {
    Some(Fault::Refuse(error))
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_one_is_in_flight_is_packed() {
    let rig = Rig::new();
    rig.log.script([Some(Fault::Hold)]);
    let first = rig.queue(section()).await;
    rig.log.attempted(1).await;
    let rest = [rig.queue(section()).await, rig.queue(section()).await, rig.queue(section()).await];
    assert_eq!(rig.log.attempts(), 1, "one message in flight");
    rig.log.release();
    assert_eq!(first.await.expect("stored").sequence(), 1);
    for answer in join_all(rest).await {
        assert_eq!(answer.expect("stored").sequence(), 2);
    }
    assert_eq!(rig.stored(), [(1, 0, 1), (2, 1, 3)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_the_log_has_answered() {
    let rig = Rig::new();
    rig.log.script([Some(Fault::Delay(Duration::from_secs(3)))]);
    let begun = Instant::now();
    rig.store(section()).await.expect("stored");
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn packs_end_at_the_target_size() {
    let rig = Rig::new();
    rig.log.script([Some(Fault::Hold)]);
    let first = rig.queue(section()).await;
    rig.log.attempted(1).await;
    let mut rest = Vec::new();
    for bytes in [100_000, 100_000, 100_000, 700_000, 10] {
        rest.push(rig.queue(section_of(bytes, None)).await);
    }
    rig.log.release();
    first.await.expect("stored");
    assert!(join_all(rest).await.iter().all(Result::is_ok));
    let sections: Vec<usize> = rig.stored().iter().map(|(_, _, sections)| *sections).collect();
    assert_eq!(sections, [1, 2, 1, 1, 1], "a large section goes alone");
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_a_pack_fit_the_message_headers() {
    let rig = Rig::new();
    rig.log.script([Some(Fault::Hold)]);
    let first = rig.queue(section()).await;
    rig.log.attempted(1).await;
    let mut rest = Vec::new();
    for number in 0..1500u32 {
        let key = KeyHash(u128::from(number).to_be_bytes());
        let mut section = section_of(0, Some(key));
        section.header.first = u32::MAX;
        rest.push(rig.queue(section).await);
    }
    rig.log.release();
    first.await.expect("stored");
    assert!(join_all(rest).await.iter().all(Result::is_ok));
    for message in rig.log.messages(&shard()) {
        let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        assert!(headers < 64 << 10, "{headers}");
        assert!(headers + message.payload.len() < PACK_MAX, "{headers} + {}", message.payload.len());
    }
}

/// The target, and message headers beside it.
const PACK_MAX: usize = frazil_core::limits::PACK_TARGET_BYTES + 64 * 1024;

#[test]
fn the_largest_part_fits_a_message() {
    let quotes = "\"".repeat(frazil_core::limits::IDEMPOTENCY_KEY_MAX_BYTES);
    let why = Unroutable { field: "\u{1}".repeat(100), message: "\\".repeat(200) };
    for (max, request_key, unroutable) in [
        (4096, None, None),
        (1 << 20, None, None),
        (1 << 13, Some(quotes), Some(why.clone())),
        (1 << 13, None, Some(why)),
    ] {
        let mut header = section_of(0, Some(KeyHash([0xff; 16]))).header;
        (header.first, header.received) = (u32::MAX, i64::MIN);
        (header.request_key, header.unroutable) = (request_key, unroutable);
        let limit = part_limit(max, &header);
        let mut section = section_of(limit - 9, None);
        section.header = SectionHeader { len: section.header.len, ..header };
        assert_eq!(fitting(&[section.clone()], max), 1);
        assert_eq!(section.events.len(), limit);
        let mut builder = frazil_core::envelope::EnvelopeBuilder::new();
        builder.push(&section);
        let fields = ContinuityFields { producer: Uuid::max(), number: u64::MAX, acked: u64::MAX };
        let message = builder.finish(fields);
        let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        assert!(headers + 12 + message.payload.len() <= max, "{headers} + {}", message.payload.len());
    }
}

#[test]
fn as_many_sections_as_fit_go_into_one_message() {
    let small = vec![section_of(0, Some(KeyHash([1; 16]))); 3000];
    assert_eq!(fitting(&small, 1 << 20), 1000, "their keys are in the message headers");
    let large = vec![section_of(100_000, None); 30];
    assert_eq!(fitting(&large, 1 << 20), 10);
    assert_eq!(fitting(&large, 1), 1);
    let mut builder = frazil_core::envelope::EnvelopeBuilder::new();
    large[..10].iter().for_each(|section| builder.push(section));
    assert!(builder.payload_len() < 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn the_sections_of_one_request_share_a_message() {
    let rig = Rig::new();
    rig.log.script([Some(Fault::Hold)]);
    let first = rig.queue(section()).await;
    rig.log.attempted(1).await;
    let mut several: Answer<'_> = rig.lane.store(vec![section_of(1, None); 600], &rig.permit).boxed_local();
    assert!(poll!(&mut several).is_pending());
    let mut more: Answer<'_> = rig.lane.store(vec![section_of(1, None); 600], &rig.permit).boxed_local();
    assert!(poll!(&mut more).is_pending());
    rig.log.release();
    first.await.expect("stored");
    assert_eq!(several.await.expect("stored").sequence(), 2);
    assert_eq!(more.await.expect("stored").sequence(), 3, "together they would be too many");
    assert_eq!(rig.stored(), [(1, 0, 1), (2, 1, 600), (3, 2, 600)]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_the_same_message() {
    for fault in [Some(Fault::StoreThenLose), unknown(), refuse(PublishError::NotSent("x".into()))] {
        let rig = Rig::new();
        rig.log.script([fault.clone(), fault.clone()]);
        assert_eq!(rig.store(section()).await.expect("stored").sequence(), 1);
        assert_eq!(rig.store(section()).await.expect("stored").sequence(), 2);
        assert_eq!(rig.stored(), [(1, 0, 1), (2, 1, 1)], "{fault:?}");
        let producers = rig.producers();
        assert_eq!(producers[0], producers[1]);
        assert_eq!(rig.log.attempts(), 4);
        let message = &rig.log.messages(&shard())[1];
        let header = |name| message.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone());
        assert_eq!(header(MESSAGE_ID_HEADER), Some(format!("{}-2", producers[0])));
        assert_eq!(header(ACKED_HEADER).as_deref(), Some("1"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_whose_last_outcome_is_unknown_is_never_used_again() {
    let rig = Rig::new();
    rig.store(section()).await.expect("stored");
    rig.log.script(vec![unknown(); 100]);
    let begun = Instant::now();
    assert_eq!(rig.store(section()).await, Err(StoreFailure::Unknown));
    let (took, deadline) = (begun.elapsed(), ProxyConfig::default().publish_deadline);
    assert!(took <= deadline && took >= deadline - PAUSES.1, "{took:?}");
    let left = 101 - rig.log.attempts();
    rig.log.script([None]);
    // Use up what is left of the script: each store gives up once.
    let mut answer = rig.store(section()).await;
    for _ in 0..left {
        if answer.is_ok() {
            break;
        }
        answer = rig.store(section()).await;
    }
    answer.expect("stored");
    let stored = rig.stored();
    assert_eq!((stored[0], stored[1]), ((1, 0, 1), (1, 0, 1)), "the new producer begins with 1");
    let producers = rig.producers();
    assert_ne!(producers[0], producers[1]);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_was_certainly_not_stored_is_used_again() {
    for (error, failure) in [
        (PublishError::Full, StoreFailure::Full { lasted: Duration::ZERO }),
        (
            PublishError::TooLarge("big".into()),
            StoreFailure::NotStored("the message is too large for the log: big".into()),
        ),
        (PublishError::Refused("no".into()), StoreFailure::NotStored("the log refused the message: no".into())),
    ] {
        let rig = Rig::new();
        rig.store(section()).await.expect("stored");
        rig.log.script([refuse(error)]);
        let begun = Instant::now();
        assert_eq!(rig.store(section()).await, Err(failure));
        assert_eq!(begun.elapsed(), Duration::ZERO, "trying again would be in vain");
        rig.store(section()).await.expect("stored");
        assert_eq!(rig.stored(), [(1, 0, 1), (2, 1, 1)]);
        let producers = rig.producers();
        assert_eq!(producers[0], producers[1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_out_of_reach_is_tried_until_the_deadline() {
    let rig = Rig::new();
    let not_sent = || refuse(PublishError::NotSent("no connection".into()));
    rig.log.script((0..14).map(|_| not_sent()));
    let failed = rig.store(section()).await;
    assert_eq!(failed, Err(StoreFailure::NotStored("the message could not be sent: no connection".into())));
    assert_eq!(rig.log.attempts(), 14, "50 + 100 + … + 1000 + 1000 …");
    rig.store(section()).await.expect("stored");
    assert_eq!(rig.stored(), [(1, 0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_answer_does_not_make_the_outcome_known() {
    let rig = Rig::new();
    rig.log.script([Some(Fault::StoreThenLose), refuse(PublishError::Full)]);
    assert_eq!(rig.store(section()).await, Err(StoreFailure::Unknown));
    rig.store(section()).await.expect("stored");
    let producers = rig.producers();
    assert_ne!(producers[0], producers[1]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_lane_sends_one_heartbeat() {
    let rig = Rig::new();
    rig.store(section()).await.expect("stored");
    let begun = Instant::now();
    rig.log.attempted(2).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(rig.stored(), [(1, 0, 1), (2, 1, 0)], "one, not many");
    rig.store(section()).await.expect("stored");
    rig.log.attempted(4).await;
    assert_eq!(rig.stored(), [(1, 0, 1), (2, 1, 0), (3, 2, 1), (4, 3, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_lane_sends_no_heartbeat() {
    let rig = Rig::new();
    for _ in 0..5 {
        rig.store(section()).await.expect("stored");
        tokio::time::sleep(Duration::from_secs(29)).await;
    }
    assert_eq!(rig.stored().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn clients_that_go_do_not_disturb_the_others() {
    let rig = Rig::new();
    rig.log.script([Some(Fault::Hold)]);
    let in_flight = rig.queue(section()).await;
    rig.log.attempted(1).await;
    let (queued, stays) = (rig.queue(section()).await, rig.queue(section()).await);
    drop((in_flight, queued));
    rig.log.release();
    assert_eq!(stays.await.expect("stored").sequence(), 2);
    assert_eq!(rig.stored(), [(1, 0, 1), (2, 1, 1)], "what nobody waits for is not stored");
}

#[tokio::test(start_paused = true)]
async fn who_waited_too_long_is_certainly_not_stored() {
    let rig = Rig::new();
    rig.log.script(vec![Some(Fault::Hold); 3]);
    let first = rig.queue(section()).await;
    rig.log.attempted(1).await;
    let second = rig.queue(section()).await;
    assert_eq!(first.await, Err(StoreFailure::Unknown), "two attempts of 5 s are over the deadline of 10 s");
    assert_eq!(second.await, Err(StoreFailure::NotStored("the request waited 10 s for its turn".into())));
}

#[tokio::test(start_paused = true)]
async fn a_shard_recreated_under_the_lane_is_noticed() {
    let rig = Rig::new();
    rig.store(section()).await.expect("stored");
    let before = rig.store(section()).await.expect("stored");
    rig.log.recreate(&shard());
    let after = rig.store(section()).await.expect("stored");
    assert_eq!((before.incarnation(), before.sequence()), (Incarnation(1), 2));
    assert_eq!((after.incarnation(), after.sequence()), (Incarnation(2), 1), "not the incarnation it was opened with");
    rig.store(section()).await.expect("stored");
    let stored = rig.stored();
    assert_eq!(stored[1], (1, 0, 1), "a new producer in the new log");
}

#[tokio::test(start_paused = true)]
async fn a_shard_without_an_answer_is_opened_again() {
    let rig = Rig::new();
    rig.store(section()).await.expect("stored");
    rig.log.delete(&shard());
    let waiting = rig.queue(section()).await;
    rig.log.attempted(2).await;
    rig.log.recreate(&shard());
    let stored = waiting.await.expect("stored");
    assert_eq!((stored.incarnation(), stored.sequence()), (Incarnation(2), 1));
    assert_eq!(rig.stored(), [(1, 0, 1)]);
    rig.log.delete(&shard());
    let failure = rig.store(section()).await;
    assert_eq!(failure, Err(StoreFailure::NotStored("no log answers for the shard".into())));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_lane_finishes_what_it_accepted() {
    let mut rig = Rig::new();
    rig.log.script([Some(Fault::Hold)]);
    let lane = rig.lane.clone();
    let mut first = lane.store(vec![section()], &rig.permit).boxed_local();
    assert!(poll!(&mut first).is_pending());
    rig.log.attempted(1).await;
    let mut second = lane.store(vec![section()], &rig.permit).boxed_local();
    assert!(poll!(&mut second).is_pending());
    rig.cancel.cancel();
    rig.log.release();
    first.await.expect("stored");
    second.await.expect("stored");
    rig.tasks.join_next().await.expect("the lane").expect("no panic");
    assert_eq!(rig.stored(), [(1, 0, 1), (2, 1, 1), (3, 2, 0)], "and says farewell");
    assert!(matches!(rig.store(section()).await, Err(StoreFailure::NotStored(_))));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let rig = Rig::with(ProxyConfig { max_requests: 2, ..ProxyConfig::default() });
    rig.log.script([Some(Fault::Hold)]);
    let first = rig.queue(section()).await;
    rig.log.attempted(1).await;
    let queued = [rig.queue(section()).await, rig.queue(section()).await];
    assert_eq!(rig.store(section()).await, Err(StoreFailure::Busy));
    rig.log.release();
    first.await.expect("stored");
    assert!(join_all(queued).await.iter().all(Result::is_ok));
}
