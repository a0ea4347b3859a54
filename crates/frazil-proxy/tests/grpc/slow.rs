//! Streams of requests whose clients do not listen.

use std::time::Duration;

use frazil_proto::v1::IngestStreamRequest;
use frazil_proto::v1::ingest_client::IngestClient;
use frazil_proxy::ProxyConfig;
use tokio::sync::mpsc;
use tonic::transport::Endpoint;

use super::{client, json, lines, signed};
use crate::rig::Rig;

/// What a client lets the proxy say before it has listened, in bytes.
const EARS: u32 = 256;

#[tokio::test]
async fn a_client_that_never_reads_its_answers_is_stopped_and_then_cut_off() {
    let (stream_window, write_timeout) = (16, Duration::from_millis(500));
    let rig = Rig::with(ProxyConfig { stream_window, write_timeout, ..ProxyConfig::default() }).await;
    let endpoint = Endpoint::from_shared(rig.url.clone()).expect("a URL").initial_stream_window_size(EARS);
    let mut deaf = IngestClient::new(endpoint.connect().await.expect("HTTP/2"));
    let (send, mut requests) = mpsc::channel(1);
    let requests = futures::stream::poll_fn(move |context| requests.poll_recv(context));
    let unheard = deaf.ingest_stream(signed(requests)).await.expect("open").into_inner();
    let mut sent = 0;
    // Padded, so that flow control is felt at the sender, too.
    let padding = " ".repeat(100_000);
    loop {
        sent += 1;
        let request = json(&format!(r#"{{"id":{sent}}}{padding}"#));
        let message = IngestStreamRequest { number: sent, request: Some(request), options: None };
        if send.send(message).await.is_err() {
            break;
        }
    }
    let stored = lines(&rig).len() as u64;
    assert!(stored < sent && stored < 200, "{stored} of {sent}: what is read is bounded by what is told");
    rig.until_metric("frazil_proxy_in_flight_requests", 0.0).await;
    rig.until_metric("frazil_proxy_in_flight_bytes", 0.0).await;
    assert_eq!(rig.metric(r#"frazil_proxy_connections_cut_total{reason="untaken"}"#).await, Some(1.0));
    drop(unheard);
    client(&rig).await.ingest(signed(json(r#"{"id":1}"#))).await.expect("others are served");
}
