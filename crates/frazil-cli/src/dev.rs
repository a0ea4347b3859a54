//! `frazil dev`: everything on one machine, with the same roles as in a cluster.
//!
//! Started in the order log, catalog, connection, directory, writer, proxy; drained in the opposite order, so that what was
//! accepted is committed before the parts it needs go away.

mod args;
mod banner;
mod data_dir;
mod find_nats;
mod leftover;
mod nats;
mod nats_config;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use frazil_core::rate::RateLimits;
use frazil_core::stream::{OnMissingTable, StreamDefinition};
use frazil_core::token::{Pattern, Token, TokenRecord};
use frazil_log::Log;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tracing::{info, warn};

pub(crate) use args::DevArgs;
pub(crate) use data_dir::{DevState, read_token};

use crate::admin::Admin;
use crate::config::{
    Config, EmbeddedSection, ForwardingSection, NatsSection, Properties, ProxySection, Secret, WriterSection,
};
use crate::exit::Failure;
use crate::lifecycle::{self, Stage, Stop};
use crate::roles::{self, Parts};
use crate::stream::PolicyArgs;
use crate::{reach, stream, telemetry, token};
use banner::Banner;
use data_dir::{DataDir, DevCatalog, DevNats};
use nats::Nats;

/// Name of the catalog: the first part of its tables' names.
const CATALOG: &str = "frazil";
/// Name of the stream that is made if it is missing.
const STREAM: &str = "default";
/// Bound of each shard's log: smaller than in a cluster, because the disk is shared with everything else.
const SHARD_MAX_BYTES: u64 = 4 << 30;
/// How long the nats-server may take to end.
const NATS_DRAIN: Duration = Duration::from_secs(20);
/// How long the proxy may take until it calls itself ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(20);

/// Runs everything until told to stop.
pub(crate) async fn run(args: DevArgs, stop: Stop) -> Result<(), Failure> {
    args.check()?;
    telemetry::start(args.log_format, telemetry::DEFAULT_LEVEL);
    let binary = find_nats::find(args.nats_server.as_deref())?;
    let data = DataDir::open(&args.data_dir)?;
    let sockets = Sockets::bind(&args).await?;
    let mut stages = Vec::new();
    let started = tokio::select! {
        started = start(&args, binary, &data, sockets, &stop, &mut stages) => started,
        () = stop.drain.cancelled() => Err(anyhow!("interrupted during the start").into()),
    };
    let outcome = match started {
        Ok(running) => lifecycle::run_stages(stages, &stop, running.announce(&data)).await.map_err(Failure::from),
        Err(failure) => {
            lifecycle::drain(stages).await;
            Err(failure)
        }
    };
    data.retract();
    outcome
}

/// The listeners, bound before anything is started, so that a taken port is said at once.
struct Sockets {
    proxy: TcpListener,
    catalog: Option<TcpListener>,
    admin: Option<std::net::TcpListener>,
}

impl Sockets {
    async fn bind(args: &DevArgs) -> anyhow::Result<Self> {
        let proxy = roles::bind("--listen", args.listen).await?;
        let catalog = match args.outside.catalog_uri {
            Some(_) => None,
            None => Some(roles::bind("--catalog-listen", args.catalog_listen).await?),
        };
        let bind_admin = |address| {
            std::net::TcpListener::bind(address).with_context(|| format!("--admin-listen: cannot listen on {address}"))
        };
        let admin = args.admin_listen.map(bind_admin).transpose()?;
        let open = catalog.is_some() && !args.catalog_listen.ip().is_loopback();
        if open {
            warn!(listen = %args.catalog_listen, "the embedded catalog asks for no token and is reachable from outside");
        }
        Ok(Self { proxy, catalog, admin })
    }
}

/// Everything that is up, and what to say about it.
struct Running {
    state: DevState,
    token: String,
    embedded: bool,
    warehouse: String,
    properties: BTreeMap<String, String>,
    data_dir: String,
    _admin: Option<Admin>,
}

