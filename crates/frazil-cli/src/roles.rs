//! `frazil proxy`, `frazil writer`, `frazil catalog`: one role per process, as a cluster runs them.
//!
//! Each: load and check the configuration, connect, build, bind, then serve until told to stop. How a role is made is
//! here once, for these commands and for `frazil dev`.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use frazil_catalog::{Catalog, CatalogConfig};
use frazil_iceberg::Catalogs;
use frazil_log::{Directory, Log, LogError};
use frazil_proxy::Proxy;
use frazil_writer::Writer;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::admin::{Admin, Readiness};
use crate::config::{self, Config, EmbeddedSection};
use crate::exit::Failure;
use crate::lifecycle::{self, Stage, Stop, run_stages};
use crate::{reach, telemetry};

/// What a stage gets beyond the drain timeout of its role, so that the role's own deadline comes first.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Arguments of `frazil proxy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  frazil init --config frazil.toml && frazil proxy --config frazil.toml

Proxies keep no state: run as many as you like behind one address. /livez, /readyz and /metrics are on the same port.")]
pub(crate) struct ProxyArgs {
    /// Configuration file
    #[arg(long, env = "FRAZIL_CONFIG", value_name = "FILE")]
    config: PathBuf,
}

/// Arguments of `frazil writer`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  frazil writer --config frazil.toml --ordinal 0 --replicas 2

Shard n of every stream belongs to the writer with ordinal n mod replicas. Two writers with the same ordinal do no harm:
commits are fenced, one of them loses and starts over.")]
pub(crate) struct WriterArgs {
    /// Configuration file
    #[arg(long, env = "FRAZIL_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Number of this writer, from 0
    #[arg(long, env = "FRAZIL_ORDINAL", default_value_t = 0)]
    ordinal: u32,
    /// Number of writers
    #[arg(long, env = "FRAZIL_REPLICAS", default_value_t = 1)]
    replicas: u32,
}

impl WriterArgs {
    /// Refuses an ordinal that no writer has.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.ordinal < self.replicas {
            return Ok(());
        }
        let (ordinal, replicas) = (self.ordinal, self.replicas);
        Err(Failure::usage(anyhow!("--ordinal {ordinal} must be below --replicas {replicas}: ordinals start at 0")))
    }
}

/// Arguments of `frazil catalog`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  frazil catalog --config frazil.toml

The section [catalog] says where its SQLite file and the warehouse are. For one machine; use an outside catalog beyond.")]
pub(crate) struct CatalogArgs {
    /// Configuration file
    #[arg(long, env = "FRAZIL_CONFIG", value_name = "FILE")]
    config: PathBuf,
}

/// Runs a proxy.
pub(crate) fn proxy(args: ProxyArgs) -> Result<ExitCode, Failure> {
    let config = load(&args.config)?;
    lifecycle::serve(|stop| async move {
        let mut parts = Parts::connect(&config, "frazil-proxy", &stop).await?;
        let mut registry = Registry::default();
        let proxy = parts.proxy(&config, &mut registry)?;
        let listener = bind("proxy.listen", config.proxy.listen).await?;
        info!(listen = %local(&listener)?, "proxy");
        let registry = Arc::new(registry);
        let _admin = proxy_admin(&proxy, &config, &registry)?;
        let stages =
            vec![parts.connection_stage(), parts.directory_stage(), proxy_stage(proxy, listener, registry, &config)];
        Ok(run_stages(stages, &stop, std::future::ready(Ok(()))).await?)
    })
}

/// Runs a writer.
pub(crate) fn writer(args: WriterArgs) -> Result<ExitCode, Failure> {
    args.check()?;
    let config = load(&args.config)?;
    lifecycle::serve(|stop| async move {
        let name = format!("frazil-writer-{}", args.ordinal);
        let mut parts = Parts::connect(&config, &name, &stop).await?;
        let mut registry = Registry::default();
        let writer = parts.writer(&config, args.ordinal, args.replicas, &mut registry)?;
        let admin = admin("writer.admin_listen", config.writer.admin_listen, registry, writer_readiness(&writer))?;
        info!(ordinal = args.ordinal, replicas = args.replicas, admin = %admin.address(), "writer");
        let stages = vec![parts.connection_stage(), parts.directory_stage(), writer_stage(writer, &config)];
        Ok(run_stages(stages, &stop, std::future::ready(Ok(()))).await?)
    })
}

