//! Where the metrics reports of Iceberg clients go.

use frazil_core::metrics_report::ReportKind;
use frazil_core::name::{NameError, SYSTEM_NAMESPACE};
use frazil_core::{StreamName, TableName};

use super::ConfigError;

/// The stream and the tables of metrics reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IcebergMetrics {
    /// The stream. If it does not exist, reports get `404`.
    pub stream: StreamName,
    /// Namespace of the tables. One level means the default catalog; else the first is the catalog's name.
    pub namespace: String,
}

impl Default for IcebergMetrics {
    fn default() -> Self {
        Self { stream: "default".parse().expect("a stream's name"), namespace: SYSTEM_NAMESPACE.to_owned() }
    }
}

impl IcebergMetrics {
    /// The table of the reports of a kind.
    ///
    /// # Errors
    /// [`NameError`] for a namespace that cannot be one.
    pub(crate) fn table(&self, kind: ReportKind, default_catalog: &str) -> Result<TableName, NameError> {
        TableName::parse(&format!("{}.{}", self.namespace, kind.table()), default_catalog)?.as_sent()
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let tables = ReportKind::ALL.into_iter().try_for_each(|kind| self.table(kind, "default").map(drop));
        tables.map_err(|error| ConfigError { setting: "iceberg_metrics.namespace", message: error.to_string() })
    }
}
