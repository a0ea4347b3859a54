//! What the catalog must be told, and why it may refuse to open. Reads no environment and no file.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use frazil_iceberg::Roots;

use crate::reports::ReportForwarding;
use crate::store::StoreError;

/// Settings of the embedded catalog.
#[derive(Clone)]
pub struct CatalogConfig {
    /// The SQLite file. Created when missing; its directory must exist.
    pub database: PathBuf,
    /// Where tables without a location of their own go: `file:///absolute/directory` or `s3://bucket/prefix`.
    pub warehouse: String,
    /// Iceberg FileIO properties (`s3.endpoint`, `s3.access-key-id`, …) for reaching the warehouse. The ones that are
    /// not secret are passed on to clients with every loaded table.
    pub storage_properties: HashMap<String, String>,
    /// The catalog's name, for log lines and as the default `warehouse` of clients.
    pub name: String,
    /// When set, every request must carry `Authorization: Bearer <token>`. `None` is meant for loopback only.
    pub token: Option<String>,
    /// Roots that are trusted beside the system's when the warehouse is reached by https.
    pub storage_roots: Roots,
    /// Where metrics reports of clients go; `None`: nowhere.
    pub reports: Option<ReportForwarding>,
}

impl fmt::Debug for CatalogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token and the storage properties hold secrets.
        f.debug_struct("CatalogConfig")
            .field("database", &self.database)
            .field("warehouse", &self.warehouse)
            .field("name", &self.name)
            .field("reports", &self.reports)
            .finish_non_exhaustive()
    }
}

/// Why a catalog could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The warehouse is neither `file:///absolute/path` nor `s3://bucket[/prefix]`.
    #[error("warehouse {warehouse:?} must be file:///absolute/directory or s3://bucket/prefix")]
    Warehouse {
        /// The warehouse as given.
        warehouse: String,
    },
    /// An empty bearer token would let everybody in.
    #[error("the access token must not be empty")]
    EmptyToken,
    /// Metrics reports cannot be forwarded as configured.
    #[error("the proxy for metrics reports cannot be used: {reason}")]
    Forwarding {
        /// What is wrong.
        reason: String,
    },
    /// The file is an SQLite database, but not a catalog.
    #[error("{} is not a Frazil catalog", .database.display())]
    ForeignDatabase {
        /// The file as given.
        database: PathBuf,
    },
    /// The file was written by a newer version of this program.
    #[error("{} has catalog format {found}; this program knows up to {known}", .database.display())]
    NewerDatabase {
        /// The file as given.
        database: PathBuf,
        /// Format number in the file.
        found: i64,
        /// Highest format number known here.
        known: i64,
    },
    /// SQLite could not open or prepare the file.
    #[error("cannot open the catalog database {}: {source}", .database.display())]
    Database {
        /// The file as given.
        database: PathBuf,
        /// SQLite's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    pub(crate) fn database(database: &std::path::Path, source: impl Into<StoreError>) -> Self {
        Self::Database { database: database.to_owned(), source: Box::new(source.into()) }
    }
}
