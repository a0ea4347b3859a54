//! Every role with TLS wherever it talks to another one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use frazil_tests::client::Api;
use frazil_tests::hand::{
    READY, answers, frazil, free_ports, listens, start_nats, start_role, succeeded, token_for_all,
};
use frazil_tests::lake::Lake;
use frazil_tests::process::Process;
use frazil_tests::seaweed::{self, Plan};
use tempfile::TempDir;

use super::certificates::{Authority, Pair};
use super::front::TlsFront;

const CONFIG: &str = "frazil.toml";

/// A running deployment with one stream, `default`, that creates missing tables. Dropping it kills all of it.
pub(super) struct Deployment {
    /// Signs what servers show.
    pub(super) servers: Authority,
    /// Signs what Frazil shows to NATS and to the catalog.
    pub(super) clients: Authority,
    /// Signs what senders show to the proxy.
    pub(super) senders: Authority,
    /// The tables as query engines reach them, without TLS.
    pub(super) lake: Lake,
    pub(super) proxy: Process,
    ports: Ports,
    catalog_url: String,
    token: String,
    _catalog: (Process, TlsFront),
    _writer: Process,
    _nats: Process,
    _store: Process,
    // Last, so that the processes end before their folder goes.
    dir: TempDir,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    nats: u16,
    store: u16,
    catalog: u16,
    proxy: u16,
    admin: u16,
}

impl Deployment {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let authority = |name: &str| Authority::new(dir.path().join(name));
        let [servers, clients, senders] = ["servers", "clients", "senders"].map(authority);
        let own = clients.sign("frazil");
        let [nats, store, catalog, proxy, admin] = free_ports();
        let ports = Ports { nats, store, catalog, proxy, admin };

        let plan = Plan::new(dir.path());
        let store = start_store(dir.path(), &plan, ports.store, &servers.sign("store")).await;
        let lake = Lake {
            uri: format!("http://127.0.0.1:{}", ports.catalog),
            properties: seaweed::properties(&plan.endpoint()),
        };
        let nats = start_nats_with(dir.path(), ports.nats, &servers.sign("nats"), &clients.ca()).await;
        let front = TlsFront::start(ports.catalog, &servers.sign("catalog"), clients.roots()).await;
        let proxy_pair = servers.sign("proxy");
        let text = config(dir.path(), ports, &front.url, &lake, &servers.ca(), &own)
            + &proxy_section(ports, &proxy_pair, &senders.ca());
        std::fs::write(dir.path().join(CONFIG), text).expect("temporary file");

        let catalog = start_role(dir.path(), "catalog", &["catalog"], CONFIG, &[]);
        answers(&format!("{}/v1/config", lake.uri), &catalog).await;
        let stream = ["stream", "create", "default", "--on-missing-table", "create", "--max-bytes", "1GiB"];
        succeeded(frazil(dir.path(), CONFIG, &stream).await);
        let token = token_for_all(dir.path(), CONFIG).await;
        let proxy = start_role(dir.path(), "proxy", &["proxy"], CONFIG, &[]);
        answers(&format!("http://127.0.0.1:{}/readyz", ports.admin), &proxy).await;
        let writer = start_role(dir.path(), "writer", &["writer"], CONFIG, &[]);
        Self {
            token,
            catalog_url: front.url.clone(),
            _catalog: (catalog, front),
            _writer: writer,
            _nats: nats,
            _store: store,
            servers,
            clients,
            senders,
            lake,
            proxy,
            ports,
            dir,
        }
    }

    /// Where events are taken.
    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.proxy)
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// A client of the proxy that trusts it and shows a certificate.
    pub(super) fn api(&self, shown: &Pair) -> Api {
        let client = self.servers.client(Some(shown)).timeout(READY).build().expect("client builds");
        Api::with_client(client, &self.url(), &self.token)
    }

    /// Probes and metrics, which need neither TLS nor a certificate.
    pub(super) async fn admin(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:{}{path}", self.ports.admin);
        reqwest::get(url).await.expect("the proxy answers").text().await.expect("text")
    }

    /// Runs a command that shows another certificate to NATS and the catalog, or trusts another authority.
    pub(super) async fn frazil_as(&self, own: &Pair, ca: &Path, arguments: &[&str]) -> Output {
        let text = config(self.dir.path(), self.ports, &self.catalog_url, &self.lake, ca, own);
        std::fs::write(self.dir.path().join("other.toml"), text).expect("temporary file");
        frazil(self.dir.path(), "other.toml", arguments).await
    }

    /// Runs a command with the configuration of the roles.
    pub(super) async fn frazil(&self, arguments: &[&str]) -> Output {
        frazil(self.dir.path(), CONFIG, arguments).await
    }

    /// Writes a file into the folder of the deployment.
    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("temporary file");
        path
    }
}

