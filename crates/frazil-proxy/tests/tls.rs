//! TLS on the proxy's port: every protocol through it, clients with certificates, certificates that are replaced.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use frazil_proto::v1::ingest_client::IngestClient;
use frazil_proto::v1::{Format, IngestRequest};
use frazil_proxy::{ProxyConfig, TlsConfig};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Client, ClientBuilder, StatusCode, Version};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;

use crate::rig::{Rig, accepted, token};

/// Long enough for a slow machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The files of a proxy, and an authority to sign more.
struct Files {
    dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root");
        let files = Self { dir: tempfile::tempdir().expect("temporary folder"), authority };
        std::fs::write(files.path("ca"), files.authority.pem()).expect("temporary file");
        files.renew();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// PEM of a new certificate and its key.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        (params.signed_by(&key, &self.authority).expect("a certificate").pem(), key.serialize_pem())
    }

    /// Puts a new certificate in the place of the old one, and returns it.
    fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.sign();
        std::fs::write(self.path("cert"), &certificate).expect("temporary file");
        std::fs::write(self.path("key"), key).expect("temporary file");
        CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")
    }

    fn config(&self) -> TlsConfig {
        let tls = TlsConfig::new(self.path("cert"), self.path("key"));
        TlsConfig { reload_interval: Duration::from_millis(50), ..tls }
    }

    /// A proxy with these files. Its own client trusts the authority.
    async fn rig(&self, tls: TlsConfig) -> Rig {
        let mut rig = Rig::with(ProxyConfig { tls: Some(tls), ..ProxyConfig::default() }).await;
        rig.url = rig.url.replace("http://", "https://");
        rig.client = self.client(|client| client);
        rig
    }

    fn client(&self, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        let root = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).expect("a root");
        let client = Client::builder().no_proxy().add_root_certificate(root);
        change(client).build().expect("a client")
    }

    /// A bare connection, without ALPN, and the certificate that it was shown.
    async fn connect(
        &self,
        rig: &Rig,
    ) -> std::io::Result<(tokio_rustls::client::TlsStream<TcpStream>, CertificateDer<'static>)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("a root");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tcp = TcpStream::connect(address(rig)).await?;
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let shown = stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned();
        Ok((stream, shown))
    }

    async fn until_shown(&self, rig: &Rig, expected: &CertificateDer<'_>) {
        let shown = async { while self.connect(rig).await.expect("connects").1 != *expected {} };
        tokio::time::timeout(PATIENCE, shown).await.expect("the new certificate is shown");
    }
}

fn address(rig: &Rig) -> &str {
    rig.url.split_once("://").expect("a URL").1
}

fn failures(reason: &str) -> String {
    format!("frazil_proxy_tls_handshake_failures_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn every_protocol_goes_through_tls() {
    let files = Files::new();
    let rig = files.rig(files.config()).await;
    let second = files.client(|client| client.http1_only());
    for (client, version) in [(&rig.client, Version::HTTP_2), (&second, Version::HTTP_11)] {
        let request = client.post(format!("{}/v1/streams/sales/events", rig.url)).bearer_auth(token());
        let answer = request.body(r#"{"id":1}"#).send().await.expect("sent");
        assert_eq!(answer.version(), version, "by ALPN");
        accepted(answer, 1).await;
    }
    // gRPC, from a client that knows nothing of ALPN.
    let (stream, _) = files.connect(&rig).await.expect("connects");
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("one connection is enough"));
        std::future::ready(stream)
    });
    let channel = Endpoint::from_static("http://proxy").connect_with_connector(connector).await.expect("HTTP/2");
    let mut request = tonic::Request::new(IngestRequest {
        stream: "sales".to_owned(),
        format: Format::Json.into(),
        events: br#"{"id":2}"#.to_vec().into(),
        ..IngestRequest::default()
    });
    request.metadata_mut().insert("authorization", format!("Bearer {}", token()).parse().expect("ASCII"));
    let answer = IngestClient::new(channel).ingest(request).await.expect("accepted").into_inner();
    assert_eq!(answer.accepted, 1);
    assert_eq!(rig.stop().await, Ok(()));
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told() {
    let files = Files::new();
    let rig = files.rig(files.config()).await;
    let plain = reqwest::get(rig.url.replace("https://", "http://")).await.expect("an answer");
    assert_eq!(plain.status(), StatusCode::BAD_REQUEST);
    assert_eq!(plain.text().await.expect("text"), "this port speaks TLS only: use https://...\n");
    // A client that does not trust the authority, and one that leaves without a word.
    let stranger = Client::builder().no_proxy().build().expect("a client");
    assert!(stranger.get(&rig.url).send().await.expect_err("refused").is_connect());
    drop(TcpStream::connect(address(&rig)).await.expect("connects"));
    rig.until_metric(&failures("not_tls"), 1.0).await;
    rig.until_metric(&failures("refused_by_client"), 1.0).await;
    assert_eq!(rig.metric(&failures("connection")).await, None, "leaving is no failure");
    assert_eq!(rig.stop().await, Ok(()));
}

