//! Every way to log in, against a real nats-server that asks for it: certificates, nkeys, credentials.

use std::error::Error;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use frazil_log::testing::TestServer;
use frazil_log::{Log, LogConfig, LogError, Secret};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa};
use serde_json::{Value, json};
use tempfile::TempDir;

type Authority = CertifiedIssuer<'static, rcgen::KeyPair>;

/// An authority and the files of certificates that it has signed.
struct Certificates {
    dir: TempDir,
    authority: Authority,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let authority = Authority::self_signed(params, key).expect("a certificate");
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).expect("temporary file");
        Self { dir, authority }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Makes `<name>.pem` and `<name>.key`.
    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("temporary file");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("temporary file");
    }

    fn server(&self, more: &str) -> TestServer {
        self.sign("server", |_| {});
        let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|file| self.path(file));
        TestServer::start_with(&format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, {more} }}"))
    }
}

/// Settings that trust the authority and show a certificate, if one is named.
fn with_tls(server: &TestServer, certificates: &Certificates, client: Option<&str>) -> LogConfig {
    LogConfig {
        tls_ca: Some(certificates.path("ca.pem")),
        tls_certificate: client.map(|name| certificates.path(&format!("{name}.pem"))),
        tls_key: client.map(|name| certificates.path(&format!("{name}.key"))),
        ..server.config()
    }
}

/// A connection that is good enough to store definitions.
async fn works(config: &LogConfig) {
    let log = Log::connect(config).await.expect("the server takes the connection");
    log.ensure_bucket(1).await.expect("the bucket is made");
    assert!(log.control().list_tokens().await.expect("the bucket is read").is_empty());
    log.close().await;
}

/// The refusal with its causes.
async fn refusal(config: &LogConfig) -> String {
    let error = Log::connect(config).await.expect_err("refused");
    assert!(!error.is_retryable(), "{error:?}");
    let first: &(dyn Error + 'static) = &error;
    let errors = std::iter::successors(Some(first), |error| (*error).source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_server_is_trusted_through_its_own_authority_and_no_other() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let server = certificates.server("");
    works(&with_tls(&server, &certificates, None)).await;
    let message = refusal(&LogConfig { tls_ca: Some(others.path("ca.pem")), ..server.config() }).await;
    // The other authority has the same name, as the one before often has.
    assert!(message.contains("BadSignature") && message.contains("name one that has with tls_ca"), "{message}");
    // Without a word about TLS the server's own demand decides, and the system's authorities.
    let message = refusal(&server.config()).await;
    assert!(message.contains("UnknownIssuer"), "{message}");
}

#[tokio::test]
async fn a_server_may_verify_clients() {
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    let server = certificates.server("verify: true");
    certificates.sign("client", |_| {});
    strangers.sign("client", |_| {});
    certificates.sign("expired", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    works(&with_tls(&server, &certificates, Some("client"))).await;
    let message = refusal(&with_tls(&server, &certificates, None)).await;
    assert!(message.contains("client certificate") && message.contains("tls_certificate"), "{message}");
    let stranger = with_tls(&server, &strangers, Some("client"));
    for wrong in [
        LogConfig { tls_ca: Some(certificates.path("ca.pem")), ..stranger },
        with_tls(&server, &certificates, Some("expired")),
    ] {
        let message = refusal(&wrong).await;
        assert!(message.contains("client certificate"), "{message}");
    }
}

#[tokio::test]
async fn a_renewed_client_certificate_is_used_when_the_connection_is_made_again() {
    let certificates = Certificates::new();
    let mut server = certificates.server("verify: true");
    certificates.sign("client", |_| {});
    let log = Log::connect(&with_tls(&server, &certificates, Some("client"))).await.expect("connects");
    log.ensure_bucket(1).await.expect("the bucket is made");
    // The server now trusts another authority; the client's files follow. (Its own certificate stays.)
    let next = Certificates::new();
    next.sign("client", |_| {});
    for file in ["client.pem", "client.key"] {
        std::fs::copy(next.path(file), certificates.path(file)).expect("temporary file");
    }
    let [cert, key] = ["server.pem", "server.key"].map(|file| certificates.path(file));
    let ca = next.path("ca.pem");
    server.set_settings(&format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}"));
    server.restart();
    tokio::time::timeout(crate::PATIENCE, async {
        while log.control().list_tokens().await.is_err() {
            log.connected().await;
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the connection comes back with the new certificate");
}

#[tokio::test]
async fn a_server_may_begin_with_tls() {
    let certificates = Certificates::new();
    let server = certificates.server("handshake_first: true");
    works(&LogConfig { tls_first: true, ..with_tls(&server, &certificates, None) }).await;
}

#[tokio::test]
async fn an_nkey_is_a_login() {
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let server = TestServer::start_with(&format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key()));
    let with_seed = |seed: String| LogConfig { nkey: Some(Secret::new(seed)), ..server.config() };
    let seed = user.seed().expect("a seed");
    works(&with_seed(seed.clone())).await;
    // As it stands in a file.
    works(&with_seed(format!("{seed}\n"))).await;
    let message = refusal(&with_seed(stranger.seed().expect("a seed"))).await;
    assert!(message.to_lowercase().contains("authorization violation"), "{message}");
    let message = refusal(&with_seed("SUNOTASEED".to_owned())).await;
    assert!(message.contains("nkey") && !message.contains("SUNOTASEED"), "{message}");
}

/// A JWT of NATS (`ed25519-nkey`): the claims of `subject`, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let claims = json!({
        "jti": "test", "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": nats,
    });
    let signed = format!("{header}.{}", encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).expect("the key can sign"));
    format!("{signed}.{signature}")
}

fn account(operator: &KeyPair, account: &KeyPair, storage: i64) -> String {
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
        "leaf": -1, "mem_storage": storage, "disk_storage": storage, "streams": storage, "consumer": storage,
    });
    jwt(operator, account, json!({"limits": limits, "default_permissions": {}, "type": "account", "version": 2}))
}