/// Runs the embedded catalog.
pub(crate) fn catalog(args: CatalogArgs) -> Result<ExitCode, Failure> {
    let config = load(&args.config)?;
    let section = config.catalog.context("the configuration has no section [catalog]").map_err(Failure::config)?;
    lifecycle::serve(|stop: Stop| async move {
        let catalog = open_catalog(&section).await?;
        let mut registry = Registry::default();
        catalog.register_metrics(&mut registry);
        let listener = bind("catalog.listen", section.listen).await?;
        let admin = admin("catalog.admin_listen", section.admin_listen, registry, Arc::new(|| Ok(())))?;
        info!(listen = %local(&listener)?, admin = %admin.address(), "catalog");
        let stages = vec![catalog_stage(catalog, listener, section.drain_timeout.0)];
        Ok(run_stages(stages, &stop, std::future::ready(Ok(()))).await?)
    })
}

fn load(path: &Path) -> Result<Config, Failure> {
    let config = config::load(path).map_err(Failure::config)?;
    telemetry::start(config.telemetry.format, &config.telemetry.level);
    Ok(config)
}

/// How long a starting role waits for a log or a catalog that cannot be reached. Longer: the role ends with an error.
const STARTUP_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two tries to connect.
const STARTUP_PAUSE: Duration = Duration::from_millis(500);

/// What proxy and writer share: the log, its directory, the catalogs.
#[derive(Debug)]
pub(crate) struct Parts {
    log: Log,
    catalogs: Catalogs,
    directory: Directory,
    watch: Option<(JoinSet<()>, CancellationToken)>,
}

