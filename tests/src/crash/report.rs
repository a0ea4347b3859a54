//! What a run found, as JSON for machines and as Markdown for `docs/reliability.md`.

mod markdown;
mod versions;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::nats_cluster::Sync;

use super::checker::Verdict;
use super::ledger::{Ledger, Outcome, Sums};
use super::nemesis::{Injected, Kind};
use super::run::Settings;
use super::timeline::{Span, longest_gap_ms, until_next_ms};
use super::topology::World;

pub use versions::Versions;

/// A finished run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was tested with what.
    pub versions: Versions,
    /// Nodes of the log.
    pub nats_nodes: usize,
    /// Whether they synced before every acknowledgement.
    pub synced_always: bool,
    /// Whether their disks could lose power.
    pub disks: bool,
    /// Time under faults, in seconds.
    pub seconds: f64,
    /// Events per second that were offered at most.
    pub rate: u64,
    /// Faults injected.
    pub faults: usize,
    /// Faults by kind.
    pub kinds: BTreeMap<Kind, KindFigures>,
    /// Sums over the requests.
    pub requests: Sums,
    /// Rows found.
    pub rows: u64,
    /// Acknowledged events that are not there.
    pub lost: u64,
    /// Rows that are there more than once.
    pub doubled: u64,
    /// Rows that were never sent, or refused.
    pub unexpected: u64,
    /// Rows of dead-letter tables.
    pub dead_letters: u64,
    /// Events without a known outcome that are there.
    pub unknown_found: u64,
    /// Commits, those with expired snapshots included.
    pub commits: usize,
    /// Longest time without an acknowledgement, in milliseconds.
    pub longest_without_ack_ms: u64,
    /// Longest time without a commit, in milliseconds.
    pub longest_without_commit_ms: u64,
    /// Peak resident memory by role, in bytes.
    pub peak_bytes: BTreeMap<&'static str, u64>,
    /// Processes that ended by themselves and were started again.
    pub own_ends: Vec<String>,
    /// Everything that must not be.
    pub violations: Vec<String>,
    /// Every fault with its times.
    pub injected: Vec<Injected>,
}

/// Figures of a kind of fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct KindFigures {
    /// How often it was injected.
    pub count: usize,
    /// From the healing to the next acknowledgement, in milliseconds: median and longest.
    pub ack_after_ms: Option<(u64, u64)>,
    /// From the healing to the next commit, in milliseconds: median and longest.
    pub commit_after_ms: Option<(u64, u64)>,
}

impl Report {
    /// Puts together what was seen.
    #[expect(clippy::too_many_arguments, reason = "each is one thing that a run ends with, and there is one caller")]
    pub(super) fn new(
        settings: &Settings,
        versions: Versions,
        span: Span,
        world: &World,
        ledger: &Ledger,
        injected: Vec<Injected>,
        verdict: Verdict,
        mut violations: Vec<String>,
    ) -> Self {
        violations.extend(verdict.violations());
        violations.extend(ledger.odd_answers());
        violations.extend(cries(world.dir()));
        let (acks, mut commits) = (ack_times(ledger), verdict.commits_ms());
        commits.extend(world.expired_commits());
        commits.sort_unstable();
        let sum = |of: fn(&super::checker::TableVerdict) -> u64| verdict.tables.iter().map(of).sum();
        Self {
            seed: settings.seed,
            versions,
            nats_nodes: settings.nats,
            synced_always: settings.sync == Sync::Always,
            disks: settings.disks,
            seconds: (span.to_ms - span.from_ms) as f64 / 1_000.0,
            rate: settings.rate,
            faults: injected.len(),
            kinds: figures(&injected, &acks, &commits),
            requests: ledger.sums(),
            rows: sum(|table| table.rows),
            lost: sum(|table| table.lost.count),
            doubled: sum(|table| table.doubled.count),
            unexpected: sum(|table| table.foreign.count + table.refused_found.count),
            dead_letters: sum(|table| table.dead_letters),
            unknown_found: sum(|table| table.unknown_found),
            commits: commits.len(),
            longest_without_ack_ms: longest_gap_ms(&acks, span),
            longest_without_commit_ms: longest_gap_ms(&commits, span),
            peak_bytes: peaks(world),
            own_ends: world.roles().iter().flat_map(|role| role.own_ends()).collect(),
            violations,
            injected,
        }
    }

    /// Whether the claim held.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// Writes `report.json` and `report.md` into `dir`.
    pub fn write(&self, dir: &Path) {
        self.write_as(&dir.join("report"));
    }

    /// Writes `<path>.json` and `<path>.md`.
    pub fn write_as(&self, path: &Path) {
        let json = serde_json::to_string_pretty(self).expect("a report is JSON");
        for (extension, text) in [("json", json), ("md", self.markdown())] {
            std::fs::write(path.with_extension(extension), text).expect("the report's folder is writable");
        }
    }
}

fn ack_times(ledger: &Ledger) -> Vec<u64> {
    let entries = ledger.entries();
    let acked = entries.iter().filter(|entry| entry.outcome == Outcome::Acked);
    let mut times: Vec<u64> = acked.map(|entry| entry.at_ms).collect();
    times.sort_unstable();
    times
}

fn figures(injected: &[Injected], acks: &[u64], commits: &[u64]) -> BTreeMap<Kind, KindFigures> {
    let mut healed: BTreeMap<Kind, Vec<u64>> = BTreeMap::new();
    for fault in injected {
        healed.entry(fault.kind).or_default().push(fault.healed_ms);
    }
    let figure = |(kind, healed): (Kind, Vec<u64>)| {
        let recovery = |times: &[u64]| spread(healed.iter().filter_map(|at| until_next_ms(times, *at)).collect());
        (kind, KindFigures { count: healed.len(), ack_after_ms: recovery(acks), commit_after_ms: recovery(commits) })
    };
    healed.into_iter().map(figure).collect()
}

/// Median and longest.
fn spread(mut times: Vec<u64>) -> Option<(u64, u64)> {
    times.sort_unstable();
    Some((*times.get(times.len().saturating_sub(1) / 2)?, *times.last()?))
}

fn peaks(world: &World) -> BTreeMap<&'static str, u64> {
    let mut peaks = BTreeMap::new();
    for role in world.roles() {
        let peak: &mut u64 = peaks.entry(role.kind.name()).or_default();
        *peak = (*peak).max(role.peak_bytes());
    }
    peaks
}

/// Lines of the roles' logs that a run must not have: panics, and alarms about a log that is said to lose nothing.
fn cries(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("the run's folder is readable") {
        let path = entry.expect("a readable entry").path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        // A log may hold half a character where a process was killed.
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
        let cries: Vec<&str> =
            text.lines().filter(|line| line.contains("ALARM") || line.contains("panicked")).collect();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        found.extend(cries.first().map(|line| format!("{name}: {} such lines: {line}", cries.len())));
    }
    found
}

#[cfg(test)]
mod tests;
