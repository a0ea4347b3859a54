//! A plain HTTP client of the proxy, as an application would write it.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::until;

/// Longest time that a service of which parts fail may refuse requests.
const OUTAGE: Duration = Duration::from_secs(60);

/// The proxy's address and a token for it.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    /// Base URL.
    pub url: String,
    /// API token.
    pub token: String,
}

impl Api {
    /// A client for the proxy at `url`.
    pub fn new(url: &str, token: &str) -> Self {
        let client = Client::builder().timeout(Duration::from_secs(60)).build().expect("client builds");
        Self::with_client(client, url, token)
    }

    /// The same with an HTTP client of one's own.
    pub fn with_client(client: Client, url: &str, token: &str) -> Self {
        Self { client, url: url.to_owned(), token: token.to_owned() }
    }

    /// A POST of events to `table` of stream `default`, ready to be changed and sent.
    pub fn events(&self, table: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self.client.post(format!("{}/v1/streams/default/events", self.url));
        request.bearer_auth(&self.token).header("table", table).body(body)
    }

    /// A POST in the IOMETE dialect, without token or table.
    pub fn iomete(&self, stream: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let path = format!("{}/data-plane/any/event-stream/{stream}/ingest", self.url);
        self.client.post(path).header("content-type", "application/json").body(body)
    }

    /// A GET with the token.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    /// Posts and expects success.
    pub async fn accept(&self, table: &str, body: &str) -> Value {
        json(self.events(table, body.to_owned()).send().await.expect("proxy answers"), 200).await
    }

    /// Posts and returns once the rows are visible.
    pub async fn commit(&self, table: &str, body: &str) -> Value {
        let answer = self.accept(table, body).await;
        self.wait_committed(answer["receipt"].as_str().expect("a receipt")).await
    }

    /// The same, for the receipt.
    pub async fn commit_receipt(&self, table: &str, body: &str) -> String {
        let answer = self.accept(table, body).await;
        let receipt = answer["receipt"].as_str().expect("a receipt");
        self.wait_committed(receipt).await;
        receipt.to_owned()
    }

    /// [`Api::commit`] through an outage: asked again, under one key, while the service says that it is unavailable.
    pub async fn commit_through(&self, table: &str, key: &str, body: &str) -> Value {
        let request = || self.events(table, body.to_owned()).header("idempotency-key", key);
        let answer = through_outage("a request to be accepted", request).await;
        let path = receipt_path(answer["receipt"].as_str().expect("a receipt"));
        committed(through_outage("a receipt to be answered", || self.get(&path)).await)
    }

    /// Waits until the receipt's rows are visible.
    pub async fn wait_committed(&self, receipt: &str) -> Value {
        committed(json(self.get(&receipt_path(receipt)).send().await.expect("proxy answers"), 200).await)
    }
}

fn receipt_path(receipt: &str) -> String {
    format!("/v1/receipts/{receipt}?wait=committed&timeout=50s")
}

fn committed(answer: Value) -> Value {
    assert_eq!(answer["state"], "committed", "{answer}");
    answer
}

/// The body of the first answer that is not `503`, which must be a success.
async fn through_outage(what: &str, request: impl Fn() -> RequestBuilder) -> Value {
    let attempt = async || {
        let response = request().send().await.expect("proxy answers");
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        Some(json(response, 200).await)
    };
    until(what, OUTAGE, attempt).await
}

/// The JSON body of an answer that must have `status`.
pub async fn json(response: Response, status: u16) -> Value {
    let found = response.status().as_u16();
    let text = response.text().await.expect("a body");
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
