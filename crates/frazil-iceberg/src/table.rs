//! A table as it was loaded: one version of its metadata, and the storage that reaches its files.
//!
//! A value, never refreshed in place; it must not talk to the catalog.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::SchemaRef as ArrowSchemaRef;
use iceberg::TableIdent;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{SnapshotRef, SnapshotRetention, TableMetadata};
use uuid::Uuid;

use crate::storage::ObjectStorage;

/// One loaded version of a table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Namespace and name.
    pub ident: TableIdent,
    /// The metadata as the catalog returned it.
    pub metadata: Arc<TableMetadata>,
    /// Where that version of the metadata is stored.
    pub metadata_location: String,
    /// Storage with the table's own (possibly vended) credentials.
    pub storage: ObjectStorage,
    /// How long snapshots of `main` are kept. The metadata type does not show it, and a commit that moves `main` has
    /// to send it back or it would be lost.
    pub(crate) main_retention: SnapshotRetention,
}

impl Table {
    /// A table from its parts, with the default retention for `main`.
    #[must_use]
    pub fn new(
        ident: TableIdent,
        metadata: Arc<TableMetadata>,
        metadata_location: String,
        storage: ObjectStorage,
    ) -> Self {
        let main_retention = SnapshotRetention::branch(None, None, None);
        Self { ident, metadata, metadata_location, storage, main_retention }
    }

    /// The table's uuid: differs for a table that was dropped and created again under the same name.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.metadata.uuid()
    }

    /// The current schema as Iceberg schema JSON.
    ///
    /// # Errors
    /// If the schema cannot be rendered, which no schema that came from a catalog can cause.
    pub fn schema_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self.metadata.current_schema().as_ref())
    }

    /// The current schema as an Arrow schema whose fields carry `PARQUET:field_id`.
    ///
    /// # Errors
    /// If a column's type has no Arrow equivalent.
    pub fn arrow_schema(&self) -> Result<ArrowSchemaRef, iceberg::Error> {
        Ok(Arc::new(schema_to_arrow_schema(self.metadata.current_schema())?))
    }

    /// The highest column id that was ever assigned in this table: ids of new columns start above it.
    #[must_use]
    pub fn last_column_id(&self) -> i32 {
        self.metadata.last_column_id()
    }

    /// All table properties.
    #[must_use]
    pub fn properties(&self) -> &HashMap<String, String> {
        self.metadata.properties()
    }

    /// A table property.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<&str> {
        self.metadata.properties().get(key).map(String::as_str)
    }

    /// The table's root location without a trailing slash.
    #[must_use]
    pub fn location(&self) -> &str {
        self.metadata.location().trim_end_matches('/')
    }

    /// The snapshots of `main`, newest first, as far back as they are still known.
    pub fn ancestry(&self) -> Ancestry<'_> {
        Ancestry {
            metadata: &self.metadata,
            next: self.metadata.current_snapshot(),
            left: self.metadata.snapshots().len(),
        }
    }

    /// The newest value of a summary key in the ancestry of `main`.
    #[must_use]
    pub fn find_in_ancestry(&self, key: &str) -> Option<&str> {
        self.ancestry().find_map(|snapshot| snapshot.summary().additional_properties.get(key)).map(String::as_str)
    }
}

/// Iterator over the snapshots of `main`, newest first. See [`Table::ancestry`].
#[derive(Debug)]
pub struct Ancestry<'a> {
    metadata: &'a TableMetadata,
    next: Option<&'a SnapshotRef>,
    /// Bounds the walk: foreign metadata whose parents form a circle must not hang us.
    left: usize,
}

impl<'a> Iterator for Ancestry<'a> {
    type Item = &'a SnapshotRef;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let snapshot = self.next.take()?;
        self.next = snapshot.parent_snapshot_id().and_then(|id| self.metadata.snapshot_by_id(id));
        Some(snapshot)
    }
}
