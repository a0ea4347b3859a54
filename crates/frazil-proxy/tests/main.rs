//! The proxy over HTTP on a real listener, with the log and the catalog in memory.

mod behaviour;
mod dead_letters;
mod drain;
mod grpc;
mod hostile;
mod rig;
mod routing;
mod statuses;
