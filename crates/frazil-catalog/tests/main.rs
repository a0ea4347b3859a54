//! The catalog over HTTP: every endpoint, every refusal, races, and what a kill leaves behind.

mod commits;
mod durability;
mod evolution;
mod namespaces;
mod protocol;
mod races;
mod reports;
mod security;
mod server;
mod tables;
