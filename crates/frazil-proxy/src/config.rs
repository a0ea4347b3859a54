//! The settings of the proxy, with their defaults and their bounds. Reads no file and no environment.

mod iceberg_metrics;

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use frazil_core::limits::BODY_MAX_BYTES;
use tokio::sync::Semaphore;

use crate::rate::SharedLimits;
pub use iceberg_metrics::IcebergMetrics;

/// Every limit and timeout of the proxy. What happens at each limit is said in the field's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Largest body after decompression, in bytes. Larger: `413`.
    pub body_max_bytes: usize,
    /// How long a client may take to send a body. Longer: `408`.
    pub body_timeout: Duration,
    /// How long a client may take to send the head of a request. Longer: the connection is closed.
    pub header_timeout: Duration,
    /// How long a client may leave what it is sent untaken. Longer: the connection is closed.
    pub write_timeout: Duration,
    /// How long an HTTP/2 connection may be without requests. Longer: it is closed. HTTP/1.1: see `header_timeout`.
    pub idle_timeout: Duration,
    /// How often an HTTP/2 client is asked for a sign of life.
    pub ping_interval: Duration,
    /// How long it may take to give one. Longer: the connection is closed.
    pub ping_timeout: Duration,
    /// TLS of the port; `None` for plain TCP.
    pub tls: Option<TlsConfig>,
    /// Where rate limits are kept together with other proxies; `None`: each proxy keeps its own.
    pub shared_limits: Option<SharedLimits>,
    /// Connections served at once. More wait in the accept queue of the operating system.
    pub max_connections: usize,
    /// Requests in flight. More: `429`.
    pub max_requests: usize,
    /// Bytes of bodies in flight. More: `429`. Peak memory of requests is about three times this.
    pub max_in_flight_bytes: usize,
    /// How long one attempt to publish may take before its outcome counts as unknown.
    pub publish_timeout: Duration,
    /// How long a publish is tried again, and how long a request may wait for its turn. Must stay below JetStream's
    /// duplicate window of two minutes, in which a retry cannot store a message twice.
    pub publish_deadline: Duration,
    /// After this long without a publish, a shard gets one heartbeat envelope.
    pub heartbeat_after: Duration,
    /// How old a table's cached schema may be before it is loaded again.
    pub table_ttl: Duration,
    /// Tables whose schemas are cached. More: the one used longest ago is forgotten.
    pub tables_max: usize,
    /// How long loading or creating a table may take. Longer: the cached schema, or `503`.
    pub catalog_timeout: Duration,
    /// How long `wait=committed` waits if the request does not say.
    pub wait_default: Duration,
    /// The longest `timeout=` of a wait. Longer ones are cut to it.
    pub wait_max: Duration,
    /// How often the table itself is asked while somebody waits for a commit, in case a notice was lost.
    pub poll_interval: Duration,
    /// Requests that wait for a commit at once. More: `429`.
    pub max_waiters: usize,
    /// Requests of one gRPC stream that are read and not acknowledged. More are not read until there is room.
    pub stream_window: u32,
    /// How long a gRPC stream may be silent. Longer: it is closed, with a message that says so.
    pub stream_idle_timeout: Duration,
    /// Origins (`https://app.example.com`) whose pages may send events and ask for receipts, or `*` alone for all. None:
    /// browsers let no page of another origin do so.
    pub cors_allowed_origins: Vec<String>,
    /// Where metrics reports of Iceberg clients go; `None`: there is no such endpoint.
    pub iceberg_metrics: Option<IcebergMetrics>,
    /// How long a drain may take in all. Longer: what is left is cut off, and clients retry.
    pub drain_deadline: Duration,
}

/// Certificate and key of the port, as PEM files that may be replaced at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate, followed by those between it and its root.
    pub certificate: PathBuf,
    /// Its private key, not encrypted.
    pub key: PathBuf,
    /// Roots for the certificates of clients. Given: a client without such a certificate is refused in the handshake.
    pub client_ca: Option<PathBuf>,
    /// How often the files are looked at for a change.
    pub reload_interval: Duration,
    /// Handshakes at once. More wait for a place; then one that takes longer than 3 s is cut off.
    pub max_handshakes: usize,
}

