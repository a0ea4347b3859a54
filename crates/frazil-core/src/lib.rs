//! The pure domain of Frazil: names, events, the stored envelope, schema mapping, checkpoints, limits.
//!
//! Nothing here knows a network, a clock, an async runtime or the environment; every decision takes
//! values and returns values, so that the proxy (which decides whether to accept an event) and the
//! writer (which turns it into a row) cannot disagree.
//!
//! Reading order, along the life of an event:
//!
//! 1. [`name`]: streams and tables; [`stream`]: what an event stream is; [`token`]: who may send.
//! 2. [`routing`], [`policy`], [`schema`], [`mapping`], [`infer`]: which table is an event for, and does it fit?
//! 3. [`envelope`]: how accepted events are stored in the log; [`idempotency`] and [`continuity`]:
//!    what the writer decides from the log alone.
//! 4. [`rewind`]: positions that never go back; [`checkpoint`]: how much of a shard a table contains; [`receipt`]: what a client is told; [`replay`]: which dead
//!    letters became rows after all.
//!
//! [`metrics_report`] makes events of what Iceberg clients report about scans and commits, [`audit`] of what people change.
//! [`limits`] names every bound that is not a setting; [`rate`] says how much senders may send.

pub mod audit;
pub mod checkpoint;
pub mod continuity;
pub mod envelope;
pub mod evolve;
pub mod idempotency;
pub mod infer;
pub mod limits;
pub mod mapping;
pub mod metrics_report;
pub mod name;
pub mod policy;
pub mod rate;
pub mod receipt;
pub mod replay;
pub mod rewind;
pub mod routing;
pub mod schema;
pub mod stream;
pub mod token;

pub use name::{Shard, StreamName, TableName};
