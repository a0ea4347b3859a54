//! `crash`: a real deployment under load and faults, checked with engines that are not Frazil. See `docs/reliability.md`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use frazil_tests::crash::{self, Kind, Report, Settings};
use frazil_tests::nats_cluster::Sync;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs Frazil with real servers under load, injects faults at random, and checks that nothing is lost and nothing doubled
#[derive(Debug, Parser)]
#[command(after_help = "Exit codes: 0 the claim held, 1 it did not. FRAZIL_BIN names another binary to test.")]
struct Arguments {
    /// How long faults are injected
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Decides the mix of faults [default: random, printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Nodes of the log: 1, or 3 with three copies of every shard [default: by the seed]
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(["1", "3"]))]
    nats: Option<String>,
    /// When the nodes sync; with `default` a power loss shows what NATS's own setting loses
    #[arg(long, value_enum, default_value = "always")]
    sync: Sync,
    /// Events per second at most
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Only these kinds of faults
    #[arg(long, value_delimiter = ',', hide_possible_values = false)]
    only: Vec<Kind>,
    /// All but these kinds of faults
    #[arg(long, value_delimiter = ',', hide_possible_values = true)]
    without: Vec<Kind>,
    /// No disks that can lose power or fill up, for machines without FUSE
    #[arg(long)]
    no_disks: bool,
    /// How long everything may take to come to rest after the last fault, in seconds
    #[arg(long, default_value_t = 120)]
    settle: u64,
    /// Writes the report to FILE.json and FILE.md
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keeps data and logs also when the claim held
    #[arg(long)]
    keep: bool,
}

impl Arguments {
    fn settings(&self, dir: PathBuf) -> Settings {
        let seed = self.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
        let nats = match self.nats.as_deref() {
            Some("1") => 1,
            Some(_) => 3,
            None => crash::nodes_by_seed(seed),
        };
        let wanted = if self.only.is_empty() { Kind::all() } else { self.only.clone() };
        let kinds = wanted.into_iter().filter(|kind| !self.without.contains(kind)).collect();
        Settings {
            sync: self.sync,
            disks: !self.no_disks,
            rate: self.rate,
            kinds,
            settle: Duration::from_secs(self.settle),
            dir: Some(dir),
            ..Settings::new(Duration::from_secs_f64(self.minutes * 60.0), seed, nats)
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let dir = tempfile::Builder::new().prefix("frazil-crash-").tempdir().expect("a temporary folder").keep();
    let settings = arguments.settings(dir.clone());
    println!("seed {}, {} node(s) of the log, data and logs in {}", settings.seed, settings.nats, dir.display());
    let mut signals = JoinSet::new();
    signals.spawn(end_with_a_signal(settings.interrupt.clone()));
    let report = crash::run(&settings).await;
    if let Some(path) = &arguments.report {
        report.write_as(path);
    }
    finish(&report, &dir, arguments.keep)
}

fn finish(report: &Report, dir: &std::path::Path, keep: bool) -> ExitCode {
    println!("\n{}", report.markdown());
    if keep || !report.holds() {
        println!("data and logs are kept in {}", dir.display());
    } else if let Err(error) = std::fs::remove_dir_all(dir) {
        println!("{} cannot be removed: {error}", dir.display());
    }
    if report.holds() {
        return ExitCode::SUCCESS;
    }
    println!("VIOLATED with seed {}: {} findings, see above", report.seed, report.violations.len());
    ExitCode::FAILURE
}

/// The first interrupt ends the faults and goes on to the check; the second ends the program.
async fn end_with_a_signal(interrupt: CancellationToken) {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler");
    for code in [None, Some(130)] {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        interrupt.cancel();
        if let Some(code) = code {
            std::process::exit(code);
        }
    }
}
