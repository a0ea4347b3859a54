//! Authorities and what they sign, as files.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio_rustls::rustls::RootCertStore;

/// An authority that keeps its files in a folder of its own.
pub(super) struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    pub(super) fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).expect("temporary folder");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root");
        std::fs::write(folder.join("ca.pem"), issuer.pem()).expect("temporary file");
        Self { folder, issuer }
    }

    /// The file with its root.
    pub(super) fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Signs a certificate for this machine; over one of the same name, if there is one.
    pub(super) fn sign(&self, name: &str) -> Pair {
        self.sign_until(name, 2050)
    }

    /// The same, expired with the year before `until`.
    pub(super) fn sign_until(&self, name: &str, until: i32) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).expect("names");
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |extension: &str| self.folder.join(format!("{name}.{extension}"));
        let pair = Pair { certificate: file("pem"), key: file("key") };
        replace(&pair.key, &key.serialize_pem());
        replace(&pair.certificate, &certificate.pem());
        pair
    }

    /// The root, for servers of the tests.
    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a root");
        roots
    }

    /// An HTTP client that trusts the authority and shows a certificate, if one is given.
    pub(super) fn client(&self, shown: Option<&Pair>) -> reqwest::ClientBuilder {
        let root = reqwest::Certificate::from_pem(self.issuer.pem().as_bytes()).expect("a root");
        let client = reqwest::Client::builder().no_proxy().add_root_certificate(root);
        let Some(pair) = shown else { return client };
        let text = [read(&pair.key), read(&pair.certificate)].concat();
        client.identity(reqwest::Identity::from_pem(&text).expect("an identity"))
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("temporary file")
}

/// A file is never seen half written.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("temporary file");
    std::fs::rename(new, path).expect("temporary file");
}