/// What every role needs: the log, the catalogs, and the embedded catalog itself. Frazil reaches the store by https; what
/// the catalog tells others is the plain address, for the engines.
fn config(dir: &Path, ports: Ports, catalog: &str, lake: &Lake, ca: &Path, own: &Pair) -> String {
    let Ports { nats, store, catalog: catalog_port, .. } = ports;
    let (certificate, key) = (&own.certificate, &own.key);
    let mut text = format!(
        r#"
[nats]
servers = ["nats://127.0.0.1:{nats}"]
tls_ca = {ca:?}
tls_certificate = {certificate:?}
tls_key = {key:?}

[writer]
admin_listen = "127.0.0.1:0"
flush_interval = "500ms"

[catalogs.frazil]
uri = "{catalog}"
tls_ca = {ca:?}
tls_certificate = {certificate:?}
tls_key = {key:?}
[catalogs.frazil.properties]
"s3.endpoint" = "https://localhost:{store}"
"#
    );
    let properties = |text: &mut String, skip: &str| {
        for (key, value) in lake.properties.iter().filter(|(key, _)| key != skip) {
            writeln!(text, "\"{key}\" = \"{value}\"").expect("a string takes everything");
        }
    };
    properties(&mut text, "s3.endpoint");
    let embedded = format!(
        "\n[catalog]\nlisten = \"127.0.0.1:{catalog_port}\"\nadmin_listen = \"127.0.0.1:0\"\n\
         database = {:?}\nwarehouse = \"s3://lake/warehouse\"\n[catalog.properties]\n",
        dir.join("catalog.db"),
    );
    text.push_str(&embedded);
    properties(&mut text, "");
    text
}

fn proxy_section(ports: Ports, pair: &Pair, senders: &Path) -> String {
    let (Ports { proxy, admin, .. }, Pair { certificate, key }) = (ports, pair);
    format!(
        "\n[proxy]\nlisten = \"127.0.0.1:{proxy}\"\nadmin_listen = \"127.0.0.1:{admin}\"\n\
         tls_certificate = {certificate:?}\ntls_key = {key:?}\ntls_client_ca = {senders:?}\n\
         tls_reload_interval = \"100ms\"\n"
    )
}

async fn start_store(dir: &Path, plan: &Plan, https: u16, pair: &Pair) -> Process {
    let mut command = plan.command();
    command.arg(format!("-s3.port.https={https}"));
    command.arg(format!("-s3.cert.file={}", pair.certificate.display()));
    command.arg(format!("-s3.key.file={}", pair.key.display()));
    let process = Process::spawn_logged("weed", command, &dir.join("weed.log"));
    plan.ready(READY).await;
    listens("the store's https port", https).await;
    process
}

async fn start_nats_with(dir: &Path, port: u16, pair: &Pair, clients: &Path) -> Process {
    let Pair { certificate, key } = pair;
    let tls = format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {clients:?}, verify: true }}\n");
    start_nats(dir, port, &tls).await
}
