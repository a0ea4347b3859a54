//! The crash harness: a real deployment under load, faults at random times in any combination, and a checker that reads
//! the tables with engines that are not Frazil.
//!
//! A run: start everything, load and inject for the given time, heal everything, wait until nothing is on its way, hold
//! the tables against the ledger of the load. Whatever is not as acknowledged is a violation.

pub mod checker;
mod config;
mod disk;
mod journal;
pub mod ledger;
pub mod load;
pub mod nemesis;
pub mod ports;
mod quiesce;
pub mod report;
mod role;
mod run;
mod timeline;
pub mod topology;
mod wires;

pub use nemesis::Kind;
pub use report::Report;
pub use run::{Settings, nodes_by_seed, run};