impl TlsConfig {
    /// These files, looked at every 10 s, and 1024 handshakes at once.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
            reload_interval: Duration::from_secs(10),
            max_handshakes: 1024,
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let fail = |setting, message: String| Err(ConfigError { setting, message });
        if self.reload_interval.is_zero() {
            return fail("tls_reload_interval", "must be longer than zero".to_owned());
        }
        if self.max_handshakes == 0 || self.max_handshakes > Semaphore::MAX_PERMITS {
            return fail("tls_max_handshakes", format!("must be between 1 and {}", Semaphore::MAX_PERMITS));
        }
        Ok(())
    }
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            body_max_bytes: BODY_MAX_BYTES,
            body_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            tls: None,
            shared_limits: None,
            max_connections: 10_000,
            max_requests: 4096,
            max_in_flight_bytes: 64 << 20,
            publish_timeout: Duration::from_secs(5),
            publish_deadline: Duration::from_secs(10),
            heartbeat_after: Duration::from_secs(30),
            table_ttl: Duration::from_secs(30),
            tables_max: 10_000,
            catalog_timeout: Duration::from_secs(10),
            wait_default: Duration::from_secs(30),
            wait_max: Duration::from_secs(300),
            poll_interval: Duration::from_secs(2),
            max_waiters: 10_000,
            stream_window: 64,
            stream_idle_timeout: Duration::from_secs(600),
            cors_allowed_origins: Vec::new(),
            iceberg_metrics: Some(IcebergMetrics::default()),
            drain_deadline: Duration::from_secs(30),
        }
    }
}

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {message}")]
pub struct ConfigError {
    /// The field at fault.
    pub setting: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// JetStream remembers message ids for two minutes; a retry must come well inside.
const PUBLISH_DEADLINE_MAX: Duration = Duration::from_secs(90);

impl ProxyConfig {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting out of bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fail = |setting, message: String| Err(ConfigError { setting, message });
        let counts = [
            ("body_max_bytes", self.body_max_bytes),
            ("max_connections", self.max_connections),
            ("max_requests", self.max_requests),
            ("tables_max", self.tables_max),
            ("max_waiters", self.max_waiters),
            ("stream_window", self.stream_window as usize),
        ];
        if let Some((setting, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return fail(setting, "must be at least 1".to_owned());
        }
        let semaphore = u32::MAX as usize >> 3;
        let large = [("max_in_flight_bytes", self.max_in_flight_bytes), ("max_requests", self.max_requests)];
        if let Some((setting, _)) = large.into_iter().find(|(_, value)| *value > semaphore) {
            return fail(setting, format!("must be at most {semaphore}"));
        }
        if self.max_in_flight_bytes < self.body_max_bytes {
            return fail("max_in_flight_bytes", "must be at least body_max_bytes".to_owned());
        }
        if self.publish_deadline > PUBLISH_DEADLINE_MAX {
            return fail("publish_deadline", format!("must be at most {} s", PUBLISH_DEADLINE_MAX.as_secs()));
        }
        if self.publish_timeout > self.publish_deadline {
            return fail("publish_timeout", "must be at most publish_deadline".to_owned());
        }
        if let Err(message) = origins(&self.cors_allowed_origins) {
            return fail("cors_allowed_origins", message);
        }
        if let Some(Err((setting, message))) = self.shared_limits.as_ref().map(SharedLimits::validate) {
            return fail(setting, message);
        }
        self.iceberg_metrics.as_ref().map_or(Ok(()), IcebergMetrics::validate)?;
        let durations = [
            ("body_timeout", self.body_timeout),
            ("header_timeout", self.header_timeout),
            ("write_timeout", self.write_timeout),
            ("idle_timeout", self.idle_timeout),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("publish_timeout", self.publish_timeout),
            ("heartbeat_after", self.heartbeat_after),
            ("catalog_timeout", self.catalog_timeout),
            ("poll_interval", self.poll_interval),
            ("stream_idle_timeout", self.stream_idle_timeout),
        ];
        match durations.into_iter().find(|(_, value)| value.is_zero()) {
            Some((setting, _)) => fail(setting, "must be longer than zero".to_owned()),
            None => self.tls.as_ref().map_or(Ok(()), TlsConfig::validate),
        }
    }
}

/// What stands for every origin.
pub(crate) const ANY_ORIGIN: &str = "*";

fn origins(origins: &[String]) -> Result<(), String> {
    if origins.len() > 1 && origins.iter().any(|origin| origin == ANY_ORIGIN) {
        return Err(format!("{ANY_ORIGIN:?} allows every origin, so it stands alone"));
    }
    origins.iter().filter(|origin| *origin != ANY_ORIGIN).try_for_each(|origin| check_origin(origin))
}

/// An origin as browsers send it: compared as text, so anything else would never match.
fn check_origin(origin: &str) -> Result<(), String> {
    let fail = |why: &str| Err(format!("{origin:?} is not an origin such as \"https://app.example.com\": {why}"));
    let Some((scheme, authority)) = origin.split_once("://") else { return fail("it has no scheme") };
    let parsed = origin.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    let Some(uri) = parsed else { return fail("it is not a URI with a host") };
    if authority.contains(['/', '?', '#', '@', '*']) {
        return fail("it consists of scheme, host and perhaps a port, without a slash behind them");
    }
    if origin.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return fail("browsers send it in lower case");
    }
    match (scheme, uri.port().map(|port| port.as_str().to_owned()).as_deref()) {
        ("https", Some("443")) | ("http", Some("80")) => fail("browsers leave out the scheme's own port"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(ProxyConfig::default().validate(), Ok(()));
    }

    #[test]
    fn bounds_are_checked() {
        let setting = |change: fn(&mut ProxyConfig)| {
            let mut config = ProxyConfig::default();
            change(&mut config);
            config.validate().expect_err("out of bounds").setting
        };
        assert_eq!(setting(|c| c.body_max_bytes = 0), "body_max_bytes");
        assert_eq!(setting(|c| c.max_in_flight_bytes = 1), "max_in_flight_bytes");
        assert_eq!(setting(|c| c.max_in_flight_bytes = usize::MAX), "max_in_flight_bytes");
        assert_eq!(setting(|c| c.publish_deadline = Duration::from_secs(121)), "publish_deadline");
        assert_eq!(setting(|c| c.publish_timeout = Duration::from_secs(11)), "publish_timeout");
        assert_eq!(setting(|c| c.poll_interval = Duration::ZERO), "poll_interval");
        for namespace in ["", "a..b", "a/b", "a\\b"] {
            let reports = IcebergMetrics { namespace: namespace.to_owned(), ..IcebergMetrics::default() };
            let config = ProxyConfig { iceberg_metrics: Some(reports), ..ProxyConfig::default() };
            assert_eq!(config.validate().expect_err(namespace).setting, "iceberg_metrics.namespace");
        }
    }

    #[test]
    fn origins_are_checked() {
        let check = |origins: &[&str]| {
            let cors_allowed_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
            ProxyConfig { cors_allowed_origins, ..ProxyConfig::default() }.validate()
        };
        for good in [
            &["*"][..],
            &["https://app.example.com", "http://localhost:3000"],
            &["http://[::1]:8080", "tauri://localhost", "https://xn--bcher-kva.example"],
        ] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        for bad in [
            "",
            "null",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://App.example.com",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://*.example.com",
            "https://user@example.com",
            "https://bücher.example",
            "https://a b",
        ] {
            let error = check(&["https://fine.example", bad]).expect_err(bad);
            assert_eq!(error.setting, "cors_allowed_origins");
            assert!(error.message.contains(bad), "{error}");
        }
        assert!(check(&["*", "https://app.example.com"]).is_err());
    }
}
