//! Client of an Iceberg REST catalog.
//!
//! Owns the protocol: configuration, authentication, names in paths, retries, error answers, vended credentials.
//! It must never resend a commit on its own: [`RestCatalog::commit_table`] reports what it knows and
//! [`crate::commit`] decides.

mod auth;
mod config;
mod error;
mod names;
mod transport;
mod vend;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use config::{Auth, AwsKeys, CommitPolicy, RestCatalogConfig, RetryPolicy, Secret, SigV4};
use error::Subject;
pub use error::{CatalogError, CommitError};
use names::Separator;
pub(crate) use transport::describe;
use transport::{Answer, Resend, Transport};
use vend::StoragePool;

use crate::table::Table;

/// Pages of one listing; a server that never ends its listing is cut off here.
const MAX_PAGES: usize = 10_000;

/// A connected catalog. Cheap to clone; clones share connections, token and storage clients.
#[derive(Clone, Debug)]
pub struct RestCatalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Transport,
    /// `{uri}/v1/{prefix}`, without a trailing slash.
    base: String,
    separator: Separator,
    storages: StoragePool,
    commit_policy: CommitPolicy,
}

/// What [`RestCatalog::create_table`] creates.
#[derive(Clone, Debug)]
pub struct CreateTable {
    /// Columns. The catalog assigns new field ids: take the schema back from the created table.
    pub schema: Schema,
    /// How rows are partitioned; `None` for not at all.
    pub partition_spec: Option<UnboundPartitionSpec>,
    /// The order rows should have within files.
    pub sort_order: Option<SortOrder>,
    /// Table properties (`format-version` among them chooses the format).
    pub properties: BTreeMap<String, String>,
    /// Root location; `None` lets the catalog choose.
    pub location: Option<String>,
}

/// The metadata a successful commit returned.
#[derive(Clone, Debug)]
pub struct LoadedMetadata {
    /// The new metadata.
    pub metadata: Arc<TableMetadata>,
    /// Where it is stored.
    pub metadata_location: String,
}

