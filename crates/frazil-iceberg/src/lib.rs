//! The one seam around the Iceberg crates: REST catalog client, storage, data files, fenced commits.
//!
//! ```text
//!            RestCatalog ──────── load / create / commit ───────► any Iceberg REST catalog
//!                │  (rest)   auth, signed for AWS by sigv4 · retries · vended credentials
//!   Table ◄──────┘
//!     │  (table)   metadata · schema · ancestry of `main`
//!     ├──► data_file   rows → Parquet files, one partition each, with column metrics
//!     │                   │ put
//!     │                   ▼
//!     │             ObjectStorage (storage)   file:// · s3:// · memory://
//!     │                   ▲ put           │ get
//!     ├──► commit   manifests + manifest list + snapshot, then one compare-and-swap
//!     ├──► evolve   a whole new schema, one compare-and-swap
//!     └──► scan     rows of the current snapshot, less the deleted ones
//! ```
//!
//! # What it owns, and what it takes
//!
//! From the `iceberg` crate it takes the *spec layer*: types, schemas, partition specs, table metadata and its
//! builder, the Avro readers and writers of manifests and manifest lists. Everything that talks to a network or
//! decides about a commit is ours, each for a reason that a `defect_NN_…` test of this crate keeps alive:
//!
//! | part | instead of | because iceberg-rust 0.10.1 … |
//! | --- | --- | --- |
//! | [`commit`] | `Transaction::commit` | silently re-bases on whatever the table has become, so a zombie commits twice; accepts duplicate paths; refuses files of an older spec |
//! | [`rest`] | `iceberg-catalog-rest` | never refreshes a token, never retries, drops vended credentials after a commit, puts names raw into paths |
//! | [`storage`] | `iceberg-storage-opendal` | builds a client and a signer per file operation; its local writer does not fsync |
//! | `manifest_file` | `ManifestWriter` and `load_manifest` as they are | writes no uuid partition values and reads no nanoseconds; gives two decimals of a spec one name, and types no `adjust-to-utc` |
//! | [`data_file`] | `ParquetWriter`, `FanoutWriter` | writes column bounds that hide rows; leaves partition paths unescaped |
//! | [`mod@scan`] | `TableScan`, `ArrowReader` | pairs columns by place and type, not by field id; may wait for an equality delete for ever |
//!
//! # How a commit is fenced
//!
//! [`RestCatalog::append`] adds data files and sets table properties in one commit. Each attempt
//!
//! 1. loads the table anew; another table uuid ends it (`TableReplaced`);
//! 2. looks for its own commit id in the ancestry of `main`: found means that an earlier attempt, whose answer was
//!    lost, is in the table (`adopted`);
//! 3. compares every fence property with the value that the caller's work was based on: a difference means that
//!    somebody else moved on, and the caller's files must never be committed (`Fenced`);
//! 4. writes manifests, a manifest list and **always a new snapshot** (even for no files), and sends it with
//!    `assert-table-uuid` and `assert-ref-snapshot-id(main, base)`.
//!
//! Step 4 is what makes step 3 airtight: every commit of ours moves `main`, so a request that was checked against
//! one base can only succeed on that very base. A commit request is never resent by a retry layer. An answer that
//! leaves the outcome open goes back to step 1, where the table tells the truth: if `main` moved, the unanswered
//! request can no longer land; if it did not, the old and the new request assert the same base and at most one of
//! them wins. Nothing is ever deleted here.
//!
//! # What is absent on purpose
//!
//! Streams, shards and checkpoints (a fence is a property key with an expected value, whoever owns it), deciding how a
//! schema should change, queries, compaction, snapshot expiry and removal of orphans.

pub mod catalogs;
pub mod commit;
pub mod create;
pub mod data_file;
pub mod evolve;
mod manifest_file;
pub mod rest;
pub mod scan;
mod sigv4;
pub mod storage;
pub mod table;
pub mod tls;

pub use catalogs::{Catalogs, table_ident};
pub use commit::{AppendError, Committed, FencedAppend, FencedProperty};
pub use evolve::SchemaUpdateError;
pub use rest::{
    Auth, AwsKeys, CatalogError, CommitError, CreateTable, LoadedMetadata, RestCatalog, RestCatalogConfig, SigV4,
};
pub use scan::{Scan, ScanError, scan};
pub use storage::{ObjectStorage, StorageError};
pub use table::Table;
pub use tls::{ClientTls, Roots, TlsFileError};

/// The Iceberg spec layer, as the rest of the workspace may name it.
pub mod spec {
    pub use iceberg::io::FileIO;
    pub use iceberg::spec::*;
    pub use iceberg::{
        Error, ErrorKind, MetadataLocation, Namespace, NamespaceIdent, TableCreation, TableIdent, TableRequirement,
        TableUpdate,
    };
}
