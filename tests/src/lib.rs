//! What the end-to-end tests stand on: real processes, a keyed load, faults between them, and query
//! engines that know nothing of Frazil.
//!
//! Nothing here imports a Frazil crate except for a server it starts from one; the tests see what users see.

pub mod client;
pub mod clock;
pub mod cluster;
pub mod crash;
pub mod faults;
pub mod hand;
pub mod lake;
pub mod load;
pub mod nats_cluster;
pub mod process;
pub mod role;
pub mod seaweed;
pub mod tools;

use std::future::Future;
use std::time::Duration;

/// Polls a state outside this process until `probe` yields a value.
///
/// # Panics
/// After `limit`, naming what was waited for.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, limit: Duration, mut probe: impl FnMut() -> F) -> T {
    let started = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        if let Some(value) = probe().await {
            return value;
        }
        assert!(started.elapsed() < limit, "gave up after {limit:?} waiting for {what}");
    }
}
