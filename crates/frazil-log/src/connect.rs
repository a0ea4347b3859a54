//! The connection: made once, kept up for ever, shared by everything in the process.

mod login;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, future};

use async_nats::connection::State;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, Context, ContextBuilder};
use async_nats::{Client, Event, ServerAddr};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::LogError;
use crate::rewind::KnownRewinds;

/// A password or token; its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the log is and how to log in.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Server URLs, such as `nats://127.0.0.1:4222`; at least one.
    pub servers: Vec<String>,
    /// Name of this client in the server's connection list.
    pub name: String,
    /// User name; goes with `password`.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// Token, for servers that know no users.
    pub token: Option<Secret>,
    /// Seed of an nkey, for servers that know its public half.
    pub nkey: Option<Secret>,
    /// Credentials file (JWT and seed).
    pub credentials_file: Option<PathBuf>,
    /// Root certificates in place of the system's, PEM. Given: TLS is required.
    pub tls_ca: Option<PathBuf>,
    /// Certificate to show to the servers, PEM, with the chain to its root. Goes with `tls_key`. Given: TLS is required.
    /// Read anew for every connection, so a renewed one is used when the connection is made again.
    pub tls_certificate: Option<PathBuf>,
    /// Key of `tls_certificate`, PEM, not encrypted.
    pub tls_key: Option<PathBuf>,
    /// Begin with TLS instead of asking the server first, as servers with `handshake_first` want it.
    pub tls_first: bool,
    /// Bound of every request except publishing, which brings its own.
    pub request_timeout: Duration,
}

impl LogConfig {
    /// Anonymous access to `servers`, with a request timeout of 5 s.
    pub fn new(servers: Vec<String>, name: impl Into<String>) -> Self {
        Self {
            servers,
            name: name.into(),
            user: None,
            password: None,
            token: None,
            nkey: None,
            credentials_file: None,
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            tls_first: false,
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// What has happened to the connection so far.
#[derive(Debug, Clone, Copy, Default)]
struct LinkState {
    connects: u64,
    breaks: u64,
}

/// Watches the connection from the moment it was taken.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    state: watch::Receiver<LinkState>,
    breaks: u64,
}

impl Link {
    /// Returns once the connection has broken (it may be up again already) or was closed. Cancel-safe.
    pub(crate) async fn broken(&mut self) {
        let breaks = self.breaks;
        // An error means that the client has ended, which is as broken as it gets.
        let _ = self.state.wait_for(|state| state.breaks != breaks).await;
    }
}

/// A cheap handle on the connection.
#[derive(Debug, Clone)]
pub struct Log {
    client: Client,
    jetstream: Context,
    link: watch::Receiver<LinkState>,
    request_timeout: Duration,
    rewinds: KnownRewinds,
}

impl Log {
    /// Connects. Fails if no server can be reached now; afterwards a lost connection is restored for ever.
    ///
    /// # Errors
    /// `Config` if the settings are unusable, `Unavailable` if no server answers, `Refused` if the login or TLS fails.
    pub async fn connect(config: &LogConfig) -> Result<Self, LogError> {
        let servers: Vec<ServerAddr> = config
            .servers
            .iter()
            .map(|server| server.parse().map_err(|error| LogError::Config(format!("server {server:?}: {error}"))))
            .collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(LogError::Config("no server is given".to_owned()));
        }
        let (events, link) = watch::channel(LinkState::default());
        let events = Arc::new(events);
        config.check()?;
        let options = login::options(config).await?.event_callback(move |event| {
            note_event(&events, &event);
            future::ready(())
        });
        let client = options.connect(servers).await.map_err(login::refine)?;
        let jetstream = ContextBuilder::new().timeout(config.request_timeout).build(client.clone());
        Ok(Self { client, jetstream, link, request_timeout: config.request_timeout, rewinds: KnownRewinds::default() })
    }

    /// Largest message (headers and payload), in bytes, that the server takes.
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Whether the connection is up at this moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Returns once the connection is up; at once if it is. Waits for ever after [`Log::close`]. Cancel-safe.
    pub async fn connected(&self) {
        let mut link = self.link.clone();
        loop {
            link.mark_unchanged();
            if self.is_connected() {
                return;
            }
            if link.changed().await.is_err() {
                future::pending::<()>().await;
            }
        }
    }

    /// Sends what is buffered, then closes the connection for good.
    pub async fn close(&self) {
        // Neither can fail in a way that matters: the connection goes away in any case.
        let _ = timeout(self.request_timeout, self.client.flush()).await;
        let _ = self.client.drain().await;
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn known_rewinds(&self) -> &KnownRewinds {
        &self.rewinds
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    pub(crate) fn link(&self) -> Link {
        let mut state = self.link.clone();
        let breaks = state.borrow_and_update().breaks;
        Link { state, breaks }
    }

    pub(crate) fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// One JetStream API request. The inner result is the server's verdict.
    pub(crate) async fn api<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        subject: String,
        body: &impl Serialize,
    ) -> Result<Result<T, jetstream::Error>, LogError> {
        match self.jetstream.request(subject, body).await {
            Ok(Response::Ok(value)) => Ok(Ok(value)),
            Ok(Response::Err { error }) => Ok(Err(error)),
            Err(error) => Err(LogError::unavailable(operation, error)),
        }
    }
}

fn note_event(events: &watch::Sender<LinkState>, event: &Event) {
    match event {
        Event::Connected => events.send_modify(|state| state.connects += 1),
        Event::Disconnected => {
            tracing::warn!("connection to the log is lost, restoring it");
            events.send_modify(|state| state.breaks += 1);
        }
        // Reconnecting never ends, so only `Log::close` closes.
        Event::Closed => {
            tracing::info!("connection to the log is closed");
            events.send_modify(|state| state.breaks += 1);
        }
        Event::LameDuckMode | Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
            tracing::warn!(%event, "connection to the log");
        }
        Event::Draining => {}
    }
}
