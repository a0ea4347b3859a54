//! Catalog and store behind a real TLS server, with the certificates that operators have, right and wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::rest::stub::Stub;
use crate::{CatalogError, ObjectStorage, RestCatalog, RestCatalogConfig, StorageError};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// Files of one authority and of a certificate that it has signed for `name`.
struct Files {
    dir: TempDir,
    authority: Authority,
}

impl Files {
    fn of(authority: Authority, name: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        for (file, text) in [("ca", authority.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())] {
            std::fs::write(dir.path().join(file), text).expect("temporary file");
        }
        Self { dir, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn client(&self) -> ClientTls {
        ClientTls { ca: None, certificate: Some(self.path("cert")), key: Some(self.path("key")) }
    }
}

/// A TLS server before a plain one. Ends when dropped.
struct TlsFront {
    address: SocketAddr,
    _server: JoinSet<()>,
}

impl TlsFront {
    async fn start(upstream: SocketAddr, server: &Files, clients: Option<&Files>) -> Self {
        let chain = certificates(&server.path("cert"), &read(&server.path("cert")).expect("file")).expect("chain");
        let key = PrivateKeyDer::from_pem_file(server.path("key")).expect("key");
        let builder = ServerConfig::builder();
        let builder = match clients {
            Some(files) => {
                let mut roots = RootCertStore::empty();
                roots.add(files.authority.der().clone()).expect("a root");
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier");
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("usable")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    // A refused client is what some tests are about.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut upstream = TcpStream::connect(upstream).await.expect("the upstream listens");
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
                });
            }
        });
        Self { address, _server: tasks }
    }
}

/// The stub's settings, with the front's address by the name it has a certificate for.
fn config(stub: &Stub, front: &TlsFront, tls: ClientTls) -> RestCatalogConfig {
    RestCatalogConfig { uri: format!("https://localhost:{}", front.address.port()), tls, ..stub.config() }
}

async fn refusal(config: RestCatalogConfig) -> String {
    RestCatalog::connect(config).await.expect_err("refused").to_string()
}

#[tokio::test]
async fn a_catalog_is_trusted_through_its_own_authority_and_no_other() {
    let stub = Stub::start().await;
    let (files, others) = (Files::of(authority(), "localhost"), Files::of(authority(), "localhost"));
    let front = TlsFront::start(stub.address, &files, None).await;
    let trusting = |ca: Option<PathBuf>| config(&stub, &front, ClientTls { ca, ..ClientTls::default() });

    RestCatalog::connect(trusting(Some(files.path("ca")))).await.expect("the right authority");
    // The other authority has the same name, as the one before often has.
    for (wrong, word) in [(None, "UnknownIssuer"), (Some(others.path("ca")), "BadSignature")] {
        let message = refusal(trusting(wrong)).await;
        assert!(message.contains(word) && message.contains("name one that has with tls_ca"), "{message}");
    }
    // A bundle may hold several.
    let both = files.path("both");
    std::fs::write(&both, format!("{}{}", others.authority.pem(), files.authority.pem())).expect("temporary file");
    RestCatalog::connect(trusting(Some(both))).await.expect("a bundle with the right authority");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_by_name() {
    let stub = Stub::start().await;
    let files = Files::of(authority(), "catalog.example.com");
    let front = TlsFront::start(stub.address, &files, None).await;
    let tls = ClientTls { ca: Some(files.path("ca")), ..ClientTls::default() };
    let message = refusal(config(&stub, &front, tls)).await;
    assert!(message.contains("localhost") && message.contains("catalog.example.com"), "{message}");
}

#[tokio::test]
async fn a_catalog_without_tls_is_said_to_be_one() {
    let stub = Stub::start().await;
    let plain = RestCatalogConfig { uri: format!("https://localhost:{}", stub.address.port()), ..stub.config() };
    let message = refusal(plain).await;
    assert!(message.contains("does not speak TLS"), "{message}");
}

#[tokio::test]
async fn a_catalog_may_ask_for_a_client_certificate() {
    let stub = Stub::start().await;
    let (files, clients) = (Files::of(authority(), "localhost"), Files::of(authority(), "frazil"));
    let strangers = Files::of(authority(), "frazil");
    let front = TlsFront::start(stub.address, &files, Some(&clients)).await;
    let showing = |tls: ClientTls| config(&stub, &front, ClientTls { ca: Some(files.path("ca")), ..tls });

    RestCatalog::connect(showing(clients.client())).await.expect("a known client");
    let message = refusal(showing(ClientTls::default())).await;
    assert!(message.contains("wants a client certificate"), "{message}");
    let message = refusal(showing(strangers.client())).await;
    assert!(message.contains("refuses the client certificate"), "{message}");
}

#[tokio::test]
async fn a_store_is_trusted_through_the_authority_of_its_catalog() {
    let stub = Stub::start().await;
    let (files, others) = (Files::of(authority(), "localhost"), Files::of(authority(), "localhost"));
    // Any server will do: what it answers shows that the handshake went well.
    let front = TlsFront::start(stub.address, &files, None).await;
    let storage = |roots: Roots| {
        let properties = [
            ("s3.endpoint", format!("https://localhost:{}", front.address.port())),
            ("s3.region", "us-east-1".to_owned()),
            ("s3.access-key-id", "id".to_owned()),
            ("s3.secret-access-key", "secret".to_owned()),
        ];
        ObjectStorage::trusting(roots, properties.map(|(key, value)| (key.to_owned(), value)).into())
    };
    let trusting = storage(Roots::read(&files.path("ca")).expect("roots"));
    let answered = trusting.get("s3://lake/missing").await;
    assert!(matches!(answered, Err(StorageError::NotFound { .. })), "{answered:?}");
    // What a catalog vends is reached with the same trust.
    let vended = trusting.with_properties(BTreeMap::from([("s3.endpoint".to_owned(), String::new())]), Vec::new());
    assert_eq!(vended.roots(), 1);

    let mistrusting = storage(Roots::read(&others.path("ca")).expect("roots"));
    let refused = mistrusting.put("s3://lake/key", Bytes::from_static(b"x")).await.expect_err("refused");
    assert!(matches!(refused, StorageError::Unavailable { .. }), "{refused:?}");
    let message = refused.to_string();
    assert!(message.contains("BadSignature") && message.contains("name one that has with tls_ca"), "{message}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (files, others) = (Files::of(authority(), "localhost"), Files::of(authority(), "localhost"));
    let nowhere = files.path("nowhere");
    let client = files.client();
    assert_eq!(client.check(), Ok(()));
    for (tls, path, words) in [
        (ClientTls { ca: Some(nowhere.clone()), ..ClientTls::default() }, &nowhere, "No such file"),
        (ClientTls { ca: Some(files.path("key")), ..ClientTls::default() }, &files.path("key"), "no PEM certificate"),
        (
            ClientTls { key: Some(files.path("cert")), ..client.clone() },
            &files.path("cert"),
            "no usable PEM private key",
        ),
        (ClientTls { key: Some(others.path("key")), ..client.clone() }, &others.path("key"), "does not belong"),
        (ClientTls { key: None, ..client.clone() }, &files.path("cert"), "without its key"),
        (ClientTls { certificate: None, ..client.clone() }, &files.path("key"), "without its certificate"),
    ] {
        let error = tls.check().expect_err(words);
        assert!(error.path == *path && error.reason.contains(words), "{error}");
        let connected = CatalogError::from(error);
        assert!(!connected.is_retryable(), "{connected}");
    }
}
