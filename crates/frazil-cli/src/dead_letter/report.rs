//! What a replay tells at its end.

use std::process::ExitCode;

use frazil_core::TableName;
use frazil_writer::replay::{Example, Report};
use serde_json::json;

use crate::exit::Failure;

/// The summary of a replay.
#[derive(Debug)]
pub(super) struct Summary {
    from: TableName,
    into: TableName,
    dry_run: bool,
    pub(super) report: Report,
}

impl Summary {
    pub(super) fn new(from: &TableName, into: &TableName, dry_run: bool) -> Self {
        Self { from: from.clone(), into: into.clone(), dry_run, report: Report::default() }
    }

    /// Prints it, and says how it went.
    pub(super) fn print(&self, failure: Option<&Failure>, as_json: bool) -> ExitCode {
        let failure = failure.map(Failure::to_string);
        if as_json {
            println!("{}", self.json(failure.as_deref()));
        } else if failure.is_none() || self.report.looked_at > 0 {
            print!("{}", self.text());
        }
        if let Some(failure) = &failure {
            eprintln!("frazil: {failure}");
        }
        if failure.is_none() && self.report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// For scripts.
    pub(super) fn json(&self, failure: Option<&str>) -> serde_json::Value {
        let Report { looked_at, replayed, already, invalid, unsettled, unidentified, commits } = &self.report;
        let example = |example: &Example| json!({"id": example.id, "field": example.field, "message": example.message});
        let reasons: serde_json::Map<_, _> = invalid
            .iter()
            .map(|(reason, invalid)| {
                let examples: Vec<_> = invalid.examples.iter().map(example).collect();
                ((*reason).to_owned(), json!({"count": invalid.count, "examples": examples}))
            })
            .collect();
        json!({
            "complete": failure.is_none() && self.report.is_complete(),
            "from": self.from.to_string(),
            "into": self.into.to_string(),
            "dry_run": self.dry_run,
            "letters": looked_at,
            "replayed": replayed,
            "already_replayed": already,
            "still_invalid": self.report.invalid_count(),
            "by_reason": reasons,
            "unsettled": unsettled,
            "unidentified": unidentified,
            "commits": commits,
            "failure": failure,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let report = &self.report;
        let would = if self.dry_run { "would replay" } else { "replayed" };
        let commits = if self.dry_run { String::new() } else { format!(" ({} commits)", report.commits) };
        let mut text = format!(
            "{would} {}, still invalid {} of {} letters in {} into {}{commits}\n",
            report.replayed,
            report.invalid_count(),
            report.looked_at,
            self.from,
            self.into
        );
        if report.already > 0 {
            text += &format!("  {} were replayed before\n", report.already);
        }
        for (reason, invalid) in &report.invalid {
            text += &format!("  {reason}: {}\n", invalid.count);
            for Example { id, message, .. } in &invalid.examples {
                let message: String = message.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
                text += &format!("    {id}  {message}\n");
            }
        }
        if report.unsettled > 0 {
            text += &format!("  {} lie beyond the checkpoint of {} and were left alone\n", report.unsettled, self.from);
        }
        if report.unidentified > 0 {
            text += &format!("  {} rows do not say which event they are\n", report.unidentified);
        }
        text
    }
}
