//! The real tables: [`TableSource`] over the configured Iceberg catalogs. Translates, decides nothing.

use std::collections::BTreeMap;

use frazil_core::schema::{Schema, TS_COLUMN};
use frazil_core::{Shard, TableName};
use frazil_iceberg::create::create_table;
use frazil_iceberg::{CatalogError, Catalogs, RestCatalog, Table, table_ident};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{TableCommits, TableError, TableSource};

/// Deltas of a shard that are read from a table's ancestry.
const DELTAS_MAX: usize = 128;

impl TableSource for Catalogs {
    fn default_catalog(&self) -> &str {
        self.default_name()
    }

    fn known_catalogs(&self) -> Vec<String> {
        self.iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn schema<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Schema, TableError>> {
        async move {
            let loaded = load(self, table).await?;
            let unusable = |error: &dyn std::error::Error| TableError::Unusable(error.to_string());
            let json = loaded.schema_json().map_err(|error| unusable(&error))?;
            Schema::from_json(json.as_bytes()).map_err(|error| unusable(&error))
        }
        .boxed()
    }

    fn create<'a>(&'a self, table: &'a TableName, schema: Schema) -> BoxFuture<'a, Result<(), TableError>> {
        async move {
            let catalog = catalog(self, table)?;
            let json = schema.with_system_columns().to_value().to_string();
            let partitioning = format!("day({TS_COLUMN})");
            let create = create_table(&json, &partitioning, BTreeMap::new(), None)
                .map_err(|error| TableError::Unusable(error.to_string()))?;
            let ident = table_ident(table.namespace(), table.table());
            catalog.create_namespace(ident.namespace()).await.map_err(table_error)?;
            catalog.create_table(&ident, create).await.map(drop).map_err(table_error)
        }
        .boxed()
    }

    fn commits<'a>(
        &'a self,
        table: &'a TableName,
        shard: &'a Shard,
    ) -> BoxFuture<'a, Result<TableCommits, TableError>> {
        async move {
            let loaded = load(self, table).await?;
            // What cannot be read was not written by a writer of ours; it says nothing about our events.
            let checkpoint = loaded.property(&shard.checkpoint_property()).and_then(|text| text.parse().ok());
            let key = shard.delta_summary();
            let deltas = loaded.ancestry().filter_map(|snapshot| {
                let delta = snapshot.summary().additional_properties.get(&key)?.parse().ok()?;
                Some((delta, snapshot.snapshot_id()))
            });
            Ok(TableCommits { checkpoint, deltas: deltas.take(DELTAS_MAX).collect() })
        }
        .boxed()
    }
}

async fn load(catalogs: &Catalogs, table: &TableName) -> Result<Table, TableError> {
    let ident = table_ident(table.namespace(), table.table());
    catalog(catalogs, table)?.load_table(&ident).await.map_err(table_error)
}

fn catalog<'a>(catalogs: &'a Catalogs, table: &TableName) -> Result<&'a RestCatalog, TableError> {
    // Unknown catalogs are refused before; a receipt may name one that is no longer configured.
    catalogs.get(table.catalog()).ok_or(TableError::Missing)
}

fn table_error(error: CatalogError) -> TableError {
    match error {
        CatalogError::NoSuchTable { .. } | CatalogError::NoSuchNamespace { .. } => TableError::Missing,
        CatalogError::AlreadyExists { .. } => TableError::Exists,
        CatalogError::Forbidden { message } => TableError::Forbidden(message),
        CatalogError::BadRequest { message } => TableError::Unusable(message),
        // Wrong credentials are the operator's to mend; the client may try again afterwards.
        CatalogError::Unauthorized { .. } | CatalogError::Unavailable { .. } | CatalogError::Malformed { .. } => {
            TableError::Unavailable(error.to_string())
        }
    }
}
