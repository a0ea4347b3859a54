//! The real [`TableSink`]: tables of the configured Iceberg catalogs. Translates names, schemas and errors.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use frazil_core::TableName;
use frazil_core::schema::Schema;
use frazil_iceberg::data_file::{StageError, StageOptions, StagedFiles, stage};
use frazil_iceberg::{
    AppendError, CatalogError, Catalogs, FencedAppend, RestCatalog, SchemaUpdateError, Table, table_ident,
};
use uuid::Uuid;

use super::{Append, CommitError, Committed, EvolveError, SinkError, SinkTable, Staged, TableSink};
use crate::columns;

/// Tables in Iceberg catalogs.
#[derive(Debug, Clone)]
pub struct IcebergSink {
    catalogs: Catalogs,
}

/// A loaded Iceberg table.
#[derive(Debug, Clone)]
pub struct IcebergTable {
    table: Table,
    name: TableName,
    schema: Arc<Schema>,
    arrow: SchemaRef,
}

impl IcebergSink {
    /// Writes to these catalogs.
    pub fn new(catalogs: Catalogs) -> Self {
        Self { catalogs }
    }

    fn catalog(&self, name: &TableName) -> Result<&RestCatalog, SinkError> {
        let unknown = || SinkError::Rejected(format!("no catalog {:?} is configured", name.catalog()).into());
        self.catalogs.get(name.catalog()).ok_or_else(unknown)
    }
}

impl IcebergTable {
    fn new(name: &TableName, table: Table) -> Result<Self, SinkError> {
        let rejected = |error: super::Cause| SinkError::Rejected(error);
        let json = table.schema_json().map_err(|error| rejected(error.into()))?;
        let schema = Schema::from_json(json.as_bytes()).map_err(|error| rejected(error.into()))?;
        let arrow = table.arrow_schema().map_err(|error| rejected(error.into()))?;
        if !columns::same_columns(&schema, &arrow) {
            return Err(rejected(format!("the columns of {name} have no Arrow form that Frazil knows").into()));
        }
        Ok(Self { table, name: name.clone(), schema: Arc::new(schema), arrow })
    }
}

impl SinkTable for IcebergTable {
    fn uuid(&self) -> Uuid {
        self.table.uuid()
    }

    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }

    fn last_column_id(&self) -> i32 {
        self.table.last_column_id()
    }

    fn property(&self, key: &str) -> Option<&str> {
        self.table.property(key)
    }

    fn find_summary(&self, key: &str, accept: &dyn Fn(&str) -> bool) -> Option<String> {
        let mut values = self.table.ancestry().filter_map(|snapshot| snapshot.summary().additional_properties.get(key));
        values.find(|value| accept(value)).cloned()
    }
}

impl TableSink for IcebergSink {
    type Table = IcebergTable;
    type Files = StagedFiles;

    async fn load(&self, name: &TableName) -> Result<Option<IcebergTable>, SinkError> {
        match self.catalog(name)?.load_table(&table_ident(name.namespace(), name.table())).await {
            Ok(table) => IcebergTable::new(name, table).map(Some),
            Err(CatalogError::NoSuchTable { .. } | CatalogError::NoSuchNamespace { .. }) => Ok(None),
            Err(error) => Err(catalog_error(error)),
        }
    }

    async fn create(&self, name: &TableName, schema: &Schema) -> Result<IcebergTable, SinkError> {
        let catalog = self.catalog(name)?;
        let ident = table_ident(name.namespace(), name.table());
        let json = schema.to_value().to_string();
        let create = frazil_iceberg::create::create_table(&json, "day(__ts__)", "", BTreeMap::new(), None)
            .map_err(|error| SinkError::Rejected(error.into()))?;
        catalog.create_namespace(&ident.namespace).await.map_err(catalog_error)?;
        let table = match catalog.create_table(&ident, create).await {
            Ok(table) => table,
            Err(CatalogError::AlreadyExists { .. }) => catalog.load_table(&ident).await.map_err(catalog_error)?,
            Err(error) => return Err(catalog_error(error)),
        };
        IcebergTable::new(name, table)
    }

    async fn evolve(
        &self,
        table: &IcebergTable,
        schema: &Schema,
        properties: &BTreeMap<String, String>,
    ) -> Result<IcebergTable, EvolveError> {
        let catalog = self.catalog(&table.name).map_err(|error| EvolveError::Rejected(error.into()))?;
        let schema = schema.to_value().to_string();
        let now = catalog.update_schema(&table.table, &schema, properties.clone()).await.map_err(evolve_error)?;
        IcebergTable::new(&table.name, now).map_err(|error| EvolveError::Rejected(error.into()))
    }

    async fn stage(
        &self,
        table: &IcebergTable,
        rows: RecordBatch,
        file_prefix: &str,
    ) -> Result<Staged<StagedFiles>, SinkError> {
        let files = stage(&table.table, vec![rows], &StageOptions::new(file_prefix)).await.map_err(stage_error)?;
        Ok(Staged { count: files.files.len(), bytes: files.bytes, files })
    }

    async fn commit(
        &self,
        table: &IcebergTable,
        files: Option<&StagedFiles>,
        append: &Append,
    ) -> Result<(Committed, IcebergTable), CommitError> {
        let catalog = self.catalog(&table.name).map_err(|error| CommitError::Rejected(error.into()))?;
        let append = FencedAppend {
            commit_id: append.commit_id,
            table_uuid: table.uuid(),
            data_files: files.cloned().into_iter().collect(),
            fence: append.fence.clone(),
            summary: append.summary.clone(),
        };
        let done = catalog.append(&table.table, &append).await.map_err(append_error)?;
        // It is committed, whatever its new schema is: if Frazil cannot read that, keep the schema it could read.
        let now = IcebergTable::new(&table.name, done.table.clone())
            .unwrap_or_else(|_| IcebergTable { table: done.table, ..table.clone() });
        Ok((Committed::new(done.snapshot_id, done.adopted), now))
    }
}

fn catalog_error(error: CatalogError) -> SinkError {
    if error.is_retryable() { SinkError::Unavailable(error.into()) } else { SinkError::Rejected(error.into()) }
}

fn stage_error(error: StageError) -> SinkError {
    if error.is_retryable() { SinkError::Unavailable(error.into()) } else { SinkError::Rejected(error.into()) }
}

fn evolve_error(error: SchemaUpdateError) -> EvolveError {
    match error {
        SchemaUpdateError::Conflict { .. } => EvolveError::Conflict(error.into()),
        SchemaUpdateError::Replaced { .. } => EvolveError::Replaced,
        SchemaUpdateError::Gone { .. } => EvolveError::Gone,
        SchemaUpdateError::Unavailable { .. } => EvolveError::Unavailable(error.into()),
        SchemaUpdateError::Rejected(_) | SchemaUpdateError::Invalid { .. } => EvolveError::Rejected(error.into()),
    }
}

fn append_error(error: AppendError) -> CommitError {
    match error {
        AppendError::Fenced { key, expected, found } => CommitError::Fenced { key, expected, found },
        AppendError::TableReplaced { .. } => CommitError::Replaced,
        AppendError::Gone { .. } => CommitError::Gone,
        AppendError::Unknown { .. } => CommitError::Unknown(error.into()),
        AppendError::Contended { .. } | AppendError::Unavailable { .. } => CommitError::Unavailable(error.into()),
        AppendError::Rejected(_) | AppendError::InvalidFiles { .. } | AppendError::Storage(_) => {
            CommitError::Rejected(error.into())
        }
    }
}
