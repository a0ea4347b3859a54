//! Faults of the network between two parts, injected from outside: a TCP proxy, an HTTP front, network namespaces.
//!
//! Every fault can be set and healed while traffic runs, and holds for open and new connections alike. Nothing here
//! knows Frazil.

pub mod http;
pub mod netns;
pub mod tcp;

pub use http::{Front, HttpFault, Requests};
pub use netns::Network;
pub use tcp::{Wire, WireFault};
