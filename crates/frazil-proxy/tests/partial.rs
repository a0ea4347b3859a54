//! Requests of several messages that end between two of them: a retry with the same key stores exactly the rest.

use frazil_proxy::publish::PublishError;
use frazil_proxy::publish::memory::{Fault, Op};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::ack_path::quick;
use crate::rig::{Rig, accepted, clicks_schema, problem, shard, success};

/// Large enough that a few of them fill a message.
const NAME_BYTES: usize = 500;
const MESSAGE_BYTES: usize = 4000;
const EVENTS: u64 = 30;

/// Three tables, mixed; a writer sees them table by table.
fn routed() -> Vec<Value> {
    let table = |id: u64| ["clicks", "taps", "tours"][(id % 3) as usize];
    (0..EVENTS).map(|id| json!({"id": id, "type": table(id), "name": "x".repeat(NAME_BYTES)})).collect()
}

async fn rig() -> Rig {
    let rig = Rig::with(quick()).await;
    for table in ["lake.web.taps", "lake.web.tours"] {
        rig.tables.put(&table.parse().expect("valid"), clicks_schema());
    }
    rig.log.set_max_message_bytes(MESSAGE_BYTES);
    rig
}

fn request(rig: &Rig) -> RequestBuilder {
    let request = rig.post("/v1/streams/routed/events").header("idempotency-key", "large");
    request.body(Value::from(routed()).to_string())
}

/// The ids that a writer admits, in the order of the log, and how many messages there are.
fn ids(rig: &Rig) -> (Vec<u64>, usize) {
    let shard = shard("routed", 0);
    let events = rig.admitted(&shard);
    let id = |text: &String| serde_json::from_str::<Value>(text).expect("JSON")["id"].as_u64().expect("a number");
    (events.iter().map(id).collect(), rig.log.messages(&shard).len())
}

/// Every event once, table by table.
fn all() -> Vec<u64> {
    (0..3).flat_map(|table| (table..EVENTS).step_by(3)).collect()
}

#[tokio::test]
async fn whichever_message_fails_in_whichever_way_a_retry_stores_the_rest() {
    let whole = rig().await;
    success(request(&whole).send().await.expect("answered")).await;
    let (admitted, messages) = ids(&whole);
    assert_eq!(admitted, all());
    assert!(messages >= 5, "{messages}");
    for at in 0..messages {
        for (fault, alone, stored) in [
            (Fault::StoreThenLose, "outcome-unknown", 1),
            (Fault::Refuse(PublishError::Unknown("lost".to_owned())), "outcome-unknown", 0),
            (Fault::Hold, "outcome-unknown", 0),
            (Fault::Refuse(PublishError::NotSent("no".to_owned())), "log-unavailable", 0),
            (Fault::Refuse(PublishError::Full), "log-full", 0),
            (Fault::Refuse(PublishError::NoShard), "log-unavailable", 0),
        ] {
            let about = format!("message {at}: {fault:?}");
            let rig = rig().await;
            rig.log.script((0..at).map(|_| None).chain(vec![Some(fault); 100]));
            let answer = request(&rig).send().await.expect("answered");
            // Once something is stored, nobody can say any more that nothing is.
            let kind = if at == 0 { alone } else { "outcome-unknown" };
            let status = answer.status().as_u16();
            let code = if status == 429 { "TOO_MANY_REQUESTS" } else { "SERVICE_UNAVAILABLE" };
            let found = problem(answer, status, code).await;
            assert_eq!(found["type"], format!("urn:frazil:problem:{kind}"), "{about}");
            assert_eq!(ids(&rig).1, at + stored, "{about}");
            rig.log.heal(Op::Publish);
            let answer = success(request(&rig).send().await.expect("answered")).await;
            assert_eq!(answer["accepted"], EVENTS, "{about}");
            assert_eq!(ids(&rig), (all(), at + stored + messages), "{about}: exactly the rest is new");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_dies_between_two_messages() {
    for at in 1..5 {
        let rig = rig().await;
        rig.log.script((0..at).map(|_| None).chain([Some(Fault::Hold)]));
        let mut cut_off = Box::pin(request(&rig).send());
        let reached = rig.log.attempted(at + 1);
        tokio::select! {
            _ = &mut cut_off => panic!("it is held"),
            () = reached => {}
        }
        let rig = rig.killed(quick()).await;
        assert!(cut_off.await.is_err(), "the connection broke");
        assert_eq!(ids(&rig).1, at);
        success(request(&rig).send().await.expect("answered")).await;
        assert_eq!(ids(&rig).0, all(), "dead after {at} messages");
    }
}

#[tokio::test]
async fn the_late_half_of_a_first_try_is_a_repeat_when_it_comes_after_the_retry() {
    let rig = Rig::with(quick()).await;
    rig.log.set_max_message_bytes(MESSAGE_BYTES);
    let events: Vec<Value> = (0..12).map(|id| json!({"id": id, "name": "x".repeat(NAME_BYTES)})).collect();
    let send = || rig.events("").header("idempotency-key", "k").body(Value::from(events.clone()).to_string()).send();
    rig.log.script([None, Some(Fault::Hold)]);
    let first = send();
    let second = async {
        rig.log.attempted(2).await;
        let answer = send();
        rig.log.release();
        answer.await
    };
    let (first, second) = tokio::join!(first, second);
    for answer in [first, second] {
        accepted(answer.expect("answered"), 12).await;
    }
    let admitted = rig.admitted(&shard("sales", 0));
    assert_eq!(admitted, events.iter().map(Value::to_string).collect::<Vec<_>>(), "both tries at once, side by side");
}