impl Parts {
    /// Connects to everything, or says what cannot be reached. What starts at the same time, or is being restarted, gets
    /// [`STARTUP_PATIENCE`] to come up.
    pub(crate) async fn connect(config: &Config, name: &str, stop: &Stop) -> anyhow::Result<Self> {
        let deadline = Instant::now() + STARTUP_PATIENCE;
        loop {
            match Self::try_connect(config, name).await {
                Err(error) if reach::may_come_up(&error) && Instant::now() < deadline => {
                    tracing::warn!("{error:#}; trying again");
                    let stopped = tokio::time::timeout(STARTUP_PAUSE, stop.drain.cancelled()).await.is_ok();
                    if stopped {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    async fn try_connect(config: &Config, name: &str) -> anyhow::Result<Self> {
        let log = reach::connect_log(&config.nats, name).await?;
        Self::on(log, config).await
    }

    /// The same on a connected log.
    pub(crate) async fn on(log: Log, config: &Config) -> anyhow::Result<Self> {
        let catalogs = reach::catalogs(config).await?;
        let (mut tasks, cancel) = (JoinSet::new(), CancellationToken::new());
        let directory = Directory::start(log.clone(), &mut tasks, cancel.clone()).await;
        let directory = directory.map_err(|error| {
            let missing = matches!(error, LogError::NotFound(_));
            let hint = if missing { "; `frazil init` makes it" } else { "" };
            anyhow::Error::new(error).context(format!("cannot read the control bucket{hint}"))
        })?;
        Ok(Self { log, catalogs, directory, watch: Some((tasks, cancel)) })
    }

    /// The connection to the log, as a stage: start it before whoever uses it, so that it is closed after them.
    pub(crate) fn connection_stage(&self) -> Stage {
        let log = self.log.clone();
        Stage::start("connection", GRACE, |stop| async move {
            stop.cancelled().await;
            log.close().await;
            Ok(())
        })
    }

    /// The watch of streams and tokens, as a stage: start it before proxy and writer.
    pub(crate) fn directory_stage(&mut self) -> Stage {
        let watch = self.watch.take();
        Stage::start("directory", GRACE, |stop| async move {
            let Some((mut tasks, cancel)) = watch else {
                stop.cancelled().await;
                return Ok(());
            };
            let linked = stop.clone();
            let ended = async {
                while let Some(ended) = tasks.join_next().await {
                    ended.context("the watch panicked")?;
                }
                Ok(())
            };
            tokio::pin!(ended);
            tokio::select! {
                () = linked.cancelled() => cancel.cancel(),
                early = &mut ended => return early,
            }
            ended.await
        })
    }

    pub(crate) fn proxy(&self, config: &Config, registry: &mut Registry) -> Result<Proxy, Failure> {
        let (log, directory, catalogs) = (self.log.clone(), self.directory.clone(), self.catalogs.clone());
        Proxy::build(config.proxy.settings(), log, directory, catalogs, registry).map_err(Failure::config)
    }

    pub(crate) fn writer(
        &self,
        config: &Config,
        ordinal: u32,
        replicas: u32,
        registry: &mut Registry,
    ) -> Result<Writer, Failure> {
        let (log, directory, catalogs) = (self.log.clone(), self.directory.clone(), self.catalogs.clone());
        let settings = config.writer.settings(ordinal, replicas);
        Writer::build(settings, log, directory, catalogs, registry).map_err(Failure::config)
    }
}

pub(crate) fn proxy_stage(proxy: Proxy, listener: TcpListener, registry: Arc<Registry>, config: &Config) -> Stage {
    // Without TLS there is nothing to reload, and a hangup ends the process as usual.
    let hangups = config.proxy.tls().and_then(|_| signal(SignalKind::hangup()).ok());
    Stage::start("proxy", config.proxy.drain_timeout.0 + GRACE, |stop| async move {
        tokio::select! {
            served = proxy.serve(listener, registry, stop) => served.map_err(anyhow::Error::new),
            never = reload_on(hangups, &proxy) => match never {},
        }
    })
}

/// Looks for new TLS files at every hangup (SIGHUP), for ever.
async fn reload_on(hangups: Option<Signal>, proxy: &Proxy) -> Infallible {
    let Some(mut hangups) = hangups else { return std::future::pending().await };
    loop {
        match hangups.recv().await {
            Some(()) => proxy.reload_tls().await,
            None => std::future::pending().await,
        }
    }
}

/// Probes and metrics of a proxy on an address of their own: plain HTTP, whatever the proxy's port speaks.
fn proxy_admin(proxy: &Proxy, config: &Config, registry: &Arc<Registry>) -> anyhow::Result<Option<Admin>> {
    let Some(address) = config.proxy.admin_listen else { return Ok(None) };
    let listener = std::net::TcpListener::bind(address);
    let listener = listener.with_context(|| format!("proxy.admin_listen: cannot listen on {address}"))?;
    Admin::serve(listener, proxy.admin_router(Arc::clone(registry))).map(Some)
}

pub(crate) fn writer_stage(writer: Writer, config: &Config) -> Stage {
    Stage::start("writer", config.writer.drain_timeout.0 + GRACE, |stop| async move {
        writer.run(stop).await.map_err(anyhow::Error::new)
    })
}

pub(crate) fn catalog_stage(catalog: Catalog, listener: TcpListener, drain: Duration) -> Stage {
    Stage::start("catalog", drain + GRACE, |stop| async move {
        frazil_catalog::serve(listener, catalog, stop).await.context("catalog server")
    })
}

/// Ready while nothing is degraded.
pub(crate) fn writer_readiness(writer: &Writer) -> Readiness {
    let status = writer.status();
    Arc::new(move || {
        let status = status.borrow();
        if status.is_ready() {
            return Ok(());
        }
        let reasons: Vec<String> = status.degraded.iter().map(|(place, reason)| format!("{place}: {reason}")).collect();
        Err(reasons.join("\n"))
    })
}

/// Opens the embedded catalog; SQLite may take a moment, so off the runtime.
pub(crate) async fn open_catalog(section: &EmbeddedSection) -> Result<Catalog, Failure> {
    let settings = CatalogConfig {
        database: section.database.clone(),
        warehouse: section.warehouse.clone(),
        storage_properties: section.properties.0.clone().into_iter().collect(),
        name: section.name.clone(),
        token: section.token.as_ref().map(|token| token.reveal().to_owned()),
        storage_roots: reach::roots(section.tls_ca.as_deref()).context("catalog.tls_ca").map_err(Failure::config)?,
        reports: section.iceberg_metrics.settings(),
    };
    let opened = tokio::task::spawn_blocking(|| Catalog::open(settings)).await.context("opening the catalog")?;
    opened.map_err(Failure::config)
}

/// Binds; `what` is named in the message.
pub(crate) async fn bind(what: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{what}: cannot listen on {address}"))
}

pub(crate) fn local(listener: &TcpListener) -> anyhow::Result<std::net::SocketAddr> {
    listener.local_addr().context("the listener has no address")
}

fn admin(what: &str, address: std::net::SocketAddr, registry: Registry, ready: Readiness) -> anyhow::Result<Admin> {
    let listener =
        std::net::TcpListener::bind(address).with_context(|| format!("{what}: cannot listen on {address}"))?;
    Admin::start(listener, Arc::new(registry), ready)
}