/// A credentials file as `nsc` writes it.
fn credentials(path: &Path, account: &KeyPair, user: &KeyPair) {
    let claims = json!({"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2});
    let (token, seed) = (jwt(account, user, claims), user.seed().expect("a seed"));
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(path, text).expect("temporary file");
}

#[tokio::test]
async fn a_credentials_file_is_a_login() {
    let (operator, system, tenant) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let operator_jwt = jwt(&operator, &operator, json!({"type": "operator", "version": 2}));
    let server = TestServer::start_with(&format!(
        "operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{ {system}: {}, {tenant}: {} }}",
        account(&operator, &system, 0),
        account(&operator, &tenant, -1),
        system = system.public_key(),
        tenant = tenant.public_key(),
    ));
    let dir = tempfile::tempdir().expect("temporary folder");
    let [good, forged, broken] = ["good", "forged", "broken"].map(|name| dir.path().join(name));
    credentials(&good, &tenant, &KeyPair::new_user());
    credentials(&forged, &KeyPair::new_account(), &KeyPair::new_user());
    std::fs::write(&broken, "no credentials").expect("temporary file");
    let with_file = |path: &Path| LogConfig { credentials_file: Some(path.to_owned()), ..server.config() };
    works(&with_file(&good)).await;
    let message = refusal(&with_file(&forged)).await;
    assert!(message.to_lowercase().contains("authorization violation"), "{message}");
    let message = refusal(&with_file(&broken)).await;
    assert!(message.contains("credentials_file") && message.contains("broken"), "{message}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    certificates.sign("client", |_| {});
    others.sign("client", |_| {});
    let config = || LogConfig::new(vec!["nats://127.0.0.1:1".to_owned()], "test");
    let client = |certificate: PathBuf, key: PathBuf| LogConfig {
        tls_certificate: Some(certificate),
        tls_key: Some(key),
        ..config()
    };
    let [certificate, key] = ["client.pem", "client.key"].map(|file| certificates.path(file));
    client(certificate.clone(), key.clone()).check().expect("they go together");
    for (config, words) in [
        (LogConfig { tls_ca: Some(certificates.path("nowhere")), ..config() }, ["tls_ca", "nowhere"]),
        (LogConfig { tls_ca: Some(key.clone()), ..config() }, ["tls_ca", "no PEM certificate"]),
        (client(certificate.clone(), others.path("client.key")), ["tls_key", "does not belong"]),
        (client(certificate.clone(), certificate.clone()), ["tls_key", "no usable PEM private key"]),
        (LogConfig { tls_key: Some(key.clone()), ..config() }, ["tls_certificate", "go together"]),
        (LogConfig { credentials_file: Some(certificates.path("none")), ..config() }, ["credentials_file", "none"]),
    ] {
        let error = Log::connect(&config).await.expect_err("unusable");
        assert!(matches!(error, LogError::Config(_)), "{error:?}");
        let message = error.to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}
