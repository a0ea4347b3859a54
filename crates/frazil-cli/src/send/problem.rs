//! Reads the proxy's problem documents (RFC 9457) as far as a client needs them. Pure.

use serde::Deserialize;

/// What an error answer says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    /// `urn:frazil:problem:<kind>`
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
    /// The single event at fault, from 0.
    index: Option<usize>,
    /// The invalid events, the first ones if there are many.
    #[serde(rename = "errors")]
    verdicts: Vec<Verdict>,
}

/// What is wrong with one event.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Verdict {
    /// Position in the request, from 0.
    pub(super) index: usize,
    pub(super) field: String,
    reason: String,
    message: String,
}

impl Verdict {
    pub(super) fn words(&self) -> String {
        let words = if self.message.is_empty() { &self.reason } else { &self.message };
        words.clone()
    }
}

impl Problem {
    /// Reads a body; one that is no problem document is kept as its detail.
    pub(super) fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| Self {
            detail: String::from_utf8_lossy(body).chars().take(300).collect(),
            ..Self::default()
        })
    }

    /// The events at fault, in ascending order, each once; empty if the request as a whole is.
    pub(super) fn verdicts(&self, events: usize) -> Vec<Verdict> {
        let mut verdicts = self.verdicts.clone();
        if verdicts.is_empty()
            && let Some(index) = self.index
        {
            verdicts.push(Verdict { index, message: self.words(), ..Verdict::default() });
        }
        let about_one = ["invalid-json", "event-too-large"].iter().any(|kind| self.kind.ends_with(kind));
        if verdicts.is_empty() && events == 1 && about_one {
            verdicts.push(Verdict { message: self.words(), ..Verdict::default() });
        }
        verdicts.retain(|verdict| verdict.index < events);
        verdicts.sort_by_key(|verdict| verdict.index);
        verdicts
    }

    /// The whole in one line.
    pub(super) fn words(&self) -> String {
        match (self.title.as_str(), self.detail.as_str()) {
            ("", "") => "no reason given".to_owned(),
            ("", detail) => detail.to_owned(),
            (title, "") => title.to_owned(),
            (title, detail) => format!("{title}: {detail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_sorted_and_within_the_request() {
        let text = br#"{"type":"urn:frazil:problem:invalid-events","title":"T","detail":"d","status":400,
            "errors":[{"index":7,"field":"","reason":"r"},{"index":3,"field":"a.b","reason":"r","message":"m","got":"x"},
            {"index":0,"reason":"r"}]}"#;
        let verdicts = Problem::parse(text).verdicts(5);
        let seen: Vec<_> = verdicts.iter().map(|v| (v.index, v.field.as_str(), v.words())).collect();
        assert_eq!(seen, [(0, "", "r".to_owned()), (3, "a.b", "m".to_owned())]);
    }

    #[test]
    fn other_answers() {
        let problem = Problem::parse(b"<html>bad gateway</html>");
        assert_eq!(problem.words(), "<html>bad gateway</html>");
        assert!(problem.verdicts(1).is_empty());
        let large =
            Problem::parse(br#"{"type":"urn:frazil:problem:event-too-large","title":"Event too large","index":2}"#);
        assert_eq!(large.verdicts(3)[0].index, 2);
        assert_eq!(Problem::parse(b"").words(), "no reason given");
    }
}