async fn start(
    args: &DevArgs,
    binary: std::path::PathBuf,
    data: &DataDir,
    sockets: Sockets,
    stop: &Stop,
    stages: &mut Vec<Stage>,
) -> Result<Running, Failure> {
    info!("starting nats-server");
    let nats = Nats::start(binary, data.nats(), data.nats_log(), args.nats_listen, stop.clone()).await?;
    let dev_nats = DevNats { url: nats.url(), token: nats.token() };
    stages.push(Stage::start("log", NATS_DRAIN, |cancel| nats.supervise(cancel)));

    let warehouse = args.warehouse.clone().map_or_else(|| data.warehouse(), Ok)?;
    let (mut registry, token) = (Registry::default(), dev_token(data)?);
    let proxy_url = url(roles::local(&sockets.proxy)?);
    let catalog_uri = match sockets.catalog {
        Some(listener) => {
            let uri = url(roles::local(&listener)?);
            let section = embedded(args, data, &warehouse, forwarding(&proxy_url, &token));
            stages.push(embedded_catalog(section, listener, &mut registry).await?);
            uri
        }
        // No listener was bound exactly because there is an outside catalog.
        None => args.outside.catalog_uri.clone().unwrap_or_default(),
    };
    let config = config(args, &dev_nats, catalog_uri);

    let log = reach::connect_log(&config.nats, "frazil-dev").await?;
    log.ensure_bucket(1).await.context("cannot make the control bucket")?;
    ensure_stream(&log, &args.policy, &config, args.shards).await?;
    ensure_token(&log, &token).await?;

    let mut parts = Parts::on(log, &config).await?;
    let writer = parts.writer(&config, 0, 1, &mut registry)?;
    let proxy = parts.proxy(&config, &mut registry)?;
    let registry = Arc::new(registry);
    let ready = roles::writer_readiness(&writer);
    let admin = sockets.admin.map(|listener| Admin::start(listener, registry.clone(), ready)).transpose()?;
    stages.push(parts.connection_stage());
    stages.push(parts.directory_stage());
    stages.push(roles::writer_stage(writer, &config));
    stages.push(roles::proxy_stage(proxy, sockets.proxy, registry, &config));

    let section = &config.catalogs[CATALOG];
    let state = DevState {
        pid: std::process::id(),
        proxy: proxy_url,
        admin: admin.as_ref().map(|admin| url(admin.address())),
        nats: dev_nats,
        catalog: DevCatalog::of(CATALOG, section),
    };
    let data_dir = data.shown();
    let (embedded, properties) = (args.outside.catalog_uri.is_none(), section.properties.0.clone());
    let token = token.reveal();
    Ok(Running { state, token, embedded, warehouse, properties, data_dir, _admin: admin })
}

/// Opens and serves the embedded catalog.
async fn embedded_catalog(
    section: EmbeddedSection,
    listener: TcpListener,
    registry: &mut Registry,
) -> Result<Stage, Failure> {
    let catalog = roles::open_catalog(&section).await?;
    catalog.register_metrics(registry);
    Ok(roles::catalog_stage(catalog, listener, section.drain_timeout.0))
}

/// Where the embedded catalog sends the metrics reports of its clients.
fn forwarding(proxy: &str, token: &Token) -> ForwardingSection {
    let token = Some(Secret::new(token.reveal()));
    ForwardingSection { url: Some(proxy.to_owned()), token, ..ForwardingSection::default() }
}

/// The embedded catalog's configuration, as a cluster would have it in its file.
fn embedded(args: &DevArgs, data: &DataDir, warehouse: &str, reports: ForwardingSection) -> EmbeddedSection {
    EmbeddedSection {
        database: data.catalog_database(),
        warehouse: warehouse.to_owned(),
        name: CATALOG.to_owned(),
        properties: Properties(args.storage_properties()),
        iceberg_metrics: reports,
        ..EmbeddedSection::default()
    }
}

