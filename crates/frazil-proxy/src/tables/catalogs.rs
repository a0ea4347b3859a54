//! The real tables: [`TableSource`] over the configured Iceberg catalogs. Translates, decides nothing.

use frazil_core::schema::Schema;
use frazil_core::{Shard, TableName};
use frazil_iceberg::create::create_table;
use frazil_iceberg::{CatalogError, Catalogs, RestCatalog, Table, table_ident};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{NewTable, TableCommits, TableError, TableShape, TableSource, is_policy_property};

/// Deltas of a shard that are read from a table's ancestry.
const DELTAS_MAX: usize = 128;

impl TableSource for Catalogs {
    fn default_catalog(&self) -> &str {
        self.default_name()
    }

    fn known_catalogs(&self) -> Vec<String> {
        self.iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn load<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<TableShape, TableError>> {
        async move {
            let loaded = load(self, table).await?;
            let unusable = |error: &dyn std::error::Error| TableError::Unusable(error.to_string());
            let json = loaded.schema_json().map_err(|error| unusable(&error))?;
            let schema = Schema::from_json(json.as_bytes()).map_err(|error| unusable(&error))?;
            let properties = loaded.metadata.properties().iter().filter(|(key, _)| is_policy_property(key));
            Ok(TableShape { schema, properties: properties.map(|(key, value)| (key.clone(), value.clone())).collect() })
        }
        .boxed()
    }

    fn create<'a>(&'a self, table: &'a TableName, new: &'a NewTable) -> BoxFuture<'a, Result<(), TableError>> {
        async move {
            let catalog = catalog(self, table)?;
            let NewTable { schema, partition_by, sort_by, properties, strict_namespace } = new;
            let create = create_table(&schema.to_value().to_string(), partition_by, sort_by, properties.clone(), None)
                .map_err(|error| TableError::Unusable(error.to_string()))?;
            let ident = table_ident(table.namespace(), table.table());
            if !strict_namespace {
                catalog.create_namespace(ident.namespace()).await.map_err(table_error)?;
            }
            match catalog.create_table(&ident, create).await {
                Err(CatalogError::NoSuchNamespace { .. }) => Err(TableError::NoNamespace),
                outcome => outcome.map(drop).map_err(table_error),
            }
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
        CatalogError::Unauthorized { .. }
        | CatalogError::Configuration { .. }
        | CatalogError::Unavailable { .. }
        | CatalogError::Malformed { .. } => TableError::Unavailable(error.to_string()),
    }
}
