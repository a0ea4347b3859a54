//! Streams of requests: acknowledgements, refusals, the window, how a stream ends.

use std::time::Duration;

use frazil_core::receipt::Receipt;
use frazil_proto::v1::{IngestRequest, IngestStreamRequest, IngestStreamResponse, StreamOptions};
use frazil_proxy::ProxyConfig;
use frazil_proxy::publish::memory::Fault;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{channel, client, json, lines, metrics, problem, signed};
use crate::rig::{Rig, shard};

/// The client's side of a stream.
struct Dialog {
    send: mpsc::Sender<IngestStreamRequest>,
    heard: Streaming<IngestStreamResponse>,
    number: u64,
}

/// All that was said up to some point, put together.
#[derive(Debug, Default)]
struct Said {
    acknowledged: u64,
    committed: u64,
    window: u32,
    closing: bool,
    refused: Vec<(u64, String)>,
    results: Vec<(u64, Receipt)>,
}

impl Dialog {
    async fn on(channel: Channel) -> Self {
        let (send, mut requests) = mpsc::channel(100);
        let requests = futures::stream::poll_fn(move |context| requests.poll_recv(context));
        let mut client = frazil_proto::v1::ingest_client::IngestClient::new(channel);
        let heard = client.ingest_stream(signed(requests)).await.expect("open").into_inner();
        Self { send, heard, number: 0 }
    }

    async fn with(rig: &Rig) -> Self {
        Self::on(channel(rig).await).await
    }

    async fn say(&mut self, message: IngestStreamRequest) {
        self.send.send(message).await.expect("the stream is open");
    }

    async fn request(&mut self, request: IngestRequest) {
        self.number += 1;
        self.say(IngestStreamRequest { number: self.number, request: Some(request), options: None }).await;
    }

