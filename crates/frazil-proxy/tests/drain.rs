//! Starting, being ready, and stopping.

use std::time::Duration;

use frazil_proxy::ProxyConfig;
use frazil_proxy::publish::memory::Fault;
use reqwest::StatusCode;
use serde_json::Value;

use crate::rig::{Rig, accepted, problem, shard};

async fn readiness(rig: &Rig) -> (StatusCode, Value) {
    let answer = rig.client.get(format!("{}/readyz", rig.url)).send().await.expect("sent");
    (answer.status(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn ready_means_connected() {
    let rig = Rig::start().await;
    assert_eq!(readiness(&rig).await.0, StatusCode::OK);
    rig.log.set_connected(false);
    let (status, body) = readiness(&rig).await;
    assert_eq!((status, &body["reasons"][0]), (StatusCode::SERVICE_UNAVAILABLE, &"log not connected".into()));
    let alive = rig.client.get(format!("{}/livez", rig.url)).send().await.expect("sent");
    assert_eq!(alive.status(), StatusCode::OK);
    rig.log.set_connected(true);
    assert_eq!(readiness(&rig).await.0, StatusCode::OK);
    assert_eq!(rig.stop().await, Ok(()));
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_refuses_the_rest() {
    let rig = Rig::start().await;
    rig.log.script([Some(Fault::Hold)]);
    let request = rig.events("").body(r#"{"id":1}"#);
    let in_flight = async { accepted(request.send().await.expect("sent"), 1).await };
    let meanwhile = async {
        rig.log.attempted(1).await;
        rig.cancel.cancel();
        let (status, body) = readiness(&rig).await;
        assert_eq!((status, &body["reasons"][0]), (StatusCode::SERVICE_UNAVAILABLE, &"draining".into()));
        for request in [rig.events("").body(r#"{"id":2}"#), rig.iomete().body("[]"), rig.get("/v1/receipts/x")] {
            let answer = request.send().await.expect("sent");
            assert_eq!(answer.headers().get("connection").map(|value| value.as_bytes()), Some(&b"close"[..]));
            problem(answer, 503, "SERVICE_UNAVAILABLE").await;
        }
        rig.log.release();
    };
    let ((_, receipt), ()) = tokio::join!(in_flight, meanwhile);
    assert_eq!(receipt.last, 1);
    let log = rig.log.clone();
    let url = rig.url.clone();
    let client = rig.client.clone();
    assert_eq!(rig.stop().await, Ok(()));
    let events: Vec<u32> = log.sections(&shard("sales", 0)).iter().map(|(_, section)| section.header.count).collect();
    assert_eq!(events, [1]);
    assert_eq!(log.messages(&shard("sales", 0)).len(), 2, "the request and the farewell");
    assert!(client.get(url).send().await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let config = ProxyConfig { drain_deadline: Duration::from_millis(50), ..ProxyConfig::default() };
    let rig = Rig::with(config).await;
    rig.log.script([Some(Fault::Hold)]);
    let request = rig.events("").body(r#"{"id":1}"#);
    let log = rig.log.clone();
    let stop = async {
        log.attempted(1).await;
        rig.stop().await
    };
    let (answer, stopped) = tokio::join!(request.send(), stop);
    assert!(answer.is_err(), "the connection was cut");
    assert_eq!(stopped.expect_err("too slow").0, Duration::from_millis(50));
}

#[tokio::test]
async fn who_waits_for_a_commit_is_let_go_by_a_drain() {
    let rig = Rig::start().await;
    let request = rig.events("?wait=committed&timeout=60s").body(r#"{"id":1}"#);
    let log = rig.log.clone();
    let stop = async {
        log.attempted(1).await;
        rig.stop().await
    };
    let (answer, stopped) = tokio::join!(request.send(), stop);
    let (body, _) = accepted(answer.expect("answered"), 1).await;
    assert_eq!(body["state"], "stored");
    assert_eq!(stopped, Ok(()));
}
