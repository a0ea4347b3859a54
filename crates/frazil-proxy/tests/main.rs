//! The proxy over HTTP on a real listener, with the log and the catalog in memory.

mod ack_path;
mod behaviour;
mod dead_letters;
mod drain;
mod grpc;
mod hostile;
mod iceberg_metrics;
mod injection;
mod partial;
mod rates;
mod rig;
mod routing;
mod security;
mod slow_clients;
mod statuses;
mod tls;
