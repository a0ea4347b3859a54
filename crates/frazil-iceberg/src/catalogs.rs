//! Several catalogs in one deployment, found by the first part of a table's name.

use std::collections::BTreeMap;

use crate::rest::RestCatalog;
use crate::spec::{NamespaceIdent, TableIdent};

/// The catalogs a role was configured with.
#[derive(Debug, Clone)]
pub struct Catalogs {
    default: String,
    by_name: BTreeMap<String, RestCatalog>,
}

impl Catalogs {
    /// Collects catalogs by name; `default` is meant by table names that name none.
    pub fn new(default: impl Into<String>, by_name: BTreeMap<String, RestCatalog>) -> Self {
        Self { default: default.into(), by_name }
    }

    /// Name of the catalog that two-part table names mean.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// The catalog called `name`.
    pub fn get(&self, name: &str) -> Option<&RestCatalog> {
        self.by_name.get(name)
    }

    /// Every catalog with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RestCatalog)> {
        self.by_name.iter().map(|(name, catalog)| (name.as_str(), catalog))
    }
}

/// Identifier of `table` in a namespace of at least one level.
///
/// # Panics
/// If the namespace is empty, which `TableName` of the core rules out.
pub fn table_ident(namespace: &[String], table: &str) -> TableIdent {
    let namespace = NamespaceIdent::from_vec(namespace.to_vec()).expect("a namespace has at least one level");
    TableIdent::new(namespace, table.to_owned())
}
