//! TLS of the proxy's port: handshakes, and certificates that are replaced while it runs.
//!
//! Owns the certificate in force and the bound on handshakes; knows nothing of HTTP but its names in ALPN. A file that
//! cannot be used never takes the place of one that could.

mod files;
mod metrics;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, TlsConfig};
use files::{Contents, FileError, Identity};
use metrics::TlsMetrics;

/// How long a handshake may take while others wait for its place. Honest ones need a few round trips.
const CROWDED_PATIENCE: Duration = Duration::from_secs(3);

/// How often an old handshake looks whether others wait.
const CROWDED_POLL: Duration = Duration::from_millis(500);

/// First byte of every TLS connection: a record of type handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// What somebody gets who speaks HTTP without TLS to this port.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\
    content-length: 43\r\n\r\nthis port speaks TLS only: use https://...\n";

/// Why a connection got no further than its handshake.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The client left before it said anything, as probes of load balancers do.
    #[error("the client left")]
    Left,
    #[error("the client does not speak TLS")]
    NotTls,
    #[error("the handshake took too long")]
    Timeout,
    #[error("the handshake was slow while others waited")]
    Crowded,
    #[error("TLS: {0}")]
    Failed(#[from] io::Error),
}

impl HandshakeError {
    /// The label of the metric; nothing if this is no failure.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Left => None,
            Self::NotTls => Some("not_tls"),
            Self::Timeout => Some("timeout"),
            Self::Crowded => Some("crowded"),
            Self::Failed(error) => Some(reason(error)),
        }
    }
}

fn reason(error: &io::Error) -> &'static str {
    use rustls::Error as E;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<E>()) {
        Some(E::InvalidCertificate(_) | E::InvalidCertRevocationList(_) | E::NoCertificatesPresented) => {
            "client_certificate"
        }
        // Mostly: the client does not trust our certificate.
        Some(E::AlertReceived(_)) => "refused_by_client",
        Some(_) => "protocol",
        None => "connection",
    }
}

/// The certificate in force and what was tried last.
#[derive(Debug)]
struct State {
    identity: Arc<Identity>,
    tried: Result<Contents, String>,
    /// Why what was tried last is not in force.
    refused: Option<String>,
}

/// TLS on the proxy's port.
#[derive(Debug)]
pub(crate) struct Tls {
    config: TlsConfig,
    state: Mutex<State>,
    /// Held while files are read, so that nobody acts on what is old already.
    reloading: Mutex<()>,
    places: Semaphore,
    metrics: TlsMetrics,
}

impl Tls {
    /// Reads the files and registers the metrics.
    ///
    /// # Errors
    /// [`ConfigError`] if a file cannot be read or used, or does not go with the others.
    pub(crate) fn load(config: &TlsConfig, registry: &mut Registry) -> Result<Self, ConfigError> {
        let loaded = Contents::read(config).and_then(|contents| Ok((contents.identity(config)?, contents)));
        let (identity, contents) =
            loaded.map_err(|error| ConfigError { setting: error.setting(), message: error.to_string() })?;
        if identity.is_expired() {
            tracing::error!(certificate = %config.certificate.display(), "the TLS certificate has expired");
        }
        let metrics = TlsMetrics::register(registry);
        metrics.certificate_expiry.set(identity.expires());
        let state = State { identity: Arc::new(identity), tried: Ok(contents), refused: None };
        let places = Semaphore::new(config.max_handshakes);
        Ok(Self { config: config.clone(), state: Mutex::new(state), reloading: Mutex::default(), places, metrics })
    }

    /// Speaks TLS with a new connection, within `limit` from now.
    ///
    /// # Errors
    /// [`HandshakeError`]; it is counted already.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let spoken = timeout(limit, self.handshake(stream)).await.unwrap_or(Err(HandshakeError::Timeout));
        if let Some(reason) = spoken.as_ref().err().and_then(HandshakeError::reason) {
            self.metrics.failed(reason);
        }
        spoken
    }

    /// A silent connection costs next to nothing, so it takes no place among the handshakes.
    async fn handshake(&self, mut stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(HandshakeError::Left);
        }
        if first != [HANDSHAKE_RECORD] {
            // It is told if it listens; it is refused in any case.
            let _ = stream.write_all(SPEAK_TLS).await;
            return Err(HandshakeError::NotTls);
        }
        let place = self.places.acquire().await;
        let _counted = self.metrics.handshake();
        let acceptor = TlsAcceptor::from(self.server_config());
        let spoken = tokio::select! {
            spoken = acceptor.accept(stream) => Ok(spoken?),
            () = self.crowded() => Err(HandshakeError::Crowded),
        };
        drop(place);
        spoken
    }

    /// Returns when a handshake has had its time and others need its place.
    async fn crowded(&self) {
        sleep(CROWDED_PATIENCE).await;
        while self.places.available_permits() > 0 {
            sleep(CROWDED_POLL).await;
        }
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        self.state().identity.server_config()
    }

    /// Looks for new files from time to time until cancelled.
    pub(super) async fn follow(self: Arc<Self>, cancel: CancellationToken) {
        let mut ticks = interval(self.config.reload_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            tokio::select! {
                _ = ticks.tick() => Arc::clone(&self).reload().await,
                () = cancel.cancelled() => return,
            }
        }
    }

    /// Puts the files in force if they are new and can be used; connections that are open keep theirs.
    pub(crate) async fn reload(self: Arc<Self>) {
        let reloaded = tokio::task::spawn_blocking(move || self.reload_now()).await;
        if let Err(panic) = reloaded {
            tracing::error!(%panic, "reading the TLS files panicked");
        }
    }

    fn reload_now(&self) {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let read = Contents::read(&self.config).map_err(|error| error.to_string());
        if self.state().tried == read {
            return;
        }
        let replaced = match &read {
            Ok(contents) => self.replacement(contents).map_err(|error| error.to_string()),
            Err(unreadable) => Err(unreadable.clone()),
        };
        self.metrics.reloaded(replaced.is_ok());
        let mut state = self.state();
        state.tried = read;
        match replaced {
            Ok(identity) => {
                tracing::info!(certificate = %self.config.certificate.display(), "new TLS certificate in force");
                self.metrics.certificate_expiry.set(identity.expires());
                state.identity = Arc::new(identity);
                state.refused = None;
            }
            Err(why) => {
                tracing::error!("the TLS files cannot be used, the certificate before them stays in force: {why}");
                state.refused = Some(why);
            }
        }
    }

    fn replacement(&self, contents: &Contents) -> Result<Identity, FileError> {
        let identity = contents.identity(&self.config)?;
        if identity.is_expired() && !self.state().identity.is_expired() {
            return Err(FileError::Expired { path: self.config.certificate.clone() });
        }
        Ok(identity)
    }

    /// What an operator should know, if anything: the proxy serves, but not as it was told to.
    pub(crate) fn note(&self) -> Option<String> {
        let state = self.state();
        let refused = state.refused.as_ref().map(|why| format!("TLS files not in force: {why}"));
        let expired = || state.identity.is_expired().then(|| "the TLS certificate has expired".to_owned());
        refused.or_else(expired)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks that the files can be used, without serving them.
///
/// # Errors
/// [`ConfigError`] for the first file that cannot.
pub fn check_files(config: &TlsConfig) -> Result<(), ConfigError> {
    let usable = Contents::read(config).and_then(|contents| contents.identity(config));
    usable.map(drop).map_err(|error| ConfigError { setting: error.setting(), message: error.to_string() })
}
