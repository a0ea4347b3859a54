//! The embedded Iceberg REST catalog of the single-machine mode: the Iceberg REST protocol over axum, pointers in
//! SQLite, table metadata in the warehouse.
//!
//! ```text
//!   any Iceberg client ──HTTP──► http      routes, bodies, the error shape
//!                                  │
//!                                tables    create · load · register · rename · drop
//!                                commit    check requirements ─► apply updates ─► write file ─► swap pointer
//!                                  │                 │                  │               │
//!                                  │              change             storage          store
//!                                  │         (the spec layer's    (ObjectStorage:   (SQLite: names,
//!                                  │          builder, guarded)    file:// · s3://)  properties, pointers)
//! ```
//!
//! # What a commit is
//!
//! 1. Read the pointer (the location of the current metadata file) and that file, usually from memory.
//! 2. Check every requirement against it, and apply the updates with the spec layer's builder. What the builder would
//!    wrongly accept (an illegal type promotion, another table uuid, a stale sequence number) is refused here.
//! 3. Write `metadata/NNNNN-<uuid>.metadata.json`, durably, under a name nobody else can have.
//! 4. One SQLite transaction: `UPDATE … SET metadata_location = new WHERE … metadata_location = old`, and its `COMMIT`
//!    is checked. Several tables (`/v1/transactions/commit`) are several such updates in one transaction.
//!
//! A process killed at any moment leaves the old pointer or the new one, and each of them names a complete file; at
//! worst a file nobody points to remains. A lost race (step 4 changes no row) starts again at step 1, a bounded
//! number of times: a commit whose requirements still hold is not the client's conflict. When they do not, the answer
//! is 409 `CommitFailedException`. If SQLite cannot tell whether the swap happened, the answer is 500
//! `CommitStateUnknownException` and nothing is removed.
//!
//! # What is deleted
//!
//! Only metadata files that a successful commit dropped from the table's metadata log, and only if the table has
//! `write.metadata.delete-after-commit.enabled=true` (tables created here do, with the last 20 versions kept).
//! Dropping a table removes its name; `purgeRequested=true` is refused, because no catalog call should be able to
//! delete data for good.
//!
//! # Metrics reports
//!
//! What clients report about scans and commits is answered at once and forwarded to a Frazil proxy, if there is one, from
//! a bounded queue (`reports`). What was forwarded, refused or dropped is counted.
//!
//! # What is absent on purpose
//!
//! Views, scan planning, OAuth2, credential vending (secrets among the storage properties are never handed out), and
//! any thought of more than one machine. Clients learn from the `endpoints` of `/v1/config` what is there.

mod cache;
mod catalog;
mod change;
mod commit;
mod config;
mod error;
mod http;
mod locations;
mod metadata_file;
mod names;
mod reports;
mod serve;
mod store;
mod tables;

pub use catalog::Catalog;
pub use config::{CatalogConfig, OpenError};
pub use reports::{REPORT_QUEUE, ReportForwarding};
pub use serve::serve;
