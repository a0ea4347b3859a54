//! Files that operators have, right and wrong, and what the proxy makes of them.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// A folder with `cert`, `key` and `ca`, all of one authority.
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
        files.write("ca", &files.authority.pem());
        files.sign(2050);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("temporary file");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("temporary file")
    }

    /// A new certificate that ends with the year before `until`.
    fn sign(&self, until: i32) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
        self.write("cert", &params.signed_by(&key, &self.authority).expect("a certificate").pem());
        self.write("key", &key.serialize_pem());
    }

    fn config(&self) -> TlsConfig {
        TlsConfig { client_ca: Some(self.path("ca")), ..TlsConfig::new(self.path("cert"), self.path("key")) }
    }

    fn load(&self) -> (Arc<Tls>, Registry) {
        let mut registry = Registry::default();
        let tls = Tls::load(&self.config(), &mut registry).expect("the files are good");
        (Arc::new(tls), registry)
    }
}

fn metric(registry: &Registry, name: &str) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

const EXPIRY: &str = "frazil_proxy_tls_certificate_expiry_timestamp_seconds";
const LOADED: &str = "frazil_proxy_tls_reloads_total{outcome=\"loaded\"}";
const REFUSED: &str = "frazil_proxy_tls_reloads_total{outcome=\"refused\"}";

#[test]
fn files_that_cannot_be_used_are_named_with_their_setting() {
    let (files, others) = (Files::new(), Files::new());
    assert_eq!(check_files(&files.config()), Ok(()));
    let nowhere = Path::new("/nowhere/at/all");
    let large = files.path("large");
    std::fs::write(&large, vec![b'\n'; 2 << 20]).expect("temporary file");
    let (cert, key) = (files.path("cert"), files.path("key"));
    for (certificate, private, client_ca, setting, words) in [
        (nowhere, key.as_path(), None, "tls_certificate", "No such file"),
        (&cert, nowhere, None, "tls_key", "No such file"),
        (&cert, &key, Some(nowhere), "tls_client_ca", "No such file"),
        (&key, &key, None, "tls_certificate", "no PEM certificate"),
        (&cert, &cert, None, "tls_key", "no PEM private key"),
        (&cert, &key, Some(key.as_path()), "tls_client_ca", "no PEM certificate"),
        (&cert, &others.path("key"), None, "tls_key", "does not belong to the certificate"),
        (&large, &key, None, "tls_certificate", "larger than"),
    ] {
        let config = TlsConfig { client_ca: client_ca.map(Path::to_owned), ..TlsConfig::new(certificate, private) };
        let error = check_files(&config).expect_err(words);
        assert_eq!(error.setting, setting, "{error}");
        assert!(error.message.contains(words), "{error}");
        let mut registry = Registry::default();
        assert_eq!(Tls::load(&config, &mut registry).expect_err("unusable"), error);
    }
}

#[tokio::test]
async fn new_files_come_in_force_and_broken_ones_do_not() {
    let files = Files::new();
    let (tls, registry) = files.load();
    let first = tls.server_config();
    assert_eq!(metric(&registry, EXPIRY), "2524608000");

    Arc::clone(&tls).reload().await;
    assert!(Arc::ptr_eq(&first, &tls.server_config()), "nothing has changed");
    assert_eq!((metric(&registry, LOADED).as_str(), metric(&registry, REFUSED).as_str()), ("0", "0"));

    files.sign(2051);
    Arc::clone(&tls).reload().await;
    let second = tls.server_config();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!((metric(&registry, EXPIRY).as_str(), metric(&registry, LOADED).as_str()), ("2556144000", "1"));
    assert_eq!(tls.note(), None);

    // Half of a replacement: the key of another certificate. Told once, however often it is looked at.
    let (good, other) = (files.read("key"), KeyPair::generate().expect("a key").serialize_pem());
    files.write("key", &other);
    for _ in 0..2 {
        Arc::clone(&tls).reload().await;
        assert!(Arc::ptr_eq(&second, &tls.server_config()));
        assert!(tls.note().is_some_and(|note| note.contains("does not belong")), "{:?}", tls.note());
        assert_eq!(metric(&registry, REFUSED), "1");
    }
    std::fs::remove_file(files.path("key")).expect("temporary file");
    Arc::clone(&tls).reload().await;
    assert!(Arc::ptr_eq(&second, &tls.server_config()));
    assert!(tls.note().is_some_and(|note| note.contains("No such file")), "{:?}", tls.note());
    assert_eq!(metric(&registry, REFUSED), "2");

    files.write("key", &good);
    Arc::clone(&tls).reload().await;
    assert_eq!((metric(&registry, LOADED).as_str(), tls.note()), ("2", None));
}

#[tokio::test]
async fn an_expired_certificate_never_takes_the_place_of_a_good_one() {
    let files = Files::new();
    let (tls, registry) = files.load();
    let first = tls.server_config();
    files.sign(2021);
    Arc::clone(&tls).reload().await;
    assert!(Arc::ptr_eq(&first, &tls.server_config()));
    assert!(tls.note().is_some_and(|note| note.contains("expired")), "{:?}", tls.note());
    assert_eq!(metric(&registry, EXPIRY), "2524608000");

    // A proxy that starts with one serves it, says so, and takes the next.
    let (tls, registry) = files.load();
    assert_eq!(tls.note().as_deref(), Some("the TLS certificate has expired"));
    assert_eq!(metric(&registry, EXPIRY), "1609459200");
    files.sign(2050);
    Arc::clone(&tls).reload().await;
    assert_eq!(tls.note(), None);
}