impl RestCatalog {
    /// Reads the catalog's configuration and returns a client that follows it.
    ///
    /// # Errors
    /// [`CatalogError`] if the catalog does not answer, refuses the credentials, or answers nonsense, or if a file of
    /// its settings cannot be used.
    pub async fn connect(config: RestCatalogConfig) -> Result<Self, CatalogError> {
        let roots = config.tls.roots()?;
        let transport = Transport::new(&config)?;
        let answered = transport.get(&config.config_url(), Subject::Catalog).await?;
        let merged = config.merge(parse(&answered)?);
        let inner = Inner {
            base: merged.base,
            separator: merged.separator,
            transport: transport.with_headers(&merged.headers)?,
            storages: StoragePool::new(&roots, merged.defaults, merged.user, merged.overrides),
            commit_policy: config.commit,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn commit_policy(&self) -> &CommitPolicy {
        &self.inner.commit_policy
    }

    /// Loads a table, with storage that has the credentials the catalog vends for it now.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchTable`] if there is none.
    pub async fn load_table(&self, ident: &TableIdent) -> Result<Table, CatalogError> {
        let answer = self.inner.transport.get(&self.table_url(ident)?, Subject::Table).await?;
        self.loaded(ident, &answer)
    }

    /// Whether a table exists.
    ///
    /// # Errors
    /// [`CatalogError`] if that could not be found out.
    pub async fn table_exists(&self, ident: &TableIdent) -> Result<bool, CatalogError> {
        let answer = self.inner.transport.send(Method::HEAD, &self.table_url(ident)?, None, Resend::Idempotent).await?;
        match answer.status.as_u16() {
            200..=299 => Ok(true),
            404 => Ok(false),
            // A server without HEAD.
            400 | 405 | 501 => match self.load_table(ident).await {
                Ok(_) => Ok(true),
                Err(CatalogError::NoSuchTable { .. } | CatalogError::NoSuchNamespace { .. }) => Ok(false),
                Err(other) => Err(other),
            },
            _ => Err(CatalogError::from_answer(&answer, Subject::Table)),
        }
    }

    /// Makes sure that a namespace and its parents exist.
    ///
    /// # Errors
    /// [`CatalogError`]; calling again is always safe.
    pub async fn create_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        if self.namespace_exists(namespace).await? {
            return Ok(());
        }
        for depth in 1..=namespace.len() {
            let levels = &namespace[..depth];
            let level = NamespaceIdent::from_vec(levels.to_vec()).map_err(|error| CatalogError::malformed(&error))?;
            if depth < namespace.len() && self.namespace_exists(&level).await? {
                continue;
            }
            let body = wire::CreateNamespace { namespace: levels, properties: BTreeMap::new() };
            let url = format!("{}/namespaces", self.inner.base);
            let answer =
                self.inner.transport.send(Method::POST, &url, Some(to_json(&body)?), Resend::Idempotent).await?;
            match answer.success(Subject::Namespace) {
                // Somebody else created it meanwhile, or an earlier try of ours did.
                Ok(_) | Err(CatalogError::AlreadyExists { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool, CatalogError> {
        let answer = self.inner.transport.get(&self.namespace_url(namespace)?, Subject::Namespace).await;
        match answer {
            Ok(_) => Ok(true),
            Err(CatalogError::NoSuchNamespace { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// The namespaces directly below `parent`, or the top level.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchNamespace`] if the parent does not exist.
    pub async fn list_namespaces(&self, parent: Option<&NamespaceIdent>) -> Result<Vec<NamespaceIdent>, CatalogError> {
        let url = format!("{}/namespaces", self.inner.base);
        let query = match parent {
            Some(parent) => vec![("parent", self.inner.separator.join(parent))],
            None => Vec::new(),
        };
        let pages: Vec<wire::NamespacePage> = self.pages(&url, query, Subject::Namespace).await?;
        let names = pages.into_iter().flat_map(|page| page.namespaces);
        names.map(|levels| NamespaceIdent::from_vec(levels).map_err(|error| CatalogError::malformed(&error))).collect()
    }

    /// The tables of a namespace.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchNamespace`] if it does not exist.
    pub async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>, CatalogError> {
        let url = format!("{}/tables", self.namespace_url(namespace)?);
        let pages: Vec<wire::TablePage> = self.pages(&url, Vec::new(), Subject::Namespace).await?;
        Ok(pages.into_iter().flat_map(|page| page.identifiers).collect())
    }

    async fn pages<P: wire::Page + DeserializeOwned>(
        &self,
        url: &str,
        mut query: Vec<(&str, String)>,
        subject: Subject,
    ) -> Result<Vec<P>, CatalogError> {
        let mut pages = Vec::new();
        while pages.len() < MAX_PAGES {
            let page: P = parse(&self.inner.transport.get(&names::with_query(url, &query), subject).await?)?;
            let next = page.next_page_token().map(str::to_owned).filter(|token| !token.is_empty());
            pages.push(page);
            let Some(token) = next else { return Ok(pages) };
            query.retain(|(key, _)| *key != "pageToken");
            query.push(("pageToken", token));
        }
        Err(CatalogError::Malformed { message: format!("a listing did not end after {MAX_PAGES} pages") })
    }

    /// Creates a table. After [`CatalogError::Unavailable`] it may have been created nevertheless: calling again
    /// then answers [`CatalogError::AlreadyExists`].
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn create_table(&self, ident: &TableIdent, create: CreateTable) -> Result<Table, CatalogError> {
        let url = format!("{}/tables", self.namespace_url(&ident.namespace)?);
        names::check(&ident.name)?;
        let body = wire::CreateTableRequest {
            name: &ident.name,
            location: create.location.as_deref(),
            schema: &create.schema,
            partition_spec: create.partition_spec.as_ref(),
            write_order: create.sort_order.as_ref(),
            stage_create: false,
            properties: &create.properties,
        };
        let body = to_json(&body)?;
        let answer = self.inner.transport.send(Method::POST, &url, Some(body), Resend::IfUnprocessed).await?;
        self.loaded(ident, &answer.success(Subject::Namespace)?)
    }

    /// Drops a table from the catalog and leaves its files.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchTable`] if there is none.
    pub async fn drop_table(&self, ident: &TableIdent) -> Result<(), CatalogError> {
        let url = format!("{}?purgeRequested=false", self.table_url(ident)?);
        let answer = self.inner.transport.send(Method::DELETE, &url, None, Resend::IfUnprocessed).await?;
        answer.success(Subject::Table).map(drop)
    }

    /// Sends one commit, once. Never resent, except after answers that say it was not looked at (401).
    ///
    /// # Errors
    /// [`CommitError`], which tells what is known about the outcome.
    pub async fn commit_table(
        &self,
        ident: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedMetadata, CommitError> {
        let url = self.table_url(ident).map_err(CommitError::Rejected)?;
        let body = wire::CommitTable::new(ident, &requirements, &updates);
        let body = to_json(&body).map_err(CommitError::Rejected)?;
        let answer = self.inner.transport.send_commit(&url, body).await?;
        // It is committed, even if we cannot read the answer: the table itself has to tell.
        let committed: wire::CommitTableResponse = serde_json::from_slice(&answer.body)
            .map_err(|error| CommitError::Unknown { reason: format!("unreadable answer: {error}") })?;
        Ok(LoadedMetadata {
            metadata: Arc::new(committed.metadata),
            metadata_location: committed.metadata_location.unwrap_or_default(),
        })
    }

    fn loaded(&self, ident: &TableIdent, answer: &Answer) -> Result<Table, CatalogError> {
        let result: wire::LoadTableResult = parse(answer)?;
        let refs: wire::LoadedRefs = parse(answer)?;
        let storage = self.inner.storages.storage(result.config, result.storage_credentials);
        let location = result.metadata_location.unwrap_or_default();
        let mut table = Table::new(ident.clone(), Arc::new(result.metadata), location, storage);
        if let Some(retention) = refs.main_retention() {
            table.main_retention = retention;
        }
        Ok(table)
    }

    fn namespace_url(&self, namespace: &NamespaceIdent) -> Result<String, CatalogError> {
        for level in namespace.iter() {
            names::check(level)?;
        }
        let joined = names::encode(&self.inner.separator.join(namespace));
        Ok(format!("{}/namespaces/{joined}", self.inner.base))
    }

    fn table_url(&self, ident: &TableIdent) -> Result<String, CatalogError> {
        names::check(&ident.name)?;
        Ok(format!("{}/tables/{}", self.namespace_url(&ident.namespace)?, names::encode(&ident.name)))
    }
}

fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, CatalogError> {
    serde_json::from_slice(&answer.body).map_err(|error| CatalogError::malformed(&error))
}

fn to_json(body: &impl Serialize) -> Result<Bytes, CatalogError> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| CatalogError::BadRequest { message: error.to_string() })
}

#[cfg(test)]
mod signed;
#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;
