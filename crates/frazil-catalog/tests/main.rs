//! The catalog over HTTP: every endpoint, every refusal, races, and what a kill leaves behind.

mod commits;
mod durability;
mod namespaces;
mod protocol;
mod races;
mod server;
mod tables;
