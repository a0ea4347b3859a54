//! Statements about namespaces.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};

use super::{Page, PageRequest, Store, StoreError};
use crate::names::Namespace;

/// Properties of a namespace.
pub(crate) type Properties = BTreeMap<String, String>;

/// What an update of properties did.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct PropertiesChanged {
    pub(crate) updated: BTreeSet<String>,
    pub(crate) removed: BTreeSet<String>,
    pub(crate) missing: BTreeSet<String>,
}

impl Store {
    /// Last levels of the namespaces directly below `parent`, or of the top-level ones.
    pub(crate) fn list_namespaces(&self, parent: Option<&Namespace>, page: &PageRequest) -> Result<Page, StoreError> {
        let connection = self.read();
        if let Some(parent) = parent {
            require(&connection, parent)?;
        }
        let mut statement = connection
            .prepare("SELECT name FROM namespaces WHERE parent IS ?1 AND name > ?2 ORDER BY name LIMIT ?3")?;
        let rows = statement
            .query_map(params![parent.map(Namespace::joined), page.after, page.sql_limit()], |row| row.get(0))?;
        Ok(page.page(rows.collect::<Result<_, _>>()?))
    }

    /// Creates a namespace, and the ones around it that are missing: otherwise no listing would find it.
    pub(crate) fn create_namespace(&self, namespace: &Namespace, properties: &Properties) -> Result<(), StoreError> {
        self.write(|transaction| {
            if properties_of(transaction, namespace)?.is_some() {
                return Err(StoreError::NamespaceExists(namespace.clone()));
            }
            let mut missing = Vec::new();
            let mut around = namespace.parent();
            while let Some(parent) = around {
                if properties_of(transaction, &parent)?.is_some() {
                    break;
                }
                around = parent.parent();
                missing.push(parent);
            }
            for parent in missing.iter().rev() {
                insert(transaction, parent, &Properties::new())?;
            }
            insert(transaction, namespace, properties)
        })
    }

    pub(crate) fn namespace_properties(&self, namespace: &Namespace) -> Result<Properties, StoreError> {
        properties_of(&self.read(), namespace)?.ok_or_else(|| StoreError::NoSuchNamespace(namespace.clone()))
    }

    pub(crate) fn update_namespace(
        &self,
        namespace: &Namespace,
        removals: &BTreeSet<String>,
        updates: &Properties,
    ) -> Result<PropertiesChanged, StoreError> {
        self.write(|transaction| {
            let mut properties =
                properties_of(transaction, namespace)?.ok_or_else(|| StoreError::NoSuchNamespace(namespace.clone()))?;
            let mut changed = PropertiesChanged::default();
            for key in removals {
                let set = if properties.remove(key).is_some() { &mut changed.removed } else { &mut changed.missing };
                set.insert(key.clone());
            }
            changed.updated.extend(updates.keys().cloned());
            properties.extend(updates.clone());
            transaction.execute(
                "UPDATE namespaces SET properties = ?2 WHERE path = ?1",
                params![namespace.joined(), to_json(&properties)?],
            )?;
            Ok(changed)
        })
    }

    /// Drops an empty namespace.
    pub(crate) fn drop_namespace(&self, namespace: &Namespace) -> Result<(), StoreError> {
        self.write(|transaction| {
            let path = namespace.joined();
            let used: bool = transaction.query_row(
                "SELECT EXISTS (SELECT 1 FROM tables WHERE namespace = ?1)
                     OR EXISTS (SELECT 1 FROM namespaces WHERE parent = ?1)",
                params![path],
                |row| row.get(0),
            )?;
            if used {
                return Err(StoreError::NamespaceNotEmpty(namespace.clone()));
            }
            match transaction.execute("DELETE FROM namespaces WHERE path = ?1", params![path])? {
                0 => Err(StoreError::NoSuchNamespace(namespace.clone())),
                _ => Ok(()),
            }
        })
    }
}

/// Fails if there is no such namespace.
pub(super) fn require(connection: &Connection, namespace: &Namespace) -> Result<(), StoreError> {
    match properties_of(connection, namespace)? {
        Some(_) => Ok(()),
        None => Err(StoreError::NoSuchNamespace(namespace.clone())),
    }
}

fn properties_of(connection: &Connection, namespace: &Namespace) -> Result<Option<Properties>, StoreError> {
    let mut statement = connection.prepare("SELECT properties FROM namespaces WHERE path = ?1")?;
    let json: Option<String> = statement.query_row(params![namespace.joined()], |row| row.get(0)).optional()?;
    let parse = |json: String| {
        serde_json::from_str(&json)
            .map_err(|error| StoreError::Corrupt(format!("properties of namespace {namespace}: {error}")))
    };
    json.map(parse).transpose()
}

fn insert(connection: &Connection, namespace: &Namespace, properties: &Properties) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO namespaces (path, parent, name, properties) VALUES (?1, ?2, ?3, ?4)",
        params![
            namespace.joined(),
            namespace.parent().map(|parent| parent.joined()),
            namespace.last(),
            to_json(properties)?
        ],
    )?;
    Ok(())
}

fn to_json(properties: &Properties) -> Result<String, StoreError> {
    serde_json::to_string(properties).map_err(|error| StoreError::Corrupt(error.to_string()))
}