#[tokio::test]
async fn clients_show_certificates_of_the_named_authority() {
    let (files, clients, strangers) = (Files::new(), Files::new(), Files::new());
    let tls = TlsConfig { client_ca: Some(clients.path("ca")), ..files.config() };
    let mut rig = files.rig(tls).await;
    let showing = |of: &Files| {
        let (certificate, key) = of.sign();
        let identity = reqwest::Identity::from_pem(format!("{key}{certificate}").as_bytes()).expect("an identity");
        files.client(|client| client.identity(identity))
    };
    let probe = |client: Client| {
        let url = format!("{}/livez", rig.url);
        async move { client.get(url).send().await }
    };
    assert!(probe(rig.client.clone()).await.is_err(), "no certificate");
    assert!(probe(showing(&strangers)).await.is_err(), "one of another authority");
    let known = showing(&clients);
    assert_eq!(probe(known.clone()).await.expect("accepted").status(), StatusCode::OK);
    // A certificate is no token.
    let request = known.post(format!("{}/v1/streams/sales/events", rig.url)).body(r#"{"id":1}"#);
    assert_eq!(request.send().await.expect("sent").status(), StatusCode::UNAUTHORIZED);
    rig.client = known;
    rig.until_metric(&failures("client_certificate"), 2.0).await;
    assert_eq!(rig.stop().await, Ok(()));
}

#[tokio::test]
async fn certificates_are_replaced_while_connections_go_on() {
    let files = Files::new();
    let rig = files.rig(files.config()).await;
    let (mut old, first) = files.connect(&rig).await.expect("connects");

    let second = files.renew();
    assert_ne!(first, second);
    files.until_shown(&rig, &second).await;
    let expiry = "frazil_proxy_tls_certificate_expiry_timestamp_seconds";
    assert!(rig.metric(expiry).await.expect("a time") > 1e9);
    rig.until_metric("frazil_proxy_tls_reloads_total{outcome=\"loaded\"}", 1.0).await;
    // The connection of before is served on.
    old.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    old.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    std::fs::write(files.path("cert"), "no certificate").expect("temporary file");
    rig.until_metric("frazil_proxy_tls_reloads_total{outcome=\"refused\"}", 1.0).await;
    assert_eq!(files.connect(&rig).await.expect("connects").1, second, "the one before stays");
    let ready = rig.get("/readyz").send().await.expect("sent");
    assert_eq!(ready.status(), StatusCode::OK);
    let ready: serde_json::Value = ready.json().await.expect("JSON");
    assert!(ready["notes"][0].as_str().is_some_and(|note| note.contains("no PEM certificate")), "{ready}");

    let third = files.renew();
    files.until_shown(&rig, &third).await;
    let ready: serde_json::Value = rig.get("/readyz").send().await.expect("sent").json().await.expect("JSON");
    assert_eq!(ready.get("notes"), None, "{ready}");
    assert_eq!(rig.stop().await, Ok(()));
}

#[tokio::test]
async fn slow_handshakes_make_way_and_silent_connections_are_in_nobodys() {
    let files = Files::new();
    let rig = files.rig(TlsConfig { max_handshakes: 2, ..files.config() }).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address(&rig)).await.expect("connects"));
    }
    files.connect(&rig).await.expect("silence takes no place");
    assert_eq!(rig.metric(&failures("crowded")).await, None);

    // Handshakes that have begun and go no further, as many as there are places.
    for connection in &mut silent[..2] {
        connection.write_all(&[22]).await.expect("sent");
    }
    rig.until_metric("frazil_proxy_tls_handshakes_in_flight", 2.0).await;
    files.connect(&rig).await.expect("a place is made");
    assert!(rig.metric(&failures("crowded")).await.is_some_and(|count| count >= 1.0));
    drop(silent);
    rig.until_metric("frazil_proxy_tls_handshakes_in_flight", 0.0).await;
    assert_eq!(rig.stop().await, Ok(()));
}
