//! Turns shards of the log into Iceberg commits that carry their own checkpoint.
//!
//! ```text
//!  log ──► shard reader ──────────► table task ────────────► flush ─────────────► catalog
//!          (one per owned shard)    (one per live table)     (one per table)
//!          checksum · continuity    skip ≤ checkpoint        1 files → store
//!          repeats · memory permit  JSON → Arrow columns     2 files, checkpoint, list of letters: one fenced commit
//!                │                  or dead letter           3 letters → <table>__dead_letter, fenced
//!                │                        ▲ flush policy            │
//!                │                        └────── next batch fills ─┘ Committed
//!                └──────────────► progress ◄───────────────────────┘
//!                                    │ low watermark
//!                                    ▼
//!                       KV progress · notice · purge (keeper)
//! ```
//!
//! # How it is exactly once
//!
//! The *table* says what it contains: every commit writes the checkpoint of each shard in it, as a table property,
//! in the same atomic commit as the data files, and only if the property still has the value the batch was opened at
//! (the fence). Nothing else is the truth: the low watermark in the control bucket only says where to begin
//! reading, and may be stale.
//!
//! - **Crash anywhere**: reading begins again after the low watermark; what a table contains is skipped by its checkpoint.
//!   Dropping a pipeline at any await is the same as a crash, so abandoning is the answer to everything strange.
//! - **Lost answer**: the very same append is tried again; if its commit id is in the table, it is adopted.
//! - **Zombie**: its fence no longer holds. The pipeline of the stream is abandoned and starts from the low watermark.
//! - **Repeats** are dropped by a window that is a function of the log alone, rebuilt from the log's headers at a start.
//! - **Dead letters**: the table's commit alone decides what is a row and what is a letter. It lists the positions of
//!   the batch's letters in a property of the table, next to the checkpoint; then the letters are committed to the
//!   dead-letter table, which has a checkpoint and a fence of its own. After a crash between the two commits exactly
//!   the listed events are written as letters when their messages are read again, by one writer only, whatever the
//!   schema is by then. The low watermark passes a message only when its letters are written too.
//! - **No table**: all its events are letters, and the checkpoint of the dead-letter table decides alone. What was
//!   decided so stays when the table comes to be. Before the first commit of a shard to a table its dead-letter table is
//!   claimed for it, so that a zombie that is about to commit letters, because it knows no table or the one before, is
//!   fenced.
//! - **Users** may append, compact, expire, alter, roll back, drop and create at any time. Rows that they take away do not
//!   come back, for the checkpoint stays where it is. One thing no catalog can tell: if a commit request is on its way
//!   for so long that another writer commits the same events *and* a user rolls the table back to exactly the snapshot
//!   that the request asserts, it lands, and the rows are there once more.
//! - A batch holds whole messages only: a checkpoint is a sequence, and must not cut a message in two.
//!
//! # How tables change
//!
//! Which fields get columns is the policy's business ([`frazil_core::policy`], the stream's with the table's own
//! properties on top) and decided by [`frazil_core::evolve`]; the table task has it done when a delivery needs it. A
//! change of the schema is a commit of its own, fenced by the schema it was thought out for, and nothing depends on it:
//! a batch is of one schema and one policy, its files stay valid when the table has moved on, and whoever loses a race
//! looks at the table again. How many columns were added within the hour is a property of the table, moved in the same
//! commit. If the catalog does not answer, the delivery that needs the change waits and nothing else; if it refuses, or
//! the limit is reached, the table stays as it is for a while: fields are captured, and what does not fit is a letter.
//!
//! # What happens under pressure
//!
//! One byte budget covers everything between the log and the tables: what is allocated, not what is used of it.
//! Exhausted, it makes the largest open batches commit and the readers wait. Only so many tables store and commit at a
//! time. Catalog or store down: reading goes on up to the budget, then stops; the same append is tried for ever;
//! [`WriterStatus`] says so. Nothing is ever dropped.
//!
//! # Reading order
//!
//! [`source`] and [`sink`] are the two seams. `pipeline` wires one stream; `shard` reads, `table` writes; `rows` and
//! [`columns`] decode; [`positions`], [`flush`], [`progress`], `batch` are pure. [`supervisor`] runs all streams.

mod batch;
pub mod budget;
mod clock;
pub mod columns;
pub mod config;
mod dead_letter;
#[cfg(test)]
mod faults;
pub mod flush;
mod metrics;
mod pipeline;
pub mod positions;
pub mod progress;
pub mod replay;
mod router;
mod rows;
mod shard;
pub mod sink;
pub mod source;
pub mod status;
pub mod supervisor;
mod table;

pub use config::{ConfigError, WriterConfig};
pub use flush::{CommitTrigger, FlushPolicy};
pub use metrics::Metrics;
pub use status::WriterStatus;
pub use supervisor::{Writer, WriterError};
