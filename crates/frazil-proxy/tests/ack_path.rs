//! Every step on the way to an acknowledgement × every fault there: what the client is told, what the log holds, and
//! that the same request sent again with its key leaves the event there exactly once.
//!
//! Decode, validate, admit → open the shard, publish (the lane packs in between) → answer.

use std::time::Duration;

use frazil_proxy::ProxyConfig;
use frazil_proxy::publish::PublishError;
use frazil_proxy::publish::memory::{Fault, Op};
use frazil_proxy::tables::memory::TableFault;
use frazil_proxy::tables::{TableCommits, TableError};
use futures::FutureExt;
use futures::future::join_all;
use reqwest::Response;
use serde_json::Value;

use crate::rig::{Rig, accepted, clicks, problem, shard};

const EVENT: &str = r#"{"id":1}"#;

/// Short times, so that every deadline is met in a moment.
pub(crate) fn quick() -> ProxyConfig {
    ProxyConfig {
        publish_timeout: Duration::from_millis(60),
        publish_deadline: Duration::from_millis(200),
        catalog_timeout: Duration::from_millis(60),
        body_timeout: Duration::from_millis(100),
        poll_interval: Duration::from_millis(30),
        ..ProxyConfig::default()
    }
}

async fn send(rig: &Rig, body: &'static str) -> Response {
    rig.events("").header("idempotency-key", "one").body(body).send().await.expect("answered")
}

/// Status and last part of the problem type; `accepted` for none.
async fn told(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    if status == 200 {
        accepted(answer, 1).await;
        return (200, "accepted".to_owned());
    }
    let code = answer.status().canonical_reason().unwrap_or_default().to_uppercase().replace(' ', "_");
    let found = problem(answer, status, &code).await;
    let kind = found["type"].as_str().and_then(|kind| kind.rsplit(':').next()).expect("a type");
    (status, kind.to_owned())
}

/// More of a fault than any deadline has room for.
fn always(fault: Fault) -> Vec<Option<Fault>> {
    vec![Some(fault); 100]
}

fn once(fault: Fault) -> Vec<Option<Fault>> {
    vec![Some(fault)]
}

fn refuse(error: PublishError) -> Fault {
    Fault::Refuse(error)
}

fn unknown() -> PublishError {
    PublishError::Unknown("lost".to_owned())
}

fn not_sent() -> PublishError {
    PublishError::NotSent("no connection".to_owned())
}

#[tokio::test]
async fn faults_of_the_log() {
    let (soon, late) = (Fault::Delay(Duration::from_millis(20)), Fault::Delay(Duration::from_secs(9)));
    let refused = || refuse(PublishError::Refused("no".to_owned()));
    let too_large = || refuse(PublishError::TooLarge("large".to_owned()));
    let then_full = vec![Some(Fault::StoreThenLose), Some(refuse(PublishError::Full))];
    // Operation, what it meets, status and problem, messages in the log.
    let table = [
        (Op::Open, once(refuse(not_sent())), (200, "accepted"), 1),
        (Op::Open, always(refuse(not_sent())), (503, "log-unavailable"), 0),
        (Op::Open, always(refuse(PublishError::NoShard)), (503, "log-unavailable"), 0),
        (Op::Open, once(Fault::StoreThenLose), (200, "accepted"), 1),
        (Op::Open, once(Fault::Hold), (200, "accepted"), 1),
        (Op::Open, always(Fault::Hold), (503, "log-unavailable"), 0),
        (Op::Open, once(soon.clone()), (200, "accepted"), 1),
        (Op::Open, always(late.clone()), (503, "log-unavailable"), 0),
        (Op::Publish, once(refuse(PublishError::Full)), (429, "log-full"), 0),
        (Op::Publish, once(too_large()), (503, "log-unavailable"), 0),
        (Op::Publish, once(refused()), (503, "log-unavailable"), 0),
        (Op::Publish, once(refuse(PublishError::NoShard)), (200, "accepted"), 1),
        (Op::Publish, always(refuse(PublishError::NoShard)), (503, "log-unavailable"), 0),
        (Op::Publish, once(refuse(not_sent())), (200, "accepted"), 1),
        (Op::Publish, always(refuse(not_sent())), (503, "log-unavailable"), 0),
        (Op::Publish, once(refuse(unknown())), (200, "accepted"), 1),
        (Op::Publish, always(refuse(unknown())), (503, "outcome-unknown"), 0),
        (Op::Publish, once(Fault::StoreThenLose), (200, "accepted"), 1),
        (Op::Publish, always(Fault::StoreThenLose), (503, "outcome-unknown"), 1),
        (Op::Publish, then_full, (503, "outcome-unknown"), 1),
        (Op::Publish, once(Fault::Hold), (200, "accepted"), 1),
        (Op::Publish, always(Fault::Hold), (503, "outcome-unknown"), 0),
        (Op::Publish, once(soon), (200, "accepted"), 1),
        (Op::Publish, always(late), (503, "outcome-unknown"), 0),
    ];
    for (op, faults, (status, kind), messages) in table {
        let about = format!("{op:?} {:?} ×{}", faults[0], faults.len());
        let rig = Rig::with(quick()).await;
        rig.log.script_on(op, faults);
        assert_eq!(told(send(&rig, EVENT).await).await, (status, kind.to_owned()), "{about}");
        assert_eq!(rig.log.messages(&shard("sales", 0)).len(), messages, "{about}");
        rig.log.heal(op);
        assert_eq!(told(send(&rig, EVENT).await).await.0, 200, "{about}: again, with the log well");
        assert_eq!(rig.admitted(&shard("sales", 0)), [EVENT], "{about}");
        rig.until_metric("frazil_proxy_in_flight_requests", 0.0).await;
        assert_eq!(rig.metric("frazil_proxy_in_flight_bytes").await, Some(0.0), "{about}");
    }
}