/// The configuration that a cluster would have in its file.
fn config(args: &DevArgs, nats: &DevNats, catalog_uri: String) -> Config {
    let nats = NatsSection {
        servers: vec![nats.url.clone()],
        token: Some(Secret::new(nats.token.clone())),
        ..NatsSection::default()
    };
    Config {
        default_catalog: Some(CATALOG.to_owned()),
        nats,
        proxy: ProxySection { listen: args.listen, ..ProxySection::default() },
        writer: WriterSection { flush_interval: args.flush_interval, ..WriterSection::default() },
        catalogs: BTreeMap::from([(CATALOG.to_owned(), args.catalog_section(catalog_uri))]),
        ..Config::default()
    }
}

/// The stream of the printed lines. Settings given as flags also change one that is there already.
async fn ensure_stream(log: &Log, policy: &PolicyArgs, config: &Config, shards: u32) -> Result<(), Failure> {
    let name: frazil_core::StreamName = STREAM.parse().context("the stream's name")?;
    if let Some(existing) = log.control().get_stream(&name).await.context("cannot read the control bucket")? {
        if existing.shards != shards {
            info!(shards = existing.shards, "the stream `default` exists already and keeps its shards");
        }
        let change = |mut definition| policy.apply(config, &mut definition).map(|()| definition);
        let changed = stream::store(log, &existing, change).await?;
        if changed != existing {
            info!("the settings of the stream `default` are changed");
        }
        return Ok(());
    }
    let mut definition = StreamDefinition {
        shards,
        on_missing_table: OnMissingTable::Create,
        max_bytes: SHARD_MAX_BYTES,
        ..StreamDefinition::new(name, reach::now_micros())
    };
    policy.apply(config, &mut definition)?;
    Ok(stream::make(log, &definition).await?)
}

/// The token of this data directory: the kept one, or a new one.
fn dev_token(data: &DataDir) -> anyhow::Result<Token> {
    data.token(|| token::mint("dev", &[], &[], reach::now_micros(), None).0)
}

/// The token's record in the bucket, also if the bucket is new.
async fn ensure_token(log: &Log, kept: &Token) -> anyhow::Result<()> {
    let now = reach::now_micros();
    let known = log.control().list_tokens().await.context("cannot read the control bucket")?;
    if known.iter().all(|record| record.id != kept.id()) {
        let all = || vec![Pattern("*".to_owned())];
        let record = TokenRecord {
            id: kept.id().to_owned(),
            name: "dev".to_owned(),
            hash: kept.hash(),
            streams: all(),
            tables: all(),
            created: now,
            expires: None,
            limits: RateLimits::default(),
        };
        log.control().put_token(&record).await.context("cannot store the token")?;
    }
    Ok(())
}

impl Running {
    /// Waits until the proxy calls itself ready, then tells people and commands.
    async fn announce(&self, data: &DataDir) -> anyhow::Result<()> {
        await_ready(&self.state.proxy).await?;
        data.publish(&self.state)?;
        let banner = Banner {
            proxy: &self.state.proxy,
            catalog: &self.state.catalog.uri,
            embedded: self.embedded,
            warehouse: &self.warehouse,
            data_dir: &self.data_dir,
            token: &self.token,
            properties: &self.properties,
        };
        let mut out = std::io::stdout().lock();
        // Nobody listening is no reason to stop.
        let _ = writeln!(out, "{}ready", banner.text()).and_then(|()| out.flush());
        Ok(())
    }
}

async fn await_ready(proxy: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build().context("HTTP client")?;
    let url = format!("{proxy}/readyz");
    let ready = async {
        loop {
            if client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(READY_POLL).await;
        }
    };
    let waited = tokio::time::timeout(READY_PATIENCE, ready).await;
    waited.map_err(|_| anyhow!("the proxy is not ready after {READY_PATIENCE:?}; see {url}"))
}

/// URL under which this machine reaches the address.
fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_reach_this_machine() {
        for (address, expected) in [
            ("127.0.0.1:80", "http://127.0.0.1:80"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("192.0.2.7:1", "http://192.0.2.7:1"),
        ] {
            assert_eq!(url(address.parse().expect("address")), expected);
        }
    }
}
