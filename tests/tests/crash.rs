//! The mix of all faults on real servers, as `scripts/crash` runs it for longer. Apart from the other end-to-end tests, for
//! it wants the machine for itself.

use std::time::Duration;

use frazil_tests::crash::{self, Settings};

/// How long faults are injected; start, settling and checking come on top.
const LENGTH: Duration = Duration::from_secs(180);
/// The mix; even, so with a cluster of three nodes of the log.
const SEED: u64 = 2026;

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_in_any_combination_lose_and_double_nothing() {
    let seed = std::env::var("FRAZIL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(SEED);
    let nats = crash::nodes_by_seed(seed);
    println!("seed {seed} with {nats} node(s) of the log (FRAZIL_SEED={seed} repeats it)");
    let kept = tempfile::Builder::new().prefix("frazil-crash-").tempdir().expect("a temporary folder").keep();
    let settings = Settings { dir: Some(kept.clone()), ..Settings::new(LENGTH, seed, nats) };
    let report = crash::run(&settings).await;
    println!("{}", report.markdown());
    assert!(report.requests.acked_events > 10_000, "the load hardly got through; logs are in {}", kept.display());
    assert!(report.holds(), "seed {seed}; logs are in {}\n{:#?}", kept.display(), report.violations);
    std::fs::remove_dir_all(&kept).expect("the folder is ours");
}
