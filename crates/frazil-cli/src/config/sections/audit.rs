//! `[audit]`: where the audit events of commands go.

use frazil_core::audit;
use frazil_core::name::{NameError, SYSTEM_NAMESPACE};
use frazil_core::{StreamName, TableName};
use serde::{Deserialize, Serialize};

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuditSection {
    /// The stream that takes them. Without one there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<StreamName>,
    /// Namespace of their table; the first of several levels is the catalog.
    pub(crate) namespace: String,
    /// Who runs the commands; by default the login name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
}

impl Default for AuditSection {
    fn default() -> Self {
        Self { stream: None, namespace: SYSTEM_NAMESPACE.to_owned(), user: None }
    }
}

impl AuditSection {
    /// The table of the events.
    ///
    /// # Errors
    /// [`NameError`] for a namespace that cannot be one.
    pub(crate) fn table(&self, default_catalog: &str) -> Result<TableName, NameError> {
        TableName::parse(&format!("{}.{}", self.namespace, audit::TABLE), default_catalog)?.as_sent()
    }

    /// What is wrong with the section; `catalogs`: whether any is configured.
    pub(in crate::config) fn complaints(&self, catalogs: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Err(error) = self.table("default") {
            wrong.push(format!("audit.namespace: {error}"));
        }
        if self.stream.is_some() && !catalogs {
            wrong.push("audit.stream: the events need a table, so a [catalogs.<name>] section, too".to_owned());
        }
        if self.user.as_ref().is_some_and(String::is_empty) {
            wrong.push("audit.user: must not be empty; leave it out for the login name".to_owned());
        }
        wrong
    }
}