#[tokio::test]
async fn faults_before_the_log() {
    let unavailable = TableFault::Error(TableError::Unavailable("down".to_owned()));
    for (fault, body, (status, kind)) in [
        (None, r#"{"id":"#, (400, "invalid-json")),
        (None, r#"{"id":"x"}"#, (400, "invalid-events")),
        (Some(unavailable), EVENT, (503, "catalog-unavailable")),
        (Some(TableFault::Hang), EVENT, (503, "catalog-unavailable")),
    ] {
        let rig = Rig::with(quick()).await;
        rig.tables.set_fault(fault.clone());
        assert_eq!(told(send(&rig, body).await).await, (status, kind.to_owned()), "{fault:?} {body}");
        assert_eq!((rig.log.attempts(), rig.log.attempts_on(Op::Open)), (0, 0), "nothing has come so far");
        rig.tables.set_fault(None);
        // A failed load is believed for a second, which is what `Retry-After` says.
        let mut again = told(send(&rig, EVENT).await).await.0;
        while again == 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            again = told(send(&rig, EVENT).await).await.0;
        }
        assert_eq!(again, 200);
        assert_eq!(rig.admitted(&shard("sales", 0)), [EVENT]);
    }
}

#[tokio::test]
async fn a_full_house_refuses_until_somebody_leaves_and_says_so() {
    let rig = Rig::with(ProxyConfig { max_requests: 2, ..ProxyConfig::default() }).await;
    rig.log.script([Some(Fault::Hold)]);
    let inside = [rig.events("").body(EVENT).send(), rig.events("").body(EVENT).send()];
    let meanwhile = async {
        rig.until_metric("frazil_proxy_in_flight_requests", 2.0).await;
        let answer = rig.events("").body(EVENT).send().await.expect("answered");
        let advice: u64 = answer.headers()["retry-after"].to_str().expect("ASCII").parse().expect("seconds");
        assert!((1..=60).contains(&advice), "{advice}");
        assert_eq!(told(answer).await, (429, "overloaded".to_owned()));
        let ready: Value = rig.get("/readyz").send().await.expect("answered").json().await.expect("JSON");
        assert_eq!((&ready["ready"], &ready["notes"][0]), (&true.into(), &"at the limit of requests in flight".into()));
        rig.log.release();
    };
    let (answers, ()) = tokio::join!(join_all(inside), meanwhile);
    for answer in answers {
        accepted(answer.expect("answered"), 1).await;
    }
    assert_eq!(rig.metric(r#"frazil_proxy_overloads_total{reason="requests"}"#).await, Some(1.0));
    assert_eq!(told(send(&rig, EVENT).await).await.0, 200, "by itself");
}

#[tokio::test]
async fn a_full_log_is_told_with_advice_and_in_the_notes_until_there_is_room() {
    let rig = Rig::with(quick()).await;
    rig.log.script(always(refuse(PublishError::Full)));
    let answer = send(&rig, EVENT).await;
    assert_eq!(answer.headers()["retry-after"], "5", "writers free what is committed every ten seconds");
    assert_eq!(told(answer).await, (429, "log-full".to_owned()));
    let notes = async || {
        let ready: Value = rig.get("/readyz").send().await.expect("answered").json().await.expect("JSON");
        assert_eq!(ready["ready"], true, "another shard may have room");
        ready["notes"][0].as_str().map(str::to_owned)
    };
    assert_eq!(notes().await.as_deref(), Some("the log of sales/0 is full, for 0 s"));
    rig.log.heal(Op::Publish);
    assert_eq!(told(send(&rig, EVENT).await).await.0, 200);
    assert_eq!(notes().await, None);
    assert_eq!(rig.metric(r#"frazil_proxy_overloads_total{reason="log_full"}"#).await, Some(1.0));
}

#[tokio::test]
async fn a_client_that_goes_before_its_answer_finds_its_event_stored_once() {
    let rig = Rig::with(quick()).await;
    rig.log.script([Some(Fault::Hold)]);
    let mut gone = Box::pin(send(&rig, EVENT));
    let publishing = rig.log.attempted(1);
    tokio::select! {
        _ = &mut gone => panic!("it is held"),
        () = publishing => {}
    }
    drop(gone);
    rig.log.release();
    assert_eq!(told(send(&rig, EVENT).await).await.0, 200);
    assert_eq!(rig.admitted(&shard("sales", 0)), [EVENT]);
}

#[tokio::test]
async fn a_proxy_killed_at_any_step_has_acknowledged_nothing_that_is_not_stored() {
    for op in [Op::Open, Op::Publish] {
        let rig = Rig::start().await;
        rig.log.script_on(op, [Some(Fault::Hold)]);
        let attempted = rig.log.attempted_on(op, 1);
        let log = rig.log.clone();
        let (answer, rig) = {
            let request = rig.events("").header("idempotency-key", "one").body(EVENT).send();
            let mut request = Box::pin(request);
            tokio::select! {
                _ = &mut request => panic!("it is held"),
                () = attempted => {}
            }
            let next = rig.killed(ProxyConfig::default()).await;
            (request.await, next)
        };
        assert!(answer.is_err(), "the connection broke");
        // Whatever was on its way is done, or not: nobody knows.
        log.release_on(op);
        assert_eq!(told(send(&rig, EVENT).await).await.0, 200);
        assert_eq!(rig.admitted(&shard("sales", 0)), [EVENT], "{op:?}");
    }
}

#[tokio::test]
async fn receipts_outlive_faults_of_notices_and_of_the_watermark() {
    let lost = || Fault::Refuse(unknown());
    for (op, fault) in [
        (Op::Notices, lost()),
        (Op::Notices, Fault::Hold),
        (Op::Progress, lost()),
        (Op::Progress, Fault::Hold),
        (Op::Progress, Fault::StoreThenLose),
    ] {
        let about = format!("{op:?} {fault:?}");
        let rig = Rig::with(quick()).await;
        rig.log.script_on(op, vec![Some(fault); 100]);
        rig.log.break_notices();
        let (_, receipt) = accepted(rig.events("").body(EVENT).send().await.expect("answered"), 1).await;
        let path = format!("/v1/receipts/{receipt}?wait=committed&timeout=30s");
        let mut asked = rig.get(&path).send().boxed();
        assert!(futures::poll!(&mut asked).is_pending(), "{about}");
        let checkpoint =
            format!("{}:{}", receipt.incarnation, receipt.last).parse().expect("the text form of a checkpoint");
        let commits = TableCommits { checkpoint: Some(checkpoint), ..TableCommits::default() };
        rig.tables.set_commits(&clicks(), &receipt.shard, commits);
        let answer: Value = asked.await.expect("answered").json().await.expect("JSON");
        assert_eq!(answer["state"], "committed", "{about}: the table itself was asked");
    }
}

#[tokio::test]
async fn a_receipt_of_a_log_out_of_reach_is_not_called_gone() {
    let rig = Rig::with(quick()).await;
    let (_, receipt) = accepted(rig.events("").body(EVENT).send().await.expect("answered"), 1).await;
    rig.log.script_on(Op::Incarnation, [Some(refuse(unknown()))]);
    let path = format!("/v1/receipts/{receipt}");
    problem(rig.get(&path).send().await.expect("answered"), 503, "SERVICE_UNAVAILABLE").await;
    let answer: Value = rig.get(&path).send().await.expect("answered").json().await.expect("JSON");
    assert_eq!(answer["state"], "stored");
}
