//! The proxy over HTTP on a real listener, with the log and the catalog in memory.

mod behaviour;
mod drain;
mod rig;
mod statuses;
