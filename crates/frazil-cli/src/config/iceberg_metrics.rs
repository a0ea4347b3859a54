//! `[proxy.iceberg_metrics]` and `[catalog.iceberg_metrics]`: where metrics reports of Iceberg clients go.

use std::path::PathBuf;

use frazil_catalog::{REPORT_QUEUE, ReportForwarding};
use frazil_core::StreamName;
use frazil_iceberg::ClientTls;
use frazil_proxy::IcebergMetrics;
use serde::{Deserialize, Serialize};

use super::secret::{Secret, mask_address};

/// `[proxy.iceberg_metrics]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IcebergMetricsSection {
    /// Whether there are endpoints for reports.
    pub(crate) enabled: bool,
    /// The stream that takes them.
    pub(crate) stream: StreamName,
    /// Namespace of their tables; the first of several levels is the catalog.
    pub(crate) namespace: String,
}

impl Default for IcebergMetricsSection {
    fn default() -> Self {
        let IcebergMetrics { stream, namespace } = IcebergMetrics::default();
        Self { enabled: true, stream, namespace }
    }
}

impl IcebergMetricsSection {
    /// The proxy's own settings; nothing if switched off.
    pub(crate) fn settings(&self) -> Option<IcebergMetrics> {
        let (stream, namespace) = (self.stream.clone(), self.namespace.clone());
        self.enabled.then_some(IcebergMetrics { stream, namespace })
    }
}

/// `[catalog.iceberg_metrics]`: the proxy to which the embedded catalog forwards the reports it gets.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ForwardingSection {
    /// URL of the proxy. Without it reports are taken and go nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Token for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// Roots that are trusted beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Reports that wait at most. More: dropped and counted.
    pub(crate) queue: usize,
}

impl Default for ForwardingSection {
    fn default() -> Self {
        Self { url: None, token: None, token_file: None, tls_ca: None, queue: REPORT_QUEUE }
    }
}

impl ForwardingSection {
    /// The catalog's own settings; nothing without a proxy.
    pub(crate) fn settings(&self) -> Option<ReportForwarding> {
        let (url, token) = self.url.as_ref().zip(self.token.as_ref())?;
        Some(ReportForwarding {
            url: url.clone(),
            token: token.reveal().to_owned(),
            tls: ClientTls { ca: self.tls_ca.clone(), ..ClientTls::default() },
            queue: self.queue,
        })
    }

    /// Complains about what cannot be obeyed.
    pub(super) fn check(&self, wrong: &mut Vec<String>) {
        let key = "catalog.iceberg_metrics";
        if let Some(url) = &self.url {
            if !url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
                wrong.push(format!("{key}.url: must be an http:// or https:// URL, not {:?}", mask_address(url)));
            }
            if self.token.is_none() {
                wrong.push(format!("{key}: url goes with token or token_file; the proxy takes nothing without"));
            }
        } else if self.token.is_some() {
            wrong.push(format!("{key}.token: goes with url; without it reports go nowhere"));
        }
        if self.queue == 0 {
            wrong.push(format!("{key}.queue: must be at least 1"));
        }
    }
}