    /// Listens until `enough`, checking what holds for every message.
    async fn listen(&mut self, enough: impl Fn(&Said) -> bool) -> Said {
        let mut said = Said::default();
        while !enough(&said) {
            let message = self.heard.message().await.expect("no error").expect("more to say");
            let before = said.acknowledged;
            assert!(message.acknowledged >= before && message.committed >= said.committed, "{message:?}");
            for refusal in message.refused {
                assert!((before + 1..=message.acknowledged).contains(&refusal.number), "{refusal:?}");
                said.refused.push((refusal.number, refusal.problem.expect("a problem").r#type));
            }
            for result in message.results {
                assert!((before + 1..=message.acknowledged).contains(&result.number), "{result:?}");
                let response = result.response.expect("a response");
                said.results.push((result.number, response.receipt.parse().expect("a receipt")));
            }
            said = Said {
                acknowledged: message.acknowledged,
                committed: message.committed,
                window: message.window,
                closing: message.closing,
                ..said
            };
        }
        said
    }

    /// Half-closes, and hears how the stream ends; nothing is said in between.
    async fn finish(self) -> Result<(), Status> {
        let Self { send, mut heard, .. } = self;
        drop(send);
        assert_eq!(heard.message().await?, None);
        Ok(())
    }
}

fn event(id: u64) -> IngestRequest {
    json(&format!(r#"{{"id":{id}}}"#))
}

/// Returns once the metric says so.
async fn until_metric(rig: &Rig, line: &str) {
    while !metrics(rig).await.lines().any(|found| found == line) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn acknowledgements_are_cumulative_and_pass_refusals() {
    let rig = Rig::start().await;
    let mut dialog = Dialog::with(&rig).await;
    let hello = dialog.listen(|said| said.window > 0).await;
    assert_eq!((hello.window, hello.acknowledged), (64, 0));
    for request in [event(1), event(2), json(r#"{"id":"x"}"#), json("[]"), event(5)] {
        dialog.request(request).await;
    }
    dialog.say(IngestStreamRequest { number: 6, ..IngestStreamRequest::default() }).await;
    let said = dialog.listen(|said| said.acknowledged == 6).await;
    let kinds = ["urn:frazil:problem:invalid-events", "urn:frazil:problem:malformed-parameter"];
    assert_eq!(said.refused, [(3, kinds[0].to_owned()), (6, kinds[1].to_owned())]);
    assert_eq!(said.results.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 5]);
    assert_eq!((said.committed, said.closing), (0, false));
    dialog.finish().await.expect("a good end");
    assert_eq!(lines(&rig), [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":5}"#]);
    let metrics = metrics(&rig).await;
    for count in [r#"status="200",code="OK"} 4"#, r#"status="400",code="BAD_REQUEST"} 2"#] {
        let line = format!(r#"frazil_proxy_requests_total{{route="/frazil.v1.Ingest/IngestStream",{count}"#);
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_before_what_was_sent_before_it() {
    let rig = Rig::start().await;
    rig.log.script([Some(Fault::Hold)]);
    let mut dialog = Dialog::with(&rig).await;
    let open = |id| IngestRequest { stream: "open".to_owned(), table: "lake.web.clicks".to_owned(), ..event(id) };
    dialog.request(open(1)).await;
    rig.log.attempted(1).await;
    dialog.request(open(2)).await;
    // Another shard, so it is stored while the first one waits.
    let stored = r#"frazil_proxy_requests_total{route="/frazil.v1.Ingest/IngestStream",status="200",code="OK"} 1"#;
    until_metric(&rig, stored).await;
    rig.log.release();
    let said = dialog.listen(|said| said.acknowledged > 0).await;
    assert_eq!(said.results[0].0, 1);
    dialog.finish().await.expect("a good end");
}

#[tokio::test]
async fn numbers_and_options_must_be_in_their_place() {
    let rig = Rig::start().await;
    let options = Some(StreamOptions { committed_acks: true });
    let second = |number, options| IngestStreamRequest { number, request: Some(event(2)), options };
    for (message, detail) in [
        (second(3, None), "number: expected 2, got 3"),
        (second(1, None), "number: expected 2, got 1"),
        (second(0, None), "number: expected 2, got 0"),
        (second(2, options), "options: belong to the first request of a stream"),
    ] {
        let mut dialog = Dialog::with(&rig).await;
        dialog.request(event(1)).await;
        dialog.say(message).await;
        let said = dialog.listen(|said| said.acknowledged == 1).await;
        assert_eq!(said.results.len(), 1, "what was in order is acknowledged first");
        let status = dialog.finish().await.expect_err("refused");
        assert_eq!((status.code(), problem(&status).detail.as_str()), (Code::InvalidArgument, detail));
    }
}

#[tokio::test]
async fn no_more_than_the_window_is_read() {
    let rig = Rig::with(ProxyConfig { stream_window: 2, ..ProxyConfig::default() }).await;
    rig.log.script([Some(Fault::Hold)]);
    let channel = channel(&rig).await;
    let mut dialog = Dialog::on(channel.clone()).await;
    for id in 1..=6 {
        dialog.request(event(id)).await;
    }
    rig.log.attempted(1).await;
    until_metric(&rig, "frazil_proxy_in_flight_requests 2").await;
    // An answer on the same connection: whatever was sent before has come.
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.expect("answered");
    assert!(metrics(&rig).await.contains("frazil_proxy_in_flight_requests 2\n"));
    rig.log.release();
    let said = dialog.listen(|said| said.acknowledged == 6).await;
    assert_eq!((said.window, said.results.len()), (2, 6));
    dialog.finish().await.expect("a good end");
}

#[tokio::test]
async fn overload_refuses_one_and_closes_the_window_for_a_while() {
    let rig = Rig::with(ProxyConfig { max_requests: 1, ..ProxyConfig::default() }).await;
    rig.log.script([Some(Fault::Hold)]);
    let mut other = client(&rig).await;
    let mut dialog = Dialog::with(&rig).await;
    let held = other.ingest(signed(event(1)));
    let meanwhile = async {
        rig.log.attempted(1).await;
        dialog.request(event(2)).await;
        let said = dialog.listen(|said| said.acknowledged == 1).await;
        assert_eq!((said.window, said.refused), (0, vec![(1, "urn:frazil:problem:overloaded".to_owned())]));
        rig.log.release();
        dialog.request(event(2)).await;
    };
    let (answer, ()) = tokio::join!(held, meanwhile);
    answer.expect("accepted");
    let said = dialog.listen(|said| said.acknowledged == 2).await;
    assert_eq!((said.window, said.refused.len()), (64, 0));
    dialog.finish().await.expect("a good end");
}

#[tokio::test]
async fn a_drain_ends_a_stream_with_its_last_acknowledgement() {
    let rig = Rig::start().await;
    rig.log.script([Some(Fault::Hold)]);
    let mut dialog = Dialog::with(&rig).await;
    dialog.request(event(1)).await;
    rig.log.attempted(1).await;
    rig.cancel.cancel();
    // Refusals of other calls tell that the drain has begun.
    while rig.get("/readyz").send().await.expect("sent").status() == 200 {}
    dialog.request(event(2)).await;
    rig.log.release();
    let said = dialog.listen(|said| said.closing).await;
    assert_eq!((said.acknowledged, said.results.len(), said.refused.len()), (1, 1, 0));
    dialog.finish().await.expect("a good end");
    let log = rig.log.clone();
    assert_eq!(rig.stop().await, Ok(()));
    assert_eq!(log.sections(&shard("sales", 0)).len(), 1);
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_behind() {
    let rig = Rig::start().await;
    rig.log.script([Some(Fault::Hold)]);
    let mut dialog = Dialog::with(&rig).await;
    for id in 1..=3 {
        dialog.request(event(id)).await;
    }
    until_metric(&rig, "frazil_proxy_in_flight_requests 3").await;
    drop(dialog);
    rig.log.release();
    until_metric(&rig, "frazil_proxy_in_flight_requests 0").await;
    assert_eq!(lines(&rig)[0], r#"{"id":1}"#, "it was on its way to the log when the client went");
    assert_eq!(rig.stop().await, Ok(()));
}

#[tokio::test]
async fn committed_acknowledgements_follow_the_table() {
    let rig = Rig::start().await;
    let mut dialog = Dialog::with(&rig).await;
    let options = Some(StreamOptions { committed_acks: true });
    dialog.say(IngestStreamRequest { number: 1, request: Some(event(1)), options }).await;
    dialog.number = 1;
    for request in [json("["), event(3), json("[]")] {
        dialog.request(request).await;
    }
    let said = dialog.listen(|said| said.acknowledged == 4).await;
    assert_eq!((said.results.len(), said.committed), (2, 0));
    rig.commit(&said.results[0].1, 10);
    let mut receipts = said.results.into_iter().map(|(_, receipt)| receipt);
    let (first, last) = (receipts.next().expect("one"), receipts.next().expect("two"));
    if first.last < last.last {
        // The refused one in between is as good as committed.
        assert_eq!(dialog.listen(|said| said.committed >= 2).await.committed, 2);
        rig.commit(&last, 11);
    }
    assert_eq!(dialog.listen(|said| said.committed == 4).await.committed, 4);
    dialog.finish().await.expect("a good end");
}

#[tokio::test]
async fn a_client_that_has_sent_everything_is_told_of_its_commits() {
    let rig = Rig::start().await;
    let mut dialog = Dialog::with(&rig).await;
    let options = Some(StreamOptions { committed_acks: true });
    dialog.say(IngestStreamRequest { number: 1, request: Some(event(1)), options }).await;
    let (send, _) = mpsc::channel(1);
    drop(std::mem::replace(&mut dialog.send, send));
    let said = dialog.listen(|said| said.acknowledged == 1).await;
    rig.commit(&said.results[0].1, 10);
    assert_eq!(dialog.listen(|said| said.committed == 1).await.committed, 1);
    dialog.finish().await.expect("a good end");
}

#[tokio::test]
async fn silence_ends_a_stream() {
    let rig = Rig::with(ProxyConfig { stream_idle_timeout: Duration::from_millis(50), ..ProxyConfig::default() }).await;
    let mut dialog = Dialog::with(&rig).await;
    dialog.request(event(1)).await;
    let said = dialog.listen(|said| said.closing).await;
    assert_eq!(said.acknowledged, 1);
    dialog.finish().await.expect("a good end");
}
