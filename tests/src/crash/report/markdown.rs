//! A report as Markdown.

use std::fmt::Write;

use super::{KindFigures, Report};

impl Report {
    /// The run as Markdown: a table of figures, a table of faults, and what was wrong.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| | |\n| --- | --- |\n");
        for (name, value) in self.rows_of_figures() {
            line(&mut text, &format!("| {name} | {value} |"));
        }
        line(&mut text, "\n| fault | injected | next ack after healing, median / longest | next commit | ");
        line(&mut text, "| --- | ---: | ---: | ---: |");
        for (kind, KindFigures { count, ack_after_ms, commit_after_ms }) in &self.kinds {
            let (ack, commit) = (spread(*ack_after_ms), spread(*commit_after_ms));
            line(&mut text, &format!("| `{}` | {count} | {ack} | {commit} |", kind.name()));
        }
        for (title, lines) in [("Violations", &self.violations), ("Processes that ended by themselves", &self.own_ends)]
        {
            if !lines.is_empty() {
                line(&mut text, &format!("\n{title}:\n"));
                lines.iter().for_each(|entry| line(&mut text, &format!("- {entry}")));
            }
        }
        text
    }

    fn rows_of_figures(&self) -> Vec<(&'static str, String)> {
        let engines: Vec<String> =
            self.versions.engines.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let peaks: Vec<String> =
            self.peak_bytes.iter().map(|(role, bytes)| format!("{role} {} MiB", bytes / (1 << 20))).collect();
        let disks = if self.disks { ", disks that lose power" } else { "" };
        let sync = if self.synced_always { "`sync_interval: always`" } else { "NATS's default sync interval" };
        let requests = &self.requests;
        vec![
            ("seed", self.seed.to_string()),
            ("Frazil", format!("{}, commit {}", self.versions.frazil, self.versions.commit)),
            ("servers", format!("{}; {}", self.versions.nats, self.versions.store)),
            ("read with", engines.join(", ")),
            ("log", format!("{} node(s), {sync}{disks}", self.nats_nodes)),
            ("time under load and faults", format!("{:.0} s", self.seconds)),
            ("faults injected", number(self.faults as u64)),
            ("events acknowledged", number(requests.acked_events)),
            ("of them without a key", number(requests.acked_keyless_events)),
            ("rows found", number(self.rows)),
            ("**lost**", format!("**{}**", number(self.lost))),
            ("**doubled**", format!("**{}**", number(self.doubled))),
            ("unexpected rows", number(self.unexpected)),
            ("dead letters", number(self.dead_letters)),
            (
                "events with an unknown outcome",
                format!("{}, of which {} are there", number(requests.unknown_events), number(self.unknown_found)),
            ),
            ("requests, retries", format!("{}, {}", number(requests.requests), number(requests.retries))),
            ("commits", number(self.commits as u64)),
            ("longest time without an ack", seconds(self.longest_without_ack_ms)),
            ("longest time without a commit", seconds(self.longest_without_commit_ms)),
            ("peak memory", peaks.join(", ")),
        ]
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{}", line.trim_end()).expect("a String takes everything");
}

fn spread(times: Option<(u64, u64)>) -> String {
    times.map_or_else(|| "–".to_owned(), |(median, longest)| format!("{} / {}", seconds(median), seconds(longest)))
}

fn seconds(millis: u64) -> String {
    format!("{:.1} s", millis as f64 / 1_000.0)
}

/// A number with a comma at every third digit.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}
