//! The log: JetStream shards, the control bucket, publishing and ordered reading.
//!
//! The only crate that names `async_nats`. It knows how to store and read envelopes, not what is in them.
//!
//! * [`Log`]: one connection, kept up for ever ([`connect`]).
//! * [`shard`]: creates, describes, purges the JetStream stream of a shard.
//! * [`publish`]: stores an envelope and says precisely what is known about the outcome.
//! * [`read`]: every stored message from a position on, exactly once, in order.
//! * [`control`] and [`directory`]: stream definitions, tokens and progress; written, and watched.
//! * [`rewind`]: positions stay unique although the log may go back.
//! * [`notice`]: unstored announcements of commits.

mod bucket;
pub mod connect;
pub mod control;
pub mod directory;
pub mod error;
pub mod notice;
pub mod publish;
pub mod read;
pub mod rewind;
mod session;
pub mod shard;
#[cfg(feature = "testing")]
pub mod testing;

pub use connect::{Log, LogConfig, Secret};
pub use control::Control;
pub use directory::Directory;
pub use error::LogError;
pub use notice::CommitNotices;
pub use publish::{PublishError, ShardPublisher, Stored};
pub use read::{Headers, Message, ReadError, ReadMode, ShardReader, Start};
pub use rewind::Standing;
pub use shard::{ShardDetail, ShardInfo};
